"""How the values of each type are written in an event that Spark's own parsers read: the plain form, and what is bad in another one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

from pyspark.sql import Column
from pyspark.sql import functions as F
from pyspark.sql.types import DataType

# Control characters and invalid UTF-8 are left to from_json and is_valid_utf8: a short class of characters is fast. A greedy class of
# characters is a loop in Java, an eighth faster for a whole event than a possessive one; only of groups a greedy one recurses.
STRING: Final = r'"[^"\\]*(?:\\(?:["\\/bfnrt]|u(?!0000|[dD][89a-fA-F])[0-9a-fA-F]{4})[^"\\]*)*+"'
_DATE: Final = r"(?!0000)[0-9]{4}-[0-9]{2}-[0-9]{2}"
_CLOCK: Final = r"[T ][0-9]{2}:[0-9]{2}:[0-9]{2}"
ZONE: Final = r"(?:Z|[+-][0-9]{2}:?[0-9]{2})"
ISO_BEGINNING: Final = _DATE + _CLOCK
_NUMBER: Final = r"-?(?:0|[1-9][0-9]{0,17})(?:\.[0-9]{1,18})?(?:[eE][+-]?0?[0-9])?"
_PLAIN_ZERO: Final = 6  # digits: Java writes a zero that has more as 0E-7
_DIGITS: Final = {"byte": 2, "short": 4, "integer": 9, "long": 18}


@dataclass(frozen=True)
class Token:
    """One field of an event as it is written.

    Attributes:
        type: Its type in the schema.
        kind: The type of what is written, such as BIGINT, DOUBLE, STRING.
        written: Its text.
        typed: What the parser made of it.
    """

    type: Any
    kind: Column
    written: Column
    typed: Column


@dataclass(frozen=True)
class Form:
    """How the values of a type are written.

    Attributes:
        plain: The pattern of the plain form, with its quotes.
        fault: Why another form is bad; null if it is good.
    """

    plain: Callable[[Any], str]
    fault: Callable[[Token], Column]


def _string_fault(token: Token) -> Column:
    return F.when(token.kind != "STRING", "wrong type").when(
        F.contains(token.typed, F.lit("\x00")), "NUL"
    )


def _boolean_fault(token: Token) -> Column:
    return F.when(token.kind != "BOOLEAN", "wrong type")


def _integer_fault(token: Token) -> Column:
    huge = F.abs(token.written.try_cast("double")) >= float(2**63)
    number = token.kind.rlike("^(?:DECIMAL|DOUBLE)")
    wrapped = token.written.try_cast("bigint") != token.typed  # from_json: 128 is -128 in a TINYINT
    return (
        F.when(number & huge, "out of range")
        .when(token.kind != "BIGINT", "wrong type")
        .when(wrapped, "out of range")
    )


def _double_fault(token: Token) -> Column:
    finite = F.abs(token.typed.cast("double")) < float("inf")
    return F.when(~token.kind.rlike("^(?:BIGINT|DECIMAL|DOUBLE)"), "wrong type").when(
        ~finite, "out of range"
    )


def _decimal_fault(token: Token) -> Column:
    number = token.kind.rlike("^(?:BIGINT|DECIMAL|DOUBLE)")
    decimal_text = (token.kind == "STRING") & token.written.rlike(r"\A-?[0-9]+(?:\.[0-9]+)?\z")
    size = F.abs(token.written.try_cast("double"))
    return (
        F.when(~(number | decimal_text), "wrong type")
        .when(size >= float(10 ** (token.type.precision - token.type.scale)), "out of range")
        .when(_digits_after(token.written) > token.type.scale, "inexact")
    )


def _digits_after(number: Column) -> Column:
    """Return how many digits after the point a number needs, written with or without an exponent."""
    digits = F.regexp_replace(F.regexp_extract(number, r"\A-?([0-9.]+)", 1), r"\.", "")
    after = F.length(F.regexp_extract(number, r"\.([0-9]+)", 1))
    zeros = F.length(digits) - F.length(F.rtrim(digits, F.lit("0")))
    exponent = F.coalesce(
        F.regexp_extract(number, r"[eE]([+-]?[0-9]+)\z", 1).try_cast("int"), F.lit(0)
    )
    return F.when(digits.rlike("[1-9]"), after - zeros - exponent).otherwise(0)


def timestamp_fault(token: Token, *, zone_needed: bool = True) -> Column:
    """Return why a text is no instant in ISO form, with at most six digits of a second; null if it is one."""
    clock = rf"\A[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}{_CLOCK}"
    return (
        F.when(
            (token.kind != "STRING") | ~token.written.rlike(rf"{clock}(?:\.[0-9]+)?{ZONE}?\z"),
            "wrong type",
        )
        .when(F.lit(zone_needed) & ~token.written.rlike(rf"{ZONE}\z"), "no zone")
        .when(token.written.rlike(r"\A0000"), "out of range")
        .when(token.written.rlike(r"\.[0-9]{7}"), "inexact")
    )


def _date_fault(token: Token) -> Column:
    return F.when((token.kind != "STRING") | ~token.written.rlike(rf"\A{_DATE}\z"), "wrong type")


def _plain_decimal(type_: Any) -> str:
    """Return the pattern of decimals that fit the type: few enough digits on both sides of the point."""
    before, after = type_.precision - type_.scale, type_.scale
    fraction = rf"(?:\.[0-9]{{1,{after}}})?" if after else ""
    number = rf"-?(?:0|[1-9][0-9]{{0,{before - 1}}}){fraction}" if before else rf"-?0{fraction}"
    zero = "0E-[0-9]{1,2}|" if after > _PLAIN_ZERO else ""
    return rf'(?:{zero}{number}|"{number}")'


def _plain_integer(type_: DataType) -> str:
    return rf"-?(?:0|[1-9][0-9]{{0,{_DIGITS[type_.typeName()] - 1}}})"


_INTEGER: Final = Form(_plain_integer, _integer_fault)
_DOUBLE: Final = Form(lambda _: _NUMBER, _double_fault)
FORMS: Final = {
    "string": Form(lambda _: STRING, _string_fault),
    "boolean": Form(lambda _: "true|false", _boolean_fault),
    "byte": _INTEGER,
    "short": _INTEGER,
    "integer": _INTEGER,
    "long": _INTEGER,
    "float": _DOUBLE,
    "double": _DOUBLE,
    "decimal": Form(_plain_decimal, _decimal_fault),
    "timestamp": Form(
        lambda _: rf'"{_DATE}{_CLOCK}(?:\.[0-9]{{1,6}})?{ZONE}"',
        timestamp_fault,
    ),
    "date": Form(lambda _: rf'"{_DATE}"', _date_fault),
}


def decimal_form(kind: DataType) -> Form:
    """Return the form of a DECIMAL, also where another type is read as one."""
    rule = FORMS["decimal"]
    return Form(lambda _: rule.plain(kind), lambda token: rule.fault(replace(token, type=kind)))
