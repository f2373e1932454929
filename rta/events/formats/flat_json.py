"""Flat JSON: typed columns of each event and, where it is bad, the reason. Nothing is dropped, rounded or guessed.

Spark's from_json accepts bad events silently (tests/dataframes/test_quarantine.py has the list): it rounds 99.999 into
DECIMAL(12,2), reads "1,5" as 15, the last of two equal keys, "2024" as a timestamp, 5 as the string "5", and ignores
whatever follows the object. So an event takes one of three ways, each slower than the one before:

- Plain: the event is written as its producer writes it by default (rta.events.formats.fast_path). Nearly all events.
- Any order: from_json reads it, and a regular expression, built from the schema, describes it wholly: known fields, each at
  most once, every value in the form of its type and inside its range, nothing after the object.
- All others are parsed once more, as a variant, and each field is validated (rta.events.formats.validation). Most are bad; the
  good ones have fields that the schema does not know, or unusual forms.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache, reduce
from operator import and_
from typing import Final

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StructField, StructType

from rta.events.event_types import EventType
from rta.events.field_rules import FORMS
from rta.events.format_contract import Read
from rta.events.formats.fast_path import plain
from rta.events.formats.validation import validated
from rta.events.type_checks import ORIGIN, RAW

CORRUPT: Final = '"'  # no field can have that name
STRICT: Final = {
    "mode": "PERMISSIVE",
    "columnNameOfCorruptRecord": CORRUPT,
    "allowNonNumericNumbers": "false",
    "allowSingleQuotes": "false",
}


def read(raw: DataFrame, event: EventType) -> Read:
    """Read the events: see Format.read."""
    plain_columns, suspect, values, fault = _columns(event, raw.sparkSession)
    # Three steps: Spark computes anew what one step uses twice, and interprets the expressions around a parser.
    cut = raw.select("*", F.split(F.col("value").cast("string"), '"').alias("_parts"))
    return Read(cut.select(*ORIGIN, *RAW, *plain_columns).select("*", suspect), values, fault)


@lru_cache(maxsize=64)
def _columns(
    event: EventType,
    session: SparkSession,  # noqa: ARG001 - another session, another JVM: these columns live in it
) -> tuple[list[Column], Column, dict[str, Column], Column]:
    """Build the columns of the steps, once a session: it takes 4,000 calls to the JVM, half a second."""
    is_plain, values = plain(event, F.col("_parts"))
    read = [value.alias(f"_{name}") for name, value in values.items()]
    good = {
        name: F.when(F.col("_plain"), F.col(f"_{name}")).when(
            F.col("_suspect.fault").isNull(), F.col("_suspect.row")[name]
        )
        for name in event.columns
    }
    return (
        [is_plain.alias("_plain"), *read],
        F.when(~F.col("_plain"), _suspect(event)).alias("_suspect"),
        good,
        F.col("_suspect.fault"),
    )


def _suspect(event: EventType) -> Column:
    """Parse an event that is not plain: its row and its fault, which is null if it is good all the same.

    The steps are higher-order functions, which Spark interprets: so the code for the plain events stays short enough for the
    JIT, and each step is computed once.
    """
    columns = _schema(event, str, "_corrupt")
    decimals = [event.field(c.name) for c in event.schema if c.dataType.typeName() == "decimal"]

    def parsed(value: Column) -> Column:
        text = value.cast("string")
        huge = F.coalesce(text.rlike(huge_pattern(decimals)), F.lit(False))  # noqa: FBT003
        return F.struct(
            value.alias("value"), huge.alias("huge"),
            F.from_json(F.when(~huge, text), _schema(event, event.field, CORRUPT), STRICT).cast(columns).alias("row"),
            (F.is_valid_utf8(text) & text.rlike(any_order_pattern(event))).alias("formal"),
        )  # fmt: skip

    def validate(each: Column) -> Column:
        row = each["row"]
        required = [row[name].isNotNull() for name in event.required]
        sound = reduce(and_, required, each["formal"] & row["_corrupt"].isNull())
        fault = F.when(each["huge"], "out of range").when(
            ~F.coalesce(sound, F.lit(False)),  # noqa: FBT003
            validated(event, value=each["value"], row=row),
        )
        return F.struct(row.alias("row"), fault.alias("fault"))

    return once(once(F.col("value"), parsed), validate)


def once(value: Column, step: Callable[[Column], Column]) -> Column:
    """Apply a step to a value that is computed once, however often the step uses it."""
    return F.transform(F.array(value), step)[0]


def huge_pattern(decimals: Sequence[str]) -> str:
    """Return the pattern of a number with an exponent of five digits, also quoted in the fields where a decimal is meant.

    Both parsers write it out digit by digit: one 1e10000000 would stop a query for a quarter of a minute.
    """
    names = "|".join(map(re.escape, decimals))
    quoted = rf'|"(?:{names})"\s*:\s*(?:\[\s*+)*+"' if decimals else ""
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


def _schema(event: EventType, named: Callable[[str], str], corrupt: str) -> StructType:
    """Return the schema for from_json, each column as `named` calls it, with the one that it fills if a field does not fit."""
    fields = [StructField(named(each.name), each.dataType) for each in event.schema]
    return StructType(fields).add(corrupt, "string")
