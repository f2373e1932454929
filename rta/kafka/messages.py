"""The events of a source as Kafka messages: of a Spark or pandas frame, a list of mappings, a file of JSON lines."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Iterator, Mapping, Sized
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from rta.errors import InputError
from rta.events.json_format import as_messages, as_written, is_message, json_text, message_columns
from rta.values import python_value

if TYPE_CHECKING:
    import pandas as pd
    from pyspark.sql import DataFrame

    from rta.events.event_types import EventType

Headers = list[tuple[str, bytes | None]]
_SOURCES: Final = "give a Spark or pandas DataFrame, a list of dicts, or the path of a file of JSON lines (a Path, or a str)"
# How a file begins that has no JSON lines → what it is, what to do.
_OTHER_FORMATS: Final = {
    b"[": ("one JSON array", "write one object on each line, as `jq -c '.[]'` does"),
    b"\x1f\x8b": ("compressed", "name it .gz, or unpack it"),
    b"PAR1": ("Parquet", "publish spark.read.parquet(path)"),
    b"\xff\xfe": ("UTF-16", "write it as UTF-8"),
}


class Message(NamedTuple):
    """One event to send; moment: its time in microseconds since the epoch, for a replay."""

    key: bytes | None
    value: bytes | None
    headers: Headers
    moment: int | None


class Messages:
    """The events of a source, in its own order; to be read once. The arguments are checked at once.

    Args:
        source: The events.
        key: The column, or in a file the field, whose text is the message key.
        time: The column or field with the time for a replay.
        event: The type of the events: it names the fields of the columns, and the default key.

    Attributes:
        total: The number of events; None if it is not known.
        skipped: The number of empty lines so far.
        keyless: The number of lines without the key so far.

    >>> [message.value for message in Messages([{"user_id": 7, "at": None}], key="user_id")]
    [b'{"user_id":7}']
    """

    def __init__(
        self, source: Any, *, key: str | None = None, time: str | None = None, event: EventType | None = None
    ) -> None:  # fmt: skip
        if is_spark(source) and is_message(source):
            event = None
        self.source, self.time = source, time
        self.key = key or (event.key if event else None)
        self.event = event
        self.fields = (
            {} if event is None else {n: f for n, f in event.fields.items() if isinstance(f, str)}
        )
        self.total: int | None = None
        self.skipped = self.keyless = 0
        if is_spark(source) or hasattr(source, "itertuples"):
            required = [] if event is None else [c for c in event.required if c not in event.taken]
            _present((self.key, time, *required), source.columns)
        if is_spark(source):
            refuse_streaming(source)
            self._read: Any = self._rows
        elif hasattr(source, "itertuples"):
            _refuse_odd(source)
            self.total, self._read = len(source), self._records
        elif isinstance(source, str | Path):
            self.key, self.time = (self.fields.get(c or "", c) for c in (self.key, time))
            self.total = _checked_file(Path(source), [c for c in (self.key, self.time) if c])
            self._read = self._lines
        elif isinstance(source, Iterable) and not isinstance(source, Mapping | bytes | bytearray):
            self.total = len(source) if isinstance(source, Sized) else None
            self._read = self._mappings
        else:
            none = " (does a function lack a return?)" if source is None else ""
            raise InputError(
                "this source cannot be published", found=type(source).__name__ + none, fix=_SOURCES
            )

    def __iter__(self) -> Iterator[Message]:
        yield from self._read()

    def _rows(self) -> Iterator[Message]:
        """Yield the rows of a Spark frame; for a replay, sorted by its time."""
        from pyspark.sql import functions as F

        frame = self.source.orderBy(self.time) if self.time else self.source
        frame = as_messages(frame, self.key, event=self.event)
        extra = [F.unix_micros(self.time).alias("moment")] if self.time else []
        sent = frame.select(*message_columns(frame), *extra)
        for row in sent.toLocalIterator(prefetchPartitions=True):
            found = row.asDict()
            own = [(name, _bytes(value)) for name, value in found.get("headers") or ()]
            yield Message(_bytes(found["key"]), _bytes(found["value"]), own, found.get("moment"))

    def _records(self) -> Iterator[Message]:
        """Yield the rows of a pandas frame, without missing values and NaN."""
        names = list(self.source.columns)
        for values in self.source.itertuples(index=False, name=None):
            row = {n: v for n, v in zip(names, values, strict=True) if not _is_nan(v)}
            yield self._message(row, row.get)

    def _mappings(self) -> Iterator[Message]:
        for event in self.source:
            if not isinstance(event, Mapping):
                raise InputError(
                    "an event must be a mapping: field → value",
                    found=type(event).__name__,
                    fix=_SOURCES,
                )
            _present((self.key, self.time), list(event))
            yield self._message(event, event.get)

    def _message(self, event: Mapping[str, Any], get: Any) -> Message:
        moment = None if self.time is None else _microseconds(get(self.time), self.time)
        typed = event if self.event is None else as_written(event, self.event)
        named = {self.fields.get(name, name): value for name, value in typed.items()}
        key = key_bytes(get(self.key)) if self.key else None
        return Message(key, json_text(named).encode(), [], moment)

    def _lines(self) -> Iterator[Message]:
        """Yield the lines of a file, byte for byte."""
        for line in _file_lines(Path(self.source)):
            if not line.strip():
                self.skipped += 1
                continue
            event = _object(line) if self.key or self.time else {}
            key = key_bytes(event.get(self.key)) if self.key else None
            self.keyless += bool(self.key) and key is None
            moment = None if self.time is None else _microseconds(event.get(self.time), self.time)
            yield Message(key, line, [], moment)


def is_spark(source: Any) -> bool:
    """Return whether a source is a DataFrame of Spark.

    >>> is_spark([{"n": 1}])
    False
    """
    return hasattr(source, "toLocalIterator") and hasattr(source, "isStreaming")


def refuse_streaming(frame: DataFrame) -> None:
    """Raise InputError if a frame is a streaming one."""
    if frame.isStreaming:
        raise InputError(
            "publish() takes a finite DataFrame", found="a streaming one", fix="use its writeStream"
        )


def _present(names: Iterable[str | None], columns: Iterable[str]) -> None:
    there = list(columns)
    for name in names:
        if name is not None and name not in there:
            raise InputError(f"there is no column {name!r}", found=there, fix="choose from these")


def _refuse_odd(frame: pd.DataFrame) -> None:
    """Raise InputError if a pandas frame has something that would be lost silently: odd columns, or an index with a name."""
    names = list(frame.columns)
    if any(not isinstance(name, str) for name in names) or len(set(names)) < len(names):
        raise InputError(
            "each column of a frame must have a name of its own", found=names, fix="rename them"
        )
    if named := [name for name in frame.index.names if name is not None]:
        raise InputError(
            "the index of a frame is not published", found=named,
            fix="call reset_index(), or reset_index(drop=True) to leave it out",
        )  # fmt: skip


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and value != value  # noqa: PLR0124 - only NaN differs from itself


def _checked_file(path: Path, wanted: list[str]) -> int:
    """Return the number of events of a file of JSON lines; raise InputError if it is another kind of file."""
    if not path.is_file():
        raise InputError("there is no such file to publish", found=str(path), fix=_SOURCES)
    total, first = 0, b""
    for line in _file_lines(path):
        if line.strip():
            first, total = first or line, total + 1
    for start, (found, fix) in _OTHER_FORMATS.items():
        if first.lstrip(b" \t").startswith(start):
            raise InputError(f"{path.name} has no JSON lines", found=found, fix=fix)
    if first:
        _present(wanted, _object(first) or wanted)
    return total


def _file_lines(path: Path) -> Iterator[bytes]:
    """Yield the lines of a file without line ends, and without a byte order mark."""
    with cast(Any, gzip.open if path.suffix == ".gz" else open)(path, "rb") as file:
        for number, line in enumerate(file):
            text = line.removesuffix(b"\n").removesuffix(b"\r")
            yield text if number else text.removeprefix(b"\xef\xbb\xbf")


def _object(line: bytes) -> dict[str, Any]:
    """Return a line's fields; none if it is not a JSON object, which is for the readers of the topic to tell."""
    try:
        found = json.loads(line, parse_float=Decimal)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _bytes(value: Any) -> bytes | None:
    return None if value is None else bytes(value)


def key_bytes(given: Any) -> bytes | None:
    """Return a key as Spark's cast to STRING writes it, so that it goes to the same partition.

    >>> key_bytes(7), key_bytes(True), key_bytes(None)
    (b'7', b'true', None)
    """
    value = python_value("a key", given)
    if value is None or isinstance(value, bytes):
        return value
    if isinstance(value, bool):
        return str(value).lower().encode()
    if isinstance(value, dict | list):
        return json_text({"": value})[4:-1].encode()
    return (format(value, "f") if isinstance(value, Decimal) else str(value)).encode()


def _microseconds(moment: Any, name: str) -> int:
    """Return microseconds since the epoch; text must be ISO 8601, and without a zone it is UTC."""
    found = python_value(f"column {name!r}", moment)
    try:
        found = datetime.fromisoformat(found) if isinstance(found, str) else found
        aware = found if found.tzinfo else found.replace(tzinfo=UTC)
    except (AttributeError, ValueError):
        raise InputError(
            f"column {name!r} has no time to replay by", found=repr(moment),
            fix="give a datetime, or text in ISO 8601",
        ) from None  # fmt: skip
    since = aware - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 10**6 + int(since.microseconds)
