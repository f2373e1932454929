"""One JSON object an event, of any depth, read as strictly as rta.dataframes.parse says; the same reader reads for each engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from rta.events.json_format import json_column, quoted

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame
    from pyspark.sql.types import DataType

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
        from rta.events.strict_json import read_events

        return read_events(raw, event)

    def write(self, event: EventType, columns: Sequence[str]) -> Column:
        """Write the columns of a frame: see Format.write."""
        from pyspark.sql import functions as F

        fields = []
        for name in columns:
            if name not in event.taken:
                value = F.col(quoted(name))
                if name in event.columns:
                    made = written(event.schema[name].dataType, name, value, event)
                    value = value if made is None else made
                fields.append(value.alias(event.field(name)))
        return json_column(fields)


def written(kind: DataType, path: str, value: Column, event: EventType) -> Column | None:
    """Return what to_json and to_csv are to write of a value, with its instants in their form; None if that is the value."""
    from pyspark.sql import functions as F
    from pyspark.sql.types import ArrayType, MapType, StructType, TimestampType

    from rta.events.times import as_written

    made: Column | None = None
    match kind:
        case StructType():
            found = {each.name: written(each.dataType, f"{path}.{each.name}", value[each.name], event) for each in kind}  # fmt: skip
            if any(each is not None for each in found.values()):
                fields = [(value[name] if each is None else each).alias(name) for name, each in found.items()]  # fmt: skip
                made = F.when(value.isNotNull(), F.struct(*fields))
        case ArrayType() if written(kind.elementType, path, value, event) is not None:
            made = F.transform(value, lambda each: cast("Column", written(kind.elementType, path, each, event)))  # fmt: skip
        case MapType() if written(kind.valueType, path, value, event) is not None:
            made = F.transform_values(value, lambda _, each: cast("Column", written(kind.valueType, path, each, event)))  # fmt: skip
        case TimestampType():
            made = as_written(event.time_form(path), value)
    return made
