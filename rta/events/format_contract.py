"""What a format of events is, and which there are.

Another format is an object with the methods of `Format`: given to EventType(format=…), or registered by a package under a name, as
an entry point of the group `rta.formats`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, Final, Protocol, cast, runtime_checkable

from rta.errors import InputError

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

    from rta.events.event_types import EventType

REASONS: Final = (
    "null value", "empty value", "invalid UTF-8", "byte order mark", "NaN or Infinity", "duplicate key",
    "trailing garbage", "broken JSON", "not an object",  # about the whole event
    "missing", "wrong type", "out of range", "inexact", "NUL", "no zone",  # followed by ": " and a field
    "ahead",
)  # fmt: skip
"""Why events are bad, in JSON; another format may add its own."""
GROUP: Final = "rta.formats"
_OWN: Final = {"json": "json_objects:Json", "csv": "csv_lines:Csv", "text": "plain:Text", "bytes": "plain:Bytes"}  # fmt: skip


@dataclass(frozen=True)
class Read:
    """Events as a format has read them.

    Attributes:
        frame: The raw rows, with the columns that `values` and `fault` use.
        values: Column → its value in the type of the schema; null if the event is bad.
        fault: Why an event is bad (STRING), the place after ": "; null if it is good.
    """

    frame: DataFrame
    values: Mapping[str, Column]
    fault: Column


@runtime_checkable
class Format(Protocol):
    """How the events of a topic are written. It is compared and hashed as a value, as a frozen dataclass is."""

    def check(self, event: EventType) -> None:
        """Raise InputError if events of this type cannot be written so. No JVM may be started."""

    def read(self, raw: DataFrame, event: EventType) -> Read:
        """Read the columns of event.wire from raw rows: topic, partition, offset, kafka_timestamp, key, value, headers."""

    def write(self, event: EventType, columns: Sequence[str]) -> Column:
        """Return the value of a message (STRING or BINARY) with these columns of a frame, some of which the event type may not know."""


def chosen(given: str | Format) -> Format:
    """Return the format of a name, or the one that was given.

    Raises:
        InputError: There is no such format.

    >>> chosen("json")
    Json(nan=False)
    >>> chosen("xml")
    Traceback (most recent call last):
    rta.errors.InputError: no format of events is called 'xml'; fix: use one of bytes, csv, json, text, or an object such as rta.events.Csv()
    """
    if not isinstance(given, str):
        if isinstance(given, Format) and not isinstance(given, type):
            return given
        raise InputError(
            "this is no format of events", found=repr(given)[:100],
            fix=f"use one of {', '.join(sorted(_OWN))}, or an object such as rta.events.Csv()",
        )  # fmt: skip
    return _named(given)


@cache
def _named(name: str) -> Format:
    if name in _OWN:
        module, _, kind = _OWN[name].partition(":")
        return cast("Format", getattr(import_module(f"rta.events.formats.{module}"), kind)())
    found = {each.name: each for each in entry_points(group=GROUP)}
    if name not in found and name.casefold() == "protobuf":
        raise InputError(
            "Protobuf needs the descriptors of its messages", found=repr(name),
            fix="give format=rta.events.Protobuf(descriptors, message), with what `protoc --include_imports --descriptor_set_out=FILE` has written",
        )  # fmt: skip
    if name not in found:
        raise InputError(
            f"no format of events is called {name!r}",
            fix=f"use one of {', '.join(sorted({*_OWN, *found}))}, or an object such as rta.events.Csv()",
        )
    made: Any = found[name].load()
    return chosen(made() if isinstance(made, type) else made)
