"""validated(): why an event is bad, or null if it is good.

It runs on the few events that no pattern of rta.events.formats.flat_json matches. The second parser is Spark's variant: it keeps the type of
each JSON token and exact decimals, and refuses equal keys. To find what follows the object, `[value,"sha256 of value"]` is parsed: no
value contains its own hash, so the second element is that hash only if the value is exactly one JSON value.
"""

from __future__ import annotations

from typing import Final

from pyspark.sql import Column
from pyspark.sql import functions as F
from pyspark.sql.types import StructField

from rta.events.event_types import EventType
from rta.events.field_rules import FORMS, LONG_NUMBER, Token

REASONS: Final = (
    "null value", "empty value", "invalid UTF-8", "byte order mark", "NaN or Infinity", "duplicate key",
    "trailing garbage", "broken JSON", "not an object",  # about the whole event
    "missing", "wrong type", "out of range", "inexact", "NUL", "no zone",  # followed by ": " and a field
    "ahead",
)  # fmt: skip


def validated(event: EventType, *, value: Column, row: Column) -> Column:
    """Return the reason why an event is bad; null if it is good.

    Args:
        event: The type of the event.
        value: The raw bytes.
        row: What from_json made of them.
    """
    # The body of a higher-order function is interpreted: it stays out of the generated code of the plain events, which would
    # become too long for the JIT.
    packed = once_parsed(value, row=row)
    return F.transform(F.array(packed), lambda once: _reason(event, once))[0]


def _reason(event: EventType, once: Column) -> Column:
    """Validate the whole event, then its fields in the order of the schema."""
    return F.coalesce(
        syntax(once), *[_field_fault(each, event.field(each.name), once) for each in event.schema]
    )


def once_parsed(value: Column, **beside: Column) -> Column:
    """Return what validation needs of an event's bytes, to be computed once: value, text, proof, rounded and pair, with what is beside."""
    text = value.cast("string")
    proof = F.sha2(value, 256)
    return F.struct(
        value.alias("value"), text.alias("text"), proof.alias("proof"), text.rlike(LONG_NUMBER).alias("rounded"), *(each.alias(name) for name, each in beside.items()),
        F.try_parse_json(F.concat(F.lit("["), text, F.lit(',"'), proof, F.lit('"]'))).alias("pair"),
    )  # fmt: skip


def syntax(once: Column) -> Column:
    """Return why the bytes are not one JSON object; null if they are."""
    text, pair = once["text"], once["pair"]
    one_value = F.try_variant_get(pair, "$[1]", "string") == once["proof"]
    return (
        F.when(once["value"].isNull(), "null value")
        .when(text.rlike(r"\A\s*\z"), "empty value")
        .when(~F.is_valid_utf8(text), "invalid UTF-8")
        .when(text.startswith("\ufeff"), "byte order mark")
        .when(pair.isNull() | ~F.coalesce(one_value, F.lit(False)), _syntax_fault(text))  # noqa: FBT003
        .when(~text.rlike(r"\A\s*\{"), "not an object")
    )


def _syntax_fault(text: Column) -> Column:
    """Say what is wrong with a text that is not exactly one JSON value."""
    keys = F.json_object_keys(text)
    quiet = {"columnNameOfCorruptRecord": "_corrupt", "allowSingleQuotes": "false"}
    object_read = F.from_json(text, "_corrupt string", quiet | {"allowNonNumericNumbers": "false"})
    return (
        F.when(F.try_parse_json(text).isNotNull(), "trailing garbage")
        .when(F.size(keys) > F.size(F.array_distinct(keys)), "duplicate key")
        .when(text.rlike(r"[:\[,]\s*[+-]?(?:NaN|Infinity|INF)\s*[,\]}]"), "NaN or Infinity")
        .when(text.rlike(r"\\u[dD][89a-fA-F]"), "broken JSON")  # half of a surrogate pair
        .when(object_read["_corrupt"].isNull(), "duplicate key")  # deeper inside
        .otherwise("broken JSON")
    )


def _field_fault(field: StructField, name: str, once: Column) -> Column:
    """Return the fault of one field, by its name in the JSON; null if it is good."""
    token = F.try_variant_get(once["pair"], f'$[0]["{name}"]', "variant")
    kind = F.coalesce(F.schema_of_variant(token), F.lit("VOID"))
    typed = once["row"][field.name]
    written = F.try_variant_get(token, "$", "string")
    whole = Token(field.dataType, kind, written, typed, once["rounded"])
    fault = FORMS[field.dataType.typeName()].fault(whole)
    wrong = F.coalesce(fault, F.when(typed.isNull(), "out of range"))
    absent = F.lit(None) if field.nullable else F.lit("missing")
    return F.concat(F.when(kind == "VOID", absent).otherwise(wrong), F.lit(f": {name}"))
