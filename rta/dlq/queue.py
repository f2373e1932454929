"""The dead letter queue of a topic: `<topic>.dlq` keeps the bytes of each bad event, with reason and origin in headers.

| header              | value                                                    |
|---------------------|----------------------------------------------------------|
| rta.reason          | one of rta.events.format_contract.REASONS, with its field |
| rta.topic           | where the event was read                                 |
| rta.partition       | "                                                        |
| rta.offset          | "                                                        |
| rta.kafka_timestamp | the record's time, milliseconds since the epoch          |

Key, value and the event's own headers are unchanged; these five follow them. A null value stays null. An event that was sent
back before also keeps its count of attempts: see rta.dlq.dead_letter.

A record of another program has no such headers at its end, or malformed ones: it is foreign. It is listed, too, with its
place in the queue as its origin and a reason that says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from rta.kafka.client import WRITING, spark_options
from rta.kafka.topics import ensure_topic

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

SUFFIX: Final = ".dlq"
# An event of the largest size that Kafka takes grows by its reason and origin: it must not stop the query.
_LARGEST: Final = str(64 * 2**20)
# What each header of ours holds; one with anything else is foreign.
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
    """Return bad events as messages for Kafka's sink: key, value, headers.

    Args:
        bad: The columns topic, partition, offset, kafka_timestamp, key, value, headers and reason, as parse() returns them.

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


def headers_of(record: Any, reason: str) -> list[tuple[str, bytes | None]]:
    """Return the headers of the dead letter of a record, as kafka-python has read it: its own, then ours."""
    told = (reason, record.topic, record.partition, record.offset, record.timestamp)
    ours = [(f"rta.{name}", str(value).encode()) for name, value in zip(NAMES, told, strict=True)]
    return [*record.headers, *ours]


def opened(topic: str) -> str:
    """Return the name of a topic's dead letter queue; create the queue if it is missing."""
    queue = topic + SUFFIX
    ensure_topic(queue, partitions=1, config={"max.message.bytes": _LARGEST})
    return queue


def send(bad: DataFrame, topic: str) -> None:
    """Send bad events to the dead letter queue of their topic."""
    room = {"kafka.max.request.size": _LARGEST, "kafka.buffer.memory": _LARGEST}
    options = {**spark_options(), **WRITING, **room, "topic": opened(topic)}
    as_records(bad).write.format("kafka").options(**options).save()
