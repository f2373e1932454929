"""What the records of a topic are, guessed from a sample: format, fields, event time and key, as an EventType to paste.

A guess is a beginning: it says what share of the sample fits, and what a person should look at.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from decimal import Decimal
from statistics import median
from typing import Any, Final, NamedTuple

from rta.errors import InputError
from rta.events.event_types import EventType
from rta.events.formats import avro_ddl
from rta.events.formats.avro_records import Avro
from rta.events.formats.csv_lines import Csv
from rta.events.json_format import strict_json
from rta.events.sampled_lines import as_line, as_table
from rta.events.sampled_values import Place, required, seconds
from rta.events.times import EPOCHS
from rta.events.type_checks import RESERVED, UNREADABLE
from rta.html import card, described
from rta.urls import shown

_SKEW: Final = (
    300  # seconds by which an event may be ahead of Kafka, as max_skew of rta.read_batch()
)
_LIKELY: Final = re.compile(r"(?i)(?:^|_|\b)(?:event_?time|timestamp|ts|time|at|occurred|date)(?:$|_|\b)|(?-i:[a-z](?:At|Time)$)")  # fmt: skip
_UNLIKELY: Final = re.compile(r"(?i)birth|expir|updat|process|receiv|ingest|valid|due")
_MOST: Final = 0.9
_WIDEST: Final = 100  # characters of a line of code
_NO_TEXT: Final = (
    "the values are no text: if they are Avro without framing, give their schema: format=rta.events.Avro(schema);"
    " if they are Protobuf, its descriptors: format=rta.events.Protobuf(descriptors, message)"
)
_FRAME: Final = 5  # bytes of Confluent's framing: a zero, and the id of the schema


class Sampled(NamedTuple):
    """One record of the sample; `timestamp` is Kafka's, in milliseconds."""

    key: bytes | None
    value: bytes | None
    timestamp: int
    headers: Sequence[tuple[str, bytes | None]] = ()


@dataclass(frozen=True)
class Inferred:
    """What the records of a topic seem to be.

    Attributes:
        topic: The topic.
        format: "json", "csv", "text", "bytes" or "avro".
        sampled: The records that were looked at.
        total: The records on the topic; of a partition that was not read whole, its offsets.
        fits: The share of them that the event type would take; tombstones do not count.
        tombstones: How many have no value.
        facts: What else was seen: label and text.
        notes: What a person should look at.
        arguments: Those of the event type.
    """

    topic: str
    format: str
    sampled: int
    total: int
    fits: float
    tombstones: int
    facts: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    arguments: Mapping[str, Any]

    @property
    def code(self) -> str:
        """The event type as code."""
        others = {name: value for name, value in self.arguments.items() if name not in ("name", "schema")}  # fmt: skip
        given = [repr(self.topic), _lines(self.arguments["schema"]), *(f"{name}={_code(value)}" for name, value in others.items())]  # fmt: skip
        return "\n".join(["rta.EventType(", *(f"    {each}," for each in given), ")"])

    def event_type(self) -> EventType:
        """Return the event type that the code makes."""
        return EventType(**self.arguments)

    def _told(self) -> list[tuple[str, object]]:
        share = f"{self.fits:.1%}" if self.fits < 1 else "all"
        looked = f"{self.sampled:,} of {self.total:,} records"
        dead = [("tombstones", f"{self.tombstones:,}")] if self.tombstones else []
        return [
            ("topic", f"{self.topic}: {looked}"), ("format", f"{self.format}, {share} of the sample fits"), *dead, *self.facts,
            *(("look at", note) for note in self.notes),
        ]  # fmt: skip

    def __repr__(self) -> str:
        return f"{described(self._told())}\n\n{self.code}"

    def _repr_html_(self) -> str:
        from html import escape

        return card(self._told()) + f'<pre style="font-family:monospace">{escape(self.code)}</pre>'


def inferred(
    topic: str,
    sample: Sequence[Sampled],
    total: int | None = None,
    *,
    registry: str | None = None,
    schemas: Mapping[int, str] | None = None,
) -> Inferred:
    """Guess what the records of a topic are.

    Args:
        topic: The topic; the event type takes its name.
        sample: Some of its records.
        total: The records on the topic; by default those of the sample.
        registry: The URL of a schema registry, for records with Confluent's five bytes.
        schemas: The Avro schemas that it has for the topic: id → JSON.

    Raises:
        InputError: No record of the sample has a value.

    Example:
        >>> values = ('{"user": 7, "at": "2024-11-15T10:30:00Z"}', '{"user": 8, "at": "2024-11-15T10:30:01Z", "tags": ["a"]}')
        >>> print(inferred("clicks", [Sampled(None, value.encode(), 1731666601000) for value in values]).code)
        rta.EventType(
            'clicks',
            'user BIGINT NOT NULL, at TIMESTAMP NOT NULL, tags ARRAY<STRING>',
            event_time='at',
        )
    """
    valued = [each for each in sample if each.value is not None]
    if not valued:
        raise InputError(
            f"there is nothing to guess the events of {topic!r} from",
            found=f"{len(sample):,} records, none with a value", fix="publish some first, or take a larger sample",
        )  # fmt: skip
    everything = len(sample) if total is None else total
    dead = len(sample) - len(valued)
    if schemas and (ids := _framed([each.value or b"" for each in valued])):
        seen = sorted({*ids} & {*schemas})  # the newest is the last
        fits = sum(each in schemas for each in ids)
        if seen:
            arguments, notes = _of_avro(topic, [json.loads(schemas[each]) for each in seen], str(registry))  # fmt: skip
            return Inferred(topic, "avro", len(sample), everything, fits / len(valued), dead, (("schema", str(seen[-1])),), tuple(notes), arguments)  # fmt: skip
    format_, rows, more, notes = _read([each.value or b"" for each in valued])
    root = Place()
    for row, record in zip(rows, valued, strict=True):
        if row is not None:
            root.see(row, record.timestamp)
    guess = _Guess(root, notes)
    fits = sum(row is not None and guess.takes(row) for row in rows)
    arguments = {"name": topic, "schema": guess.ddl, "event_time": guess.event_time}
    keyed = [(each.key, row) for each, row in zip(valued, rows, strict=True) if each.key is not None and row]  # fmt: skip
    facts = [("event time", guess.said)]
    if key := _key_column(keyed, guess):
        arguments["key"] = key
        facts.append(("key", f"{key}: the text of each record's key"))
    elif keyed:
        facts.append(("keys", f"{len(keyed):,} records have one, which is no column: such as {keyed[0][0][:40]!r}"))  # fmt: skip
    if headers := sorted({name for each in valued for name, _ in each.headers}):
        facts.append(("headers", ", ".join(headers)))
    return Inferred(
        topic, format_, len(sample), everything, fits / len(valued), dead, tuple(facts), tuple(notes), arguments | guess.arguments | more,
    )  # fmt: skip


# ---------------------------------------------------------------- formats

Row = Mapping[str, Any]


def _read(values: Sequence[bytes]) -> tuple[str, list[Row | None], dict[str, Any], list[str]]:
    """Return the format that takes the most values, the values as rows, arguments of the event type, and notes."""
    if ids := _framed(values):
        known = ", ".join(map(str, sorted({*ids})))
        note = f"the values have Confluent's five bytes, with schema {known}: give registry= its URL, and they are read"
        raw: list[Row | None] = [{"content": value} for value in values]
        return "bytes", raw, {"format": "bytes"}, [note]
    objects = [_object(value) for value in values]
    if 2 * sum(each is not None for each in objects) > len(values):
        return "json", objects, {}, []
    lines = [as_line(value) for value in values]
    if 2 * sum(each is not None for each in lines) <= len(values):
        raw = [{"content": value} for value in values]
        return (
            "bytes",
            raw,
            {"format": "bytes"},
            [_NO_TEXT],
        )
    if table := as_table(lines):
        rows: list[Row | None] = [*table.rows]
        return "csv", rows, {"format": Csv(separator=table.separator)}, [table.note]
    plain: list[Row | None] = [None if line is None else {"line": line} for line in lines]
    return "text", plain, {"format": "text"}, []


def _framed(values: Sequence[bytes]) -> list[int]:
    """Return the ids of the schemas in Confluent's five bytes, if most values have them."""
    framed = [value for value in values if value[:1] == b"\0" and len(value) > _FRAME]
    ids = [int.from_bytes(value[1:_FRAME], "big") for value in framed]
    return ids if 2 * len(framed) > len(values) else []


def _of_avro(topic: str, records: Sequence[Any], registry: str) -> tuple[dict[str, Any], list[str]]:
    """Return the arguments of the event type of the last of some Avro schemas, and notes; what another one may lack may be null."""
    found = avro_ddl.columns(records[-1])
    names = _columns([name for name, _, _ in found])
    always = set.intersection(*({name for name, _, needed in avro_ddl.columns(each) if needed} for each in records))  # fmt: skip
    times = sorted(
        avro_ddl.moments(records[-1]),
        key=lambda path: (bool(_UNLIKELY.search(path[-1])) - bool(_LIKELY.search(path[-1])), len(path)),
    )  # fmt: skip
    at = ".".join([names[times[0][0]], *times[0][1:]]) if times else "kafka_timestamp"
    ddl = ", ".join(f"{names[name]} {kind}{' NOT NULL' if name in always or names[name] == at else ''}" for name, kind, _ in found)  # fmt: skip
    renamed = {column: name for name, column in names.items() if column != name}
    arguments: dict[str, Any] = {"name": topic, "schema": ddl, "event_time": at}
    arguments |= ({"fields": renamed} if renamed else {}) | {"format": Avro(registry=registry)}
    notes = [] if times else ["no field is a timestamp of Avro: Kafka's own time is taken"]
    if shown(registry) != registry:
        notes.append("the password of the registry is left out: put the URL there from where you keep it, such as os.environ")  # fmt: skip
    return arguments, notes


def _object(value: bytes) -> Row | None:
    try:
        found = strict_json(value)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


# ---------------------------------------------------------------- columns, event time, key


class _Guess:
    """The columns of an event type, from what was seen of its fields."""

    def __init__(self, root: Place, notes: list[str]) -> None:
        self.root = root
        for name in [each for each in root.members if UNREADABLE & set(each)]:
            notes.append(f"field {name!r} has a name that no event type can read: it is left out")
            del root.members[name]
        self.names = _columns([*root.members])
        path, self.said = _event_time(root, notes)
        self.event_time = ".".join([self.names[path[0]], *path[1:]]) if path else "kafka_timestamp"
        place = root
        for name in path:
            place = place.members[name]
        fields = {column: name for name, column in self.names.items() if column != name}
        times = {self.event_time: place.form} if place.form not in (None, "iso") else {}
        self.arguments = ({"fields": fields} if fields else {}) | ({"times": times} if times else {})  # fmt: skip
        for name, each in root.members.items():
            if not each.filled:
                notes.append(
                    f"{self.names[name]} is null in all of the sample: its type is a guess"
                )
            elif each.ddl.startswith("DECIMAL(18"):
                notes.append(f"{self.names[name]} has at most {each.decimals} digits after the point in the sample: take DOUBLE if it may have more")  # fmt: skip

    @property
    def ddl(self) -> str:
        """The schema."""
        return ", ".join(
            f"{self.names[name]} {each.ddl}{required(each, self.root)}"
            for name, each in self.root.members.items()
        )

    def takes(self, row: Row) -> bool:
        """Tell whether an event of this type may have these fields."""
        known = {name: value for name, value in row.items() if name in self.root.members}
        return self.root.takes(known)


def _columns(fields: Sequence[str]) -> dict[str, str]:
    """Give each field a column that may have its name, or one like it.

    >>> _columns(["user", "@timestamp", "offset", "User"])
    {'user': 'user', '@timestamp': 'timestamp', 'offset': 'my_offset', 'User': 'User_2'}
    """
    taken, found = {*RESERVED}, dict[str, str]()
    for name in fields:
        bare = re.sub(r"[^A-Za-z0-9_]+", "_", name).strip("_")[:50] or "field"
        column = f"c_{bare}" if bare[0].isdigit() else f"my_{bare}" if bare.lower() in RESERVED else bare  # fmt: skip
        number = 1
        while (chosen := column if number == 1 else f"{column}_{number}").lower() in taken:
            number += 1
        taken.add(chosen.lower())
        found[name] = chosen
    return found


def _event_time(root: Place, notes: list[str]) -> tuple[list[str], str]:
    """Choose the field that says when an event happened, and mark its place; return its path, none if Kafka's time must do."""
    ranked = sorted(_candidates(root), key=lambda each: each[0])
    if not ranked:
        return [], "no field has one: Kafka's own time is taken"
    _, path, place, form = ranked[0]
    place.form = form
    name = ".".join(path)
    if form == "UTC":
        notes.append(f"{name} has no zone: UTC is a guess, give the one of its clocks, such as 'Europe/Berlin'")  # fmt: skip
    others = ", ".join(".".join(path) for _, path, _, _ in ranked[1:4])
    written = {"iso": "ISO text with a zone", "UTC": "ISO text without a zone"}.get(form, form)
    return path, f"{name}, {written}" + (f"; it could also be {others}" if others else "")


def _candidates(
    root: Place, above: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[Any, ...], list[str], Place, str]]:
    """Yield each field that may be the event time: how unlikely it is, its path, its place, and how it is written."""
    for name, each in root.members.items():
        if each.group == "object" and not each.is_map:
            yield from _candidates(each, (*above, name))
        for form in ("iso", "UTC", *EPOCHS):
            read = [(seconds(value, form), at / 1000) for value, at in each.moments]
            known = [(moment, at) for moment, at in read if moment is not None]
            if len(known) < _MOST * each.filled or not known:
                continue
            ahead = sum(moment > at + _SKEW for moment, at in known) / len(known)
            absent = root.kinds["object"] > each.filled
            named = bool(_UNLIKELY.search(name)) - bool(_LIKELY.search(name))
            apart = median(abs(moment - at) for moment, at in known)
            unlikely = (ahead > 1 - _MOST, absent, named, len(above), apart)
            yield unlikely, [*above, name], each, form


def _key_column(keyed: Sequence[tuple[bytes, Row]], guess: _Guess) -> str | None:
    """Return the column whose text is the key of each record that has one; None if there is none."""
    for name, column in guess.names.items():
        if keyed and all(_text(row.get(name)) == key for key, row in keyed):
            return column
    return None


def _text(value: Any) -> bytes | None:
    simple = isinstance(value, str | int | Decimal) and not isinstance(value, bool)
    return str(value).encode() if simple else None


def _lines(ddl: str) -> str:
    """Write a schema as code: a long one with a line for each column.

    >>> _lines("a INT, b STRUCT<c: INT, d: INT>" + 10 * ", and_more STRING").splitlines()[:2]
    ["'a INT, '", "    'b STRUCT<c: INT, d: INT>, '"]
    """
    if len(ddl) <= _WIDEST:
        return repr(ddl)
    columns, depth, begin = [], 0, 0
    for at, letter in enumerate(ddl):
        depth += (letter in "<(") - (letter in ">)")
        if letter == "," and not depth:
            columns.append(ddl[begin : at + 2])
            begin = at + 2
    return "\n    ".join(map(repr, [*columns, ddl[begin:]]))


def _code(value: Any) -> str:
    """Write an argument as code; of a format what differs from its defaults."""
    if not is_dataclass(value):
        return repr(value)
    given = {each.name: getattr(value, each.name) for each in fields(value)}
    usual = {each.name: each.default for each in fields(value)}
    written = {name: shown(one) if isinstance(one, str) else one for name, one in given.items()}
    more = ", ".join(f"{name}={one!r}" for name, one in written.items() if one != usual[name])
    return f"rta.events.{type(value).__name__}({more})"
