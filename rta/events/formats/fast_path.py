"""The plain form of a good event, which nearly all events have: recognized and read without a JSON parser.

A text without escapes is cut at its quotes. What lies between them is known from the schema, part by part:

    {  event_id  :  0-17  ,  user_id  :70,  amount  :4.79}

Names and punctuation are compared, values match the form of their type; then each value is cast on its own, and only
where the analysis uses it. Fields stand in the schema's order; `:` and `,` may be followed by one space. Every other
text goes to a parser (rta.dataframes.parsing): slower, and as strict.
"""

from __future__ import annotations

from functools import reduce
from operator import and_
from typing import Final

from pyspark.sql import Column
from pyspark.sql import functions as F
from pyspark.sql.types import StructField

from rta.events.event_types import EventType
from rta.events.field_rules import FORMS

# Characters that JSON forbids in a string, or that begin an escape.
_ESCAPED: Final = r"[\x00-\x1f\\]"
_REPLACED: Final = "\ufffd"  # stands for bytes that are no UTF-8


def plain(event: EventType, parts: Column) -> tuple[Column, dict[str, Column]]:
    """Recognize the plain form by the parts between a text's quotes, and read its values.

    Args:
        event: The type of the event.
        parts: ARRAY<STRING>, the text split at `"`; a column of its own, since it is used many times.

    Returns:
        Whether the text has the plain form (BOOLEAN), and column → its value if it has.

    >>> from pyspark.sql import functions as F
    >>> event = rta.EventType("t", "n BIGINT, at TIMESTAMP", event_time="at")
    >>> heads = ['{"n":5,"at":', '{"n":5.0,"at":', '{"n": 5, "at": ']
    >>> texts = spark.createDataFrame([(head + '"2024-11-15T10:30:00Z"}',) for head in heads], ["text"])
    >>> is_plain, values = plain(event, F.col("parts"))
    >>> cut = texts.select(F.split("text", '"').alias("parts"))
    >>> [(row[0], row[1]) for row in cut.select(is_plain, values["n"]).collect()]
    [(True, 5), (False, None), (True, 5)]
    """

    def part(index: int) -> Column:
        return F.get(parts, F.lit(index))

    values: dict[str, Column] = {}
    checks, strings = [], []
    # The parts that are the same in every event: names and punctuation.
    fixed, compact, spaced = [0], ["{"], ["{"]
    at = 0
    for field in event.schema:
        closing = "}" if field.name == event.columns[-1] else ","
        name, after = event.field(field.name), closing if closing == "}" else ", "
        inner = FORMS[field.dataType.typeName()].inner
        fixed.append(at + 1)
        compact.append(name)
        spaced.append(name)
        if inner is None:
            at += 2
            checks.append(part(at).rlike(_bare(field, closing)))
            token = F.substring(F.substring_index(part(at), closing, 1), 2, 99)
        else:
            fixed += [at + 2, at + 4]
            compact += [":", closing]
            spaced += [": ", after]
            at += 4
            token = part(at - 1)
            strings += [] if inner else [token]
            checks += [token.rlike(rf"\A{inner}\z")] if inner else []
        values[field.name] = token if inner == "" else token.try_cast(field.dataType)
        checks += [values[field.name].isNotNull()] if inner else []
    same = F.concat_ws('"', *map(part, fixed)).isin('"'.join(compact), '"'.join(spaced))
    text = F.concat(*strings) if strings else F.lit("")
    unescaped = ~text.rlike(_ESCAPED) & ~text.contains(_REPLACED)
    is_plain = reduce(and_, [F.size(parts) == at + 1, same, unescaped, *checks])
    return F.coalesce(is_plain, F.lit(False)), values  # noqa: FBT003


def _bare(field: StructField, closing: str) -> str:
    """Return the pattern of what follows the name of a field that has no quotes: colon, value, comma or the end."""
    form = FORMS[field.dataType.typeName()].plain(field.dataType)
    value = f"{form}|null" if field.nullable else form
    return rf"\A: ?+(?:{value})" + (r"\}\z" if closing == "}" else r", ?+\z")
