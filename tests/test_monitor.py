"""The health of a query: an object, a text, a small HTML; measured against the broker."""

from collections.abc import Callable

import pytest
from pyspark.errors import StreamingQueryException
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

import rta
from rta.errors import QueryError
from tests.waiting import terminated


@pytest.mark.usefixtures("as_delivered")
def test_health_tells_rates_lag_watermark_state_and_where_events_went(
    spark: SparkSession, topic: Callable[..., str]
) -> None:
    """A part of a topic was read: the lag is the rest, by partition, as the broker counts it."""
    name = topic(partitions=2)
    table = name.split("-")[0] + "_health"
    rta.publish(rta.user_events(spark, rows=200), name, key="user_id")
    query = rta.follow(
        name, rta.totals, table=table, key=["window", "user_id"], event=rta.USER_EVENTS
    )
    try:
        query.processAllAvailable()
        assert rta.health(query).active
        assert rta.health().name == table  # the one that runs here
    finally:
        query.stop()
    with pytest.raises(QueryError, match="no query runs in this kernel"):
        rta.health()
    rta.publish(rta.user_events(spark, rows=100, first_row=200), name, key="user_id")
    seen = rta.health(query)
    assert not seen.active
    assert seen.accounting.consumed == 200
    assert seen.accounting.balanced
    assert sum(seen.lag[name].values()) == 100
    assert sorted(seen.lag[name]) == [0, 1]
    assert seen.state_rows == len(rta.read(table))
    assert seen.state_bytes > 0
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
