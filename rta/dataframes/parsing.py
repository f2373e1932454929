"""parse(): Kafka's raw rows → typed columns and, where an event is bad, the reason. Nothing is dropped, rounded or guessed.

Spark's from_json accepts bad events silently (tests/dataframes/test_quarantine.py has the list): it rounds 99.999 into
DECIMAL(12,2), reads "1,5" as 15, the last of two equal keys, "2024" as a timestamp, 5 as the string "5", and ignores
whatever follows the object. So an event takes one of three ways, each slower than the one before:

- Plain: the event is written as its producer writes it by default (rta.dataframes.fast_path). Nearly all events.
- Any order: from_json reads it, and a regular expression, built from the schema, describes it wholly: known fields, each at
  most once, every value in the form of its type and inside its range, nothing after the object.
- All others are parsed once more, as a variant, and each field is validated (rta.dataframes.validation). Most are bad; the
  good ones have fields that the schema does not know, or unusual forms.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache, reduce
from operator import and_
from typing import Final

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StructField, StructType

from rta.dataframes.fast_path import plain
from rta.dataframes.validation import validated
from rta.errors import InputError
from rta.events.event_types import ORIGIN, RAW, EventType
from rta.events.field_rules import FORMS

CORRUPT: Final = '"'  # no field can have that name
STRICT: Final = {
    "mode": "PERMISSIVE",
    "columnNameOfCorruptRecord": CORRUPT,
    "allowNonNumericNumbers": "false",
    "allowSingleQuotes": "false",
}
HEADERS: Final = "array<struct<key:string,value:binary>>"
_SKEW: Final = re.compile(r"\d{1,6} (second|minute|hour|day)s?")


def parse(raw: DataFrame, event: EventType, max_skew: str = "5 minutes") -> DataFrame:
    """Read typed events from Kafka's raw rows, and give the bad ones their reason. There is one row out for each row in.

    Accepted: one JSON object in UTF-8; fields that the schema does not know; null or absent if the schema says nullable; a decimal as a
    number or as a string ("12.50"); trailing zeros; a timestamp as text with its zone (Z or +02:00) and at most six digits of a second;
    any spaces that JSON allows. A number with five digits of exponent is "out of range" anywhere: parsing it would take seconds. A
    reason names the field as the producer calls it (EventType.field).

    Args:
        raw: key BINARY, value BINARY, topic STRING, partition INT, offset BIGINT, timestamp TIMESTAMP, and headers if asked for.
        event: The type of the events.
        max_skew: How far an event's own time may be ahead of its Kafka timestamp (no clock is asked), such as "5 minutes".

    Returns:
        The event's columns, topic, partition, offset, kafka_timestamp, key, value, headers, and reason: null if the event is good, else
        one of `REASONS`, with the field it is about ("out of range: amount"). A bad event's own columns are null, unless it is only ahead.

    Raises:
        InputError: max_skew has another form.

    Example:
        >>> raw = spark.sql("SELECT binary('k') key, binary('{}') value, 't' topic, 0 partition, 0L offset, current_timestamp() timestamp")
        >>> parse(raw, rta.USER_EVENTS).head().reason
        'missing: event_id'
    """
    headers = F.col("headers") if "headers" in raw.columns else F.lit(None)
    read, suspect, typed = _columns(event, max_skew, raw.sparkSession)
    # Three steps: Spark computes anew what one step uses twice, and interprets the expressions around a parser.
    cut = raw.select(
        "topic", "partition", "offset", F.col("timestamp").alias("kafka_timestamp"), "key", "value",
        headers.cast(HEADERS).alias("headers"), F.split(F.col("value").cast("string"), '"').alias("_parts"),
    )  # fmt: skip
    return cut.select(*ORIGIN, *RAW, *read).select("*", suspect).select(*typed)


@lru_cache(maxsize=64)
def _columns(
    event: EventType,
    max_skew: str,
    session: SparkSession,  # noqa: ARG001 - another session, another JVM: these columns live in it
) -> tuple[list[Column], Column, list[Column]]:
    """Build the columns of the three steps, once a session: it takes 4,000 calls to the JVM, half a second."""
    is_plain, values = plain(event, F.col("_parts"))
    read = [value.alias(f"_{name}") for name, value in values.items()]
    good = {
        name: F.when(F.col("_plain"), F.col(f"_{name}")).when(
            F.col("_suspect.fault").isNull(), F.col("_suspect.row")[name]
        )
        for name in event.columns
    }
    fault = F.coalesce("_suspect.fault", F.when(_ahead(good[event.event_time], max_skew), "ahead"))
    typed = [value.alias(name) for name, value in good.items()]
    return (
        [is_plain.alias("_plain"), *read],
        F.when(~F.col("_plain"), _suspect(event)).alias("_suspect"),
        [*typed, *map(F.col, (*ORIGIN, *RAW)), fault.alias("reason")],
    )


def _suspect(event: EventType) -> Column:
    """Parse an event that is not plain: its row and its fault, which is null if it is good all the same.

    The steps are higher-order functions, which Spark interprets: so the code for the plain events stays short enough for the
    JIT, and each step is computed once.
    """
    columns = _schema(event, str, "_corrupt")

    def parsed(value: Column) -> Column:
        text = value.cast("string")
        huge = F.coalesce(text.rlike(_huge_pattern(event)), F.lit(False))  # noqa: FBT003
        return F.struct(
            value.alias("value"), huge.alias("huge"),
            F.from_json(F.when(~huge, text), _schema(event, event.field, CORRUPT), STRICT).cast(columns).alias("row"),
            (F.is_valid_utf8(text) & text.rlike(any_order_pattern(event))).alias("formal"),
        )  # fmt: skip

    def validate(once: Column) -> Column:
        row = once["row"]
        required = [row[name].isNotNull() for name in event.required]
        sound = reduce(and_, required, once["formal"] & row["_corrupt"].isNull())
        fault = F.when(once["huge"], "out of range").when(
            ~F.coalesce(sound, F.lit(False)),  # noqa: FBT003
            validated(event, value=once["value"], row=row),
        )
        return F.struct(row.alias("row"), fault.alias("fault"))

    return _once(_once(F.col("value"), parsed), validate)


def _once(value: Column, step: Callable[[Column], Column]) -> Column:
    """Apply a step to a value that is computed once, however often the step uses it."""
    return F.transform(F.array(value), step)[0]


def _huge_pattern(event: EventType) -> str:
    """Return the pattern of a number with an exponent of five digits, also quoted where a decimal is meant.

    Both parsers write it out digit by digit: one 1e10000000 would stop a query for a quarter of a minute.
    """
    decimals = [
        re.escape(event.field(each.name))
        for each in event.schema
        if each.dataType.typeName() == "decimal"
    ]
    quoted = rf'|"(?:{"|".join(decimals)})"\s*:\s*"' if decimals else ""
    return rf"(?:[:\[,]\s*{quoted})-?[0-9][0-9.]*[eE][+-]?[0-9]{{5,}}"


def any_order_pattern(event: EventType) -> str:
    """Return the regular expression of good events with their fields in any order.

    Each key is a group that does not match if it has matched before, so no key can be there twice.

    >>> pattern = any_order_pattern(rta.EventType("t", "n INT, at TIMESTAMP", event_time="at"))
    >>> tails = ['{"n": 5}', '{"n": 5.0}', '{"n": 5, "n": 5}', '{"n": 5} {}']
    >>> texts = spark.createDataFrame([('{"at": "2024-11-15T10:30:00Z", ' + tail[1:],) for tail in tails], ["text"])
    >>> [row[0] for row in texts.select(texts.text.rlike(pattern)).collect()]
    [True, False, False, False]
    """
    members = "|".join(
        rf'((?!\{number})"{re.escape(event.field(each.name))}")\s*+:\s*+{_value(each)}'
        for number, each in enumerate(event.schema, start=1)
    )
    return rf"\A\s*+\{{\s*+(?:(?:{members})\s*+(?:,(?!\s*\}})\s*+|(?=\}})))++\}}\s*+\z"


def _value(field: StructField) -> str:
    """Return the pattern of a field's value in plain form."""
    form = FORMS[field.dataType.typeName()].plain(field.dataType)
    return f"(?:{form}|null)" if field.nullable else f"(?:{form})"


def _ahead(event_time: Column, max_skew: str) -> Column:
    """Return whether an event claims to be from after it was sent."""
    if not _SKEW.fullmatch(max_skew):
        raise InputError(
            "not a duration for max_skew", found=repr(max_skew), fix="write it like '5 minutes'"
        )
    return event_time > F.col("kafka_timestamp") + F.expr(f"INTERVAL {max_skew}")


def _schema(event: EventType, named: Callable[[str], str], corrupt: str) -> StructType:
    """Return the schema for from_json, each column as `named` calls it, with the one that it fills if a field does not fit."""
    fields = [StructField(named(each.name), each.dataType) for each in event.schema]
    return StructType(fields).add(corrupt, "string")
