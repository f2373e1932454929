"""The health of a query: an object, a text, a small HTML; measured against the broker."""

from collections.abc import Callable
from typing import Any

import pytest
from pyspark.errors import StreamingQueryException
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

import rta
from rta.errors import QueryError
from rta.store import database, ledger, serving
from rta.store.database import DatabaseAwayError
from rta.store.ledger import Batch
from tests.support.waiting import terminated


@pytest.mark.usefixtures("as_delivered")
def test_health_tells_rates_lag_watermark_state_and_where_events_went(
    spark: SparkSession, topic: Callable[..., str]
) -> None:
    """A part of a topic was read: the lag is the rest, by partition, as the broker counts it."""
    name = topic(partitions=2)
    table = name.split("-")[0] + "_health"
    rta.publish(rta.user_events(spark, rows=200), name, key="user_id")
    query = rta.follow(
        name, rta.transforms.totals, table=table, key=["window", "user_id"], event=rta.USER_EVENTS
    )
    try:
        query.processAllAvailable()
        assert rta.health(query).active
        assert rta.health().name == rta.health(table).name == table  # the one that runs here
    finally:
        query.stop()
    with pytest.raises(QueryError, match="no query runs in this kernel"):
        rta.health()
    with pytest.raises(QueryError, match=f"no query '{table}' runs in this kernel"):
        rta.health(table)
    rta.publish(rta.user_events(spark, rows=100, first_row=200), name, key="user_id")
    seen = rta.health(query)
    assert not seen.active
    assert seen.accounting.consumed == 200
    assert seen.accounting.balanced
    assert sum(seen.lag[name].values()) == 100
    assert sorted(seen.lag[name]) == [0, 1]
    assert seen.state_rows == len(rta.read(table))
    assert (seen.state_bytes or 0) > 0
    assert seen.watermark is None or seen.watermark.startswith("20")
    assert "triggerExecution" in seen.phases
    assert seen.processing_rate == query.lastProgress["processedRowsPerSecond"]  # type: ignore[index]
    for fact in (repr(seen), seen._repr_html_()):
        assert "100 records" in fact
        assert "consumed 200" in fact


def test_a_failed_query_shows_its_error_escaped(spark: SparkSession) -> None:
    """What went wrong stands in the last row, harmless in HTML."""
    rows = spark.readStream.format("rate").option("rowsPerSecond", 100).load()
    failing = rows.select(F.raise_error(F.concat(F.lit("<b>boom</b>"), F.col("value"))))
    query = failing.writeStream.format("noop").queryName("boom").start()
    with pytest.raises(StreamingQueryException):
        terminated(query)
    failed = rta.health(query)
    assert not failed.active
    assert failed.error
    assert "<b>" not in failed._repr_html_()


def test_a_restarted_query_shows_its_last_batch_and_a_database_away_is_a_sentence(
    spark: SparkSession, topic: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Started again and no batch yet: batch and watermark are the ledger's, the state is not said to be 0. Ended for its database: the sentence."""
    name = topic(partitions=1)
    table = name.split("-")[0] + "_restarted"
    rta.publish(rta.user_events(spark, rows=100), name)
    how: dict[str, Any] = {"table": table, "key": ["window", "user_id"], "event": rta.USER_EVENTS}
    rta.drain(name, rta.transforms.totals, **how)
    [*_, last] = ledger.batches(table)
    query = rta.follow(name, rta.transforms.totals, trigger={"processingTime": "1 hour"}, **how)
    try:
        seen = rta.health(query)
        assert seen.batch_id == last.batch_id
        assert seen.watermark == query_watermark(last)
        assert (seen.state_rows, sum(seen.lag[name].values())) == (None, 0)
        assert "known after the next batch" in repr(seen)
    finally:
        query.stop()

    def away(*_: Any, **__: Any) -> None:
        raise DatabaseAwayError("the database is away", found="nobody", fix="start it")

    monkeypatch.setattr(serving, "commit_batch", away)
    monkeypatch.setattr(database, "PATIENCE", 0.0)
    rta.publish(rta.user_events(spark, rows=1), name)
    failed = rta.follow(name, rta.transforms.totals, **how)
    with pytest.raises(StreamingQueryException):
        terminated(failed)
    error = rta.health(failed).error or ""
    assert error.endswith("DatabaseAwayError: the database is away; found: nobody; fix: start it")
    assert "Py4J" not in error


def query_watermark(batch: Batch) -> str | None:
    """Write the watermark of a batch as Spark's progress does."""
    at = batch.watermark
    return None if at is None else f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03}Z"
