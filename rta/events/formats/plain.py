"""Messages that are one text, or bytes: the value is the column."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rta.errors import InputError
from rta.events.format_contract import Read

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyspark.sql import Column, DataFrame

    from rta.events.event_types import EventType


@dataclass(frozen=True)
class Text:
    """Describe messages that are one text in UTF-8, such as the lines of a log.

    Example:
        >>> rta.EventType("log", "line STRING NOT NULL", "kafka_timestamp", format="text").columns
        ('line',)
    """

    def check(self, event: EventType) -> None:
        """Refuse more than one column, and one that is no STRING."""
        _one(event, "string")

    def read(self, raw: DataFrame, event: EventType) -> Read:
        """Read the events: see Format.read."""
        from pyspark.sql import functions as F

        [column] = event.wire
        text = F.col("value").cast("string")
        missing = F.when(F.col("value").isNull(), "null value")
        bad = F.when(~F.is_valid_utf8(text), "invalid UTF-8").when(text.contains("\0"), f"NUL: {column.name}")  # fmt: skip
        fault = F.coalesce(missing, bad)
        return Read(raw, {column.name: F.when(fault.isNull(), text)}, fault)

    def write(self, event: EventType, columns: Sequence[str]) -> Column:  # noqa: ARG002 - there is one
        """Write the columns of a frame: see Format.write."""
        return _value(event)


@dataclass(frozen=True)
class Bytes:
    """Describe messages that are bytes without a meaning to rta, such as pictures.

    Example:
        >>> rta.EventType("pictures", "picture BINARY", "kafka_timestamp", format="bytes").columns
        ('picture',)
    """

    def check(self, event: EventType) -> None:
        """Refuse more than one column, and one that is no BINARY."""
        _one(event, "binary")

    def read(self, raw: DataFrame, event: EventType) -> Read:
        """Read the events: see Format.read."""
        from pyspark.sql import functions as F

        [column] = event.wire
        fault = F.when(F.col("value").isNull(), "null value")
        return Read(raw, {column.name: F.col("value")}, fault)

    def write(self, event: EventType, columns: Sequence[str]) -> Column:  # noqa: ARG002 - there is one
        """Write the columns of a frame: see Format.write."""
        return _value(event)


def _value(event: EventType) -> Column:
    from pyspark.sql import functions as F

    return F.col(event.wire.names[0])


def _one(event: EventType, kind: str) -> None:
    columns = event.wire.fields
    if len(columns) != 1 or columns[0].dataType.typeName() != kind:
        raise InputError(
            f"events of format {event.format!r} have one column, of type {kind.upper()}", found=", ".join(event.columns),
            fix=f'give one column, and event_time="kafka_timestamp": EventType({event.name!r}, "line {kind.upper()}", "kafka_timestamp", …)',
        )  # fmt: skip
