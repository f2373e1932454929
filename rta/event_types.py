"""What an event is: the four types that rta ships, each the contract of one topic.

In a schema, nullable=False means *required*: an event without it is quarantined, never guessed at.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Final

from pyspark.sql.types import (
    DataType,
    DecimalType,
    IntegerType,
    LongType,
    StringType,
    StructField,
    StructType,
    TimestampType,
)

from rta.errors import InputError


@dataclass(frozen=True)
class EventType:
    """One kind of event: the topic it is published to, and what a message must hold.

    name: the topic. event_time: the column that says when it happened. key: the column whose value
    becomes the message key, so that one key's events stay in order on one partition.

    >>> FLIGHTS.key, FLIGHTS.event_time
    ('origin', 'event_time')
    """

    name: str
    schema: StructType
    event_time: str
    key: str

    @property
    def columns(self) -> tuple[str, ...]:
        """Return the names of all columns, in order."""
        return tuple(self.schema.fieldNames())

    @property
    def required(self) -> tuple[str, ...]:
        """Return the names of the columns that an event must have.

        >>> USER_EVENTS.required
        ('event_id', 'user_id', 'action', 'amount', 'timestamp')
        """
        return tuple(field.name for field in self.schema.fields if not field.nullable)

    def __repr__(self) -> str:
        """Show the type as a person would write it down."""
        fields = ", ".join(
            f"{f.name} {f.dataType.simpleString().upper()}{'' if f.nullable else ' NOT NULL'}"
            for f in self.schema.fields
        )
        return (
            f"EventType({self.name!r}, event_time={self.event_time!r}, key={self.key!r}: {fields})"
        )


def _schema(required: dict[str, DataType], optional: dict[str, DataType]) -> StructType:
    """Build a schema: the required columns first."""
    fields = [StructField(name, kind, nullable=False) for name, kind in required.items()]
    return StructType(fields + [StructField(name, kind) for name, kind in optional.items()])


_TEXT, _INT, _LONG, _TIME = StringType(), IntegerType(), LongType(), TimestampType()

FLIGHTS: Final = EventType(
    "flights",
    _schema(
        {"event_id": _TEXT, "event_time": _TIME, "reported_at": _TIME, "carrier": _TEXT, "flight": _INT,
         "origin": _TEXT, "dest": _TEXT, "distance": _INT},
        {"tailnum": _TEXT, "delay_minutes": _INT},
    ),
    event_time="event_time",
    key="origin",
)  # fmt: skip

WEATHER: Final = EventType(
    "weather",
    _schema(
        {"event_id": _TEXT, "event_time": _TIME, "reported_at": _TIME, "origin": _TEXT,
         "precip": DecimalType(4, 2), "visib": DecimalType(4, 2)},
        {"temp": DecimalType(5, 2), "dewp": DecimalType(5, 2), "humid": DecimalType(5, 2), "wind_dir": _INT,
         "wind_speed": DecimalType(9, 5), "wind_gust": DecimalType(9, 5), "pressure": DecimalType(5, 1)},
    ),
    event_time="event_time",
    key="origin",
)  # fmt: skip

_USER_EVENT: Final[dict[str, DataType]] = {
    "event_id": _TEXT, "user_id": _LONG, "action": _TEXT, "amount": DecimalType(12, 2), "timestamp": _TIME,
}  # fmt: skip

USER_EVENTS: Final = EventType(
    "user-events",
    _schema(_USER_EVENT, {"reported_at": _TIME}),
    event_time="timestamp",
    key="user_id",
)

PURCHASES: Final = EventType(
    "purchases",
    _schema({**_USER_EVENT, "quantity": _INT}, {"reported_at": _TIME}),
    event_time="timestamp",
    key="user_id",
)

_KNOWN: Final = {event.name: event for event in (FLIGHTS, PURCHASES, USER_EVENTS, WEATHER)}


def event_type(name: str) -> EventType:
    """Return the event type of a topic that rta knows.

    Raises InputError, with the known names, for any other.

    >>> event_type("flights").key
    'origin'
    >>> event_type("flight")
    Traceback (most recent call last):
    rta.errors.InputError: no event type is called 'flight'; found: near to it: flights; do: use one of flights, purchases, user-events, weather, or make an EventType
    """
    if name in _KNOWN:
        return _KNOWN[name]
    near = difflib.get_close_matches(name, _KNOWN, n=1)
    raise InputError(
        f"no event type is called {name!r}",
        found=f"near to it: {near[0]}" if near else None,
        do=f"use one of {', '.join(_KNOWN)}, or make an EventType",
    )
