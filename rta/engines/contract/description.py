"""A query as an engine needs it: what comes in, the steps before the groups, the window, the keys, the aggregates."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from rta.engines.contract.expressions import Column, Expression, inside

WINDOW = "window"


@dataclass(frozen=True)
class Derived:
    """A column that is computed from the columns before it; one of the same name is replaced."""

    name: str
    value: Expression


@dataclass(frozen=True)
class Filter:
    """Only rows for which the condition is true go on."""

    condition: Expression


@dataclass(frozen=True)
class Watermark:
    """How late an event may be, in milliseconds."""

    column: str
    delay_ms: int


Step = Derived | Filter | Watermark


@dataclass(frozen=True)
class Window:
    """A window of event time, in milliseconds; it tumbles where size and slide are equal, else it hops."""

    column: str
    size_ms: int
    slide_ms: int

    @property
    def tumbles(self) -> bool:
        """Whether an event is in one window, and always in the same one."""
        return self.size_ms == self.slide_ms

    @property
    def told(self) -> str:
        """What a person reads of it.

        >>> Window("at", 60_000, 30_000).told
        'size 60 s, each 30 s'
        """
        hops = "" if self.tumbles else f", each {self.slide_ms / 1000:g} s"
        return f"size {self.size_ms / 1000:g} s{hops}"

    def as_json(self) -> dict[str, Any]:
        """Return it as an engine's program reads it."""
        return {"time": self.column, "size_ms": self.size_ms, "slide_ms": self.slide_ms}


@dataclass(frozen=True)
class Session:
    """A window that lasts until a group has no event for so many milliseconds of event time; it ends so long after its last event.

    An event exactly that long after the last one belongs to it.
    """

    column: str
    gap_ms: int

    @property
    def tumbles(self) -> bool:
        """Whether an event is in one window, and always in the same one."""
        return False

    @property
    def told(self) -> str:
        """What a person reads of it.

        >>> Session("at", 60_000).told
        'sessions with a gap of 60 s'
        """
        return f"sessions with a gap of {self.gap_ms / 1000:g} s"

    def as_json(self) -> dict[str, Any]:
        """Return it as an engine's program reads it."""
        return {"time": self.column, "gap_ms": self.gap_ms}


@dataclass(frozen=True)
class Aggregate:
    """One aggregate of each group: its name in the result, its function (sum, count, min, max, avg), what of (None: rows), its type."""

    name: str
    function: str
    of: Expression | None
    type: str


@dataclass(frozen=True)
class Description:
    """A windowed aggregation, in the words of no engine.

    Args:
        fields: The columns of an event that the query may read: name → Spark's type.
        steps: What happens to each event before it is grouped, in order.
        window: Of event time: a session, or one of a fixed size.
        keys: What else identifies a group: columns after the steps.
        aggregates: Of each group.
        columns: The columns of the result, in order: name → Spark's type; `window` is a struct of start and end.
        taken: Name in the result → which of `window`, keys and aggregates it is: a select() after the aggregation may rename and leave out.
    """

    fields: Mapping[str, str]
    steps: tuple[Step, ...]
    window: Window | Session
    keys: tuple[str, ...]
    aggregates: tuple[Aggregate, ...]
    columns: Mapping[str, str]
    taken: Mapping[str, str]

    @property
    def watermark(self) -> Watermark | None:
        """How late an event may be; None if the query does not say."""
        return next((each for each in self.steps if isinstance(each, Watermark)), None)

    @property
    def paths(self) -> dict[str, tuple[str, ...]]:
        """What the query reads inside structs: name → path."""
        return {each.name: each.path for each in self.expressions if isinstance(each, Column) and each.path}  # fmt: skip

    @property
    def expressions(self) -> Iterator[Expression]:
        """All expressions, and what is inside them."""
        for step in self.steps:
            if isinstance(step, Derived):
                yield from inside(step.value)
            if isinstance(step, Filter):
                yield from inside(step.condition)
        for each in self.aggregates:
            if each.of is not None:
                yield from inside(each.of)

    def as_json(self) -> dict[str, Any]:
        """Return it as an engine's program reads it."""
        steps: list[dict[str, Any]] = []
        for step in self.steps:
            match step:
                case Derived(name, value):
                    steps.append({"step": "derive", "name": name, "value": value.as_json()})
                case Filter(condition):
                    steps.append({"step": "filter", "condition": condition.as_json()})
                case Watermark():
                    pass  # it changes no row
        return {
            "fields": dict(self.fields), "steps": steps, **self.window.as_json(), "grace_ms": self.watermark.delay_ms if self.watermark else None, "keys": list(self.keys),
            "aggregates": [
                {"name": each.name, "fn": each.function, "arg": each.of and each.of.as_json(), "type": each.type} for each in self.aggregates
            ],
            "columns": dict(self.columns), "taken": dict(self.taken),
        }  # fmt: skip
