"""The dead letter queue of a topic: `<topic>.dlq` keeps each bad event's bytes, with reason and origin in its headers.

| header              | value                                          |
|---------------------|------------------------------------------------|
| rta.reason          | one of rta.judge.REASONS, with its field       |
| rta.topic           | where the event was read                       |
| rta.partition       | "                                              |
| rta.offset          | "                                              |
| rta.kafka_timestamp | the record's time, milliseconds since the epoch |

Key, value and the event's own headers stay as they were; a null value stays null. So does the count of an event that
was sent back already: see rta.letter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rta.cluster import spark_options
from rta.errors import TopicError
from rta.topics import create_topic, offsets

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

SUFFIX: Final = ".dlq"
# An event as large as Kafka takes has its reason and origin on top here: it must not stop the query.
_LARGEST: Final = str(64 * 2**20)
NAMES: Final = ("reason", "topic", "partition", "offset", "kafka_timestamp")


def dead_letters(bad: DataFrame) -> DataFrame:
    """Turn bad events into messages for Kafka's sink: key, value, headers.

    bad: parse()'s columns topic, partition, offset, kafka_timestamp, key, value, headers, reason.

    >>> bad = spark.sql("SELECT 't' topic, 0 partition, 5L offset, timestamp_millis(7) kafka_timestamp, binary('k') key, "
    ...                 "binary('{') value, cast(null AS array<struct<key:string,value:binary>>) headers, 'broken JSON' reason")
    >>> [(h.key, bytes(h.value).decode()) for h in dead_letters(bad).head().headers]
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


def send(bad: DataFrame, topic: str) -> None:
    """Send bad events to the dead letter queue of their topic, which is made on first need."""
    queue = topic + SUFFIX
    if not _exists(queue):
        create_topic(queue, partitions=1, config={"max.message.bytes": _LARGEST})
    room = {"kafka.max.request.size": _LARGEST, "kafka.buffer.memory": _LARGEST}
    options = {**spark_options(), **room, "topic": queue}
    dead_letters(bad).write.format("kafka").options(**options).save()


def read_dead_letters(topic: str) -> DataFrame:
    """List the bad events of a topic, each once: a repeated batch sends its bad events again.

    Returns topic, partition, offset, kafka_timestamp (where and when the bad event was sent), reason, key, value.
    No rows where nothing was ever quarantined. Raises TopicError where the topic itself is missing.

    >>> _ = rta.create_topic("doc-dead-letters")
    >>> read_dead_letters("doc-dead-letters").count()
    0
    """
    from pyspark.sql import functions as F

    from rta.session import spark

    offsets(topic)
    queue = topic + SUFFIX
    if not _exists(queue):
        schema = "topic string, partition int, offset bigint, kafka_timestamp timestamp, reason string, key binary, value binary"
        return spark().createDataFrame([], schema)
    options = {**spark_options(), "subscribe": queue, "includeHeaders": "true"}
    letters = spark().read.format("kafka").options(**options).load()
    return letters.select(
        _header("topic").alias("topic"),
        _header("partition").cast("int").alias("partition"),
        _header("offset").cast("bigint").alias("offset"),
        F.timestamp_millis(_header("kafka_timestamp").cast("bigint")).alias("kafka_timestamp"),
        _header("reason").alias("reason"), "key", "value",
    ).dropDuplicates(["topic", "partition", "offset", "kafka_timestamp"])  # fmt: skip


def _header(name: str) -> Column:
    """Return the last header of a name, as text: an event that came from another DLQ has older ones."""
    from pyspark.sql import functions as F

    found = F.filter("headers", lambda header: header["key"] == f"rta.{name}")
    return F.try_element_at(found, F.lit(-1))["value"].cast("string")


def _exists(topic: str) -> bool:
    """Return whether the broker has this topic."""
    try:
        offsets(topic)
    except TopicError:
        return False
    return True
