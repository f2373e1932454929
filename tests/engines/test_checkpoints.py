"""What a checkpoint says, and what is said where it is damaged."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from py4j.protocol import Py4JNetworkError
from pyspark.sql import SparkSession
from pyspark.sql.streaming.query import StreamingQuery

from rta.engines.spark import checkpoint_lock, checkpoints
from rta.errors import InputError, QueryError
from tests.support.waiting import until


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """Write a checkpoint of two micro-batches in Spark's form; a partition joins in the second."""
    for folder in ("offsets", "commits", "sources/0"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "metadata").write_text('{"id":"a-query"}')
    (tmp_path / "sources/0/0").write_text('v1\n{"clicks":{"0":2}}')
    for batch, (watermark, offsets) in enumerate(
        [(0, '{"0":5}'), (1_700_000_000_000, '{"0":9,"1":3}')]
    ):
        text = (
            f'v1\n{{"batchWatermarkMs":{watermark},"batchTimestampMs":1}}\n{{"clicks":{offsets}}}'
        )
        (tmp_path / "offsets" / str(batch)).write_text(text)
    return tmp_path


def test_spans_follow_on_one_another(spark: SparkSession, checkpoint: Path) -> None:
    """A batch starts where the one before ended; a new partition starts at 0; late is by the watermark before."""
    first = checkpoints.span(spark, str(checkpoint), 0)
    second = checkpoints.span(spark, str(checkpoint), 1)
    assert first == checkpoints.Span("clicks", {0: 2}, {0: 5}, None)
    assert second == checkpoints.Span("clicks", {0: 5, 1: 0}, {0: 9, 1: 3}, None)
    (checkpoint / "offsets" / "2").write_text((checkpoint / "offsets" / "1").read_text())
    assert checkpoints.span(spark, str(checkpoint), 2).watermark == datetime.fromtimestamp(
        1_700_000_000, UTC
    )


def test_the_owner_is_read_and_its_absence_is_no_error(
    spark: SparkSession, checkpoint: Path
) -> None:
    """A folder without a query has no owner; one whose first batch has not ended has committed none."""
    assert checkpoints.query_id(spark, str(checkpoint)) == "a-query"
    assert checkpoints.query_id(spark, str(checkpoint / "nowhere")) is None
    assert checkpoints.newest(spark, str(checkpoint), "offsets") == 1
    assert checkpoints.newest(spark, str(checkpoint), "commits") == -1
    assert checkpoints.newest(spark, str(checkpoint / "nowhere"), "commits") == -1
    for batch in (2, 10):
        (checkpoint / "commits" / str(batch)).write_text("v1\n{}")
        (checkpoint / "commits" / f".{batch}.half.tmp").touch()
    assert checkpoints.newest(spark, str(checkpoint), "commits") == 10


@pytest.mark.parametrize("name", ["metadata", "offsets/1", "sources/0/0", "commits/1"])
@pytest.mark.parametrize("text", ["", "v1", "v9\n{}\n{}", "{"])
def test_a_damaged_file_is_named(
    spark: SparkSession, checkpoint: Path, name: str, text: str
) -> None:
    """No guess and no silent restart: the file, what it holds, and what to do."""
    (checkpoint / name).write_text(text)
    asks: dict[str, Callable[[], object]] = {
        "metadata": lambda: checkpoints.query_id(spark, str(checkpoint)),
        "offsets/1": lambda: checkpoints.span(spark, str(checkpoint), 1),
        "sources/0/0": lambda: checkpoints.span(spark, str(checkpoint), 0),
        "commits/1": lambda: checkpoints.require_commit(spark, str(checkpoint), 1),
    }
    with pytest.raises(QueryError, match=rf"damaged.*{name}.*rta\.reset"):
        asks[name]()


def test_a_missing_file_is_named(spark: SparkSession, checkpoint: Path) -> None:
    """A batch that the checkpoint does not know is an error with the file's name."""
    with pytest.raises(QueryError, match="offsets/7"):
        checkpoints.span(spark, str(checkpoint), 7)


def test_a_location_with_a_password_is_refused() -> None:
    """Locks, logs and errors would show it."""
    with pytest.raises(InputError, match=r"has a password; found: s3a://\*\*\*@bucket/t; fix: .*spark.hadoop") as refused:  # fmt: skip
        checkpoints.located("s3a://ana:planted@bucket/t")
    assert "planted" not in str(refused.value)
    assert checkpoints.located("hdfs://ana@node/t") == "hdfs://ana@node/t"


def test_sources_with_names(spark: SparkSession, checkpoint: Path) -> None:
    """Format 2: a topic that was added begins where its source began; one that was removed has no span any more."""
    place = str(checkpoint)
    assert checkpoints.names_its_sources(spark, place) is False
    assert checkpoints.names_its_sources(spark, str(checkpoint / "nothing")) is None
    for batch, sources in {
        2: ['clicks:{"clicks":{"0":9,"1":4}}'],
        3: ['buys:{"buys":{"0":4}}', 'clicks:{"clicks":{"0":10,"1":4}}'],
        4: ['buys:{"buys":{"0":6}}'],
    }.items():
        text = "\n".join(["v2", '{"batchWatermarkMs":0}', *sources])
        (checkpoint / "offsets" / str(batch)).write_text(text)
    for name, offset in (("buys", 1), ("clicks", 2)):
        (checkpoint / "sources" / name).mkdir()
        (checkpoint / "sources" / name / "0").write_text(f'v1\n{{"{name}":{{"0":{offset}}}}}')
    assert checkpoints.names_its_sources(spark, place)
    assert checkpoints.has_read(spark, place, "buys")
    assert not checkpoints.has_read(spark, place, "views")
    added, removed = checkpoints.spans(spark, place, 3), checkpoints.spans(spark, place, 4)
    assert {name: (each.start, each.end) for name, each in added.items()} == {
        "buys": ({0: 1}, {0: 4}), "clicks": ({0: 9, 1: 4}, {0: 10, 1: 4}),
    }  # fmt: skip
    assert {name: (each.start, each.end) for name, each in removed.items()} == {"buys": ({0: 4}, {0: 6})}  # fmt: skip


def held(spark: SparkSession, checkpoint: Path, table: str, happened: Callable[[], object]) -> None:
    """Run a query on a checkpoint: its lock is held once something has happened, and released at its end."""
    stream = spark.readStream.format("rate").load().writeStream.format("noop")
    with checkpoint_lock.locked(spark, str(checkpoint), table):
        query = checkpoint_lock.begun(stream.start)
    try:
        until(happened)
        with pytest.raises(QueryError, match=f"another query fills table '{table}'"):
            checkpoint_lock.refuse_locked(checkpoint, table)
    finally:
        query.stop()
    checkpoint_lock.refuse_locked(checkpoint, table)


def test_a_lock_is_held_although_its_progress_cannot_be_left(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full, or whatever: the query goes on, and nobody else may fill its table."""
    asked: list[Path] = []

    def full(_query: object, _application: str, lock: Path, _before: str) -> str:
        asked.append(lock)
        raise OSError("no space left on device")

    monkeypatch.setattr(checkpoint_lock, "leave", full)
    held(spark, tmp_path / "checkpoint", "left_nothing", lambda: len(asked) > 1)


def test_a_lock_is_held_although_a_request_is_none(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file in its place that says something else stops nothing, and keeps nobody from the table afterwards."""
    read: list[Path] = []
    asked = checkpoint_lock._asked_by

    def counted(file: Path) -> int | None:
        read.append(file)
        file.with_name(f"{file.name}.stop").write_text('{"stop": "please"}')
        return asked(file)

    monkeypatch.setattr(checkpoint_lock, "_asked_by", counted)
    held(spark, tmp_path / "checkpoint", "asked_wrongly", lambda: len(read) > 1)


def test_a_lock_is_held_although_a_question_got_no_answer(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection of the thread that waits was closed, the JVM lives: the query goes on, and its lock is held until its end."""
    asked: list[str] = []
    wait = StreamingQuery.awaitTermination

    def lost(query: StreamingQuery, timeout: Any = None) -> bool | None:
        asked.append(str(query.id))
        if len(asked) < 4:
            raise Py4JNetworkError("Answer from Java side is empty")
        return wait(query, timeout)

    monkeypatch.setattr(StreamingQuery, "awaitTermination", lost)
    held(spark, tmp_path / "checkpoint", "unanswered", lambda: len(asked) > 4)


def test_a_stop_that_got_no_answer_is_told(
    spark: SparkSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside the failure for which the query was to be stopped, which stays the error."""
    stream = spark.readStream.format("rate").load().writeStream.format("noop").queryName("goes_on")

    def unanswered(_: StreamingQuery) -> None:
        raise Py4JNetworkError("Answer from Java side is empty")

    begun: list[StreamingQuery] = []

    def fails() -> None:
        with checkpoint_lock.none_left_behind():
            begun.append(checkpoint_lock.begun(stream.start))
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(StreamingQuery, "stop", unanswered)
        with pytest.raises(KeyboardInterrupt) as stopped:
            fails()
    [query] = begun
    assert query.isActive
    query.stop()
    assert stopped.value.__notes__ == [
        "its query goes_on may go on: Answer from Java side is empty"
    ]
