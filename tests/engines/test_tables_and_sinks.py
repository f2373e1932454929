"""What follow() writes: nested results, tables without a key, rows that expire, sinks beside the table."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
from confluent_kafka import Producer
from deltalake import DeltaTable
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

import rta
from rta.engines import BatchId, DeltaSink, ParquetSink, TopicSink
from rta.errors import InputError

pytestmark = pytest.mark.kafka
ORDERS = "user STRING NOT NULL, at TIMESTAMP NOT NULL, items ARRAY<STRUCT<sku STRING, price DECIMAL(12,2)>>, more MAP<STRING, STRING>"
HOUR = 3_600


def order(number: int, hour: int) -> dict[str, Any]:
    """Make an order of an hour since noon."""
    at = f"2024-11-{15 + (12 + hour) // 24}T{(12 + hour) % 24:02d}:00:00Z"
    return {"user": f"u{number % 2}", "at": at, "items": [{"sku": "a", "price": number}], "more": {"n": str(number)}}  # fmt: skip


def orders_of(topic: str, hours: Mapping[int, int]) -> rta.EventType:
    """Publish orders, number → hour; return their type."""
    rta.publish([order(number, hour) for number, hour in hours.items()], topic)
    return rta.EventType(topic, ORDERS, event_time="at")


def big(orders: DataFrame) -> DataFrame:
    """Leave out the first order, as they are."""
    return orders.where("items[0].price >= 1").select("user", "at", "items", "more")


def by_user(orders: DataFrame) -> DataFrame:
    """Count and collect by hour and user."""
    hours = orders.withWatermark("at", "1 hour").groupBy(F.window("at", "1 hour"), "user")
    return hours.agg(
        F.count("*").alias("n"), F.array_sort(F.collect_list("items.sku")).alias("bought")
    )


def test_rows_without_a_key_are_added_once_and_go_to_each_sink(
    spark: SparkSession, topic: Callable[..., str], tmp_path: Path
) -> None:
    """The table, a topic, a Delta table, a folder and a function have the same rows; a death in the middle adds none."""
    name, out = topic(partitions=1), topic(partitions=1)
    event = orders_of(name, {0: 0, 1: 1, 2: 2})
    seen: list[tuple[int, BatchId]] = []

    def own(rows: Any, batch: BatchId) -> None:
        seen.append((rows.num_rows, batch))
        if len(seen) == 1:
            raise ZeroDivisionError("the first try dies after the topic and Delta have its rows")

    delta, files = tmp_path / "delta", tmp_path / "files"
    also = [TopicSink(out, key="user", headers={"by": "orders"}), DeltaSink(delta), own, ParquetSink(files)]  # fmt: skip
    how: dict[str, Any] = {"table": "orders_added", "event": event, "also": also}
    with pytest.raises(rta.RtaError, match="ZeroDivisionError"):
        rta.drain(name, big, **how)
    drained = rta.drain(name, big, **how)
    assert str(drained.accounting).startswith("consumed 3 = used 3")
    assert [each.batch_id for _, each in seen] == [0, 0]
    assert rta.drain(name, big, **how).rows == 0
    stream = rta.read("orders_added")
    batch = rta.read_batch(name, event=event).transform(big).orderBy("at").collect()
    assert [(r.user, r["items"][0].asDict(), r.more) for r in batch] == [
        (row.user, row["items"][0], row.more) for _, row in stream.sort_values("at").iterrows()
    ]
    sent = [json.loads(each.value or "") for each in rta.peek(out, count=99)]
    assert sorted(each["more"]["n"] for each in sent) == ["1", "2"]
    assert {each.headers for each in rta.peek(out, count=99)} == {(("by", "orders"),)}
    files_of = pq.read_table(files).sort_by("at").to_pylist()
    assert len(files_of) == len(stream) == 2
    assert DeltaTable(delta).to_pyarrow_table().sort_by("at").to_pylist() == files_of
    assert rta.sql("SELECT max(more ->> 'n') AS n FROM orders_added").n[0] == "2"


def test_rows_expire_behind_the_watermark(spark: SparkSession, topic: Callable[..., str]) -> None:
    """What is too old at the watermark is gone, in the micro-batch that moves it; the rest is the batch answer."""
    name = topic(partitions=1)
    event = orders_of(name, {1: 0, 2: 5, 3: 9})
    how: dict[str, Any] = {"table": "orders_kept", "key": ["window", "user"], "event": event, "keep": "3 hours"}  # fmt: skip
    rta.drain(name, by_user, **how)
    rta.publish([order(4, 10)], name)
    rta.drain(
        name, by_user, **how
    )  # the watermark was 20:00, so windows that ended before 17:00 go
    found = rta.read("orders_kept")
    assert sorted(found.window_end.dt.hour) == [18, 22, 23]
    batch = rta.read_batch(name, event=event).transform(by_user).collect()
    answer = {(r.user, r.window.end.timestamp()): (r.n, r.bought) for r in batch}
    for row in found.to_dict("records"):
        assert answer[row["user"], row["window_end"].timestamp()] == (row["n"], row["bought"])
    assert rta.accounting("orders_kept").balanced


def test_a_tombstone_deletes_a_row_in_complete_mode(spark: SparkSession, topic: Callable[..., str]) -> None:  # fmt: skip
    """The newest price of each key: a deleted one leaves the table, and comes back; update mode keeps its row, without a price, and says so."""
    name = topic(partitions=1)
    event = rta.EventType(name, "sku STRING NOT NULL, price INT", "kafka_timestamp", "sku", tombstones="keep")  # fmt: skip
    producer = Producer({"bootstrap.servers": rta.kafka.bootstrap()})

    def sent(*prices: tuple[str, int | None]) -> None:
        for sku, price in prices:
            value = None if price is None else json.dumps({"sku": sku, "price": price})
            producer.produce(name, value, sku)
        assert producer.flush(60) == 0

    def newest(prices: DataFrame) -> DataFrame:
        return prices.groupBy("sku").agg(F.max_by("price", "offset").alias("price"))

    def there(prices: DataFrame) -> DataFrame:
        return newest(prices).where("price IS NOT NULL")

    def held(table: str) -> dict[str, int | None]:
        found = rta.read(table).astype(object)
        return {sku: None if pd.isna(price) else price for sku, price in found.to_numpy()}

    how: dict[str, Any] = {"key": ["sku"], "event": event}
    with pytest.raises(InputError, match=r"would stay in table 'prices_there'.*price IS NOT NULL.*give mode=.complete"):  # fmt: skip
        rta.drain(name, there, table="prices_there", **how)
    sent(("a", 1), ("b", 2), ("c", 3))
    for sending, expected in (
        ([], {"a": 1, "b": 2, "c": 3}),
        ([("a", None), ("b", 5), ("c", None)], {"b": 5}),
        ([("c", 4)], {"b": 5, "c": 4}),
    ):
        sent(*sending)
        told = rta.drain(name, there, table="prices_there", mode="complete", **how).accounting
        assert (told.quarantined, told.balanced) == (0, True)
        rta.drain(name, newest, table="prices_newest", **how)
        assert held("prices_there") == expected
        assert held("prices_newest") == dict.fromkeys("abc") | expected
        assert {row.sku: row.price for row in rta.dataframes.latest(name, event=event).collect()} == expected  # fmt: skip


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"key": []}, "no key, and rows of this result change"),
        ({"key": ["window", "user"], "keep": "a while"}, "not a duration"),
        ({"key": ["window", "user", "bought"]}, "is an array"),
        ({"key": ["window", "user"], "also": "its own topic"}, "a topic that the query reads"),
    ],
)
def test_what_no_table_can_be_is_refused_before_anything(
    topic: Callable[..., str], spark: SparkSession, more: dict[str, Any], why: str
) -> None:
    """No table, no checkpoint."""
    name = topic(partitions=1)
    event = orders_of(name, {1: 0})
    also = [TopicSink(name)] if more.get("also") else []
    with pytest.raises(InputError, match=why):
        rta.drain(name, by_user, table="orders_refused", event=event, **more | {"also": also})
    assert "orders_refused" not in [each.name for each in rta.store.tables()]
