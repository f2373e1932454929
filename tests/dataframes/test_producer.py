"""rta.dataframes.producer: what is published in bulk or paced is on the topic, exactly, in order, and counted."""

import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from threading import Event, Thread
from typing import Any

import psutil
import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

import rta
from rta.dataframes.producer import INTENDED, publish, publish_paced
from rta.errors import InputError
from rta.kafka import broker, topics
from tests.support.waiting import suspended, until

pytestmark = pytest.mark.kafka
Topic = Callable[..., str]


def read_back(topic: str) -> dict[int, list[Any]]:
    """Read a whole topic with kafka-python: partition → records in order."""
    from kafka import KafkaConsumer, TopicPartition

    ranges = topics.offsets(topic)
    found: dict[int, list[Any]] = {partition: [] for partition in ranges}
    consumer = KafkaConsumer(bootstrap_servers=broker.bootstrap(), auto_offset_reset="earliest")
    try:
        consumer.assign([TopicPartition(topic, partition) for partition in ranges])

        def all_is_read() -> bool:
            for batch in consumer.poll(timeout_ms=500).values():
                for record in batch:
                    found[record.partition].append(record)
            return all(len(found[p]) == high - low for p, (low, high) in ranges.items())

        until(all_is_read)
    finally:
        consumer.close()
    return found


def records(topic: str) -> list[Any]:
    """Read all records of a topic, partition after partition."""
    return [record for batch in read_back(topic).values() for record in batch]


def test_a_row_becomes_exact_json(spark: SparkSession, topic: Topic) -> None:
    """Decimals and microseconds are kept, nulls are left out, the key is text, and the record's time is now."""
    name = topic()
    frame = spark.sql(
        "select 7L user_id, 0.10BD amount, timestamp'2013-01-01 10:15:00.000001Z' at, null gone, 'é' text"
    )
    began = time.time()
    publish(frame, name, key="user_id", headers={"source": "test", "raw": b"\xff"})
    [record] = records(name)
    expected = '{"user_id":7,"amount":0.10,"at":"2013-01-01T10:15:00.000001Z","text":"é"}'
    assert record.value.decode() == expected
    assert record.key == b"7"
    assert dict(record.headers) == {"source": b"test", "raw": b"\xff"}
    assert began - 1 < record.timestamp / 1000 < time.time() + 1


def test_a_frame_of_messages_is_sent_as_it_is(spark: SparkSession, topic: Topic) -> None:
    """Bytes that are no UTF-8, a null value, a null key: F22 and F23 need them on the topic unchanged."""
    name = topic()
    rows: list[tuple[bytes | None, bytes | None]] = [
        (b"k", b"\xff\x00"),
        (None, b"{}"),
        (b"t", None),
        (None, None),
    ]
    publish(spark.createDataFrame(rows, "key binary, value binary"), name)
    assert {(record.key, record.value) for record in records(name)} == set(rows)


def test_order_by_keeps_the_order_of_arrival(spark: SparkSession, topic: Topic) -> None:
    """Each partition holds its flights in the order in which the news came, late ones late."""
    name = topic()
    flights = rta.events.flights(spark).limit(3_000)
    publish(flights, name, key="origin", order_by=("reported_at", "event_id"))
    read = [[json.loads(record.value) for record in batch] for batch in read_back(name).values()]
    arrivals = [[(e["reported_at"], e["event_id"]) for e in batch] for batch in read]
    assert arrivals == [sorted(batch) for batch in arrivals]
    assert sum(map(len, read)) == 3_000
    happened = [[event["event_time"] for event in batch] for batch in read]
    assert happened != [sorted(batch) for batch in happened]


def test_published_counts_what_it_added(spark: SparkSession, topic: Topic) -> None:
    """The second publish begins where the first one ended; the repr says how many."""
    name = topic(partitions=3)
    first = publish(rta.events.user_events(spark, rows=50), name)
    second = publish(rta.events.user_events(spark, rows=20, first_row=50), name)
    assert (first.events, second.events) == (50, 20)
    assert {p: high for p, (_, high) in first.offsets.items()} == {
        p: low for p, (low, _) in second.offsets.items()
    }
    assert "20 events" in repr(second)
    assert "in order" not in repr(second)
    assert {p: (0, high) for p, (_, high) in second.offsets.items()} == topics.offsets(name)


def test_publish_makes_the_topic(spark: SparkSession, topic: Topic) -> None:
    """A missing topic gets the partitions asked for; one that is there keeps its own."""
    name = topic() + "-made"
    publish(rta.events.user_events(spark, rows=1), name, partitions=3)
    assert topics.describe_topic(name).partitions == 3
    publish(rta.events.user_events(spark, rows=1), name, partitions=5)
    assert topics.describe_topic(name).partitions == 3


@pytest.mark.parametrize("order_by", [None, "id"])
def test_the_frame_is_computed_once(
    spark: SparkSession, topic: Topic, order_by: str | None
) -> None:
    """Every row passes an expression with a side effect exactly once."""
    passed = spark.sparkContext.accumulator(0)

    def count(number):  # type: ignore[no-untyped-def]  # PySpark warns of hints it cannot use
        passed.add(1)
        return number

    counted = F.udf(count, "long").asNondeterministic()
    published = publish(
        spark.range(100).withColumn("n", counted("id")),
        topic(),
        order_by=order_by,
    )
    assert (published.events, passed.value) == (100, 100)


def test_a_key_lands_on_the_same_partition_by_both_ways(spark: SparkSession, topic: Topic) -> None:
    """Java's murmur2 and kafka-python's agree on 300 keys of all lengths, ASCII or not."""
    name = topic(partitions=7)
    keys = ["", *(("ключ-é" * (n % 9) + str(n * 7919))[: n % 40 + 1] for n in range(300))]
    publish(spark.createDataFrame([(key,) for key in keys], "k string"), name, key="k")
    java = {record.key: record.partition for record in records(name)}
    publish_paced(({"k": key} for key in keys), name, key="k")
    both = {(record.key, record.partition) for record in records(name)}
    assert both == set(java.items())
    assert set(java.values()) == set(range(7))


@pytest.mark.parametrize("size", [1_100_000, 20_000_000])
def test_f24_an_event_over_the_limit_is_refused_with_the_limit(
    spark: SparkSession, topic: Topic, size: int
) -> None:
    """Both ways name the number of bytes that is allowed; nothing lands on the topic."""
    name = topic()
    with pytest.raises(InputError, match=r"1,048,576.*max\.request\.size"):
        publish(spark.range(1).selectExpr(f"repeat('x', {size}) text"), name)
    paced = publish_paced([{"text": "x" * size}], name)
    assert (paced.ok, paced.failed) == (0, 1)
    assert list(paced.reasons) == [
        "the event is over the producer's limit of 1,048,576 bytes (max_request_size)"
    ]
    assert "max_request_size" in repr(paced)
    assert records(name) == []


def test_f24_an_event_over_the_brokers_limit_is_refused_too(
    spark: SparkSession, topic: Topic
) -> None:
    """Where the producer's own limit was raised, the broker's answer is a refusal that names the setting."""
    name = topic()
    frame = spark.range(1).selectExpr("repeat('x', 1100000) text")
    with pytest.raises(InputError, match=r"max\.message\.bytes"):
        publish(frame, name, options={"kafka.max.request.size": "2000000"})
    paced = publish_paced(
        [{"text": "x" * 1_100_000}], name, options={"max_request_size": 2_000_000}
    )
    assert (paced.failed, paced.unknown) == (1, 0)
    assert "max.message.bytes" in next(iter(paced.reasons))


def test_f24_an_event_under_the_limit_passes(spark: SparkSession, topic: Topic) -> None:
    """0.9 MB arrives whole, both ways."""
    name = topic()
    publish(spark.range(1).selectExpr("repeat('x', 900000) text"), name)
    assert publish_paced([{"text": "x" * 900_000}], name).ok == 1
    assert [len(json.loads(record.value)["text"]) for record in records(name)] == [900_000] * 2


@pytest.mark.parametrize(
    ("config", "bad", "reason"),
    [
        ({"max.message.bytes": "3000"}, {"k": "x", "text": "x" * 4_000}, "the event is over the broker's limit (the topic's max.message.bytes)"),
        ({"cleanup.policy": "compact"}, {"k": None}, "InvalidRecordError: "),
    ],
    ids=["too_large", "no_key_on_a_compacted_topic"],
)  # fmt: skip
def test_a_refused_event_is_refused_alone(
    topic: Topic, tmp_path: Path, config: dict[str, str], bad: dict[str, Any], reason: str
) -> None:
    """First, last, one by one and several in a row: each has its own reason; all others arrive once, in order."""
    name, log = f"{topic()}-refusing", tmp_path / "log.jsonl"
    topics.create_topic(name, partitions=2, config=config)
    refused = {0, 100, 101, 102, 250, 399}
    sent = [(bad if n in refused else {"k": f"k{n % 5}"}) | {"n": n} for n in range(400)]
    made = publish_paced(sent, name, key="k", log=log)
    assert (made.ok, made.failed, made.unknown) == (394, 6, 0)
    assert {why.startswith(reason) for why in made.reasons} == {True}
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert {each["sequence"] for each in lines if each["outcome"] == "failed"} == refused
    arrived = [[json.loads(r.value)["n"] for r in batch] for batch in read_back(name).values()]
    assert sorted(n for batch in arrived for n in batch) == sorted(set(range(400)) - refused)
    assert arrived == [sorted(batch) for batch in arrived]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"key": "nobody"}, "no column 'nobody'"),
        ({"order_by": "nobody"}, "no such column to order by"),
    ],
)
def test_columns_that_are_not_there_are_refused(
    spark: SparkSession, topic: Topic, wrong: dict[str, Any], message: str
) -> None:
    """The error names the column and those there are."""
    with pytest.raises(InputError, match=f"{message}.*user_id"):
        publish(rta.events.user_events(spark, rows=1), topic(), **wrong)


def test_a_streaming_frame_is_refused(spark: SparkSession, topic: Topic) -> None:
    """publish() is for finite frames."""
    with pytest.raises(InputError, match="finite"):
        publish(spark.readStream.format("rate").load(), topic())


def test_every_event_stands_in_the_acknowledgement_log(
    spark: SparkSession, topic: Topic, tmp_path: Path
) -> None:
    """Each sequence number once, with the partition and offset where the event really is."""
    name, log = topic(partitions=3), tmp_path / "log.jsonl"
    frame = rta.events.user_events(spark, rows=500)
    made = publish_paced(frame, name, key="user_id", log=log, headers={"source": "test"})
    assert (made.sent, made.ok, made.failed, made.unknown, made.log) == (500, 500, 0, 0, log)
    assert made.offsets == {p: ends for p, ends in topics.offsets(name).items() if ends[1]}
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert sorted(line["sequence"] for line in lines) == list(range(500))
    place = {line["sequence"]: (line["partition"], line["offset"]) for line in lines}
    there = {(r.partition, r.offset): json.loads(r.value)["event_id"] for r in records(name)}
    assert [there[place[n]] for n in range(500)] == [f"0-{n}" for n in range(500)]
    assert {dict(record.headers)["source"] for record in records(name)} == {b"test"}


def test_the_clock_does_not_wait(topic: Topic) -> None:
    """At 200 a second the intended times are 5 ms apart, whatever the sends took, and no event leaves early."""
    name = topic(partitions=1)

    def slow() -> Iterator[dict[str, int]]:
        for n in range(60):
            if n == 20:
                until = time.monotonic() + 0.1
                while time.monotonic() < until:  # a source that stalls for 100 ms
                    pass
            yield {"n": n}

    made = publish_paced(slow(), name, rate=200)
    read = records(name)
    intended = [int(dict(record.headers)[INTENDED]) for record in read]
    assert [b - a for a, b in pairwise(intended)] == pytest.approx([5_000] * 59, abs=2)
    assert all(
        record.timestamp * 1000 >= at - 1_500 for record, at in zip(read, intended, strict=True)
    )
    assert 0.08 < made.behind < made.seconds


@pytest.mark.parametrize("form", ["datetime", "text"])
def test_a_replay_keeps_the_distances_in_event_time(topic: Topic, form: str) -> None:
    """An hour of event time at speed_up 36,000 is 100 ms; an event out of order goes at once, in its place."""
    name, start = topic(partitions=1), datetime(2013, 1, 1, tzinfo=UTC)
    moments: list[Any] = [start + timedelta(minutes=m) for m in (0, 30, 60, 20, 120)]
    if form == "text":
        moments = [moment.isoformat() for moment in moments]
    publish_paced([{"at": m} for m in moments], name, time="at", speed_up=36_000)
    intended = [int(dict(record.headers)[INTENDED]) for record in records(name)]
    assert [at - intended[0] for at in intended] == pytest.approx(
        [0, 50_000, 100_000, 33_333, 200_000], abs=2
    )


def test_a_frame_is_replayed_in_the_order_of_its_time(spark: SparkSession, topic: Topic) -> None:
    """A DataFrame is sorted by the column it is replayed by."""
    name = topic(partitions=1)
    frame = rta.events.user_events(spark, rows=200, lateness="10 seconds", late_share=0.5)
    publish_paced(frame, name, time="reported_at", speed_up=100)
    arrivals = [json.loads(record.value)["reported_at"] for record in records(name)]
    assert arrivals == sorted(arrivals)
    assert len(arrivals) == 200


def test_no_answer_is_unknown_never_failed(topic: Topic, tmp_path: Path) -> None:
    """Events sent to a broker that stands still may be there or not: that is what the log says."""
    name, log = topic(partitions=1), tmp_path / "log.jsonl"
    running = broker.status()
    assert running is not None
    process = psutil.Process(running.pid)

    def answers() -> list[str]:
        return [json.loads(line)["outcome"] for line in log.read_text().splitlines()]

    def cut() -> Iterator[dict[str, int]]:
        while "ok" not in answers():  # a second may be too little for a busy machine
            before = len(answers())
            yield {"n": 0}
            until(lambda before=before: len(answers()) > before)  # type: ignore[misc]
        suspended(process)
        healer.start()
        yield {"n": 1}
        yield {"n": 2}

    def heal() -> None:
        until(lambda: over.is_set() or answers()[-2:] == ["unknown", "unknown"])
        process.resume()  # else the client waits 10 s more

    healer, over = Thread(target=heal), Event()
    try:
        made = publish_paced(cut(), name, log=log, timeout=1)
    finally:
        process.resume()
        over.set()
        healer.join()
    assert (made.ok, made.failed, made.unknown) == (1, 0, made.sent - 1)
    assert answers()[-3:] == ["ok", "unknown", "unknown"]


def test_a_source_that_breaks_leaves_a_log_of_what_was_sent(topic: Topic, tmp_path: Path) -> None:
    """The error comes through, and what was sent before it is on the topic and in the log."""
    name, log = topic(partitions=1), tmp_path / "log.jsonl"
    with pytest.raises(InputError, match="that JSON cannot hold"):
        publish_paced([{"n": Decimal(1)}, {"n": float("nan")}], name, log=log)
    assert [json.loads(line)["outcome"] for line in log.read_text().splitlines()] == ["ok"]
    assert [record.value for record in records(name)] == [b'{"n":1}']


@pytest.mark.parametrize(
    "wrong", [{"rate": 1, "time": "at"}, {"rate": 0}, {"time": "at", "speed_up": 0}]
)
def test_a_clock_that_makes_no_sense_is_refused(topic: Topic, wrong: dict[str, Any]) -> None:
    """By rate or by time, and above 0."""
    with pytest.raises(InputError, match=r"by rate or by time|above 0"):
        publish_paced([], topic(), **wrong)


def test_an_event_without_its_key_is_refused(topic: Topic) -> None:
    """A key that an event does not have is an error, never a null in silence."""
    with pytest.raises(InputError, match=r"no column 'user_id'; found: \['n'\]"):
        publish_paced([{"n": 1}], topic(), key="user_id")
