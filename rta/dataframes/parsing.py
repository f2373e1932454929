"""parse(): Kafka's raw rows → typed columns and, where an event is bad, the reason. Nothing is dropped, rounded or guessed."""

from __future__ import annotations

from functools import reduce
from typing import Final

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from rta.durations import duration
from rta.events.event_types import EventType
from rta.events.format_contract import chosen
from rta.events.type_checks import KAFKA_TIME, ORIGIN, RAW

HEADERS: Final = "array<struct<key:string,value:binary>>"


def parse(raw: DataFrame, event: EventType, max_skew: str = "5 minutes") -> DataFrame:
    """Read typed events from Kafka's raw rows, and give the bad ones their reason. There is one row out for each row in.

    Accepted: one JSON object in UTF-8; fields that the schema does not know; null or absent if the schema says nullable; a decimal as a
    number or as a string ("12.50"); trailing zeros; a timestamp as text with its zone (Z or +02:00) and at most six digits of a second;
    any spaces that JSON allows. A number with five digits of exponent is "out of range" anywhere: parsing it would take seconds. A
    reason names the field as the producer calls it (EventType.field).

    So it is for JSON; in other formats the same rules hold for what they can write (rta.events.Csv, rta.events.Avro).

    Args:
        raw: key BINARY, value BINARY, topic STRING, partition INT, offset BIGINT, timestamp TIMESTAMP, and headers if asked for.
        event: The type of the events.
        max_skew: How far an event's own time may be ahead of its Kafka timestamp (no clock is asked), such as "5 minutes".

    Returns:
        The event's columns, topic, partition, offset, kafka_timestamp, key, value, headers, and reason: null if the event is good, else
        one of `REASONS`, with the field it is about ("out of range: amount"). A bad event's own columns are null, unless it is only ahead.

    Raises:
        InputError: max_skew has another form.

    Example:
        >>> raw = spark.sql("SELECT binary('k') key, binary('{}') value, 't' topic, 0 partition, 0L offset, current_timestamp() timestamp")
        >>> parse(raw, rta.USER_EVENTS).head().reason
        'missing: event_id'
    """
    headers = F.col("headers") if "headers" in raw.columns else F.lit(None)
    rows = raw.select(
        "topic", "partition", "offset", F.col("timestamp").alias("kafka_timestamp"), "key", "value",
        headers.cast(HEADERS).alias("headers"),
    )  # fmt: skip
    read = chosen(event.format).read(rows, event)
    values = {**read.values} | {
        column: reduce(Column.__getitem__, path[1:], read.values[path[0]])
        for column, path in event.taken.items()
    }
    fault = read.fault
    if event.tombstones == "keep":
        key = _key(event)
        gone = F.col("value").isNull() & key.isNotNull()
        values[str(event.key)] = F.when(gone, key).otherwise(values[str(event.key)])
        fault = F.when(~gone, fault)
    if event.event_time != KAFKA_TIME:
        fault = F.coalesce(fault, F.when(_ahead(values[event.event_time], max_skew), "ahead"))
    typed = [values[name].alias(name) for name in event.columns]
    return read.frame.select(*typed, *ORIGIN, *RAW, fault.alias("reason"))


def _key(event: EventType) -> Column:
    """Return the message key in the type of the key's column; null if it is none."""
    kind = event.schema[str(event.key)].dataType
    if kind.typeName() == "binary":
        return F.col("key")
    text = F.col("key").cast("string")
    return F.when(F.is_valid_utf8(text), text.try_cast(kind))


def _ahead(event_time: Column, max_skew: str) -> Column:
    """Return whether an event claims to be from after it was sent."""
    return event_time > F.col("kafka_timestamp") + F.lit(duration("max_skew", max_skew))
