"""Malformed messages, mixed in on purpose: a reader must survive them without losing a good event."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import DataType, DecimalType, IntegralType, StringType

from rta.errors import InputError
from rta.events.event_types import USER_EVENTS, EventType
from rta.events.json_format import json_column

POISON: Final[Mapping[str, str]] = {
    "truncated": "the first half of the message",
    "trailing": "a second object after the first: a naive parser drops it in silence",
    "array": "the event inside [ ]",
    "wrong_type": "a word where a number belongs",
    "wrong_time": "a word where an instant belongs",
    "deep": "2,000 nested arrays",
    "exponent": "the number 1e400",
    "duplicate_key": "a number given twice, with two values",
    "bom": "a byte order mark before the object",
    "nan": "NaN, which is not JSON",
    "infinity": "Infinity, which is not JSON",
    "minus_infinity": "-Infinity, which is not JSON",
    "empty": "no bytes at all",
    "invalid_utf8": "the byte FF inside a text",
    "nul": "the byte 00 inside a text",
    "escaped_nul": r"\u0000 inside a text: legal JSON that no PostgreSQL text can hold",
    "null_value": "no value: Kafka's tombstone",
    "null_required": "null in a required column",
    "missing_required": "a required column left out",
    "decimal_overflow": "a number of 20 digits and a fraction",
    "integer_overflow": "2^63: one more than a BIGINT holds",
    "future": "an event time in the year 2099",
}
"""Every kind of poison: its name, and what it means."""


def poisoned(
    events: DataFrame,
    *,
    event: EventType = USER_EVENTS,
    share: float = 0.01,
    seed: int = 0,
    kinds: Sequence[str] = tuple(POISON),
) -> DataFrame:
    """Turn typed events into messages, and add malformed ones beside a share of them.

    Poison is added, it replaces no event: the good messages are exactly those that publish() would send. A bad message is made from
    the event beside it, with the kind added to its event_id, so that it shows if a reader takes it for good.

    Args:
        events: The good ones.
        event: Their type.
        share: The share of the events that get a bad one beside them.
        seed: Another seed chooses other events.
        kinds: Some of `POISON`.

    Returns:
        key BINARY, value BINARY, reported_at TIMESTAMP (event time if the events have none) and poison STRING: the kind, null for a good
        one. publish() sends key and value alone.

    Example:
        >>> events = rta.user_events(spark, rows=1)
        >>> poisoned(events, share=1, kinds=["exponent"]).selectExpr("string(value) like '%1e400%' bad", "poison").show()
        +-----+--------+
        |  bad|  poison|
        +-----+--------+
        |false|    NULL|
        | true|exponent|
        +-----+--------+
        <BLANKLINE>
    """
    unknown = sorted(set(kinds) - set(POISON))
    if unknown or not kinds:
        raise InputError(
            "unknown kinds of poison", found=unknown, fix=f"choose from {', '.join(POISON)}"
        )
    if not 0 <= share <= 1:
        raise InputError("share is a number from 0 to 1", found=share, fix="correct it")

    chance = F.shiftrightunsigned(F.xxhash64(_json(event), F.lit(seed)), 11)
    kind = F.element_at(F.array(*map(F.lit, kinds)), (chance % len(kinds) + 1).cast("int"))
    good = F.array(F.lit(None).cast("string"))
    both = F.when(chance < int(share * 2**53), F.concat(good, F.array(kind))).otherwise(good)
    marked = events.withColumn("poison", F.explode(both)).withColumn(
        "event_id", F.concat_ws("-", "event_id", "poison")
    )
    value = F.when(F.col("poison").isNull(), _json(event).cast("binary"))
    bad = _bad_values(event)
    for name in kinds:
        value = value.when(F.col("poison") == name, bad[name])
    arrival = "reported_at" if "reported_at" in events.columns else event.event_time
    return marked.select(
        (F.col(event.key) if event.key else F.lit(None)).cast("string").cast("binary").alias("key"),
        value.alias("value"),
        F.col(arrival).alias("reported_at"),
        "poison",
    )


def _bad_values(event: EventType) -> dict[str, Column]:
    """Build, for each kind, the value of a bad message (BINARY) from the columns of a good event."""
    whole = _json(event)
    half = F.floor(F.length(whole) / 2).cast("int")
    number = _required(event, DecimalType, IntegralType)
    integer = _required(event, IntegralType, DecimalType)
    text = _required(event, StringType)
    spoilt = {
        "wrong_type": (number, b'"many"'),
        "wrong_time": (event.event_time, b'"yesterday"'),
        "deep": (number, b"[" * 2_000 + b"]" * 2_000),
        "exponent": (number, b"1e400"),
        "nan": (number, b"NaN"),
        "infinity": (number, b"Infinity"),
        "minus_infinity": (number, b"-Infinity"),
        "invalid_utf8": (text, b'"a\xffb"'),
        "nul": (text, b'"a\x00b"'),
        "escaped_nul": (text, b'"a\\u0000b"'),
        "null_required": (number, b"null"),
        "decimal_overflow": (number, b"12345678901234567890.12"),
        "integer_overflow": (integer, b"9223372036854775808"),
        "future": (event.event_time, b'"2099-01-01T00:00:00.000000Z"'),
    }
    return {
        "truncated": F.substring(whole, F.lit(1), half).cast("binary"),
        "trailing": F.concat(whole, whole).cast("binary"),
        "array": F.concat(F.lit("["), whole, F.lit("]")).cast("binary"),
        "bom": F.concat(F.lit(b"\xef\xbb\xbf"), whole.cast("binary")),
        "empty": F.lit(b""),
        "null_value": F.lit(None).cast("binary"),
        "duplicate_key": _with(event, number, b"1", keep=True),
        "missing_required": _json(event, without=number).cast("binary"),
        **{kind: _with(event, field, raw) for kind, (field, raw) in spoilt.items()},
    }


def _with(event: EventType, field: str, raw: bytes, *, keep: bool = False) -> Column:
    """Build the event's JSON with raw bytes as one field's value, in the field's place or before it."""
    rest = _json(event, without=None if keep else field)
    head = b'{"' + event.field(field).encode() + b'":' + raw + b","
    return F.concat(F.lit(head), F.substring(rest, 2, 2**30).cast("binary"))


def _json(event: EventType, *, without: str | None = None) -> Column:
    """Write the event as its producer does, one column left out perhaps."""
    return json_column([F.col(c).alias(event.field(c)) for c in event.columns if c != without])


def _required(event: EventType, *kinds: type[DataType]) -> str:
    """Return a required column of the first of these kinds that the event has; never its event_id."""
    for kind in kinds:
        for field in event.schema.fields:
            if isinstance(field.dataType, kind) and not field.nullable and field.name != "event_id":
                return field.name
    raise InputError(
        f"{event.name!r} has no required column that can be spoilt",
        found=event,
        fix="leave out such kinds",
    )
