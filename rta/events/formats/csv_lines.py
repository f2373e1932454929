"""One line of CSV an event: its fields in the schema's order, each as strict as in JSON, with the same words for what is bad."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rta.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyspark.sql import Column, DataFrame

    from rta.events.event_types import EventType
    from rta.events.format_contract import Read


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
        from rta.events.strict_json import read_events

        signs = {"separator": self.separator, "quote": self.quote, "null": self.null}
        return read_events(raw, event, csv=signs)

    def write(self, event: EventType, columns: Sequence[str]) -> Column:  # noqa: ARG002 - a line has all fields
        """Write the columns of a frame: see Format.write."""
        from pyspark.sql import functions as F

        from rta.events.formats.json_objects import written
        from rta.events.json_format import JSON_OPTIONS

        fields = []
        for each in event.wire:
            value = F.col(each.name)
            if each.dataType.typeName() == "binary":
                value = F.base64(value)
            made = written(each.dataType, each.name, value, event)
            fields.append((value if made is None else made).alias(each.name))
        signs = {
            "sep": self.separator,
            "quote": self.quote,
            "escape": self.quote,
            "nullValue": self.null,
            "emptyValue": self.quote * 2,
        }
        return F.to_csv(F.struct(*fields), {**JSON_OPTIONS, **signs})
