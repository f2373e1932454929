"""From the parameters and values that a person gives to a query to those that the database takes, or an error that names them."""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from rta.errors import InputError, TableError
from rta.store.columns import MARK, encode, timestamp_text
from rta.store.nested import INTEGERS, microseconds
from rta.values import python_value

if TYPE_CHECKING:
    from pyspark.sql.types import StructField

_TAKEN: Final = (bool, int, float, str, bytes, Decimal, dt.datetime, dt.date, dt.time, dt.timedelta)
_EXACT: Final = 2**53  # beyond it a float stands for more than one integer
_PARAMETER: Final = r"(?<![\w:]):(?P<name>[^\W\d]\w*)"
_SKIPPED: Final = r"'(?:[^']|'')*' | \"(?:[^\"]|\"\")*\" | --[^\n]*"
_TOKENS: Final = {
    "sqlite": re.compile(
        rf"{_SKIPPED} | `[^`]*` | \[[^\]]*\] | /\*.*?(?:\*/|\Z) | {_PARAMETER}",
        re.VERBOSE | re.DOTALL,
    ),
    "postgresql": re.compile(
        rf"\b[eE]'(?:[^'\\]|\\.|'')*' | {_SKIPPED} | (?<![\w$])(\$(?:[^\W\d]\w*)?\$).*?\1 | (?P<comment>/\*) | :: | {_PARAMETER}",
        re.VERBOSE | re.DOTALL,
    ),
}


def bind(query: str, params: Mapping[str, Any], dialect: str) -> sa.TextClause:
    """Give a query's `:name` parameters their values.

    A colon in a string, a quoted name, a comment or a cast (`::`) is no parameter. A list becomes `(…, …)`, for IN.

    Raises:
        InputError: A parameter has no value, a value has no parameter, or no database takes it.

    >>> import numpy
    >>> bound = bind("SELECT ':u' WHERE u = :u", {"u": numpy.int64(7)}, "sqlite").compile()
    >>> print(bound, bound.params)
    SELECT ':u' WHERE u = :u {'u': 7}
    """
    if not isinstance(params, Mapping):
        raise InputError(
            "the parameters of a query are a mapping: name → value",
            found=type(params).__name__,
            fix='write :name in the query, and give {"name": value}',
        )
    text, at = "", 0
    asked: list[str] = []
    while token := _TOKENS[dialect].search(query, at):
        end, name = token.end(), token["name"]
        if token.groupdict().get("comment"):
            end = _comment_end(query, end)
        if name is None:
            text += _escaped(query[at:end])
        else:
            text += _escaped(query[at : token.start()]) + f":{name}"
            asked.append(name)
        at = end
    if missing := [name for name in asked if name not in params]:
        raise InputError(
            f"the query has a parameter :{missing[0]} without a value",
            found=f"values for {', '.join(map(repr, params)) or 'none'}",
            fix=f'give {{"{missing[0]}": …}}',
        )
    if unused := [name for name in params if name not in asked]:
        raise InputError(
            f"the query has no parameter :{unused[0]}",
            found=query,
            fix="write it without quotes around it, or leave its value out",
        )
    values = [_parameter(name, given, dialect) for name, given in params.items()]
    return sa.text(text + _escaped(query[at:])).bindparams(*values)


def _escaped(text: str) -> str:
    """Keep SQLAlchemy from taking a colon for a parameter."""
    return text.replace(":", r"\:")


def _comment_end(query: str, at: int) -> int:
    """Find the end of a comment of PostgreSQL, which may hold comments."""
    depth = 1
    for mark in re.compile(r"/\*|\*/").finditer(query, at):
        depth += 1 if mark[0] == "/*" else -1
        if not depth:
            return mark.end()
    return len(query)


def _parameter(name: str, given: Any, dialect: str) -> sa.BindParameter[Any]:
    who, many = f"parameter {name!r}", is_list(given)
    values = [_driver_value(who, each, dialect) for each in (given if many else [given])]
    if not values:
        raise InputError(
            f"{who} is an empty list", fix="give at least one value, or leave the condition out"
        )
    # Without a type: the database itself finds it, as for a value that is written into the query.
    return sa.bindparam(name, values if many else values[0], sa.types.NullType(), expanding=many)


def _driver_value(who: str, given: Any, dialect: str) -> Any:
    """Return a value as the driver takes it if no column says its type."""
    value = _taken(who, given)
    if dialect != "sqlite":
        return value
    if type(value) is int and not -(2**63) <= value < 2**63:
        raise InputError(
            f"{who} is larger than an INTEGER of SQLite", found=value, fix="give a Decimal"
        )
    match value:
        case dt.datetime():
            value = timestamp_text(value)
        case dt.date():
            value = value.isoformat()
        case dt.time():
            value = value.isoformat("microseconds")
        case dt.timedelta():
            value = microseconds(value)
        case float() if math.isnan(value):
            value = MARK + "NaN"
        case Decimal():
            value = f"{value:f}"
    return value


def column_value(field: StructField, given: Any, dialect: str) -> Any:
    """Return a value to compare a column with, as the column's own Python type; None if it is missing.

    Raises:
        InputError: The column cannot hold the value exactly.

    >>> import numpy
    >>> from pyspark.sql.types import LongType, StructField
    >>> column_value(StructField("n", LongType()), numpy.int32(7), "sqlite")
    7
    >>> column_value(StructField("n", LongType()), "7", "sqlite")
    Traceback (most recent call last):
    rta.errors.InputError: column 'n' is BIGINT and cannot hold the value in `where`; found: '7' (str); fix: give an int
    """
    kind = field.dataType.typeName()
    value = _taken(f"the value for column {field.name!r}", given)
    if kind in INTEGERS and type(value) in (float, Decimal):
        whole = abs(value) < _EXACT and value == int(value) if math.isfinite(value) else False
        value = int(value) if whole else value
    try:
        encode(field.__class__(field.name, field.dataType), [value], dialect)
    except TableError:
        raise InputError(
            f"column {field.name!r} is {field.dataType.simpleString().upper()} and cannot hold the value in `where`",
            found=f"{given!r} ({type(given).__name__})",
            fix=f"give {_WANTED.get(kind, 'a number')}",
        ) from None
    return value


_WANTED: Final = {
    **dict.fromkeys(INTEGERS, "an int"),
    "decimal": "a Decimal with no more digits than the column has",
    "string": "a str",
    "boolean": "a bool",
    "date": "a datetime.date",
    "timestamp": "a datetime with its zone",
    "time": "a datetime.time",
    "daytimeinterval": "a datetime.timedelta",
    "binary": "bytes",
}


def _taken(who: str, given: Any) -> Any:
    """Return a value as one of the Python types that databases take; None if it is missing."""
    value = python_value(who, given)
    if value is None:
        return None
    if isinstance(value, (bytearray, memoryview)):
        value = bytes(value)
    if not isinstance(value, _TAKEN):
        raise InputError(
            f"{who} has a type that no database takes",
            found=f"{given!r} ({type(given).__name__})",
            fix="give str, int, float, Decimal, bool, bytes, date, time, timedelta or a datetime with its zone",
        )
    if isinstance(value, dt.datetime) and value.tzinfo is None:
        raise InputError(
            f"{who} is a moment without a zone",
            found=given,
            fix="give its zone: moment.replace(tzinfo=datetime.UTC), or pandas' tz_localize('UTC')",
        )
    return value


def is_list(given: Any) -> bool:
    """Return whether a value is a list of values: list, tuple, set, range, NumPy array, pandas Series or Index.

    >>> is_list(("a", "b")), is_list("ab")
    (True, False)
    """
    if isinstance(given, (str, bytes, bytearray, memoryview, Mapping)):
        return False
    if isinstance(given, (Sequence, AbstractSet)):
        return True
    return hasattr(given, "__array__") and getattr(given, "ndim", 0) == 1
