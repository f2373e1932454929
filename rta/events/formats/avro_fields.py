"""Whether the columns of an event type have the types of their fields in Avro, or wider ones: known before anything is read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pyspark.sql.types import (
    ArrayType,
    BinaryType,
    BooleanType,
    DataType,
    DateType,
    DecimalType,
    DoubleType,
    FloatType,
    IntegerType,
    LongType,
    MapType,
    NullType,
    StringType,
    StructField,
    StructType,
    TimestampNTZType,
    TimestampType,
)

from rta.errors import InputError
from rta.events.event_types import EventType
from rta.events.times import EPOCHS

_PLAIN: Final[Mapping[str, DataType]] = {
    "int": IntegerType(), "long": LongType(), "float": FloatType(), "double": DoubleType(), "boolean": BooleanType(), "string": StringType(),
    "bytes": BinaryType(), "fixed": BinaryType(), "enum": StringType(),
}  # fmt: skip
_LOGICAL: Final[Mapping[Any, DataType]] = {
    ("int", "date"): DateType(), ("long", "timestamp-millis"): TimestampType(), ("long", "timestamp-micros"): TimestampType(),
    ("long", "local-timestamp-millis"): TimestampNTZType(), ("long", "local-timestamp-micros"): TimestampNTZType(),
}  # fmt: skip
# The types of a column that hold every value of what Avro has.
_WIDER: Final = {"int": {"bigint", "double"}, "float": {"double"}}
_DIGITS: Final = {"int": 10, "bigint": 19}


def require_fits(event: EventType, record: Mapping[str, Any]) -> None:
    """Refuse an event type that a schema does not fit. A field that the record does not have is null.

    Raises:
        InputError: A field has a type that does not fit its column, or the schema has itself inside.

    >>> require_fits(rta.EventType("t", "n STRING", "kafka_timestamp"), {"type": "record", "name": "r", "fields": [{"name": "n", "type": "int"}]})
    Traceback (most recent call last):
    rta.errors.InputError: the column at 'n' does not have the type of its field; found: int in Avro, string in the event type; fix: give the column the type of the field, or a wider one
    """
    fields: Any = sql_type(record, {}, ())
    there = {each.name: each.dataType for each in fields}
    for column in event.wire:
        if event.field(column.name) in there:
            _require(column.dataType, there[event.field(column.name)], (column.name,), event)


def sql_type(schema: Any, named: dict[str, Any], around: tuple[str, ...]) -> DataType:  # noqa: PLR0911 - one for each kind
    """Return the type that Spark gives a schema; of a union of several types VOID, but for numbers of two sizes.

    Args:
        schema: Avro's own, as JSON has it.
        named: The schemas with a name that stand before this one.
        around: The names of the records that it is inside of.

    >>> sql_type(["null", {"type": "array", "items": "long"}], {}, ()).simpleString()
    'array<bigint>'
    """
    if isinstance(schema, list):
        return _widest([sql_type(each, named, around) for each in schema if each != "null"])
    told = schema if isinstance(schema, dict) else {"type": schema}
    kind, name = told["type"], told.get("name")
    if not isinstance(kind, str):
        return sql_type(kind, named, around)
    if kind in around:
        raise InputError("an Avro schema that has itself inside cannot be read", found=kind, fix="leave the topic to Avro's own readers")  # fmt: skip
    if kind in named:
        return sql_type(named[kind], named, around)
    if name:
        named |= {name: told, f"{told.get('namespace')}.{name}": told}
    match kind:
        case "record":
            return StructType([StructField(each["name"], sql_type(each["type"], named, (*around, str(name)))) for each in told["fields"]])  # fmt: skip
        case "array":
            return ArrayType(sql_type(told["items"], named, around))
        case "map":
            return MapType(StringType(), sql_type(told["values"], named, around))
        case "bytes" | "fixed" if told.get("logicalType") == "decimal":
            return DecimalType(told["precision"], told.get("scale", 0))
    return _LOGICAL.get((kind, told.get("logicalType"))) or _PLAIN.get(kind, NullType())


def _widest(branches: list[DataType]) -> DataType:
    """Return the type of a union: that of its one branch beside null, or the wider one of two numbers."""
    found = {each.simpleString(): each for each in branches}
    if len(found) == 1:
        return branches[0]
    return next((found[wide] for wide in ("bigint", "double") if set(found) in ({"int", wide}, {"float", wide})), NullType())  # fmt: skip


def _require(kind: DataType, there: DataType, path: tuple[str, ...], event: EventType) -> None:
    """Refuse a column that does not have the type of its field."""
    match kind, there:
        case StructType(), StructType():
            for each in kind:
                inside = there[each.name].dataType if each.name in there.names else None
                if inside is None:
                    raise _misfit((*path, each.name), None, each.dataType, event)
                _require(each.dataType, inside, (*path, each.name), event)
        case ArrayType(), ArrayType():
            _require(kind.elementType, there.elementType, path, event)
        case MapType(), MapType():
            _require(kind.valueType, there.valueType, path, event)
        case _ if not _fits(kind, there, event.time_form(".".join(path))):
            raise _misfit(path, there, kind, event)


def _fits(kind: DataType, there: DataType, form: str) -> bool:
    """Tell whether a column holds every value of a field; `form` is that of its times, if it has some."""
    wanted, found = kind.simpleString(), there.simpleString()
    if isinstance(kind, TimestampType | TimestampNTZType) and found != wanted:
        return found in (
            ("int", "bigint") if wanted == "timestamp" and form in EPOCHS else ("string",)
        )
    if isinstance(kind, DecimalType) and found in _DIGITS:
        return kind.precision - kind.scale >= _DIGITS[found]
    return found == wanted or wanted in _WIDER.get(found, ())


def _misfit(path: tuple[str, ...], there: DataType | None, kind: DataType, event: EventType) -> InputError:  # fmt: skip
    place = ".".join((event.field(path[0]), *path[1:]))
    found = f"{there.simpleString()} in Avro" if there else "no such field in Avro"
    return InputError(
        f"the column at {place!r} does not have the type of its field", found=f"{found}, {kind.simpleString()} in the event type",
        fix="give the column the type of the field, or a wider one",
    )  # fmt: skip
