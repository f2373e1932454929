"""What a person gives to a query: named parameters and values, into what the database takes, or an error that names them."""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from rta.errors import InputError, TableError
from rta.store.columns import MARK, encode, timestamp_text
from rta.values import python_value

if TYPE_CHECKING:
    from pyspark.sql.types import StructField

_TAKEN: Final = (bool, int, float, str, bytes, Decimal, dt.datetime, dt.date)
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


def bind(query: str, params: Mapping[str, Any], dialect: str) -> tuple[str, dict[str, Any]]:
    """Write a query with `:name` parameters in the words of the database's driver, and its values beside it.

    A colon in a string, a quoted name, a comment or a cast (`::`) is no parameter. A list becomes `(…, …)`, for IN.

    Raises:
        InputError: for a parameter that is missing, one that is not in the query, and a value that no database takes.

    >>> import numpy
    >>> bind("SELECT ':u' WHERE u = :u AND n IN :n", {"u": numpy.int64(7), "n": [1, 2]}, "sqlite")
    ("SELECT ':u' WHERE u = :u AND n IN (:n_0, :n_1)", {'u': 7, 'n_0': 1, 'n_1': 2})
    >>> bind("SELECT '5%'::text, :u::bigint", {"u": 7}, "postgresql")
    ("SELECT '5%%'::text, %(u)s::bigint", {'u': 7})
    """
    if not isinstance(params, Mapping):
        raise InputError(
            "the parameters of a query are a mapping: name → value",
            found=type(params).__name__,
            fix='write :name in the query, and give {"name": value}',
        )
    pieces, at, asked = [], 0, dict.fromkeys(params, False)
    values: dict[str, Any] = {}
    literal = (lambda text: text.replace("%", "%%")) if dialect == "postgresql" else str
    while token := _TOKENS[dialect].search(query, at):
        end, name = token.end(), token["name"]
        if token.groupdict().get("comment"):
            end = _comment_end(query, end)
        piece = literal(query[at:end])
        if name is not None:
            if name not in params:
                raise InputError(
                    f"the query has a parameter :{name} without a value",
                    found=f"values for {', '.join(map(repr, params)) or 'none'}",
                    fix=f'give {{"{name}": …}}',
                )
            asked[name] = True
            new = _values(name, params[name], dialect)
            values |= new
            slots = [f":{each}" if dialect == "sqlite" else f"%({each})s" for each in new]
            listed = f"({', '.join(slots)})" if is_list(params[name]) else slots[0]
            piece = literal(query[at : token.start()]) + listed
        pieces.append(piece)
        at = end
    if unused := [name for name, used in asked.items() if not used]:
        raise InputError(
            f"the query has no parameter :{unused[0]}",
            found=query,
            fix="write it without quotes around it, or leave its value out",
        )
    return "".join(pieces) + literal(query[at:]), values


def _comment_end(query: str, at: int) -> int:
    """Find the end of a comment that may hold comments, as PostgreSQL's may."""
    depth = 1
    for mark in re.compile(r"/\*|\*/").finditer(query, at):
        depth += 1 if mark[0] == "/*" else -1
        if not depth:
            return mark.end()
    return len(query)


def _values(name: str, given: Any, dialect: str) -> dict[str, Any]:
    who = f"parameter {name!r}"
    if not is_list(given):
        return {name: _driver_value(who, given, dialect)}
    values = {f"{name}_{n}": _driver_value(who, each, dialect) for n, each in enumerate(given)}
    if not values:
        raise InputError(
            f"{who} is an empty list", fix="give at least one value, or leave the condition out"
        )
    return values


def _driver_value(who: str, given: Any, dialect: str) -> Any:
    """Return a value as the driver takes it where no column says its type."""
    value = _taken(who, given)
    if dialect != "sqlite":
        return value
    if type(value) is int and not -(2**63) <= value < 2**63:
        raise InputError(
            f"{who} is larger than an INTEGER of SQLite", found=value, fix="give a Decimal"
        )
    if isinstance(value, dt.datetime):
        return timestamp_text(value)
    if isinstance(value, dt.date):
        return value.isoformat()
    if isinstance(value, float) and math.isnan(value):
        return MARK + "NaN"
    return f"{value:f}" if isinstance(value, Decimal) else value


def column_value(field: StructField, given: Any, dialect: str) -> Any:
    """Return a value to compare a column with, as the column's own Python type; None for what is missing.

    Raises:
        InputError: if the column cannot hold the value exactly.

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
    if kind in ("byte", "short", "integer", "long") and type(value) in (float, Decimal):
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
    **dict.fromkeys(("byte", "short", "integer", "long"), "an int"),
    "decimal": "a Decimal with no more digits than the column has",
    "string": "a str",
    "boolean": "a bool",
    "date": "a datetime.date",
    "timestamp": "a datetime with its zone",
    "binary": "bytes",
}


def _taken(who: str, given: Any) -> Any:
    """Return a value as one of the Python types that databases take; None for what is missing."""
    value = python_value(who, given)
    if value is None:
        return None
    if isinstance(value, (bytearray, memoryview)):
        value = bytes(value)
    if not isinstance(value, _TAKEN):
        raise InputError(
            f"{who} has a type that no database takes",
            found=f"{given!r} ({type(given).__name__})",
            fix="give str, int, float, Decimal, bool, bytes, date or a datetime with its zone",
        )
    if isinstance(value, dt.datetime) and value.tzinfo is None:
        raise InputError(
            f"{who} is a moment without a zone",
            found=given,
            fix="say which it is: moment.replace(tzinfo=datetime.UTC), or pandas' tz_localize('UTC')",
        )
    return value


def is_list(given: Any) -> bool:
    """Tell whether a value is many: list, tuple, set, range, NumPy array, pandas Series or Index.

    >>> is_list(("a", "b")), is_list("ab")
    (True, False)
    """
    if isinstance(given, (str, bytes, bytearray, memoryview, Mapping)):
        return False
    if isinstance(given, (Sequence, AbstractSet)):
        return True
    return hasattr(given, "__array__") and getattr(given, "ndim", 0) == 1
