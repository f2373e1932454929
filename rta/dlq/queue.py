"""The dead letter queue of a topic: `<topic>.dlq` keeps each bad event's bytes, with reason and origin in its headers.

| header              | value                                          |
|---------------------|------------------------------------------------|
| rta.reason          | one of rta.dataframes.validation.REASONS, with its field       |
| rta.topic           | where the event was read                       |
| rta.partition       | "                                              |
| rta.offset          | "                                              |
| rta.kafka_timestamp | the record's time, milliseconds since the epoch |

Key, value and the event's own headers stay as they were, ours come behind them; a null value stays null. So does the count
of an event that was sent back already: see rta.dlq.dead_letter.

What another program wrote there has no such headers behind its own, or some that cannot be ours: it is foreign. It is listed all the
same, with its place in the queue for an origin, and a reason that says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from rta.dataframes.sources import quarantined
from rta.errors import TopicError
from rta.events.event_types import EventType
from rta.kafka.client import READING, WRITING, spark_options
from rta.kafka.topics import create_topic, offsets

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

SUFFIX: Final = ".dlq"
# An event as large as Kafka takes has its reason and origin on top here: it must not stop the query.
_LARGEST: Final = str(64 * 2**20)
# What each header of ours holds, for both who read them: Python, and Spark's regular expressions of Java.
FORMS: Final = {
    "reason": r"[^\x00-\x1f\x7f-\x9f]{1,1000}",
    "topic": r"(?!\.{1,2}$)[A-Za-z0-9._-]{1,249}",
    "partition": "[0-9]{1,9}",
    "offset": "[0-9]{1,18}",
    "kafka_timestamp": "[0-9]{1,14}",
}
NAMES: Final = tuple(FORMS)
FOREIGN: Final = "not from rta: no origin"


def as_records(bad: DataFrame) -> DataFrame:
    """Turn bad events into messages for Kafka's sink: key, value, headers.

    bad: parse()'s columns topic, partition, offset, kafka_timestamp, key, value, headers, reason.

    >>> bad = spark.sql("SELECT 't' topic, 0 partition, 5L offset, timestamp_millis(7) kafka_timestamp, binary('k') key, "
    ...                 "binary('{') value, cast(null AS array<struct<key:string,value:binary>>) headers, 'broken JSON' reason")
    >>> [(h.key, bytes(h.value).decode()) for h in as_records(bad).head().headers]
    [('rta.reason', 'broken JSON'), ('rta.topic', 't'), ('rta.partition', '0'), ('rta.offset', '5'), ('rta.kafka_timestamp', '7')]
    """
    from pyspark.sql import functions as F

    told = {name: F.col(name) for name in NAMES} | {
        "kafka_timestamp": F.unix_millis("kafka_timestamp")
    }
    ours = [
        F.struct(
            F.lit(f"rta.{name}").alias("key"), column.cast("string").cast("binary").alias("value")
        )
        for name, column in told.items()
    ]
    headers = F.when(F.col("headers").isNull(), F.array(*ours)).otherwise(
        F.concat("headers", F.array(*ours))
    )
    return bad.select("key", "value", headers.alias("headers"))


def opened(topic: str) -> str:
    """Name the dead letter queue of a topic, which is made on first need."""
    queue = topic + SUFFIX
    if not _exists(queue):
        create_topic(queue, partitions=1, config={"max.message.bytes": _LARGEST})
    return queue


def send(bad: DataFrame, topic: str) -> None:
    """Send bad events to the dead letter queue of their topic."""
    room = {"kafka.max.request.size": _LARGEST, "kafka.buffer.memory": _LARGEST}
    options = {**spark_options(), **WRITING, **room, "topic": opened(topic)}
    as_records(bad).write.format("kafka").options(**options).save()


def read_dead_letters(topic: str) -> DataFrame:
    """Read the dead letters of a topic as a DataFrame, each once: the same as rta.dlq.dead_letters.

    Returns:
        topic, partition, offset, kafka_timestamp (where and when the bad event was sent), reason, key, value. A record of another
        program has the place in the queue. No rows if nothing was ever quarantined.

    Raises:
        TopicError: The topic itself is missing.

    >>> _ = rta.kafka.create_topic("doc-dead-letters")
    >>> read_dead_letters("doc-dead-letters").count()
    0
    """
    from pyspark.sql import functions as F

    from rta.dataframes.session import spark

    offsets(topic)
    queue = topic + SUFFIX
    if not _exists(queue):
        schema = "topic string, partition int, offset bigint, kafka_timestamp timestamp, reason string, key binary, value binary"
        return spark().createDataFrame([], schema)
    options = {**spark_options(), **READING, "subscribe": queue, "includeHeaders": "true", "kafka.isolation.level": "read_committed"}  # fmt: skip
    records = spark().read.format("kafka").options(**options).load()
    told = records.select("*", F.slice("headers", -len(NAMES), len(NAMES)).alias("told"))
    known = told.select("*", _ours(F.col("told")).alias("ours"))
    text = {name: F.col("told")[place]["value"].cast("string") for place, name in enumerate(NAMES)}
    origin = {
        "topic": (text["topic"], F.col("topic")),
        "partition": (text["partition"].cast("int"), F.col("partition")),
        "offset": (text["offset"].cast("bigint"), F.col("offset")),
        "kafka_timestamp": (F.timestamp_millis(text["kafka_timestamp"].cast("bigint")), F.col("timestamp")),
        "reason": (text["reason"], F.lit(FOREIGN)),
    }  # fmt: skip
    dead_letter = [
        F.when(F.col("ours"), a).otherwise(b).alias(name) for name, (a, b) in origin.items()
    ]
    place = F.struct(F.col("partition").alias("a"), F.col("offset").alias("b"))
    dead_letters = known.select(*dead_letter, "key", "value", place.alias("place"))
    first = [F.min_by(name, "place").alias(name) for name in ("reason", "key", "value")]
    return dead_letters.groupBy("topic", "partition", "offset", "kafka_timestamp").agg(*first)


def _ours(told: Column) -> Column:
    """Return whether these headers, a record's last, are those of as_records()."""
    from functools import reduce
    from operator import and_

    from pyspark.sql import functions as F

    def fits(place: int, name: str) -> Column:
        header = F.get(told, F.lit(place))
        text = header["value"].cast("string")
        whole = F.is_valid_utf8(text) & text.rlike(rf"\A(?:{FORMS[name]})\z")
        return (header["key"] == f"rta.{name}") & whole

    found = reduce(and_, [fits(place, name) for place, name in enumerate(NAMES)])
    return F.coalesce(found, F.lit(False))  # noqa: FBT003


def _exists(topic: str) -> bool:
    """Return whether the broker has this topic."""
    try:
        offsets(topic)
    except TopicError:
        return False
    return True


def quarantine(
    topic: str,
    event: EventType,
    *,
    start: Mapping[int, int],
    end: Mapping[int, int],
    max_skew: str = "5 minutes",
    options: Mapping[str, str] | None = None,
) -> None:
    """Send the bad events of a range of offsets to `<topic>.dlq`. At least once: a repeated micro-batch may send them again.

    Args:
        topic: The topic.
        event: The type of its events.
        start: Partition → the first offset.
        end: Partition → the offset that is the first one left out.
        max_skew: How far an event's time may be ahead of its record's time.
        options: Those of the query that has read the range; what it did not see is not sent.

    >>> _ = rta.publish(spark.createDataFrame([("{}",)], ["value"]), "doc-quarantine", partitions=1)
    >>> quarantine("doc-quarantine", rta.USER_EVENTS, start={0: 0}, end={0: 1})
    >>> rta.dlq.read_dead_letters("doc-quarantine").select("offset", "reason").head()
    Row(offset=0, reason='missing: event_id')
    """
    bad = quarantined(topic, event=event, start=start, end=end, max_skew=max_skew, options=options)
    send(bad, topic)
