"""explain_change(): what another transform, or another event type, means for a table that is being kept, before it is tried.

A query goes on with its state only if the state means the same. Spark notices other types in it, and nothing else: not a new filter, and not
another column in the same sum. So the plans are compared, as the start of a query does it (rta.engines.spark.start_checks): what
lies below the operators that keep state, these operators, and what lies above them.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from rta.dataframes.session import spark
from rta.engines.spark import checkpoints
from rta.engines.spark.checkpoint_lock import refuse_locked
from rta.engines.spark.checkpoints import located
from rta.engines.spark.query_sources import ONLY, query_sources
from rta.engines.spark.start_checks import (
    KEEPS_STATE,
    STATE,
    Fingerprint,
    noted_plan,
    without_state,
    write_plan,
)
from rta.engines.spark.starting import checkpoint_of
from rta.errors import InputError, QueryError
from rta.html import card, described
from rta.store import serving_tables
from rta.store.columns import flat

if TYPE_CHECKING:
    from pyspark.sql.types import StructType

    from rta.engines.spark.query_sources import Sources, Topics
    from rta.events.event_types import EventType

_COLUMNS: Final = re.compile(r"Project \[[\w, `.]*\]")  # nothing but columns: others are left out
_NAMED_TOPIC: Final = re.compile(
    r"(\w+): ([\w.-]+)"
)  # which topic a parameter of the transform gets
_SAME: Final = "nothing changes: the query goes on where it was"


@dataclass(frozen=True)
class Change:
    """What a change means.

    Attributes:
        parts: What changes, and what that means: one pair for each part.
        keeps_state: Whether the query can go on with its state, and the state means the same.
        replay: Whether history must be read again, for the table to be what a batch over the topic gives.
    """

    parts: Sequence[tuple[str, str]]
    keeps_state: bool
    replay: bool
    _accept: Callable[[], None] | None = None

    @property
    def next(self) -> str:
        """What to do."""
        if not self.parts:
            return "call rta.follow() with it"
        if self.replay and not self.keeps_state:
            return "fill another table with it, or rta.reset() this one and read the topic again; rta.kappa() does that beside the old answer, and switches"
        if self.replay:
            return "`accept()` goes on with rows of two kinds; or fill another table, or rta.reset() this one and read the topic again"
        return "`accept()`, then call rta.follow() with it: it goes on where it was"

    def accept(self) -> None:
        """Note the new transform as that of the table, so that its query may go on with the state it has.

        Raises:
            QueryError: If the state would not mean the same, or a query runs.
        """
        if self._accept is None:
            raise QueryError("only the change of a table can be accepted", fix="give the name of the table: rta.explain_change('totals', new)")  # fmt: skip
        if not self.keeps_state:
            raise QueryError("the state of the old transform is not that of the new one", found="; ".join(f"{part}: {what}" for part, what in self.parts), fix=self.next)  # fmt: skip
        self._accept()

    def _told(self) -> list[tuple[str, object]]:
        verdict = "kept" if self.keeps_state else "not kept"
        return [*(self.parts or [("same", _SAME)]), ("state", verdict), ("replay", "needed, for an answer of one kind" if self.replay else "not needed")]  # fmt: skip

    def __repr__(self) -> str:
        return described(self._told(), self.next)

    def _repr_html_(self) -> str:
        return card(self._told(), self.next)


def explain_change(
    old: str | Callable[..., Any],
    new: Callable[..., Any],
    *,
    topic: Topics | None = None,
    event: EventType | None = None,
    before: EventType | None = None,
) -> Change:
    """Say what it means to go on with another transform or another event type: what keeps the state, what needs a replay.

    Nothing is changed; `accept()` of the answer does that.

    Args:
        old: The table that is kept, whose checkpoint has noted its transform; or the old transform.
        new: The new transform.
        topic: The topics of the new transform, as for rta.follow(); by default that of the table, or the one of the event type. If they
            were given by name from the first start on, one may come or go.
        event: The type of the events of one topic, as the new transform gets them.
        before: The type of the events so far, if it changes, too.

    Returns:
        What changes and what that means, whether the state is kept, and whether history must be read again.

    Raises:
        TableError: If there is no such table.
        QueryError: If no transform is noted for it.

    Example:
        >>> def counts(events): return events.groupBy("user_id").count()
        >>> def large(events): return events.where("amount > 100").groupBy("user_id").count()
        >>> print(rta.explain_change(counts, large, event=rta.USER_EVENTS))
        events     other ones reach the state from now on; what it has counted stays
        state      not kept
        replay     needed, for an answer of one kind
        next       fill another table with it, ...
    """
    table = serving_tables.table(old) if isinstance(old, str) else None
    topics: Any = topic or (event.name if event else table.topic if table else None)
    if topics is None:
        raise InputError("it is not known what the transforms read", fix="give event=, or topic= for several topics")  # fmt: skip
    sources = query_sources(topics, event)
    frames = {name: source.empty() for name, source in sources.items()}
    plan, columns = Fingerprint.of(frames, new, sources), _columns(new, frames)
    if table:
        place = located(checkpoint_of(table.name))
        was, was_columns = noted_plan(place, table.name), table.columns
    else:
        then = _given_to(old, query_sources(topics, before or event))  # type: ignore[arg-type]
        earlier = {name: source.empty() for name, source in then.items()}
        was, was_columns = Fingerprint.of(earlier, old, then), _columns(old, earlier)  # type: ignore[arg-type]
    changed, lines = _topics(was, plan)
    parts = _compared(*lines, _described(was_columns), _described(columns))
    kept = all(part == "rows" for part, _ in parts)
    types = _types(before, event) if before and event else []

    def accept() -> None:
        refuse_locked(place, str(old))
        if changed:
            _require_evolving(place, str(old))
        write_plan(place, plan)

    gone = any(what.startswith("gone:") for _, what in changed)
    return Change([*changed, *parts, *types], kept, bool(parts) or gone, accept if table else None)


def _given_to(transform: Callable[..., Any], sources: Sources) -> Sources:
    """Return the topics that a transform takes: the old one may take fewer than the new one."""
    taken = inspect.signature(transform).parameters
    return {name: source for name, source in sources.items() if name in taken or name == ONLY}


def _topics(
    was: Fingerprint, now: Fingerprint
) -> tuple[list[tuple[str, str]], tuple[list[str], list[str]]]:
    """Say which topics come and go; return the plans for the topics that stay, as far as they are known.

    >>> old, new = Fingerprint(["Aggregate", "views: v"]), Fingerprint(["Aggregate", "Union", "views: v", "buys: b"], {"b": ["Aggregate"]})
    >>> _topics(old, new)
    ([('topics', 'new: b, read from where it starts')], (['Aggregate'], ['Aggregate']))
    """
    before, after = _by_topic(was.lines), _by_topic(now.lines)
    more, less = sorted({*after} - {*before}), sorted({*before} - {*after})
    if not more and not less:
        return [], (was.lines, now.lines)
    said = []
    if more:
        said.append(("topics", f"new: {', '.join(more)}, read from where it starts"))
    if less:
        said.append(("topics", f"gone: {', '.join(less)}; what they have brought stays"))
    # The rest is compared as it is without them; without more than one of several it is not known.
    old = was.without.get(less[0], []) if len(less) == 1 else [] if less else _plain(was.lines)
    new = now.without.get(more[0], []) if len(more) == 1 else [] if more else _plain(now.lines)
    return said, (_plain(old) or ["?"], _plain(new))


def _by_topic(lines: Sequence[str]) -> dict[str, str]:
    """Return topic → name, of a query of named topics."""
    found = [named for line in lines if (named := _NAMED_TOPIC.fullmatch(line))]
    return {each[2]: each[1] for each in found}


def _plain(lines: Sequence[str]) -> list[str]:
    """Leave out which topic is which, and what an empty branch of a union leaves behind."""
    kept = [line for line in lines if not _NAMED_TOPIC.fullmatch(line)]
    return [re.sub(r"\b(\w+) AS \1\b", r"\1", line) for line in kept]


def _require_evolving(place: str, table: str) -> None:
    """Refuse other topics for a checkpoint that knows its sources by place only, or whose last micro-batch is not done."""
    session = spark()
    if not checkpoints.names_its_sources(session, place):
        raise QueryError(
            f"the checkpoint of table {table!r} does not know its topics by name, so none can be added or removed", found=place,
            fix="fill another table; give topics by name from the first start on: {\"views\": VIEWS}, even if it is only one",
        )  # fmt: skip
    planned, done = (checkpoints.newest(session, place, folder) for folder in ("offsets", "commits"))  # fmt: skip
    if planned != done:
        raise QueryError(
            f"the last micro-batch of table {table!r} is not done, and it has the topics of before", found=f"batch {planned} of {place}",
            fix="drain once more with the old transform, then call this again",
        )  # fmt: skip


def _columns(transform: Callable[..., Any], frames: Mapping[str, Any]) -> StructType:
    from rta.engines.spark.lateness import applied

    return flat(applied(transform, frames).schema)


def _described(columns: StructType) -> list[str]:
    return [f"{each.name} {each.dataType.simpleString()}" for each in columns]


def _compared(
    old: Sequence[str], new: Sequence[str], was: Sequence[str], now: Sequence[str]
) -> list[tuple[str, str]]:
    """Compare two plans part by part, the result first, and the columns of their tables.

    >>> _compared(["Project [a]", "Filter (a > 1)"], ["Project [a]", "Filter (a > 2)"], ["a int"], ["a int"])
    [('rows', 'are other ones from now on; those that are in the table stay as they are')]
    """
    parts: list[tuple[str, str]] = []
    if _below(old) != _below(new):
        parts.append(("events", "other ones reach the state from now on; what it has counted stays"))  # fmt: skip
    if _state(old) != _state(new):
        parts.append(("state", "is another one: what it has counted cannot be read as the new one"))
    if not parts and without_state(old) != without_state(new):
        parts.append(("rows", "are other ones from now on; those that are in the table stay as they are"))  # fmt: skip
    if list(was) != list(now):
        more = ", ".join(each for each in now if each not in was) or "none"
        less = ", ".join(each for each in was if each not in now) or "none"
        parts.append(
            ("columns", f"new: {more}; gone: {less}; a table keeps the columns that it has")
        )
    return parts


def _state(plan: Sequence[str]) -> list[str]:
    """Return what a fingerprint says of state; without any, what it says of the operators that keep it."""
    said = [line for line in plan if line.startswith(STATE)]
    return said or [line for line in plan if KEEPS_STATE.match(line)]


def _below(plan: Sequence[str]) -> list[str]:
    """Return the lines of a fingerprint below the operators that keep state; none if there are no such operators."""
    lines = without_state(plan)
    last = max((at for at, line in enumerate(lines) if KEEPS_STATE.match(line)), default=len(lines))
    return [line for line in lines[last + 1 :] if not _COLUMNS.fullmatch(line)]


def _types(before: EventType, after: EventType) -> list[tuple[str, str]]:
    """Say which events are set aside from now on, and which are no more."""
    stricter = sorted({*after.required} - {*before.required})
    looser = sorted({*before.required} - {*after.required})
    told = []
    if stricter:
        told.append(("strict", f"events without {', '.join(stricter)} are quarantined from now on"))
    if looser:
        told.append(("loose", f"events without {', '.join(looser)} are good from now on; rta.dlq.redrive({after.name!r}) sends those again that were not"))  # fmt: skip
    for name in before.columns:
        if name in after.columns and before.schema[name].dataType != after.schema[name].dataType:
            types = (before.schema[name].dataType.simpleString(), after.schema[name].dataType.simpleString())  # fmt: skip
            told.append(("type", f"{name} is read as {types[1]} from now on, not {types[0]}"))
    return told
