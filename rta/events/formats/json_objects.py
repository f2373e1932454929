"""One JSON object an event: flat ones by the fast path, nested ones and other forms of time by a pattern of the whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rta.events.field_rules import FORMS
from rta.events.times import ISO

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

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
        return (flat_json if flat and not self.nan else nested_json).read(raw, event)
