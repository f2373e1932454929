"""What an event is: the contract of a topic, and the four that come with rta.

In a schema, nullable=False means *required*: an event without the field is quarantined, nothing is guessed.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from pyspark.sql.types import (
    ArrayType,
    DataType,
    DecimalType,
    IntegerType,
    LongType,
    MapType,
    StringType,
    StructField,
    StructType,
    TimestampType,
)

from rta.errors import InputError
from rta.events.ddl import schema_of, type_name
from rta.events.format_contract import Format, chosen
from rta.events.times import ISO, times
from rta.html import table
from rta.names import checked

ORIGIN: Final = ("topic", "partition", "offset", "kafka_timestamp")
RAW: Final = ("key", "value", "headers")
KAFKA_TIME: Final = "kafka_timestamp"
_RESERVED: Final = {*ORIGIN, *RAW, "reason"}
_FROM_PATH: Final = "event_time"  # the column of an event time that stands deeper inside
_LEAVES: Final = frozenset(
    ("string", "boolean", "byte", "short", "integer", "long", "float", "double", "decimal", "date", "timestamp", "timestamp_ntz", "binary")
)  # fmt: skip
# What JSON writes with an escape, Spark's variant paths cannot name, and what bytes that are no UTF-8 become.
_NO_FIELD: Final = frozenset('"\\?\ufffd\x7f') | frozenset(map(chr, range(32)))


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
        columns = _checked_columns(schema_of(schema) if isinstance(schema, str) else schema)
        given = {} if fields is None else fields
        if "." in str(event_time) and event_time not in columns.names:
            columns, given = _with_event_time(columns, tuple(event_time.split(".")), given)
            event_time = _FROM_PATH
        if event_time != KAFKA_TIME and (
            event_time not in columns.names or columns[event_time].dataType != TimestampType()
        ):
            found = [each.name for each in columns if each.dataType == TimestampType()]
            raise InputError(
                "the event time is a TIMESTAMP column", found=_found(event_time, columns),
                fix=f"choose from {', '.join(found)}" if found
                else 'add one: when the event happened; or give event_time="kafka_timestamp"',
            )  # fmt: skip
        if key is not None and key not in columns.names:
            raise InputError(
                "the key is a column",
                found=repr(key),
                fix=f"choose from {', '.join(columns.names)}",
            )
        checked_fields = _checked_fields(given, columns)
        way = checked_fields.get(event_time, event_time)
        path = way if isinstance(way, tuple) else (event_time,)
        values = {
            "name": checked("topic", name), "schema": _required({path, (event_time,)}, columns), "event_time": event_time, "key": key,
            "fields": checked_fields, "times": times, "format": format, "tombstones": tombstones,
        }  # fmt: skip
        for attribute, value in values.items():
            object.__setattr__(self, attribute, value)
        _check_times(self)
        _check_tombstones(self)
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
        _check_type(each.dataType, name)
    return schema


def _check_type(kind: DataType, place: str) -> None:
    """Refuse a type that events cannot have, and names inside it that cannot be read or told apart."""
    match kind:
        case ArrayType():
            return _check_type(kind.elementType, place)
        case MapType() if kind.keyType == StringType():
            return _check_type(kind.valueType, place)
        case StructType():
            folded = [name.casefold() for name in kind.names]
            for each in kind:
                if not each.name or _NO_FIELD & set(each.name) or _no_text(each.name):
                    raise InputError(
                        f"{place} has a field with a name that cannot be read", found=repr(each.name),
                        fix="use a name without quotes, backslashes, question marks and control characters",
                    )  # fmt: skip
                if folded.count(each.name.casefold()) > 1:
                    raise InputError(
                        f"{place} has two fields with one name, but for its case", found=repr(each.name),
                        fix="leave one out: Spark does not tell them apart",
                    )  # fmt: skip
                _check_type(each.dataType, f"{place}.{each.name}")
            return None
        case _ if kind.typeName() in _LEAVES and kind.simpleString() != "void":
            return None
    raise InputError(
        f"column {place!r} has a type that events cannot have", found=type_name(kind),
        fix=f"use one of: {', '.join(sorted(_LEAVES))}, struct, array, map with keys of type string",
    )  # fmt: skip


def _at(path: tuple[str, ...], columns: StructType) -> DataType | None:
    """Return the type at a path through structs; None if there is none."""
    kind: DataType = columns
    for name in path:
        if not isinstance(kind, StructType) or name not in kind.names:
            return None
        kind = kind[name].dataType
    return kind


def _with_event_time(
    columns: StructType, path: tuple[str, ...], fields: Mapping[str, str | tuple[str, ...]]
) -> tuple[StructType, Mapping[str, str | tuple[str, ...]]]:
    """Add the column of an event time that stands inside a struct."""
    if _at(path, columns) != TimestampType():
        kind = _at(path, columns)
        raise InputError(
            "the event time is a TIMESTAMP column, or the path of a TIMESTAMP inside structs",
            found=f"{'.'.join(path)} {type_name(kind)}" if kind else f"no field {'.'.join(path)!r}",
            fix="name what stands there, such as meta.at",
        )
    if _FROM_PATH in (name.casefold() for name in columns.names):
        raise InputError(
            f"the event time at {'.'.join(path)!r} would be the column {_FROM_PATH!r}, which is there",
            fix="name its column yourself: a TIMESTAMP column `happened`, with fields={'happened': ('meta', 'at')}",
        )
    added = StructType([*columns, StructField(_FROM_PATH, TimestampType())])
    return added, {**fields, _FROM_PATH: path}


def _required(paths: set[tuple[str, ...]], columns: StructType) -> StructType:
    """Make the fields on these paths required."""
    made = []
    for each in columns:
        below = {path[1:] for path in paths if path[0] == each.name}
        deeper = {path for path in below if path}
        kind = each.dataType
        if deeper and isinstance(kind, StructType):
            kind = _required(deeper, kind)
        made.append(StructField(each.name, kind, each.nullable and not below, each.metadata))
    return StructType(made)


def _time_paths(kind: DataType, path: tuple[str, ...] = ()) -> Iterator[str]:
    """Yield the paths of the TIMESTAMPs of a type; arrays and maps add no part."""
    match kind:
        case StructType():
            for each in kind:
                yield from _time_paths(each.dataType, (*path, each.name))
        case ArrayType():
            yield from _time_paths(kind.elementType, path)
        case MapType():
            yield from _time_paths(kind.valueType, path)
        case TimestampType():
            yield ".".join(path)


def _check_times(event: EventType) -> None:
    """Refuse a form of times that is not known, or is for no TIMESTAMP."""
    there = list(_time_paths(event.wire))
    if not isinstance(event.times, str | Mapping) or (
        not isinstance(event.times, str) and (unknown := [p for p in event.times if p not in there])
    ):
        raise InputError(
            "times is a form, or a mapping: path of a TIMESTAMP → form",
            found=f"no TIMESTAMP {unknown[0]!r}" if isinstance(event.times, Mapping) else repr(event.times),
            fix=f"choose from {', '.join(there)}",
        )  # fmt: skip
    for path in there:
        times(event.time_form(path), path)


def _found(name: str, columns: StructType) -> str:
    """Say what is wrong with the column that was given as the event time."""
    there = name in columns.names
    return f"{name} {type_name(columns[name].dataType)}" if there else f"no column {name!r}"


def _check_tombstones(event: EventType) -> None:
    """Refuse a type whose events could not be tombstones, which have a key and nothing else."""
    if event.tombstones == "quarantine":
        return
    others = [name for name in event.required if name != event.key]
    if event.tombstones != "keep" or event.key is None or others or event.event_time != KAFKA_TIME:
        raise InputError(
            'tombstones are "quarantine" or "keep"; kept ones have a key, and all other columns are null',
            found=f"tombstones={event.tombstones!r}, key={event.key!r}, event_time={event.event_time!r}, NOT NULL: {', '.join(others) or 'none'}",
            fix='give key="…" and event_time="kafka_timestamp", and let all other columns be null',
        )  # fmt: skip


def _checked_fields(
    fields: Mapping[str, str | tuple[str, ...]], columns: StructType
) -> dict[str, str | tuple[str, ...]]:
    """Return column → field where they differ; refuse an unknown column, and a field of two columns."""
    if not isinstance(fields, Mapping) or (
        unknown := sorted(set(fields) - set(columns.names), key=str)
    ):
        raise InputError(
            "fields is a mapping: column → its name in the event",
            found=f"no column {unknown[0]!r}" if isinstance(fields, Mapping) else repr(fields),
            fix=f"choose from {', '.join(columns.names)}",
        )
    for column, name in fields.items():
        if isinstance(name, tuple):
            leads = len(name) > 1 and _at(name, columns) == columns[column].dataType
            if leads and not isinstance(fields.get(name[0]), tuple):
                continue
            raise InputError(
                f"the path of column {column!r} does not lead to a field of its type", found=repr(name),
                fix="give the names through the structs of the schema, such as ('device', 'os')",
            )  # fmt: skip
        if not isinstance(name, str) or not name or _NO_FIELD & set(name) or _no_text(name):
            raise InputError(
                f"the field of column {column!r} has a name that cannot be read", found=repr(name),
                fix="use a name without quotes, backslashes, question marks and control characters",
            )  # fmt: skip
    names = [fields.get(column, column) for column in columns.names]
    if twice := [name for name in names if isinstance(name, str) and names.count(name) > 1]:
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
