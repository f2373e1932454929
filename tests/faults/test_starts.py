"""Starts: what is refused leaves nothing behind, what is not there yet says what to call, and the next start works."""

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as F
from pyspark.sql.streaming.query import StreamingQuery
from pyspark.sql.types import StructType

import rta
from rta.architectures import archives
from rta.engines.spark import checkpoint_lock, starting, topic_identity
from rta.errors import InputError, QueryError, TableError
from rta.settings import settings
from rta.store import ledger, serving, serving_tables, views
from rta.store.database import DatabaseAwayError
from rta.testing import oracle
from tests.support.databases import create
from tests.support.truth import KEY, checkpoint_of, true_totals
from tests.support.waiting import until

pytestmark = pytest.mark.kafka
HOW: dict[str, Any] = {"key": KEY, "event": rta.USER_EVENTS}


def test_the_accounting_of_a_name_that_is_none_lists_the_tables(
    spark: SparkSession, topic: Callable[..., str]
) -> None:
    """A typo is no table with nothing in it; a view counts what it shows, and a table without a batch is zeros."""
    name = topic(partitions=1)
    rta.publish(rta.user_events(spark, rows=30), name)
    with rta.batch(name, rta.transforms.totals, table="counted", **HOW) as wired:
        wired.catch_up()
    assert rta.accounting("counted") == rta.accounting("counted_batch_1") == wired.accounting()
    assert rta.accounting("counted").consumed == 30
    with pytest.raises(TableError, match=r"no serving table 'count'; found: .*counted, counted_b"):
        rta.accounting("count")
    assert ledger.summed("counted_batch_1", "count") == rta.accounting("counted")
    create("nobody", StructType().add("page", "string"), ["page"])
    assert rta.accounting("nobody").consumed == 0
    serving_tables.drop("nobody")


def test_before_its_first_answer_a_wiring_says_what_to_call(
    spark: SparkSession, topic: Callable[..., str]
) -> None:
    """read(), accounting() and compare() of a batch that was never recomputed; switch() of a Kappa without a replay."""
    name = topic(partitions=1)
    rta.publish(rta.user_events(spark, rows=10), name)
    wired = rta.batch(name, rta.transforms.totals, table="unasked", **HOW)
    asks: list[Callable[[], object]] = [wired.read, wired.accounting, lambda: rta.compare(wired)]
    for ask in asks:
        with pytest.raises(TableError, match=r"'unasked' yet; fix: call recompute\(\) or catch_up"):
            ask()
    with rta.kappa(name, rta.transforms.totals, table="unswitched", **HOW) as wired_too:
        wired_too.catch_up()
        wired_too.stop()
        with pytest.raises(QueryError, match=r"to switch to; .*; fix: call replay\(transform\)"):
            wired_too.switch()
        assert wired_too.read()["event_count"].sum() == 10


def test_a_transform_without_its_return_is_said_before_anything_starts(
    spark: SparkSession, topic: Callable[..., str]
) -> None:
    """In each way to run one: no table, no query."""
    name = topic(partitions=1)
    rta.publish(rta.user_events(spark, rows=10), name)

    def forgot(events: Any) -> Any:
        rta.transforms.totals(events)

    into = topic(partitions=1)
    ways: list[Callable[[], object]] = [
        lambda: rta.follow(name, forgot, table="forgot", **HOW),
        lambda: rta.drain(name, forgot, table="forgot", **HOW),
        lambda: rta.engines.relay(name, forgot, into=into, event=rta.USER_EVENTS),
        lambda: rta.batch(name, forgot, table="forgot", **HOW).recompute(),
        lambda: rta.lambda_(name, forgot, table="forgot", **HOW),
        lambda: rta.kappa(name, forgot, table="forgot", **HOW),
    ]
    for way in ways:
        with pytest.raises(InputError, match="must return a DataFrame; found: NoneType"):
            way()
    with pytest.raises(InputError, match="must return a DataFrame; found: int"):
        rta.drain(name, lambda _: 3, table="forgot", **HOW)  # type: ignore[arg-type,return-value]
    assert [each.name for each in serving_tables.tables() if each.name.startswith("forgot")] == []
    assert spark.streams.active == []


def left_behind(spark: SparkSession, table: str) -> list[str]:
    """List what there is of a table and its versions: tables, views, checkpoints, and any query that runs; refuse a lock."""
    files = [*(settings().home / "checkpoints").glob(f"{table}*")]
    for file in files:
        checkpoint_lock.refuse_locked(file.with_suffix(""), table)
    return [
        *[each.name for each in serving_tables.tables() if each.name.startswith(table)],
        *[file.name for file in files if file.is_dir()],
        *[str(query.name) for query in spark.streams.active],
    ]


def unmarked(events: DataFrame) -> DataFrame:
    """Group by sessions without a watermark: none of them would ever be final."""
    return events.groupBy(F.session_window("timestamp", "5 minutes").alias("window"), "user_id").count()  # fmt: skip


def ranked(events: DataFrame) -> DataFrame:
    """Give each event of a user its number."""
    newest = Window.partitionBy("user_id").orderBy("timestamp")
    return events.select("user_id", F.row_number().over(newest).alias("window"))


def test_what_spark_does_not_run_as_a_stream_is_said_before_anything_is_made(
    spark: SparkSession, topic: Callable[..., str]
) -> None:
    """Each with what to change in the transform, never "run it again"; corrected, it fills the same table."""
    name = topic(partitions=1)
    rta.publish(rta.user_events(spark, rows=20), name)
    for transform, do in (
        (unmarked, r"change the transform: events\.withWatermark"),
        (lambda events: rta.transforms.totals(events).orderBy("user_id"), r"leave orderBy out.*order_by="),
        (ranked, "change the transform: .* rank when the table is read"),
        (lambda events: events.groupBy("user_id", "window").count(), "correct the name in the transform"),
    ):  # fmt: skip
        with pytest.raises(
            QueryError, match=rf"'definition' cannot start; .*fix: .*{do}"
        ) as caught:
            rta.drain(name, transform, table="definition", **HOW)
        assert "again" not in str(caught.value)
        assert "\n" not in str(caught.value)
        assert left_behind(spark, "definition") == []
    rta.drain(name, rta.transforms.totals, table="definition", **HOW)
    assert oracle.differences(true_totals(name), "definition") == []


@pytest.mark.parametrize("table", ["pressed", "pressed_early"])
def test_f44_the_stop_button_in_the_first_drain_leaves_no_table(
    spark: SparkSession, topic: Callable[..., str], monkeypatch: pytest.MonkeyPatch, table: str
) -> None:
    """A real SIGINT while the first micro-batch is about to be written: no table, no query; the next drain has everything.

    Also if the drain itself is so slow that it does not wait for its query yet.
    """
    name = topic(partitions=1)
    rta.publish(rta.user_events(spark, rows=50), name)

    def pressed(*_: object, **__: object) -> bool:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1)  # the query goes on for a while: who returned is not to leave it behind
        raise TableError("stopped before the commit")

    wait = StreamingQuery.awaitTermination

    def busy(query: StreamingQuery, timeout: Any = None) -> bool | None:
        if threading.current_thread() is threading.main_thread():  # not the one that holds the lock
            until(lambda: False)
        return wait(query, timeout)

    with monkeypatch.context() as patch:
        patch.setattr(serving, "commit_batch", pressed)
        if table == "pressed_early":
            patch.setattr(StreamingQuery, "awaitTermination", busy)
        with pytest.raises(KeyboardInterrupt):
            rta.drain(name, rta.transforms.totals, table=table, **HOW)
    assert table not in [query.name for query in spark.streams.active]
    assert left_behind(spark, table) in ([], [table])  # a checkpoint that goes on
    with pytest.raises(TableError, match=f"no serving table '{table}'"):
        rta.read(table)
    assert rta.drain(name, rta.transforms.totals, table=table, **HOW).accounting.consumed == 50
    assert oracle.differences(true_totals(name), table) == []


def test_a_drain_of_an_empty_topic_has_an_answer(
    spark: SparkSession, topic: Callable[..., str]
) -> None:
    """No event is no failure: the table is there, with its columns and no row."""
    assert (
        rta.drain(topic(), rta.transforms.totals, table="no_event", **HOW).accounting.consumed == 0
    )
    assert list(rta.read("no_event"))[-1] == "event_count"
    assert len(rta.read("no_event")) == 0


def stopped(*_: object, **__: object) -> None:
    """Be stopped here, as by the Stop button."""
    raise KeyboardInterrupt


def away(*_: object, **__: object) -> None:
    """Find the database away."""
    raise DatabaseAwayError("the serving database is away", fix="start it")


STEPS: Final[dict[str, tuple[Any, list[tuple[object, str, Callable[..., None]]]]]] = {
    "batch": (rta.batch, [
        (archives, "begun", stopped), (serving, "commit_batch", away), (views, "switch", stopped),
    ]),
    "lambda": (rta.lambda_, [
        (archives, "begun", stopped), (serving, "commit_batch", away), (starting, "begun", stopped),
        (serving_tables, "make", away), (StreamingQuery, "processAllAvailable", stopped), (views, "switch", away),
    ]),
    "kappa": (rta.kappa, [
        (topic_identity, "note", stopped), (starting, "begun", stopped), (serving_tables, "make", away), (views, "switch", stopped),
    ]),
}  # fmt: skip


@pytest.mark.parametrize("architecture", STEPS)
def test_f44_a_first_start_that_fails_at_any_step_leaves_nothing(
    spark: SparkSession, topic: Callable[..., str], monkeypatch: pytest.MonkeyPatch, architecture: str
) -> None:  # fmt: skip
    """One clear error, no table, view, checkpoint, query or lock; the start after the last of them has the right answer."""
    name, table = topic(partitions=1), f"first_{architecture}"
    rta.publish(rta.user_events(spark, rows=40), name)
    wire, steps = STEPS[architecture]
    for home, step, failing in steps:
        with monkeypatch.context() as patch:
            patch.setattr(home, step, failing)
            with pytest.raises((KeyboardInterrupt, DatabaseAwayError)) as caught:
                wire(name, rta.transforms.totals, table=table, **HOW).catch_up()
        assert (caught.type is DatabaseAwayError) == (failing is away), step
        assert left_behind(spark, table) == [], step
        assert getattr(caught.value, "__notes__", []) == [], step
    with wire(name, rta.transforms.totals, table=table, **HOW) as wired:
        wired.catch_up()
        assert oracle.differences(true_totals(name), table) == []
        assert wired.accounting().consumed == 40


def test_f44_a_first_start_without_a_database_or_without_slots_leaves_nothing(
    spark: SparkSession, topic: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A port where nobody listens, and real-time mode with more partitions than slots: refused, each in one sentence."""
    name = topic(partitions=9)
    rta.publish(rta.user_events(spark, rows=20), name)
    wires: list[Any] = [rta.lambda_, rta.kappa]
    with monkeypatch.context() as patch:
        patch.setenv("RTA_DATABASE_URL", "postgresql://nobody@127.0.0.1:9/nothing")
        for wire in wires:
            with pytest.raises(DatabaseAwayError, match="is away, full or busy"):
                wire(name, rta.transforms.totals, table="first_none", **HOW)
    for wire in wires:
        with pytest.raises(QueryError, match="real-time mode has too few task slots"):
            wire(name, rta.transforms.totals, table="first_none", real_time="5 seconds", **HOW)
    assert left_behind(spark, "first_none") == []


def test_f45_offsets_outside_of_the_topic_are_refused_with_its_range(
    spark: SparkSession, topic: Callable[..., str]
) -> None:
    """Beyond the end, below the start, words, an end before its start: before anything is written; Kafka's own -1 and -2 are well."""
    name = topic(partitions=1)
    rta.publish(rta.user_events(spark, rows=20), name)
    for wrong in ({0: 21}, {0: -5}, {0: "3"}, {0: True}):
        with pytest.raises(InputError, match=r"starting names an offset .*partition 0 has 0 to 20"):
            rta.drain(name, rta.transforms.totals, table="outside", starting=wrong, **HOW)  # type: ignore[arg-type]
        with pytest.raises(InputError, match=r"ending names an offset .*partition 0 has 0 to 20"):
            rta.read_batch(name, event=rta.USER_EVENTS, ending=wrong)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="ending names an offset"):
        rta.read_batch(name, event=rta.USER_EVENTS, ending={0: -2})
    with pytest.raises(InputError, match="is before its start"):
        rta.read_batch(name, event=rta.USER_EVENTS, starting={0: 9}, ending={0: 3})
    assert left_behind(spark, "outside") == []
    assert rta.read_batch(name, event=rta.USER_EVENTS, starting={0: -1}).count() == 0
    assert (
        rta.read_batch(name, event=rta.USER_EVENTS, starting={0: -2}, ending={0: -1}).count() == 20
    )
    taken = rta.drain(name, rta.transforms.totals, table="outside", starting={0: 15}, **HOW)
    assert (taken.accounting.consumed, taken.start) == (5, {0: 15})


def test_f45_a_topic_that_ends_before_its_checkpoint_is_refused(
    spark: SparkSession, topic: Callable[..., str]
) -> None:
    """It lost events, or was made again where no id was noted: said with both offsets; the table stays as it is."""
    name = topic(partitions=1)
    rta.publish(rta.user_events(spark, rows=20), name)
    rta.drain(name, rta.transforms.totals, table="shrunk", **HOW)
    rta.kafka.delete_topic(name)
    rta.kafka.create_topic(name, partitions=1)
    rta.publish(rta.user_events(spark, rows=5), name)
    for file in checkpoint_of("shrunk").glob(
        f"*{topic_identity.FILE}*"
    ):  # the checkpoint of an older rta
        file.unlink()
    for file in checkpoint_of("shrunk").glob(f".{topic_identity.FILE}*"):
        file.unlink()
    with pytest.raises(QueryError, match=r"ends before .*ends at 5, not 20 as in .*rta\.reset"):
        rta.drain(name, rta.transforms.totals, table="shrunk", **HOW)
    assert rta.accounting("shrunk").consumed == 20


def test_one_lock_however_the_place_is_written(spark: SparkSession, tmp_path: Path) -> None:
    """As a path, a file: URL, through a symlink or from the working directory: it is one checkpoint."""
    place, link = tmp_path / "checkpoint", tmp_path / "link"
    link.symlink_to(tmp_path)
    stream = spark.readStream.format("rate").load().writeStream.format("noop")
    with checkpoint_lock.locked(spark, str(place), "locked"):
        query = checkpoint_lock.begun(stream.start)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(tmp_path)
            for written in (
                f"file:{place}", f"file://{place}", f"file://localhost{place}", f"{place}/", link / "checkpoint",
                tmp_path / "x" / ".." / "checkpoint", "checkpoint", "./checkpoint",
            ):  # fmt: skip
                with pytest.raises(QueryError, match="another query fills table 'locked'"):
                    checkpoint_lock.refuse_locked(written, "locked")
    finally:
        query.stop()
    checkpoint_lock.refuse_locked(f"file:{place}", "locked")


def test_reset_deletes_a_checkpoint_on_another_file_system(
    spark: SparkSession, topic: Callable[..., str], tmp_path: Path
) -> None:
    """Through Hadoop, as Spark wrote it: after it the next drain starts over."""
    mounts: Any = spark.sparkContext._jsc.hadoopConfiguration()
    mounts.set("fs.viewfs.mounttable.rta.link./remote", f"file://{tmp_path}")
    name, place = topic(partitions=1), "viewfs://rta/remote/totals"
    rta.publish(rta.user_events(spark, rows=20), name)
    rta.drain(name, rta.transforms.totals, table="remote", checkpoint=place, **HOW)
    assert (tmp_path / "totals" / "commits").exists()
    rta.reset("remote", checkpoint=place)
    assert list(tmp_path.iterdir()) == []
    again = rta.drain(name, rta.transforms.totals, table="remote", checkpoint=place, **HOW)
    assert again.accounting.consumed == 20
    rta.reset("remote", checkpoint=f"{place}/")
    with pytest.raises(
        QueryError, match=r"cannot be deleted; found: hdfs://.*fix: delete it there"
    ):
        rta.reset("remote", checkpoint="hdfs://no-such-host.invalid:1/totals")


def test_a_cell_that_is_run_again_replaces_its_own_query(
    spark: SparkSession, topic: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    """follow() with the same arguments stops the query that runs, says so, and goes on; with others it is refused; Kappa likewise."""
    name = topic(partitions=1)
    rta.publish(rta.user_events(spark, rows=20), name)
    first = rta.follow(name, rta.transforms.totals, table="twice_run", **HOW)
    first.processAllAvailable()
    with pytest.raises(QueryError, match=r"another query fills .*\(this one\)"):
        rta.follow(
            name,
            rta.transforms.totals,
            table="twice_run",
            trigger={"processingTime": "1 second"},
            **HOW,
        )
    assert first.isActive
    second = rta.follow(name, rta.transforms.totals, table="twice_run", **HOW)
    assert "twice_run: the query that ran was stopped" in capsys.readouterr().err
    assert (first.isActive, second.isActive, first.id == second.id) == (False, True, True)
    rta.publish(rta.user_events(spark, rows=20, first_row=20), name)
    second.processAllAvailable()
    second.stop()
    assert oracle.differences(true_totals(name), "twice_run") == []
    assert rta.accounting("twice_run").consumed == 40
    old = rta.kappa(name, rta.transforms.totals, table="kappa_again", **HOW)
    with rta.kappa(name, rta.transforms.totals, table="kappa_again", **HOW) as wired:
        wired.catch_up()
        assert [query.isActive for query in old.queries] == [False]
        assert oracle.differences(true_totals(name), "kappa_again") == []
    old.stop()
