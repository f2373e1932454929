"""Events with something inside, on every engine: what a query reads in structs, the event time in one, the bad ones named alike."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

import rta
from rta.engines import flink
from rta.engines.contract import described
from rta.errors import QueryError
from rta.kafka import client

DDL = """
user_id BIGINT NOT NULL, device STRUCT<os: STRING, screen: STRUCT<width: INT>>, items ARRAY<STRUCT<price: DECIMAL(10,2) NOT NULL>>,
labels MAP<STRING, INT>, meta STRUCT<at: TIMESTAMP NOT NULL, kind: STRING>
"""
VIEWS = rta.EventType("nested-views", DDL, "meta.at", key="user_id", times={"meta.at": "epoch_ms"})
KEY = ["window", "user_id", "os"]
BAD = (b'{"user_id":1}', b'{"user_id":1,"items":[{"price":1.005}],"meta":{"at":1}}', b'{"user_id":1,"device":[],"meta":{"at":1}}')  # fmt: skip


def widths(events: DataFrame) -> DataFrame:
    """Count the views of each system, and find the widest screen of those that have one."""
    shown = events.withColumn("os", F.coalesce(F.col("device.os"), F.lit("?"))).where(F.col("device.screen.width") > 4)  # fmt: skip
    groups = shown.groupBy(F.window("event_time", "5 minutes"), "user_id", "os")
    return groups.agg(F.count("*").alias("n"), F.max("device.screen.width").alias("widest"))


def views(many: int) -> list[bytes]:
    """Make events, some without a device, some without a screen."""
    chance, found = random.Random(7), []  # noqa: S311
    for number in range(many):
        device: Any = {"os": chance.choice(["mac", "linux", None])}
        if number % 5:
            device["screen"] = {"width": chance.randrange(10)} if number % 7 else None
        view: dict[str, Any] = {"user_id": number % 3, "device": device if number % 11 else None, "items": [{"price": 1.5}], "labels": {"a": 1}, "more": {"x": []},
                "meta": {"at": 1_700_000_000_000 + number * 1_000, "kind": "view"}}  # fmt: skip
        found.append(json.dumps(view).encode())
    return found


def test_every_engine_reads_what_is_inside_an_event(
    cluster: flink.Cluster, spark: SparkSession, topic: Callable[..., str]
) -> None:
    """Spark's batch, Flink and Kafka Streams have the same rows, and the same events in each term."""
    name = topic(partitions=1)
    producer = client.producer()
    values = views(1_500)
    for value in [*values, *BAD]:
        client.send(producer, name, value, key=str(json.loads(value)["user_id"]).encode())
    producer.close()
    truth = {tuple(row) for row in rta.read_batch(name, event=VIEWS).transform(widths).selectExpr("window.start", "user_id", "os", "n", "widest").collect()}  # fmt: skip
    assert len(truth) > 10
    for engine in ("flink", "kafka-streams"):
        table = f"widths_{engine.replace('-', '_')}"
        rta.drain(name, widths, table=table, key=KEY, event=VIEWS, engine=engine)
        found = {tuple(row) for row in spark.createDataFrame(rta.read(table)[["window_start", "user_id", "os", "n", "widest"]]).collect()}  # fmt: skip
        assert {(at.replace(tzinfo=None), *rest) for at, *rest in found} == {(at.replace(tzinfo=None), *rest) for at, *rest in truth}, engine  # fmt: skip
        told = rta.accounting(table)
        assert (told.consumed, told.used, told.late, told.quarantined) == (1_503, 1_500, 0, 3), engine  # fmt: skip
    reasons = [each.reason for each in rta.dlq.dead_letters(name, limit=None)]
    assert sorted(set(reasons)) == ["inexact: items[0].price", "missing: meta", "wrong type: device"]  # fmt: skip


@pytest.mark.parametrize(
    ("analysis", "why"),
    [
        (lambda events: widths(events.withColumn("device", F.when(F.col("user_id") > 1, F.col("device")))), "computed anew"),
        (lambda events: widths(events.where(F.col("items")[0]["price"] > 1)), "a field of GetArrayItem"),
    ],
)  # fmt: skip
def test_what_is_inside_arrays_stays_with_spark(analysis: Any, why: str) -> None:
    """Refused in a sentence, before anything is made."""
    with pytest.raises(QueryError, match=why):
        described(analysis, VIEWS)
