"""One line of CSV an event: its fields in the schema's order, each as strict as in JSON, with the same words for what is bad."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from rta.errors import InputError
from rta.events.format_contract import Read

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyspark.sql import Column, DataFrame
    from pyspark.sql.types import DataType, StructField

    from rta.events.event_types import EventType
    from rta.events.formats.leaves import Leaf

_WHOLE: Final = frozenset(("byte", "short", "integer", "long"))
_NUMBERS: Final = _WHOLE | {"float", "double", "decimal"}
_NONE: Final = "\x01"  # stands for a field without a text: no field can be this


@dataclass(frozen=True)
class Csv:
    """Describe events that are lines of CSV, one a message, without a header.

    A field that is empty and has no quotes is null; in quotes it is an empty text. Bad are, beside what is bad in JSON: `broken CSV`,
    `wrong number of fields`, and `header`: a line that has the names of the fields.

    Args:
        separator: The character between fields.
        quote: The character around fields that contain others; doubled inside them.
        null: A text that stands for null, such as "NULL".

    Raises:
        InputError: A separator or a quote is not one character.

    Example:
        >>> rta.EventType("sale", "shop STRING, amount DECIMAL(12,2), at TIMESTAMP", "at", format=Csv(separator=";")).format
        Csv(separator=';', quote='"', null='')
    """

    separator: str = ","
    quote: str = '"'
    null: str = ""

    def __post_init__(self) -> None:
        """Refuse what CSV cannot be told apart by."""
        signs = (self.separator, self.quote)
        if any(len(sign) != 1 or sign in "\r\n\\" for sign in signs) or len({*signs}) < len(signs):
            raise InputError(
                "separator and quote of CSV are two different characters", found=signs, fix="give one character for each"
            )  # fmt: skip

    def check(self, event: EventType) -> None:
        """Refuse columns with something inside: a field of CSV is one value."""
        for each in event.wire:
            if each.dataType.typeName() in ("struct", "array", "map"):
                raise InputError(
                    f"column {each.name!r} has a type that CSV cannot hold", found=each.dataType.simpleString(),
                    fix='use columns of one value each, or format="json"',
                )  # fmt: skip

    def read(self, raw: DataFrame, event: EventType) -> Read:
        """Read the events: see Format.read."""
        from pyspark.sql import functions as F

        count = len(event.wire)
        line = F.regexp_replace(F.col("value").cast("string"), r"\r?\n\z", "")
        read = F.from_csv(
            F.col("_line"), ", ".join(f"c{at} STRING" for at in range(count)), self._options()
        )
        lines = raw.select("*", line.alias("_line")).select("*", read.alias("_read"))
        fields = {
            each.name: _Field(each, f"c{at}", event) for at, each in enumerate(event.wire.fields)
        }
        typed = [each.typed.alias(f"_{name}") for name, each in fields.items()]
        rows = lines.select("*", *typed)
        fault = F.coalesce(self._line_fault(event), *(each.fault for each in fields.values()))
        return Read(
            rows.select("*", fault.alias("_fault")),
            {name: F.when(F.col("_fault").isNull(), F.col(f"_{name}")) for name in fields},
            F.col("_fault"),
        )

    def write(self, event: EventType, columns: Sequence[str]) -> Column:  # noqa: ARG002 - a line has all fields
        """Write the columns of a frame: see Format.write."""
        from pyspark.sql import functions as F

        from rta.events.formats.leaves import leaf_of
        from rta.events.json_format import JSON_OPTIONS

        fields = []
        for each in event.wire:
            value = F.col(each.name)
            if each.dataType.typeName() == "binary":
                value = F.base64(value)
            made = leaf_of(each.dataType, each.name, event).written(value)
            fields.append((value if made is None else made).alias(each.name))
        signs = {
            "sep": self.separator,
            "quote": self.quote,
            "escape": self.quote,
            "nullValue": self.null,
            "emptyValue": self.quote * 2,
        }
        return F.to_csv(F.struct(*fields), {**JSON_OPTIONS, **signs})

    def _options(self) -> dict[str, str]:
        return {
            "sep": self.separator, "quote": self.quote, "escape": self.quote, "nullValue": self.null or _NONE, "emptyValue": "",
            "mode": "PERMISSIVE", "ignoreLeadingWhiteSpace": "false", "ignoreTrailingWhiteSpace": "false", "maxCharsPerColumn": "-1",
        }  # fmt: skip

    def _line_fault(self, event: EventType) -> Column:
        """Return why a line is not one event's fields; null if it is."""
        from pyspark.sql import functions as F

        mark, quote = re.escape(self.separator), re.escape(self.quote)
        field = rf"(?:{quote}[^{quote}]*+(?:{quote}{quote}[^{quote}]*+)*+{quote}|[^{mark}{quote}\r\n]*+)"
        value, line, count = F.col("value"), F.col("_line"), len(event.wire)
        names = [
            F.col(f"_read.c{at}") == event.field(name) for at, name in enumerate(event.wire.names)
        ]
        header = names[0]
        for each in names[1:]:
            header &= each
        return (
            F.when(value.isNull(), "null value")
            .when(line == "", "empty value")
            .when(~F.is_valid_utf8(value.cast("string")), "invalid UTF-8")
            .when(line.startswith("\ufeff"), "byte order mark")
            .when(header, "header")
            .when(line.rlike(rf"\A{field}(?:{mark}{field}){{{count - 1}}}\z"), None)
            .when(line.rlike(rf"\A{field}(?:{mark}{field})*+\z"), "wrong number of fields")
            .otherwise("broken CSV")
        )


class _Field:
    """A field of the line: what it is in the type of its column, and why it is bad."""

    def __init__(self, column: StructField, at: str, event: EventType) -> None:
        from pyspark.sql import functions as F

        from rta.events.formats.leaves import leaf_of

        leaf = leaf_of(column.dataType, column.name, event)
        text = F.col(f"_read.{at}")
        self.typed = _typed(leaf, text)
        done = F.col(f"_{column.name}")
        plain = text.rlike(rf"\A(?:{leaf.rule.plain(column.dataType).replace(chr(34), '')})\z")
        if column.dataType.typeName() == "string":
            plain = ~text.contains("\0")
        absent = F.lit(None) if column.nullable else F.lit(f"missing: {event.field(column.name)}")
        wrong = F.concat(
            _judged(column.dataType, leaf, text, done), F.lit(f": {event.field(column.name)}")
        )
        self.fault = F.when(text.isNull(), absent).when(~(plain & done.isNotNull()), wrong)


def _typed(leaf: Leaf, text: Column) -> Column:
    from pyspark.sql import functions as F

    if leaf.reads.typeName() == "binary":
        return F.when(
            text.rlike(rf"\A(?:{leaf.rule.plain(leaf.reads).replace(chr(34), '')})\z"),
            F.unbase64(text),
        )
    return leaf.value(text.try_cast(leaf.reads))


def _judged(kind: DataType, leaf: Leaf, text: Column, typed: Column) -> Column:
    """Return what is wrong with a text, in the words that JSON has for it."""
    from pyspark.sql import functions as F

    from rta.events.field_rules import Token
    from rta.events.formats.leaves import once

    written = F.lit("STRING")
    if leaf.reads.typeName() in _NUMBERS:
        number = text.rlike(r"\A-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,4})?\z")
        written = (
            F.when(text.rlike(r"\A-?[0-9]+\z"), "BIGINT").when(number, "DOUBLE").otherwise("STRING")
        )
    elif kind.typeName() == "boolean":
        written = F.when(text.isin("true", "false"), "BOOLEAN").otherwise("STRING")

    def judged(each: Column) -> Column:
        token = Token(kind, each["kind"], each["text"], each["typed"])
        return F.coalesce(leaf.rule.fault(token), F.when(each["typed"].isNull(), "out of range"))

    return once(F.struct(written.alias("kind"), text.alias("text"), typed.alias("typed")), judged)
