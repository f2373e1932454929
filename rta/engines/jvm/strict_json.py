"""The event type as the engines' StrictJson reads it: the rules of rta.read_batch() inside the JVM of another engine."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Final

from rta.durations import duration
from rta.errors import InputError
from rta.events.event_types import EventType
from rta.events.times import EPOCHS, ISO

_TYPES: Final = frozenset(
    ("string", "boolean", "byte", "short", "integer", "long", "float", "double", "decimal", "date", "timestamp")
)  # fmt: skip


def supported(event: EventType) -> str | None:
    """Return why the events of a type are read by Spark alone; None if the other engines read them, too.

    >>> supported(rta.USER_EVENTS)
    >>> supported(rta.EventType("views", "page STRING, meta STRUCT<at TIMESTAMP NOT NULL>", "meta.at"))
    "the column 'meta' is a struct: other engines read flat events"
    """
    if event.format != "json" and (
        type(event.format).__name__ != "Json" or getattr(event.format, "nan", False)
    ):
        return f"its events have the format {event.format!r}: other engines read JSON"
    if event.tombstones != "quarantine":
        return "it keeps tombstones, which other engines take for bad events"
    for each in event.schema:
        kind = each.dataType.typeName()
        if kind not in _TYPES:
            return f"the column {each.name!r} is a {kind}: other engines read flat events"
        form = event.time_form(each.name)
        if kind == "timestamp" and form != ISO and form not in EPOCHS:
            return f"the times of {each.name!r} have the form {form!r}: other engines read ISO text with a zone, and epoch numbers"
    if event.taken:
        return f"the column {next(iter(event.taken))!r} stands inside a struct: other engines read flat events"
    return None


def event_json(event: EventType, max_skew: str = "5 minutes") -> str:
    """Return the event type as JSON text.

    Args:
        event: The type.
        max_skew: How far an event's own time may be ahead of its Kafka timestamp, such as "5 minutes".

    Raises:
        InputError: The events of this type are read by Spark alone, or max_skew has another form.

    >>> event_json(rta.EventType("t", "n INT, at TIMESTAMP", "at", fields={"n": "no"}))
    '{"columns": [{"name": "n", "field": "no", "type": "int", "nullable": true, "times": "iso"}, {"name": "at", "field": "at", "type": "timestamp", "nullable": false, "times": "iso"}], "event_time": "at", "max_skew_ms": 300000}'
    """
    if why := supported(event):
        raise InputError(
            f"the events of {event.name!r} are read by Spark alone",
            found=why,
            fix='use engine="spark"',
        )
    columns = [
        {
            "name": each.name, "field": event.field(each.name), "type": each.dataType.simpleString(),
            "nullable": each.nullable, "times": event.time_form(each.name),
        }
        for each in event.schema
    ]  # fmt: skip
    told = {
        "columns": columns,
        "event_time": event.event_time,
        "max_skew_ms": duration("max_skew", max_skew) // timedelta(milliseconds=1),
    }
    return json.dumps(told, ensure_ascii=False)
