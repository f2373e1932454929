"""Structs, arrays, maps and variants as JSON, and back in their Spark types: what a column of text can hold without a loss.

Decimals are numbers with all their digits, moments ISO 8601 in UTC, intervals microseconds or months, bytes base64; a map is an object, its
keys as text. A VARIANT comes as the JSON that Spark makes of it (rta.store.stored_types), and has no type to go back to: its numbers with a
point are Decimal.
"""

from __future__ import annotations

import base64
import datetime as dt
import json
import math
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

# A type is Spark's DataType, known by its name here: the command line reads tables, and does not load PySpark.
NESTED: Final = frozenset(("struct", "array", "map", "variant"))


def to_json(kind: Any, value: Any) -> str:
    """Write a value of a nested type.

    Args:
        kind: Its type.
        value: As PySpark and Arrow give it: a struct as Row or mapping, a map as mapping or as pairs.

    Raises:
        ValueError: The value is not of the type.

    Example:
        >>> from pyspark.sql.types import ArrayType, DecimalType, MapType, StringType
        >>> to_json(MapType(StringType(), ArrayType(DecimalType(4, 2))), {"a": [Decimal("1.50"), None]})
        '{"a":[1.50,null]}'
    """
    if value is None:
        return "null"
    match kind.typeName():
        case "struct":
            given = value.asDict() if hasattr(value, "asDict") else value
            return _object((each.name, to_json(each.dataType, given[each.name])) for each in kind)
        case "array":
            return "[" + ",".join(to_json(kind.elementType, each) for each in value) + "]"
        case "map":
            pairs = value.items() if isinstance(value, Mapping) else value
            return _object((_key(kind.keyType, k), to_json(kind.valueType, v)) for k, v in pairs)
        case "variant":
            json.loads(value)  # raises ValueError
            return str(value)
    return _leaf(value)


def from_json(kind: Any, text: str | None) -> Any:
    """Read a value that to_json() has written: a struct and a map as dict, an array as list.

    >>> from pyspark.sql.types import DateType, LongType, MapType
    >>> from_json(MapType(LongType(), DateType()), '{"7":"2024-11-15"}')
    {7: datetime.date(2024, 11, 15)}
    """
    return None if text is None else _typed(kind, json.loads(text, parse_float=Decimal))


def arrow_schema(columns: Any) -> Any:
    """Return the Arrow schema of a StructType, moments in UTC; a VARIANT is its JSON, a year-month INTERVAL its months."""
    from pyspark.sql.pandas.types import to_arrow_schema

    from rta.store.stored_types import stored_type

    return to_arrow_schema(stored_type(columns), timezone="UTC")


def spark_schema(schema: Any) -> Any:
    """Return the StructType of an Arrow schema.

    >>> from pyspark.sql.types import ArrayType, LongType, StructType
    >>> columns = StructType().add("n", ArrayType(LongType())).add("at", "timestamp")
    >>> spark_schema(arrow_schema(columns)) == columns
    True
    """
    from pyspark.sql.pandas.types import from_arrow_schema

    return from_arrow_schema(schema)


def arrow_value(kind: Any, value: Any) -> Any:
    """Return a value as Arrow takes it: a map as pairs, a variant as JSON.

    >>> from pyspark.sql.types import ArrayType, LongType, MapType
    >>> arrow_value(ArrayType(MapType(LongType(), LongType())), [{1: 2}])
    [[(1, 2)]]
    """
    if value is None:
        return None
    match kind.typeName():
        case "struct":
            return {each.name: arrow_value(each.dataType, value[each.name]) for each in kind}
        case "array":
            return [arrow_value(kind.elementType, each) for each in value]
        case "map":
            return [(k, arrow_value(kind.valueType, v)) for k, v in value.items()]
        case "variant":
            return _variant(value)
    return value


def _variant(value: Any) -> str:
    """Write what was read of a VARIANT, all digits of its numbers kept."""
    if isinstance(value, Mapping):
        return _object((name, _variant(each)) for name, each in value.items())
    if isinstance(value, list):
        return "[" + ",".join(map(_variant, value)) + "]"
    return str(value) if isinstance(value, Decimal) else json.dumps(value, ensure_ascii=False)


def _object(members: Any) -> str:
    return "{" + ",".join(f"{json.dumps(name, ensure_ascii=False)}:{text}" for name, text in members) + "}"  # fmt: skip


def microseconds(value: dt.timedelta) -> int:
    """Return how long an interval is, exactly.

    >>> microseconds(dt.timedelta(minutes=-1))
    -60000000
    """
    return value // dt.timedelta(microseconds=1)


def _interval(value: Any) -> dt.timedelta:
    return dt.timedelta(microseconds=int(value))


def _key(kind: Any, value: Any) -> str:
    text = to_json(kind, value)
    return str(json.loads(text)) if text.startswith('"') else text


def _leaf(value: Any) -> str:
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, dt.timedelta):
        return str(microseconds(value))
    text = _text(value)
    return json.dumps(value, ensure_ascii=False) if text is None else f'"{text}"'


def _text(value: Any) -> str | None:
    """Return what stands in quotes for a value; None if JSON has such values."""
    match value:
        case dt.datetime():
            utc = value.astimezone(dt.UTC).replace(tzinfo=None) if value.tzinfo else None
            return f"{(utc or value).isoformat(timespec='microseconds')}{'Z' if utc else ''}"
        case dt.date():
            return value.isoformat()
        case dt.time():
            return value.isoformat(timespec="microseconds")
        case bytes() | bytearray():
            return base64.b64encode(value).decode()
        case float() if not math.isfinite(value):
            return str(value)  # JSON has no NaN
    return None


def _typed(kind: Any, value: Any) -> Any:
    if value is None:
        return None
    match kind.typeName():
        case "struct":
            return {each.name: _typed(each.dataType, value.get(each.name)) for each in kind}
        case "array":
            return [_typed(kind.elementType, each) for each in value]
        case "map":
            return {_typed(kind.keyType, k): _typed(kind.valueType, v) for k, v in value.items()}
        case name if name in _READ:
            return _READ[name](value)
        case name:
            return int(value) if name in INTEGERS else value


def _boolean(value: Any) -> bool:
    return value is True or value == "true"  # the key of a map is text


INTEGERS: Final = ("byte", "short", "integer", "long", "yearmonthinterval")
_READ: Final[Mapping[str, Any]] = {
    "decimal": Decimal, "float": float, "double": float, "boolean": _boolean, "binary": base64.b64decode,
    "date": dt.date.fromisoformat, "timestamp": dt.datetime.fromisoformat, "timestamp_ntz": dt.datetime.fromisoformat,
    "time": dt.time.fromisoformat, "daytimeinterval": _interval,
}  # fmt: skip


def inner_types(kind: Any) -> Sequence[Any]:
    """List the types inside of a type, itself included, so that a table can refuse one that it cannot hold.

    >>> from pyspark.sql.types import ArrayType, LongType
    >>> [each.typeName() for each in inner_types(ArrayType(LongType()))]
    ['array', 'long']
    """
    match "udt" if kind.simpleString() == "udt" else kind.typeName():
        case "struct":
            below = [each.dataType for each in kind]
        case "array":
            below = [kind.elementType]
        case "map":
            below = [kind.keyType, kind.valueType]
        case _:
            below = []
    return [kind, *(inner for each in below for inner in inner_types(each))]
