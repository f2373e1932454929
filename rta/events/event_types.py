"""What an event is: the contract of a topic, and the four that come with rta.

In a schema, nullable=False means *required*: an event without the field is quarantined, nothing is guessed.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

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
from rta.events.format_contract import Format, chosen
from rta.events.times import ISO
from rta.events.type_checks import (
    FROM_PATH,
    KAFKA_TIME,
    check_times,
    check_tombstones,
    checked_columns,
    checked_fields_of,
    found_instead,
    required_at,
    with_event_time,
)
from rta.html import table
from rta.names import checked


@dataclass(frozen=True, init=False, repr=False)
class EventType:
    """Describe one kind of event: the topic it is published to, and what a message must hold.

    Args:
        name: The topic.
        schema: Its columns, as a StructType or as DDL: `device STRUCT<os: STRING NOT NULL>, tags ARRAY<STRING>, more MAP<STRING, INT>`.
            Events whose fields stand in this order are read fastest.
        event_time: When the event happened, which is always required: a TIMESTAMP column; or the path of a field inside structs,
            "meta.at", which gives the column `event_time`; or "kafka_timestamp", the time that Kafka has of the record.
        key: The column whose value becomes the message key, so that the events of a key stay in order on one partition; None if the
            producer chose other keys, or none.
        fields: column → the name of its field in the event, if it is another; a field may have any name that needs no escape. Or the
            path of a field inside structs of the schema: {"os": ("device", "os")}.
        times: How TIMESTAMPs are written: "iso", text with a zone; a zone such as "Europe/Berlin", that of texts without one; "epoch_s",
            "epoch_ms", "epoch_us"; a pattern of Spark, "dd/MM/yyyy HH:mm XXX" or "dd/MM/yyyy HH:mm in Europe/Berlin". For all of them, or
            path → form; "iso" for others.
        format: How events are written: "json", "csv", "text", "bytes", or an object such as rta.events.Csv(separator=";").
        tombstones: What a record without a value is: "quarantine", a bad event; "keep", on a compacted topic, a good one that has its key
            alone, read from the record's key: all other columns are null, and event_time is "kafka_timestamp".

    Raises:
        InputError: The name or a type is not allowed, or the event_time, the key or a key of `fields` or `times` is not there.

    Example:
        >>> EventType("clicks", "user_id BIGINT NOT NULL, at TIMESTAMP NOT NULL", event_time="at", fields={"at": "@timestamp"})
        EventType('clicks', event_time='at', key=None: user_id BIGINT NOT NULL, at TIMESTAMP NOT NULL from '@timestamp')
        >>> EventType("views", "page STRING, meta STRUCT<at TIMESTAMP>", event_time="meta.at", times="epoch_ms").event_time
        'event_time'
    """

    name: str
    schema: StructType
    event_time: str
    key: str | None
    fields: Mapping[str, str | tuple[str, ...]] = field(hash=False)
    times: str | Mapping[str, str] = field(hash=False)
    format: str | Format
    tombstones: str

    def __init__(
        self,
        name: str,
        schema: StructType | str,
        event_time: str,
        key: str | None = None,
        fields: Mapping[str, str | tuple[str, ...]] | None = None,
        *,
        times: str | Mapping[str, str] = ISO,
        format: str | Format = "json",  # noqa: A002 - Spark's word
        tombstones: Literal["quarantine", "keep"] = "quarantine",
    ) -> None:
        columns = checked_columns(schema_of(schema) if isinstance(schema, str) else schema)
        given = {} if fields is None else fields
        if "." in str(event_time) and event_time not in columns.names:
            columns, given = with_event_time(columns, tuple(event_time.split(".")), given)
            event_time = FROM_PATH
        if event_time != KAFKA_TIME and (
            event_time not in columns.names or columns[event_time].dataType != TimestampType()
        ):
            found = [each.name for each in columns if each.dataType == TimestampType()]
            raise InputError(
                "the event time is a TIMESTAMP column", found=found_instead(event_time, columns),
                fix=f"choose from {', '.join(found)}" if found
                else 'add one: when the event happened; or give event_time="kafka_timestamp"',
            )  # fmt: skip
        if key is not None and key not in columns.names:
            raise InputError(
                "the key is a column",
                found=repr(key),
                fix=f"choose from {', '.join(columns.names)}",
            )
        checked_fields = checked_fields_of(given, columns)
        way = checked_fields.get(event_time, event_time)
        path = way if isinstance(way, tuple) else (event_time,)
        values = {
            "name": checked("topic", name), "schema": required_at({path, (event_time,)}, columns), "event_time": event_time, "key": key,
            "fields": checked_fields, "times": times, "format": format, "tombstones": tombstones,
        }  # fmt: skip
        for attribute, value in values.items():
            object.__setattr__(self, attribute, value)
        check_times(self)
        check_tombstones(self)
        chosen(format).check(self)

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

    @property
    def wire(self) -> StructType:
        """Return the columns that are fields of the event; the others are taken out of these."""
        return StructType([each for each in self.schema if each.name not in self.taken])

    @property
    def taken(self) -> dict[str, tuple[str, ...]]:
        """Return the columns that are taken out of structs: column → path.

        >>> EventType("views", "meta STRUCT<at TIMESTAMP>", event_time="meta.at").taken
        {'event_time': ('meta', 'at')}
        """
        return {name: path for name, path in self.fields.items() if isinstance(path, tuple)}

    def field(self, column: str) -> str:
        """Return the field of the event that a column is read from; a path with dots.

        >>> USER_EVENTS.field("amount")
        'amount'
        """
        name = self.fields.get(column, column)
        return name if isinstance(name, str) else ".".join(name)

    def time_form(self, path: str) -> str:
        """Return how the TIMESTAMP at a path is written.

        >>> USER_EVENTS.time_form("timestamp")
        'iso'
        """
        return self.times if isinstance(self.times, str) else self.times.get(path, ISO)

    def __repr__(self) -> str:
        """Show the type as a person would write it."""
        columns = ", ".join(
            " ".join(
                [
                    each.name,
                    type_name(each.dataType),
                    *([] if each.nullable else ["NOT NULL"]),
                    *([f"from {self.field(each.name)!r}"] if each.name in self.fields else []),
                ]
            )
            for each in self.schema.fields
        )
        more = "".join(
            f", {name}={value!r}"
            for name, value, usual in (
                ("times", self.times, ISO),
                ("format", self.format, "json"),
                ("tombstones", self.tombstones, "quarantine"),
            )
            if value != usual
        )
        return f"EventType({self.name!r}, event_time={self.event_time!r}, key={self.key!r}{more}: {columns})"

    def _repr_html_(self) -> str:
        """Show one column a line: its type, whether it is required, its field, and its use."""
        use = {self.event_time: "event time"} | ({self.key: "key"} if self.key else {})
        rows = [
            (c.name, type_name(c.dataType), "" if c.nullable else "required", self.field(c.name), use.get(c.name, ""))
            for c in self.schema.fields
        ]  # fmt: skip
        names = ["column", "type", "", "field", "used as"]
        return table([("event type", self.name)]) + table(rows, names)


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
