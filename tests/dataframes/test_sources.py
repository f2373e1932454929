"""rta.dataframes.sources: a topic read in batch and as a stream is the same frame; bad events go to the dead letter queue, each once."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F

import rta
from rta.dataframes import sources
from rta.dataframes.producer import publish
from rta.dlq import queue
from rta.dlq.queue import SUFFIX
from rta.errors import InputError, TopicError
from rta.events.event_types import USER_EVENTS
from rta.events.format_contract import REASONS
from rta.events.malformed import POISON, poisoned
from rta.events.synthetic import user_events
from rta.kafka import broker, topics
from tests.support.waiting import terminated

pytestmark = pytest.mark.kafka
Topic = Callable[..., str]


def poisoned_topic(spark: SparkSession, name: str, *kinds: str, rows: int = 120) -> DataFrame:
    """Publish good events mixed with poison of these kinds (of all); return what was sent."""
    messages = poisoned(user_events(spark, rows=rows), share=0.5, kinds=kinds or tuple(POISON))
    messages = messages.localCheckpoint()
    publish(messages, name)
    return messages


def drained(stream: DataFrame, folder: Path) -> tuple[list[Row], list[Mapping[str, Any]]]:
    """Run a stream over all there is; return its rows and the progress of each batch."""
    rows: list[Row] = []
    query = (
        stream.writeStream.option("checkpointLocation", str(folder / "checkpoint"))
        .foreachBatch(lambda frame, _: rows.extend(frame.collect()))
        .trigger(availableNow=True)
        .start()
    )
    terminated(query)
    return rows, list(query.recentProgress)


def counted(progress: list[Mapping[str, Any]], name: str) -> tuple[int, int]:
    """Sum the source's counts over the batches: consumed, quarantined."""
    metrics = [each["observedMetrics"][f"{sources.OBSERVED}:{name}"] for each in progress]
    return sum(m.consumed for m in metrics), sum(m.quarantined for m in metrics)


def test_batch_and_stream_give_the_same_frame(
    spark: SparkSession, topic: Topic, tmp_path: Path
) -> None:
    """The same topic gives the same schema and the same rows both ways, in several micro-batches, and all are counted."""
    name = topic(partitions=3)
    sent = poisoned_topic(spark, name)
    batch = sources.read_batch(name, event=USER_EVENTS)
    stream = sources.read_stream(name, event=USER_EVENTS, max_events_per_batch=70)
    rows, progress = drained(stream, tmp_path)
    assert stream.schema == batch.schema
    assert batch.columns == [*USER_EVENTS.columns, "topic", "partition", "offset", "kafka_timestamp"]  # fmt: skip
    assert sorted(rows, key=_place) == sorted(batch.collect(), key=_place)
    assert len(progress) > 1
    assert counted(progress, name) == (sent.count(), sent.count() - 120)
    original = user_events(spark, rows=120)
    assert batch.select(*USER_EVENTS.columns).exceptAll(original).count() == 0
    assert original.exceptAll(batch.select(*USER_EVENTS.columns)).count() == 0


def test_a_type_is_found_by_the_name_of_its_topic(spark: SparkSession) -> None:
    """Without an event type the topic's own name decides; a topic without one of its name asks for it."""
    topics.delete_topic(USER_EVENTS.name, missing_ok=True)
    publish(user_events(spark, rows=10), USER_EVENTS.name)
    assert sources.read_batch(USER_EVENTS.name).count() == 10
    with pytest.raises(InputError, match="EventType"):
        sources.read_batch("somebody-elses")


def test_a_missing_topic_is_a_sentence(topic: Topic) -> None:
    """A misspelt topic is refused before Spark starts, in batch and stream, with the names that look like it."""
    name = topic()
    for read in (sources.read_batch, sources.read_stream):
        with pytest.raises(TopicError, match=f"there is no topic '{name}x'.*{name}.*publish"):
            read(name + "x", event=USER_EVENTS)


def test_where_to_start_and_end(spark: SparkSession, topic: Topic, tmp_path: Path) -> None:
    """Earliest, latest, offsets and times choose exactly the events they say, in batch and in a stream."""
    name = topic(partitions=1)
    publish(user_events(spark, rows=10), name, order_by="event_id")
    middle = sources.read_batch(name, event=USER_EVENTS).agg(F.max("kafka_timestamp")).head()
    assert middle is not None
    noon = middle[0].astimezone(UTC) + timedelta(milliseconds=1)
    while datetime.now(UTC) <= noon:
        pass
    publish(user_events(spark, rows=5, seed=1), name)

    def offsets(**where: Any) -> list[int]:
        frame = sources.read_batch(name, event=USER_EVENTS, **where)
        return sorted(row.offset for row in frame.select("offset").collect())

    assert offsets() == list(range(15))
    assert offsets(starting="latest") == []
    assert offsets(starting={0: 12}) == [12, 13, 14]
    assert offsets(starting={0: 3}, ending={0: 6}) == [3, 4, 5]
    assert offsets(starting=noon) == list(range(10, 15))
    assert offsets(ending=noon) == list(range(10))
    assert offsets(starting=datetime.now(UTC) + timedelta(hours=1)) == []
    assert offsets(options={"minPartitions": "4"}) == list(range(15))
    rows, _ = drained(sources.read_stream(name, event=USER_EVENTS, starting={0: 13}), tmp_path)
    assert [row.offset for row in rows] == [13, 14]
    by_time = sources.read_stream(name, event=USER_EVENTS, starting=noon)
    assert len(drained(by_time, tmp_path / "time")[0]) == 5


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ({"starting": "begin"}, "use earliest or latest"),
        ({"ending": "earliest"}, "use latest"),
        ({"starting": {7: 0}}, "does not have"),
        ({"starting": datetime(2024, 1, 1)}, "time zone"),  # noqa: DTZ001
    ],
)
def test_a_position_that_is_none_is_refused(
    topic: Topic, where: dict[str, Any], message: str
) -> None:
    """An unknown word, an unknown partition and a time without a zone are errors that say what to write."""
    with pytest.raises(InputError, match=message):
        sources.read_batch(topic(), event=USER_EVENTS, **where)


def test_a_range_is_one_micro_batch(spark: SparkSession, topic: Topic) -> None:
    """Good and bad events of a range of offsets are together the whole range; a new partition is read from its start."""
    name = topic(partitions=2)
    poisoned_topic(spark, name)
    ends = {partition: latest for partition, (_, latest) in topics.offsets(name).items()}
    start, end = {0: 5}, {0: ends[0] - 5, 1: ends[1]}
    good = sources.TopicRange(name, USER_EVENTS, start, end).good().select("partition", "offset")
    bad = sources.quarantined(name, event=USER_EVENTS, start=start, end=end).select("partition", "offset")  # fmt: skip
    wanted = {(0, offset) for offset in range(5, end[0])} | {(1, o) for o in range(end[1])}
    assert {tuple(row) for row in good.collect()} | {tuple(row) for row in bad.collect()} == wanted
    assert good.count() + bad.count() == len(wanted)


def quarantine_all(name: str) -> None:
    """Send a topic's bad events to its dead letter queue, twice: as a batch that was run again."""
    ends = {partition: latest for partition, (_, latest) in topics.offsets(name).items()}
    for _ in range(2):
        queue.send(sources.quarantined(name, event=USER_EVENTS, start={}, end=ends), name)


def dead_letters_match(name: str, sent: DataFrame) -> list[Row]:
    """Check that each bad event is in the DLQ once, with its bytes, origin and reason; return them."""
    quarantine_all(name)
    dead_letters = rta.dlq.read_dead_letters(name)
    bad = sources.quarantined(name, event=USER_EVENTS).select(dead_letters.columns)
    assert dead_letters.exceptAll(bad).count() == bad.exceptAll(dead_letters).count() == 0
    poison = sent.where("poison IS NOT NULL").select("key", "value")
    assert dead_letters.select("key", "value").exceptAll(poison).count() == 0
    assert dead_letters.count() == poison.count() > 0
    assert sources.read_batch(name, event=USER_EVENTS).count() == sent.where("poison IS NULL").count()  # fmt: skip
    return dead_letters.collect()


def test_f21_f22_f23_f25_f28_poison_lies_in_the_dead_letter_queue(
    spark: SparkSession, topic: Topic
) -> None:
    """Good events are all read; each bad one, of every kind, is in the DLQ once, with bytes, origin and reason."""
    name = topic()
    sent = poisoned_topic(spark, name, rows=300)
    assert {row.poison for row in sent.select("poison").distinct().collect()} == {None, *POISON}
    dead_letters = dead_letters_match(name, sent)
    assert all(row.reason.split(":")[0] in REASONS for row in dead_letters)


def test_f23_a_null_value_stays_null_and_a_null_key_is_no_fault(
    spark: SparkSession, topic: Topic
) -> None:
    """F23: a tombstone is counted and kept as a null in the DLQ; an event without a key is as good as any other."""
    name = topic(partitions=1)
    good = user_events(spark, rows=1).select(F.to_json(F.struct("*")).alias("value"))
    keyless = good.selectExpr("CAST(NULL AS BINARY) key", "BINARY(value) value")
    publish(keyless, name)
    publish(spark.sql("SELECT BINARY('k') key, CAST(NULL AS BINARY) value"), name)
    [row] = sources.read_batch(name, event=USER_EVENTS).collect()
    quarantine_all(name)
    [dead_letter] = rta.dlq.read_dead_letters(name).collect()
    assert row.offset == 0
    assert (dead_letter.offset, dead_letter.reason, bytes(dead_letter.key), dead_letter.value) == (1, "null value", b"k", None)  # fmt: skip


def test_f25_the_edges_of_numbers_are_exact(spark: SparkSession, topic: Topic) -> None:
    """F25: 2^63-1, -2^63, -0.0 and the largest decimal come through exactly; one more is quarantined, never wrapped."""
    name = topic(partitions=1)
    numbers = [
        (2**63 - 1, "9999999999.99"), (-(2**63), "-9999999999.99"), (0, "-0.0"), (2**63, "1"), (0, "10000000000"),
        (0, "0.001"),
    ]  # fmt: skip
    text = '{{"event_id":"e","user_id":{},"action":"a","amount":{},"timestamp":"2024-01-01T00:00:00Z"}}'
    values = [(text.format(*pair),) for pair in numbers]
    publish(spark.createDataFrame(values, ["value"]).coalesce(1), name)
    rows = sources.read_batch(name, event=USER_EVENTS).orderBy("offset").collect()
    assert [(r.user_id, str(r.amount)) for r in rows] == [
        (2**63 - 1, "9999999999.99"), (-(2**63), "-9999999999.99"), (0, "0.00"),
    ]  # fmt: skip
    bad = sources.quarantined(name, event=USER_EVENTS).orderBy("offset").collect()
    assert [row.reason for row in bad] == [
        "out of range: user_id", "out of range: amount", "inexact: amount",
    ]  # fmt: skip


def test_f28_an_event_of_2099_does_not_move_the_watermark(
    spark: SparkSession, topic: Topic, tmp_path: Path
) -> None:
    """F28: an event from the future is quarantined before the watermark sees it, so none after it is late."""
    name = topic(partitions=1)
    poisoned_topic(spark, name, "future", rows=50)
    stream = sources.read_stream(name, event=USER_EVENTS, max_events_per_batch=20)
    counts = stream.withWatermark("timestamp", "1 hour").groupBy(F.window("timestamp", "5 minutes")).count()  # fmt: skip
    found: dict[Any, int] = {}
    query = (
        counts.writeStream.outputMode("update")
        .option("checkpointLocation", str(tmp_path / "checkpoint"))
        .foreachBatch(lambda frame, _: found.update({r.window.start: r["count"] for r in frame.collect()}))
        .trigger(availableNow=True)
        .start()
    )  # fmt: skip
    terminated(query)
    assert sum(found.values()) == 50
    assert all(each["eventTime"].get("watermark", "1970") < "2099" for each in query.recentProgress)


def test_headers_and_other_queues_are_kept(spark: SparkSession, topic: Topic) -> None:
    """An event's own headers, null ones too, stay before rta's; read_dead_letters takes the newest origin."""
    name = topic(partitions=1)
    own = "array(struct('a' key, CAST(NULL AS BINARY) value), struct('rta.reason' key, BINARY('older') value))"
    publish(spark.sql(f"SELECT BINARY('k') key, BINARY('{{') value, {own} headers"), name)
    quarantine_all(name)
    raw = spark.read.format("kafka").options(
        **{"kafka.bootstrap.servers": broker.bootstrap(), "subscribe": name + SUFFIX, "includeHeaders": "true"}
    )  # fmt: skip
    first = raw.load().collect()[0]
    assert [header.key for header in first.headers] == [
        "a", "rta.reason", "rta.reason", "rta.topic", "rta.partition", "rta.offset", "rta.kafka_timestamp",
    ]  # fmt: skip
    assert first.headers[0].value is None
    [dead_letter] = rta.dlq.read_dead_letters(name).collect()
    assert (dead_letter.reason, dead_letter.topic, dead_letter.partition, dead_letter.offset) == ("broken JSON", name, 0, 0)  # fmt: skip


def test_nothing_quarantined_is_an_empty_table(spark: SparkSession, topic: Topic) -> None:
    """A topic without a dead letter queue has no dead letters; a topic that does not exist is an error."""
    name = topic()
    publish(user_events(spark, rows=3), name)
    assert rta.dlq.read_dead_letters(name).count() == 0
    with pytest.raises(TopicError):
        rta.dlq.read_dead_letters(name + "x")


def test_two_topics_in_one_query_are_counted_apart(
    spark: SparkSession, topic: Topic, tmp_path: Path
) -> None:
    """Two topics may be read in one query: their counts have names of their own."""
    first, second = topic(), topic()
    publish(user_events(spark, rows=30), first)
    publish(user_events(spark, rows=20), second)
    both = sources.read_stream(first, event=USER_EVENTS).union(
        sources.read_stream(second, event=USER_EVENTS)
    )
    _, progress = drained(both, tmp_path)
    assert (counted(progress, first), counted(progress, second)) == ((30, 0), (20, 0))


def _place(row: Row) -> tuple[int, int]:
    return row.partition, row.offset


def readers(plan: Any) -> int:
    """Count how often Spark would read the value of an event: the function of rta.jvm.spark_reader in an optimised plan."""
    return int(plan.toString().count("SparkReader$Reading@"))


SALE = """{"type": "record", "name": "sale", "fields": [{"name": "n", "type": "int"}, {"name": "at", "type": "string"}]}"""


@pytest.mark.parametrize(
    "event",
    [
        USER_EVENTS,
        rta.EventType("nested", "device STRUCT<os STRING>, n INT, at TIMESTAMP", event_time="at"),
        rta.EventType("inside", "n INT, meta STRUCT<at TIMESTAMP NOT NULL>", event_time="meta.at"),
        rta.EventType("csv", "n INT, at TIMESTAMP", event_time="at", format=rta.events.Csv()),
        rta.EventType("avro", "n INT, at TIMESTAMP", event_time="at", format=rta.events.Avro(SALE)),
        rta.EventType("kept", "n INT, k STRING", "kafka_timestamp", "k", tombstones="keep"),
    ],
    ids=lambda event: event.name,
)
def test_an_event_is_parsed_once(spark: SparkSession, topic: Topic, tmp_path: Path, event: rta.EventType) -> None:  # fmt: skip
    """Whatever is filtered, by its reason or by a column: each plan has the reader once, those of a range and of a stream, too."""
    name = topic(partitions=1)
    first = event.columns[0]
    good = sources.read_batch(name, event=event)
    frames = (
        sources.parsed_batch(name, event), good, sources.quarantined(name, event=event), rta.dataframes.latest(name, event=event),
        sources.TopicRange(name, event, {}, {0: 0}).good(), good.where(F.col(first).isNotNull()), good.groupBy(event.event_time).agg(F.max(first)),
    )  # fmt: skip
    plans = [frame._jdf.queryExecution().optimizedPlan() for frame in frames]
    publish(spark.createDataFrame([("{",)], ["value"]), name)
    stream = sources.read_stream(name, event=event).where(F.col(first).isNotNull())
    seen: list[Row] = []
    query = (
        stream.writeStream.option("checkpointLocation", str(tmp_path))
        .foreachBatch(lambda frame, _: seen.extend(frame.collect()))
        .trigger(availableNow=True)
        .start()
    )
    terminated(query)
    plans.append(query._jsq.streamingQuery().lastExecution().optimizedPlan())
    assert [readers(plan) for plan in plans] == [1] * len(plans)
