"""One JSON object an event: flat ones by the fast path, nested ones and other forms of time by a pattern of the whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rta.events.field_rules import FORMS
from rta.events.json_format import json_column, quoted
from rta.events.times import ISO

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

    from rta.events.event_types import EventType
    from rta.events.format_contract import Read


@dataclass(frozen=True)
class Json:
    """Describe events that are JSON objects, one a message.

    Args:
        nan: Let FLOAT and DOUBLE be "NaN", "Infinity" and "-Infinity", in quotes as Spark writes them.

    Example:
        >>> rta.EventType("t", "x DOUBLE, at TIMESTAMP", "at", format=Json(nan=True)).format
        Json(nan=True)
    """

    nan: bool = False

    def check(self, event: EventType) -> None:
        """Accept every type: JSON has a form for each."""

    def read(self, raw: DataFrame, event: EventType) -> Read:
        """Read the events: see Format.read."""
        from rta.events.formats import flat_json, nested_json

        flat = all(
            each.dataType.typeName() in FORMS
            and (each.dataType.typeName() != "timestamp" or event.time_form(each.name) == ISO)
            for each in event.schema
        )
        way = flat_json.read if flat and not self.nan else nested_json.read
        return way(raw, event)

    def write(self, event: EventType, columns: Sequence[str]) -> Column:
        """Write the columns of a frame: see Format.write."""
        from pyspark.sql import functions as F

        from rta.events.formats.nested_json import Shape

        shape, fields = Shape(event), []
        for name in columns:
            if name not in event.taken:
                value = F.col(quoted(name))
                if name in event.columns:
                    value = shape.written(event.schema[name].dataType, (name,), value)
                fields.append(value.alias(event.field(name)))
        return json_column(fields)
