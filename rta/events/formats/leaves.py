"""How JSON writes each value that has nothing inside, and how it is read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from pyspark.sql import Column
from pyspark.sql import functions as F
from pyspark.sql.types import (
    BinaryType,
    DataType,
    StringType,
    TimestampNTZType,
    TimestampType,
)

from rta.events.event_types import EventType
from rta.events.field_rules import FORMS, ISO_BEGINNING, Form, Token, timestamp_fault
from rta.events.times import ISO, times

# The last character has no bits that would be dropped.
_BASE64: Final = (
    r"(?:[A-Za-z0-9+/]{4})*+(?:[A-Za-z0-9+/][AQgw]==|[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=)?+"
)
_CLOCK: Final = rf"{ISO_BEGINNING}(?:\.[0-9]{{1,6}})?"
_NOT_FINITE: Final = '"NaN"|"-?Infinity"'


@dataclass(frozen=True)
class Leaf:
    """How a value is written and read.

    Attributes:
        reads: The type that from_json is asked for.
        rule: The forms of its text.
        value: The value in the type of the schema of what was read.
        converts: Whether that is more than what was read.
        written: What JSON and CSV are to write of a value; None if that is the value.
    """

    reads: DataType
    rule: Form
    value: Callable[[Column], Column] = lambda read: read
    converts: bool = False
    written: Callable[[Column], Column | None] = lambda _: None


def leaf_of(kind: DataType, path: str, event: EventType) -> Leaf:
    """Return how the value at a path is written.

    >>> leaf_of(TimestampType(), "timestamp", rta.USER_EVENTS).reads
    TimestampType()
    """
    match kind:
        case TimestampType():
            form = times(event.time_form(path), path)
            return Leaf(
                form.reads, form.rule, form.value, converts=form.form != ISO, written=form.written
            )
        case TimestampNTZType():
            written = Form(lambda _: f'"{_CLOCK}"', _clock_fault)
            return Leaf(StringType(), written, lambda read: read.try_cast(kind), converts=True)
        case BinaryType():
            return Leaf(kind, Form(lambda _: f'"{_BASE64}"', _base64_fault))
    rule = FORMS[kind.typeName()]
    if kind.typeName() in ("float", "double") and getattr(event.format, "nan", False):
        named = Form(lambda given: f"{rule.plain(given)}|{_NOT_FINITE}", _number_fault)
        return Leaf(StringType(), named, lambda read: read.try_cast(kind), converts=True)
    return Leaf(kind, rule)


def _clock_fault(token: Token) -> Column:
    zone = token.written.rlike(r"(?:Z|[+-][0-9]{2}:?[0-9]{2})\z")
    return F.coalesce(F.when(zone, "wrong type"), timestamp_fault(token, zone_needed=False))


def _base64_fault(token: Token) -> Column:
    good = (token.kind == "STRING") & token.written.rlike(rf"\A{_BASE64}\z")
    return F.when(~F.coalesce(good, F.lit(False)), "wrong type")  # noqa: FBT003


def _number_fault(token: Token) -> Column:
    named = (token.kind == "STRING") & token.written.rlike(r"\A(?:NaN|-?Infinity)\z")
    return F.when(~named, FORMS["double"].fault(token))


def once(value: Column, step: Callable[[Column], Column]) -> Column:
    """Apply a step to a value that is computed once, however often the step uses it."""
    return F.transform(F.array(value), step)[0]
