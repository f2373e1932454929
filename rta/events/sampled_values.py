"""What the values of a sample are, field by field: their kinds, what is inside of them, and the type that takes the most."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

from rta.events.formats.avro_ddl import quoted
from rta.events.times import EPOCHS, moment

_GROUPS: Final = {
    "integer": "number", "number": "number", "text": "string", "instant": "string", "local": "string", "day": "string",
}  # fmt: skip
_LOCAL: Final = re.compile(
    r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d{1,6})?(Z|[+-]\d\d:?\d\d)?", re.ASCII
)
_DAY: Final = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_SINCE, _UNTIL = (
    946_684_800,
    4_102_444_800,
)  # seconds: the years 2000 and 2100; other numbers are no event times
_CENTS: Final = 4  # digits after the point up to which numbers are taken for exact
_LEAST: Final = 2  # digits after the point: the sample may have had whole prices only
_LONG: Final = 18  # digits that a BIGINT surely has
_NAMES: Final = 40  # names of one object from which on it may be a map


@dataclass
class Place:
    """What the values of one field were: how many of each kind, and what is inside of them."""

    kinds: Counter[str] = field(default_factory=Counter)
    members: dict[str, Place] = field(default_factory=dict)
    items: Place | None = None
    digits: int = 0  # the most before the point
    decimals: int = 0  # the most after it
    moments: list[tuple[Any, int]] = field(
        default_factory=list
    )  # what may be a time, and that of its record
    form: str | None = None  # how it is written, if it is the event time

    def see(self, value: Any, at: int) -> None:
        """Take in one value."""
        kind = _kind(value)
        self.kinds[kind] += 1
        match value:
            case dict():
                for name, inner in value.items():
                    self.members.setdefault(name, Place()).see(inner, at)
            case list():
                self.items = self.items or Place()
                for inner in value:
                    self.items.see(inner, at)
            case int() | Decimal() if kind != "boolean":
                _, digits, exponent = Decimal(value).as_tuple()
                after = max(-int(exponent), 0)
                self.digits, self.decimals = max(self.digits, len(digits) - after + max(int(exponent), 0)), max(self.decimals, after)  # fmt: skip
        if kind in ("integer", "instant", "local"):
            self.moments.append((value, at))

    @property
    def filled(self) -> int:
        """The values that are not null."""
        return self.kinds.total() - self.kinds["null"]

    @property
    def group(self) -> str:
        """The group of most values: number, string, boolean, object, array, bytes or null."""
        groups = Counter[str]()
        for kind, many in self.kinds.items():
            groups[_GROUPS.get(kind, kind)] += many if kind != "null" else 0
        return groups.most_common(1)[0][0] if self.filled else "null"

    @property
    def is_map(self) -> bool:
        """Whether the names of its objects are data: many of them, and few in each."""
        if len(self.members) < _NAMES or len({each.group for each in self.members.values()}) > 1:
            return False
        return all(2 * each.kinds.total() < self.kinds["object"] for each in self.members.values())

    @property
    def ddl(self) -> str:  # noqa: PLR0911 - one for each type
        """Its type in a schema."""
        if self.form:
            return "TIMESTAMP"
        match self.group:
            case "object" if self.is_map:
                return f"MAP<STRING, {merged(self.members.values()).ddl}>"
            case "object" if self.members:
                inner = (f"{quoted(name)} {each.ddl}{required(each, self)}" for name, each in self.members.items())  # fmt: skip
                return f"STRUCT<{', '.join(inner)}>"
            case "object":
                return "MAP<STRING, STRING>"
            case "array":
                return f"ARRAY<{self.items.ddl if self.items else 'STRING'}>"
            case "number" if not self.kinds["number"]:
                return "BIGINT" if self.digits <= _LONG else "DECIMAL(38,0)"
            case "number":
                exact = self.decimals <= _CENTS and self.digits + self.decimals <= _LONG
                return f"DECIMAL({_LONG},{max(self.decimals, _LEAST)})" if exact else "DOUBLE"
            case "string" if self.kinds["text"] or len({*self.kinds} - {"null"}) > 1:
                return "STRING"
            case "string":
                return {"instant": "TIMESTAMP", "local": "TIMESTAMP_NTZ", "day": "DATE"}[next(kind for kind in self.kinds if kind != "null")]  # fmt: skip
            case other:
                return {"boolean": "BOOLEAN", "bytes": "BINARY"}.get(other, "STRING")

    def takes(self, value: Any) -> bool:
        """Tell whether a value fits the type."""
        kind = _kind(value)
        if kind == "null":
            return True
        if self.form:
            return seconds(value, self.form) is not None
        if _GROUPS.get(kind, kind) != self.group:
            return False
        if kind == "array":
            return all(self.items is None or self.items.takes(each) for each in value)
        if kind == "object" and not self.is_map:
            return all(self.members[name].takes(each) for name, each in value.items()) and all(
                value.get(name) is not None for name, each in self.members.items() if required(each, self)
            )  # fmt: skip
        return True


def _kind(value: Any) -> str:  # noqa: PLR0911 - one for each kind
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int():
            return "integer"
        case Decimal():
            return "number"
        case str():
            written = _LOCAL.fullmatch(value)
            if written and seconds(value, "iso" if written[1] else "UTC") is not None:
                return "instant" if written[1] else "local"
            return "day" if _DAY.fullmatch(value) else "text"
        case bytes():
            return "bytes"
    return "array" if isinstance(value, list) else "object"


def required(inner: Place, outer: Place) -> str:
    """Say for the schema whether each of the objects has a value there."""
    return " NOT NULL" if inner.form or inner.filled == outer.kinds["object"] else ""


def merged(places: Iterable[Place]) -> Place:
    """Return what several places have together."""
    one = Place()
    for each in places:
        one.kinds += each.kinds
        one.digits, one.decimals = max(one.digits, each.digits), max(one.decimals, each.decimals)
        for name, inner in each.members.items():
            one.members[name] = merged([one.members[name], inner] if name in one.members else [inner])  # fmt: skip
        if each.items:
            one.items = merged([one.items, each.items] if one.items else [each.items])
    return one


def seconds(value: Any, form: str) -> float | None:
    """Read a time: seconds since 1970; None if it is none in this form, or too long ago or ahead for an event."""
    if form not in EPOCHS:
        written = _LOCAL.fullmatch(value) if isinstance(value, str) else None
        if not written or bool(written[1]) != (form == "iso"):
            return None
    elif type(value) is not int:
        return None
    try:
        found = moment(form, value).timestamp()
    except (ValueError, ArithmeticError):
        return None
    return found if form not in EPOCHS or _SINCE <= found <= _UNTIL else None
