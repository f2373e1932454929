"""Faults, against the real broker and Spark; the oracle (kafka-python, DuckDB) says what is right."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

import rta
from rta.store import ledger, serving
from rta.testing import oracle
from tests.support.truth import KEY, checkpoint_of, child, setting, true_totals
from tests.support.waiting import finished

pytestmark = pytest.mark.kafka


def test_f06_death_between_sink_write_and_commit(
    spark: SparkSession, topic: Callable[..., str]
) -> None:
    """Without its last commit file Spark runs the batch again: rows, ledger, dead letters once."""
    name = topic()
    messages = rta.events.poisoned(
        rta.user_events(spark, rows=500), share=0.05, kinds=["nan"]
    ).cache()
    bad = messages.count() - 500
    rta.publish(messages, name, order_by="reported_at")
    how: dict[str, Any] = {"table": "f06", "key": KEY, "event": rta.USER_EVENTS}
    # No batch without data at the end: the one to come again shall be one with rows.
    with setting(spark, "spark.sql.streaming.noDataMicroBatches.enabled", "false"):
        rta.drain(name, rta.transforms.totals, max_events_per_batch=300, **how)
    before, entries = rta.read("f06"), ledger.batches("f06")
    newest = max((checkpoint_of("f06") / "commits").glob("[0-9]*"), key=lambda path: int(path.name))
    for path in (newest, newest.with_name(f".{newest.name}.crc")):
        path.unlink()
    with repeated_batches() as repeated:
        again = rta.drain(name, rta.transforms.totals, max_events_per_batch=300, **how)
    assert repeated == [(int(newest.name), entries[-1].rows)]
    assert entries[-1].rows > 0
    assert again.accounting.consumed == 0
    assert ledger.batches("f06")[: len(entries)] == entries
    assert oracle.differences(pa.Table.from_pandas(before), "f06") == []
    assert oracle.differences(true_totals(name), "f06") == []
    oracle.check_accounted("f06", name, used=500, quarantined=bad)
    assert rta.dlq.read_dead_letters(name).count() == bad  # sent again, and still each once


@contextmanager
def repeated_batches() -> Iterator[list[tuple[int, int]]]:
    """Note the batches that came again with their rows, as the sink's own commit says it."""
    found: list[tuple[int, int]] = []
    commit = serving.commit_batch

    def noting(engine: Any, table: Any, batch: Any, rows: Any, late: Any, **how: Any) -> bool:
        written = commit(engine, table, batch, rows, late, **how)
        if not written:
            found.append((batch[0].batch_id, rows.num_rows))
        return written

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(serving, "commit_batch", noting)
        yield found


def test_f07_death_in_the_middle_of_the_sink_write(
    spark: SparkSession, topic: Callable[..., str]
) -> None:
    """SIGKILL between two rows of a batch: no reader ever sees half of it, and the next run is whole."""
    name = topic()
    rta.publish(rta.user_events(spark, rows=400), name, key="user_id")
    how: dict[str, Any] = {"key": KEY, "event": rta.USER_EVENTS}
    rta.drain(name, rta.transforms.totals, table="f07", **how)
    first = rta.read("f07")
    rta.publish(rta.user_events(spark, rows=400, first_row=400), name, key="user_id")

    killed = child("stop_half_written", name)
    try:
        assert killed.stdout is not None
        _, written = killed.stdout.readline().rsplit(maxsplit=1)
        assert int(written) > 10
        assert oracle.differences(pa.Table.from_pandas(first), "f07") == []
        assert rta.accounting("f07").consumed == 400
    finally:
        killed.kill()
        finished(killed)
    assert oracle.differences(pa.Table.from_pandas(first), "f07") == []

    rta.drain(name, rta.transforms.totals, table="f07", **how)
    assert oracle.differences(true_totals(name), "f07") == []
    oracle.check_accounted("f07", name, used=800)


def test_f21_f22_f25_f28_poison_never_stops_a_query_and_never_vanishes(
    spark: SparkSession, topic: Callable[..., str]
) -> None:
    """Every kind of bad event among good ones: totals exact, each bad one in the DLQ with its origin."""
    from rta.events.malformed import POISON

    name = topic()
    messages = rta.events.poisoned(rta.user_events(spark, rows=600), share=0.25).cache()
    rta.publish(messages, name, order_by="reported_at")
    sent = {row.poison: row["count"] for row in messages.groupBy("poison").count().collect()}
    assert set(sent) == {None, *POISON}
    bad = messages.count() - sent[None]

    taken = rta.drain(
        name,
        rta.transforms.totals,
        table="poisoned",
        key=KEY,
        event=rta.USER_EVENTS,
        max_events_per_batch=300,
    )

    assert oracle.differences(true_totals(name), "poisoned") == []
    oracle.check_accounted("poisoned", name, used=600, late=0, quarantined=bad)
    assert taken.accounting.batches > 2
    marks = [batch.watermark for batch in ledger.batches("poisoned") if batch.watermark]
    assert marks
    assert {mark.year for mark in marks} == {2024}  # the events of 2099 did not move it
    expected = sorted(_bad_records(name))
    dead_letters = rta.dlq.read_dead_letters(name).collect()
    found = [
        (each.topic, each.partition, each.offset, _text(each.key), _text(each.value))
        for each in dead_letters
    ]
    assert sorted(found) == expected
    assert len(expected) == bad
    queue = oracle.read_topic(
        f"{name}.dlq"
    )  # no batch came twice, so even the raw queue has each once
    assert len(queue) == bad
    assert all(dict(raw.headers)["rta.reason"] for raw in queue)
    assert all(each.reason for each in dead_letters)


def _bad_records(topic: str) -> list[tuple[str, int, int, str, str]]:
    """List the records that are no good events, by the oracle's own reading."""
    table = oracle.events(topic, rta.USER_EVENTS)
    good = set(zip(table["partition"].to_pylist(), table["offset"].to_pylist(), strict=True))
    return [
        (topic, raw.partition, raw.offset, _text(raw.key), _text(raw.value))
        for raw in oracle.read_topic(topic)
        if (raw.partition, raw.offset) not in good
    ]


def _text(raw: bytes | bytearray | None) -> str:
    """Show bytes so that they can be sorted: None is not the same as no bytes."""
    return repr(None if raw is None else bytes(raw))


def test_f26_duplicates_also_across_a_restart(
    spark: SparkSession, topic: Callable[..., str]
) -> None:
    """20 % sent twice, half of it after a restart of the query: each event counts once."""
    name = topic()
    events = rta.user_events(spark, rows=500, duplicates=0.2, duplicate_delay="4 seconds").cache()
    copies = events.count() - 500
    assert copies > 80
    middle = events.selectExpr("percentile_approx(reported_at, 0.5)").collect()[0][0]
    early = F.col("reported_at") <= F.lit(middle)
    both_sides = events.groupBy("event_id").agg(F.count_distinct(early).alias("sides"))
    assert both_sides.where("sides = 2").count() > 5

    def once(rows: DataFrame) -> DataFrame:
        return rta.transforms.totals(rta.transforms.deduplicate(rows), lateness=None)

    how: dict[str, Any] = {"table": "f26", "key": KEY, "event": rta.USER_EVENTS}
    for half in (early, ~early):
        rta.publish(events.where(half), name, key="user_id", order_by="reported_at")
        taken = rta.drain(name, once, **how)
        assert taken.accounting.duplicate > 5

    truth = true_totals(name, "SELECT DISTINCT ON (event_id) * FROM events")
    assert oracle.differences(truth, "f26") == []
    oracle.check_accounted("f26", name, used=500, duplicate=copies, late=0)
