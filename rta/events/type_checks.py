"""The checks of an event type, made before anything else: its columns, the event time, fields, times and tombstones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final

from pyspark.sql.types import (
    ArrayType,
    DataType,
    MapType,
    StringType,
    StructField,
    StructType,
    TimestampType,
)

from rta.errors import InputError
from rta.events.ddl import type_name
from rta.events.times import require_form
from rta.names import checked

if TYPE_CHECKING:
    from rta.events.event_types import EventType

ORIGIN: Final = ("topic", "partition", "offset", "kafka_timestamp")
RAW: Final = ("key", "value", "headers")
KAFKA_TIME: Final = "kafka_timestamp"
RESERVED: Final = {*ORIGIN, *RAW, "reason"}
FROM_PATH: Final = "event_time"  # the column of an event time that stands deeper inside
_LEAVES: Final = frozenset(
    ("string", "boolean", "byte", "short", "integer", "long", "float", "double", "decimal", "date", "timestamp", "timestamp_ntz", "binary")
)  # fmt: skip
# What JSON writes with an escape, Spark's variant paths cannot name, and what bytes that are no UTF-8 become.
UNREADABLE: Final = frozenset('"\\?\ufffd\x7f') | frozenset(map(chr, range(32)))


def checked_columns(schema: StructType) -> StructType:
    """Refuse a schema with an illegal or reserved name, two columns of one name, or a type without a rule."""
    if not isinstance(schema, StructType) or not len(schema):
        raise InputError(
            "the schema of an event type has columns", found=repr(schema)[:200],
            fix="give a StructType, or a text such as 'user_id BIGINT NOT NULL, at TIMESTAMP NOT NULL'",
        )  # fmt: skip
    seen: set[str] = set()
    for each in schema:
        name = checked("column", each.name)
        if name.casefold() in RESERVED or name.startswith("_"):
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
                if not each.name or UNREADABLE & set(each.name) or _no_text(each.name):
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
        case _ if kind.typeName() in _LEAVES and kind.simpleString() not in ("void", "udt"):
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


def with_event_time(
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
    if FROM_PATH in (name.casefold() for name in columns.names):
        raise InputError(
            f"the event time at {'.'.join(path)!r} would be the column {FROM_PATH!r}, which is there",
            fix="name its column yourself: a TIMESTAMP column `happened`, with fields={'happened': ('meta', 'at')}",
        )
    added = StructType([*columns, StructField(FROM_PATH, TimestampType())])
    return added, {**fields, FROM_PATH: path}


def required_at(paths: set[tuple[str, ...]], columns: StructType) -> StructType:
    """Make the fields on these paths required."""
    made = []
    for each in columns:
        below = {path[1:] for path in paths if path[0] == each.name}
        deeper = {path for path in below if path}
        kind = each.dataType
        if deeper and isinstance(kind, StructType):
            kind = required_at(deeper, kind)
        made.append(StructField(each.name, kind, each.nullable and not below, each.metadata))
    return StructType(made)


def time_paths(kind: DataType, path: tuple[str, ...] = ()) -> Iterator[str]:
    """Yield the paths of the TIMESTAMPs of a type; arrays and maps add no part.

    >>> list(time_paths(StructType().add("meta", StructType().add("at", "timestamp"))))
    ['meta.at']
    """
    match kind:
        case StructType():
            for each in kind:
                yield from time_paths(each.dataType, (*path, each.name))
        case ArrayType():
            yield from time_paths(kind.elementType, path)
        case MapType():
            yield from time_paths(kind.valueType, path)
        case TimestampType():
            yield ".".join(path)


def check_times(event: EventType) -> None:
    """Refuse a form of times that is not known, or is for no TIMESTAMP."""
    there = list(time_paths(event.wire))
    if not isinstance(event.times, str | Mapping) or (
        not isinstance(event.times, str) and (unknown := [p for p in event.times if p not in there])
    ):
        raise InputError(
            "times is a form, or a mapping: path of a TIMESTAMP → form",
            found=f"no TIMESTAMP {unknown[0]!r}" if isinstance(event.times, Mapping) else repr(event.times),
            fix=f"choose from {', '.join(there)}",
        )  # fmt: skip
    for path in there:
        require_form(event.time_form(path), path)


def found_instead(name: str, columns: StructType) -> str:
    """Say what is wrong with the column that was given as the event time."""
    there = name in columns.names
    return f"{name} {type_name(columns[name].dataType)}" if there else f"no column {name!r}"


def check_tombstones(event: EventType) -> None:
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


def checked_fields_of(
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
        if not isinstance(name, str) or not name or UNREADABLE & set(name) or _no_text(name):
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
