"""The event type as StrictJson reads it (rta/jvm/src/rta/StrictJson.java), which reads the JSON events of each engine."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from rta.durations import duration
from rta.errors import InputError
from rta.events.event_types import EventType
from rta.events.format_contract import Read
from rta.events.times import EPOCHS, ISO, is_pattern, pattern_and_zone
from rta.events.type_checks import KAFKA_TIME, time_paths

if TYPE_CHECKING:
    from pyspark.sql import DataFrame
    from pyspark.sql.types import StructField


def supported(event: EventType) -> str | None:
    """Return why the events of a type are read by Spark alone; None if the other engines read them, too.

    >>> supported(rta.EventType("views", "page STRING, meta STRUCT<at TIMESTAMP NOT NULL>", "meta.at"))
    >>> supported(rta.EventType("views", "at TIMESTAMP", "at", times="dd/MM/yyyy XXX"))
    "the times of 'at' have the form 'dd/MM/yyyy XXX': other engines read ISO text and epoch numbers"
    """
    if event.format != "json" and (
        type(event.format).__name__ != "Json" or getattr(event.format, "nan", False)
    ):
        return f"its events have the format {event.format!r}: other engines read JSON"
    if event.tombstones != "quarantine":
        return "it keeps tombstones, which other engines take for bad events"
    for path in time_paths(event.wire):
        if is_pattern(form := event.time_form(path)):
            return f"the times of {path!r} have the form {form!r}: other engines read ISO text and epoch numbers"
    return None


def event_json(
    event: EventType, max_skew: str = "5 minutes", paths: Mapping[str, Sequence[str]] | None = None
) -> str:
    """Return the event type as JSON text.

    Args:
        event: The type.
        max_skew: How far an event's own time may be ahead of its Kafka timestamp, such as "5 minutes".
        paths: What is read inside structs beside the event time: name → path.

    Raises:
        InputError: The events of this type are read by Spark alone, or max_skew has another form.

    >>> event_json(rta.EventType("t", "n INT, at TIMESTAMP", "at", fields={"n": "no"}))
    '{"columns": [{"type": "int", "name": "n", "field": "no", "nullable": true}, {"type": "timestamp", "times": "iso", "name": "at", "field": "at", "nullable": false}], "nan": false, "event_time": "at", "max_skew_ms": 300000}'
    """
    if why := supported(event):
        raise InputError(
            f"the events of {event.name!r} are read by Spark alone",
            found=why,
            fix='use engine="spark"',
        )
    inner = {**event.taken, **(paths or {})}
    taken = [{"name": name, "path": list(path)} for name, path in inner.items()]
    skew = duration("max_skew", max_skew) // timedelta(milliseconds=1)
    return _written(event, event.event_time, skew, **({"taken": taken} if taken else {}))


def read_events(raw: DataFrame, event: EventType, **more: Any) -> Read:
    """Read events in Spark by rta's own reader, see rta.jvm.spark_reader; rta.dataframes.parse says which of them are ahead.

    Args:
        raw: The raw rows, see Format.read.
        event: The type of the events.
        more: What a format adds to the event type, as Avro does its schemas.

    >>> raw = spark.sql("SELECT binary('{}') value")
    >>> read = read_events(raw, rta.EventType("t", "n INT NOT NULL", "kafka_timestamp"))
    >>> read.frame.select(read.fault).head()[0]
    'missing: n'
    """
    from pyspark.sql import functions as F

    from rta.jvm.spark_reader import FAULT, read_event

    # A select of its own: Spark computes anew what one step uses twice.
    read = read_event(raw.sparkSession, F.col("value"), spark_json(event, **more)).alias("_event")
    columns = {name: F.col("_event")[name] for name in event.wire.names}
    return Read(raw.select("*", read), columns, F.col("_event")[FAULT])


def spark_json(event: EventType, **more: Any) -> str:
    """Return the event type as JSON text for Spark.

    Args:
        event: The type.
        more: What a format adds, as Avro does its schemas.

    >>> spark_json(rta.EventType("t", "a ARRAY<INT>", "kafka_timestamp"))
    '{"columns": [{"type": "array", "fields": [{"type": "int", "name": "", "field": "", "nullable": true}], "name": "a", "field": "a", "nullable": true}], "nan": false, "event_time": "kafka_timestamp", "max_skew_ms": 0}'
    """
    return _written(event, KAFKA_TIME, 0, **more)


def _written(event: EventType, event_time: str, skew: int, **more: Any) -> str:
    columns = [_field(each, event.field(each.name), each.name, event) for each in event.wire]
    told = {
        "columns": columns,
        "nan": getattr(event.format, "nan", False),
        "event_time": event_time,
        "max_skew_ms": skew,
        **more,
    }
    return json.dumps(told, ensure_ascii=False)


def _field(each: StructField, field: str, path: str, event: EventType) -> dict[str, Any]:
    return {**_kind(each.dataType, path, event), "name": each.name, "field": field, "nullable": each.nullable}  # fmt: skip


def _kind(kind: Any, path: str, event: EventType) -> dict[str, Any]:
    """Describe a type: a struct has its fields, an array and a map one that stands for what is inside."""
    from pyspark.sql.types import StructField

    name = kind.typeName()
    if name == "struct":
        return {"type": name, "fields": [_field(each, each.name, f"{path}.{each.name}", event) for each in kind]}  # fmt: skip
    if name in ("array", "map"):
        inside = (kind.elementType, kind.containsNull) if name == "array" else (kind.valueType, kind.valueContainsNull)  # fmt: skip
        return {"type": name, "fields": [_field(StructField("", *inside), "", path, event)]}
    if name != "timestamp":
        return {"type": kind.simpleString()}
    form = event.time_form(path)
    if form == ISO or form in EPOCHS:
        return {"type": name, "times": form}
    pattern, zone = pattern_and_zone(form)
    return {"type": name, "times": form, "zone": zone, **({"pattern": pattern} if pattern else {})}
