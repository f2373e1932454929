"""Messages that are one text, or bytes: the value is the column."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from rta.errors import InputError
from rta.events.format_contract import Read

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyspark.sql import Column, DataFrame

    from rta.events.event_types import EventType


class _OneColumn:
    """What both have in common: the value of a message is the value of the only column, of one type."""

    kind: ClassVar[str]

    def check(self, event: EventType) -> None:
        """Refuse more than one column, and one of another type."""
        columns, kind = event.wire.fields, self.kind.upper()
        if len(columns) != 1 or columns[0].dataType.typeName() != self.kind:
            raise InputError(
                f"events of format {event.format!r} have one column, of type {kind}", found=", ".join(event.columns),
                fix=f'give one column, and event_time="kafka_timestamp": EventType({event.name!r}, "line {kind}", "kafka_timestamp", …)',
            )  # fmt: skip

    def write(self, event: EventType, columns: Sequence[str]) -> Column:  # noqa: ARG002 - there is one
        """Write the columns of a frame: see Format.write."""
        from pyspark.sql import functions as F

        return F.col(event.wire.names[0])


@dataclass(frozen=True)
class Text(_OneColumn):
    """Describe messages that are one text in UTF-8, such as the lines of a log.

    Example:
        >>> rta.EventType("log", "line STRING NOT NULL", "kafka_timestamp", format="text").columns
        ('line',)
    """

    kind = "string"

    def read(self, raw: DataFrame, event: EventType) -> Read:
        """Read the events: see Format.read."""
        from pyspark.sql import functions as F

        [column] = event.wire
        text = F.col("value").cast("string")
        missing = F.when(F.col("value").isNull(), "null value")
        bad = F.when(~F.is_valid_utf8(text), "invalid UTF-8").when(text.contains("\0"), f"NUL: {column.name}")  # fmt: skip
        fault = F.coalesce(missing, bad)
        return Read(raw, {column.name: F.when(fault.isNull(), text)}, fault)


@dataclass(frozen=True)
class Bytes(_OneColumn):
    """Describe messages that are bytes without a meaning to rta, such as pictures.

    Example:
        >>> rta.EventType("pictures", "picture BINARY", "kafka_timestamp", format="bytes").columns
        ('picture',)
    """

    kind = "binary"

    def read(self, raw: DataFrame, event: EventType) -> Read:
        """Read the events: see Format.read."""
        from pyspark.sql import functions as F

        [column] = event.wire
        fault = F.when(F.col("value").isNull(), "null value")
        return Read(raw, {column.name: F.col("value")}, fault)
