"""relay(): results onto a topic, in real-time mode and in micro-batches, against the oracle."""

import json
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

import rta
from rta.testing import oracle
from tests.support.truth import setting, true_totals
from tests.support.waiting import until

pytestmark = [pytest.mark.kafka, pytest.mark.usefixtures("as_delivered")]
COLUMNS = ["window_start", "user_id", "event_count", "total_amount"]


def newest(topic: str) -> set[tuple[Any, ...]]:
    """Return the results on a topic as a reader keeps them: of each key and window the one that counts most."""
    found: dict[tuple[Any, ...], tuple[Any, ...]] = {}
    for raw in oracle.read_topic(topic):
        each = json.loads(raw.value or b"", parse_float=str)
        key = (each["window"]["start"], each["user_id"])
        result = (*key, each["event_count"], str(each["total_amount"]))
        found[key] = max(found.get(key, result), result, key=lambda row: row[2])
    return set(found.values())


def expected(topic: str) -> set[tuple[Any, ...]]:
    """Return the oracle's totals in the same form."""
    rows = true_totals(topic).select(COLUMNS).to_pylist()
    return {
        (
            f"{row['window_start']:%Y-%m-%dT%H:%M:%S.%fZ}",
            row["user_id"],
            row["event_count"],
            str(row["total_amount"]),
        )
        for row in rows
    }


@pytest.mark.parametrize("real_time", ["5 seconds", None])
def test_results_are_the_oracles(
    spark: SparkSession, topic: Callable[..., str], real_time: str | None
) -> None:
    """Each event is in a result on the topic without waiting for a checkpoint; the newest of each key is exact."""
    name, into = topic(partitions=1), topic(partitions=1)
    rta.publish(rta.user_events(spark, rows=200, users=5), name, key="user_id")
    with setting(spark, "spark.sql.shuffle.partitions", "2"):
        query = rta.engines.relay(
            name,
            rta.transforms.totals,
            into=into,
            key="user_id",
            event=rta.USER_EVENTS,
            real_time=real_time,
        )
    try:
        wanted = expected(name)
        until(lambda: newest(into) == wanted or not query.isActive)
        assert query.isActive, query.exception()
    finally:
        query.stop()
    assert pa.table({"events": [row[2] for row in wanted]})["events"].to_pylist()
    assert sum(row[2] for row in newest(into)) == 200


def test_too_few_slots_are_refused_before_the_wait(
    spark: SparkSession, topic: Callable[..., str]
) -> None:
    """Real-time mode holds a slot for each task; Spark itself would wait for ever."""
    wanted = r"too few task slots.*4 slots; the topic has 2 partitions, the state 4"
    with (
        setting(spark, "spark.sql.shuffle.partitions", "4"),
        pytest.raises(rta.RtaError, match=wanted),
    ):
        rta.engines.relay(
            topic(partitions=2), rta.transforms.totals, into=topic(), event=rta.USER_EVENTS
        )


def test_what_real_time_mode_lacks_is_one_sentence(
    spark: SparkSession, topic: Callable[..., str]
) -> None:
    """A Python function, a too short interval, a topic that is not there."""

    def shouted(events: DataFrame) -> DataFrame:
        shout = F.udf(lambda text: text.upper())
        return events.select("user_id", shout("action").alias("action"))

    name, into = topic(partitions=1), topic()
    with pytest.raises(rta.RtaError, match=r"real-time mode cannot run this query.*micro-batches"):
        rta.engines.relay(name, shouted, into=into, event=rta.USER_EVENTS)
    with pytest.raises(rta.RtaError, match=r"real-time mode cannot run this query.*1000 ms"):
        rta.engines.relay(
            name,
            lambda rows: rows.select("user_id"),
            into=into,
            event=rta.USER_EVENTS,
            real_time="1 second",
        )
    with pytest.raises(rta.RtaError, match="there is no topic 'nowhere'"):
        rta.engines.relay(name, rta.transforms.totals, into="nowhere", event=rta.USER_EVENTS)
