"""What an event is: the contract of a topic, and the four that come with rta.

In a schema, nullable=False means *required*: an event without the field is quarantined, nothing is guessed.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
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
from rta.events.ddl import schema_of, type_name
from rta.events.field_rules import FORMS
from rta.html import table
from rta.names import checked

ORIGIN: Final = ("topic", "partition", "offset", "kafka_timestamp")
RAW: Final = ("key", "value", "headers")
_RESERVED: Final = {*ORIGIN, *RAW, "reason"}
# What JSON writes with an escape, Spark's variant paths cannot name, and what bytes that are no UTF-8 become.
_NO_FIELD: Final = frozenset('"\\?\ufffd\x7f') | frozenset(map(chr, range(32)))


@dataclass(frozen=True, init=False, repr=False)
class EventType:
    """Describe one kind of event: the topic it is published to, and what a message must hold.

    Args:
        name: The topic.
        schema: Its columns, as a StructType or as DDL.
        event_time: The TIMESTAMP column that says when the event happened; it is always required.
        key: The column whose value becomes the message key, so that the events of a key stay in order on one partition; None if the
            producer chose other keys, or none.
        fields: column → the name of its field in the JSON, if it is another; a field may have any name that needs no escape.

    Raises:
        InputError: The name or a type is not allowed, or the event_time, the key or a key of `fields` is not a column.

    Example:
        >>> EventType("clicks", "user_id BIGINT NOT NULL, at TIMESTAMP NOT NULL", event_time="at", fields={"at": "@timestamp"})
        EventType('clicks', event_time='at', key=None: user_id BIGINT NOT NULL, at TIMESTAMP NOT NULL from '@timestamp')
    """

    name: str
    schema: StructType
    event_time: str
    key: str | None
    fields: Mapping[str, str] = field(hash=False)

    def __init__(
        self,
        name: str,
        schema: StructType | str,
        event_time: str,
        key: str | None = None,
        fields: Mapping[str, str] | None = None,
    ) -> None:
        columns = _checked_columns(schema_of(schema) if isinstance(schema, str) else schema)
        if event_time not in columns.names or columns[event_time].dataType != TimestampType():
            times = [each.name for each in columns if each.dataType == TimestampType()]
            raise InputError(
                "the event time is a TIMESTAMP column", found=_found(event_time, columns),
                fix=f"choose from {', '.join(times)}" if times else "add one: when the event happened",
            )  # fmt: skip
        if key is not None and key not in columns.names:
            raise InputError(
                "the key is a column",
                found=repr(key),
                fix=f"choose from {', '.join(columns.names)}",
            )
        required = [
            StructField(each.name, each.dataType, each.nullable and each.name != event_time)
            for each in columns
        ]
        values = {
            "name": checked("topic", name), "schema": StructType(required), "event_time": event_time, "key": key,
            "fields": _checked_fields(fields or {}, columns.names),
        }  # fmt: skip
        for attribute, value in values.items():
            object.__setattr__(self, attribute, value)

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

    def field(self, column: str) -> str:
        """Return the field of the JSON that a column is read from.

        >>> USER_EVENTS.field("amount")
        'amount'
        """
        return self.fields.get(column, column)

    def __repr__(self) -> str:
        """Show the type as a person would write it."""
        columns = ", ".join(
            " ".join(
                [
                    each.name,
                    type_name(each.dataType),
                    *([] if each.nullable else ["NOT NULL"]),
                    *([f"from {self.fields[each.name]!r}"] if each.name in self.fields else []),
                ]
            )
            for each in self.schema.fields
        )
        return (
            f"EventType({self.name!r}, event_time={self.event_time!r}, key={self.key!r}: {columns})"
        )

    def _repr_html_(self) -> str:
        """Show one column a line: its type, whether it is required, its field, and its use."""
        use = {self.event_time: "event time"} | ({self.key: "key"} if self.key else {})
        rows = [
            (c.name, type_name(c.dataType), "" if c.nullable else "required", self.field(c.name), use.get(c.name, ""))
            for c in self.schema.fields
        ]  # fmt: skip
        names = ["column", "type", "", "field", "used as"]
        return table([("event type", self.name)]) + table(rows, names)


def _checked_columns(schema: StructType) -> StructType:
    """Refuse a schema with an illegal or reserved name, two columns of one name, or a type without a rule."""
    if not isinstance(schema, StructType) or not len(schema):
        raise InputError(
            "the schema of an event type has columns", found=repr(schema)[:200],
            fix="give a StructType, or a text such as 'user_id BIGINT NOT NULL, at TIMESTAMP NOT NULL'",
        )  # fmt: skip
    seen: set[str] = set()
    for each in schema:
        name = checked("column", each.name)
        if name.casefold() in _RESERVED or name.startswith("_"):
            raise InputError(
                "a column has a name that is reserved", found=name,
                fix=f'give it another name, and the name of its field: fields={{"my_{name.strip("_")}": "{name}"}}',
            )  # fmt: skip
        if name.casefold() in seen:
            raise InputError(f"two columns are named {name!r}", fix="rename one of them")
        seen.add(name.casefold())
        if each.dataType.typeName() not in FORMS:
            raise InputError(
                f"column {name!r} has a type that events cannot have", found=type_name(each.dataType),
                fix=f"use one of: {', '.join(sorted(FORMS))}",
            )  # fmt: skip
    return schema


def _found(name: str, columns: StructType) -> str:
    """Say what is wrong with the column that was given as the event time."""
    there = name in columns.names
    return f"{name} {type_name(columns[name].dataType)}" if there else f"no column {name!r}"


def _checked_fields(fields: Mapping[str, str], columns: list[str]) -> dict[str, str]:
    """Return column → field where they differ; refuse an unknown column, and a field of two columns."""
    if not isinstance(fields, Mapping) or (unknown := sorted(set(fields) - set(columns), key=str)):
        raise InputError(
            "fields is a mapping: column → its name in the JSON",
            found=f"no column {unknown[0]!r}" if isinstance(fields, Mapping) else repr(fields),
            fix=f"choose from {', '.join(columns)}",
        )
    for column, name in fields.items():
        if not isinstance(name, str) or not name or _NO_FIELD & set(name) or _no_text(name):
            raise InputError(
                f"the field of column {column!r} has a name that cannot be read", found=repr(name),
                fix="use a name without quotes, backslashes, question marks and control characters",
            )  # fmt: skip
    names = [fields.get(column, column) for column in columns]
    if twice := [name for name in names if names.count(name) > 1]:
        raise InputError(
            "two columns are read from one field", found=repr(twice[0]),
            fix='give each its own: fields={"column": "field"}',
        )  # fmt: skip
    return {column: name for column, name in fields.items() if name != column}


def _no_text(name: str) -> bool:
    """Return whether a name has half of a surrogate pair, which UTF-8 cannot write."""
    return any("\ud800" <= letter <= "\udfff" for letter in name)


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

    Raises:
        InputError: There is no such type; the message lists those that there are.

    >>> event_type("flights").key
    'origin'
    >>> event_type("flight")
    Traceback (most recent call last):
    rta.errors.InputError: no event type is called 'flight'; found: did you mean 'flights'?; fix: use one of flights, purchases, user-events, weather, or make an EventType
    """
    if name in _KNOWN:
        return _KNOWN[name]
    near = difflib.get_close_matches(name, _KNOWN, n=1)
    raise InputError(
        f"no event type is called {name!r}",
        found=f"did you mean {near[0]!r}?" if near else None,
        fix=f"use one of {', '.join(_KNOWN)}, or make an EventType",
    )
