"""State: read back as a table, what is evicted and when, how it grows, and the warning before it outgrows memory."""

from collections.abc import Callable
from typing import Any, Final

import pytest
from pyspark.sql import DataFrame, SparkSession

import rta
from rta import charts
from rta.engines.spark import checkpoints
from rta.errors import QueryError, TableError
from rta.monitor import state_store
from rta.monitor.state_store import grows, warnings
from tests.support.truth import KEY, checkpoint_of
from tests.support.waiting import until

pytestmark = pytest.mark.usefixtures("as_delivered")
HOW: Final[dict[str, Any]] = {"key": KEY, "event": rta.USER_EVENTS}
HEAP: Final = "…HDFSBackedStateStoreProvider"
ROCKS: Final = "…RocksDBStateStoreProvider"


def once(events: DataFrame) -> DataFrame:
    """Add up each event once: two operators that keep state."""
    return rta.transforms.totals(rta.transforms.deduplicate(events), lateness=None)


def for_ever(events: DataFrame) -> DataFrame:
    """Add up without a watermark."""
    return rta.transforms.totals(events, lateness=None)


@pytest.mark.kafka
def test_state_and_what_is_evicted_from_it_are_what_spark_counts(
    spark: SparkSession, topic: Callable[..., str]
) -> None:
    """For each operator and micro-batch as many rows as in the query's progress; what has expired is gone, the rest is there."""
    name = topic(partitions=1)
    rta.publish(rta.user_events(spark, rows=600, users=20, rate=0.3), name, order_by="timestamp")
    query = rta.follow(name, once, table="remembered", max_events_per_batch=200, **HOW)
    try:
        query.processAllAvailable()
        history = rta.monitor.state_history(query)
    finally:
        query.stop()
    last = int(history["batch_id"].max())
    assert history.groupby("operator")["name"].first().to_dict() == {
        0: "stateStoreSave",
        1: "dedupe",
    }
    for operator, of_it in history.groupby("operator"):
        told = of_it.set_index("batch_id")
        state = rta.state("remembered", operator=operator)  # type: ignore[arg-type]
        assert state.count() == told["rows"][last]
        gone = rta.monitor.evicted("remembered", operator=operator)  # type: ignore[arg-type]
        by_batch = {
            row["batch_id"]: row["count"] for row in gone.groupBy("batch_id").count().collect()
        }
        assert by_batch == told["evicted"][told["evicted"] > 0].to_dict()
        assert sum(by_batch.values()) > 100 - 80 * (operator == 0)
        mark = told["watermark"][last].tz_localize(None)
        assert state.where(state["expires"] <= mark).count() == 0
        assert gone.where(gone["expires"] > mark).count() == 0
    first = history[history["operator"] == 0].set_index("batch_id")["rows"][0]
    assert rta.state("remembered", batch=0).count() == first
    open_windows = {
        (row["window_start"], row["user_id"]): (row["sum"], row["count"])
        for row in rta.state("remembered").collect()
    }
    table = rta.read("remembered")
    rows = zip(
        table["window_start"].dt.tz_localize(None),
        table["user_id"],
        table["total_amount"],
        table["event_count"],
        strict=True,
    )
    answer = {(start.to_pydatetime(), int(user)): (amount, n) for start, user, amount, n in rows}
    assert open_windows.items() <= answer.items()
    assert rta.state("remembered", operator=1).columns == [
        "event_id",
        "timestamp",
        "expires",
        "partition_id",
    ]
    assert charts.state(history).to_dict()["vconcat"]

    for wrong, found in (
        (
            {"operator": 2},
            r"no operator 2 that keeps state; found: 0 \(stateStoreSave\), 1 \(dedupe\)",
        ),
        ({"batch": 99}, "after micro-batch 99 is not there; found: micro-batches 0 to"),
    ):
        with pytest.raises(QueryError, match=found):
            rta.state("remembered", **wrong)  # type: ignore[arg-type]


@pytest.mark.kafka
def test_state_that_cannot_be_read_is_said(
    spark: SparkSession, topic: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No checkpoint, no micro-batch, no state, a view: what, what was found, what to do."""

    def plain(events: DataFrame) -> DataFrame:
        return events.select("event_id", "amount")

    name = topic(partitions=1)
    rta.publish(rta.user_events(spark, rows=5), name)
    rta.drain(name, plain, table="stateless", key=["event_id"], event=rta.USER_EVENTS)
    with pytest.raises(
        QueryError, match=r"there is no checkpoint of 'nobody', .* fix: fill the table"
    ):
        rta.state("nobody")
    with pytest.raises(QueryError, match=r"'stateless' keeps no state; .* fix: read its table"):
        rta.state("stateless")
    with rta.batch(name, rta.transforms.totals, table="seen", **HOW) as wired:
        wired.catch_up()
    with pytest.raises(TableError, match=r"'seen' is a view: .* found: seen_batch_1"):
        rta.monitor.evicted("seen")
    monkeypatch.setattr(checkpoints, "newest", lambda *_: -1)
    with pytest.raises(QueryError, match="no micro-batch of 'stateless' is done yet"):
        rta.state("stateless")


@pytest.mark.kafka
def test_health_warns_of_state_without_an_end(
    spark: SparkSession, topic: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """State without a watermark stays for ever, says so, and is warned of once it is large; with one it is not."""
    name = topic(partitions=1)
    rta.publish(rta.user_events(spark, rows=600, users=20, rate=0.3), name, order_by="timestamp")
    running = {
        table: rta.follow(name, transform, table=table, max_events_per_batch=150, **HOW)
        for table, transform in (("endless", for_ever), ("ended", rta.transforms.totals))
    }
    try:
        for query in running.values():
            query.processAllAvailable()
        assert rta.health(running["endless"]).warnings == []  # few rows
        monkeypatch.setattr(state_store, "MANY", 100)
        monkeypatch.setattr(state_store, "_BATCHES", 4)
        seen = rta.health(running["endless"])
        [warning] = seen.warnings
        rows = rta.state("endless").count()
        assert f"stateStoreSave keeps {rows:,} rows for ever" in warning
        assert "fix: withWatermark() before it" in warning
        assert warning in repr(seen)
        assert "withWatermark() before it" in seen._repr_html_()
        assert rta.health(running["ended"]).warnings == []
        monkeypatch.setattr(state_store, "SHARE", 1e-9)
        [warning] = rta.health(running["ended"]).warnings
        assert "% of the memory that it may have; fix: a shorter lateness" in warning
    finally:
        for query in running.values():
            query.stop()
    assert rta.state("endless").where("expires IS NOT NULL").count() == 0
    assert rta.monitor.evicted("endless").count() == 0


def told(rows: int, used: int, watermark: str = "1970-01-01T00:00:00.000Z") -> dict[str, Any]:
    """Make what Spark tells of one micro-batch."""
    operator = {"operatorName": "dedupe", "numRowsTotal": rows, "memoryUsedBytes": used}
    return {"stateOperators": [operator], "eventTime": {"watermark": watermark}}


def test_it_is_warned_before_memory_is_full() -> None:
    """More than half of what it may have; where it lies in the heap, the provider that keeps it on disk is named."""
    calm = [told(20_000, 10**9)]
    assert warnings(calm, [True], 4e9, ROCKS) == []
    assert warnings(calm, [True], None, ROCKS) == []
    [heap] = warnings(calm, [True], 1.6e9, HEAP)
    assert heap.startswith(
        "state takes 1,000 MB, 62 % of the memory that it may have; fix: keep it on disk with the RocksDB"
    )
    [beside] = warnings(calm, [True], 1.6e9, ROCKS)
    assert "RocksDB" not in beside


def test_it_is_warned_of_growth_without_an_end_only() -> None:
    """Linear growth that nothing ends; not a plateau, not what the watermark ends, not where the plan is not known."""
    growing = [told(5_000 * n, 10**6) for n in range(1, 11)]
    [warning] = warnings(growing, [True], 1e10, ROCKS)
    assert warning.startswith(
        "dedupe keeps 50,000 rows for ever, 45,000 more than 10 micro-batches ago"
    )
    assert warning.endswith(
        "fix: withWatermark() before it, and the event time or its window in its key"
    )
    marked = [told(5_000 * n, 10**6, "2024-11-15T10:30:00.000Z") for n in range(1, 11)]
    assert "put the event time that has the watermark" in warnings(marked, [True], 1e10, ROCKS)[0]
    assert warnings(growing, [False], 1e10, ROCKS) == []
    assert warnings(growing, [], 1e10, ROCKS) == []
    keys = [
        told(int(50_000 * (1 - 0.5**n)), 10**6) for n in range(1, 11)
    ]  # all have been seen soon
    assert warnings(keys, [True], 1e10, ROCKS) == []
    assert not grows([5_000 * n for n in range(1, 6)])  # a beginning


@pytest.mark.kafka
@pytest.mark.soak
def test_the_state_of_a_real_time_query_is_read_too(
    spark: SparkSession, topic: Callable[..., str]
) -> None:
    """Once in each checkpoint interval it is written, in another form; the reader knows it."""
    name, into = topic(partitions=1), topic(partitions=1)
    rta.publish(rta.user_events(spark, rows=300), name)
    query = rta.engines.relay(
        name, rta.transforms.totals, into=into, event=rta.USER_EVENTS, real_time="5 seconds"
    )
    place = checkpoint_of(f"{into}.relay")
    try:
        until((place / "offsets").exists)
        with pytest.raises(QueryError, match="in real-time mode state is written once"):
            rta.state(into, checkpoint=place)
        until(lambda: query.recentProgress)
        told = rta.monitor.state_history(query).set_index("batch_id")["rows"]
        batch = int(told.index[0])
        assert rta.state(into, checkpoint=place, batch=batch).count() == told[batch] > 0
    finally:
        query.stop()
