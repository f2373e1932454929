"""Spark's real-time mode behind the words of rta.follow() and rta.drain(): engine="spark-realtime"."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from rta.engines.contract.traits import Traits
from rta.engines.spark.drained import Drained
from rta.engines.spark.lateness import Transform
from rta.engines.spark.query_errors import failures_said
from rta.engines.spark.query_sources import Topics
from rta.engines.spark.realtime.materializer import Materialized, brought_up, materialize
from rta.engines.spark.starting import checkpoint_of
from rta.errors import InputError
from rta.events.event_types import EventType, event_type
from rta.kafka.positions import Position
from rta.store import ledger

SPARK_REALTIME: Final = "spark-realtime"
INTERVAL: Final = "10 seconds"
"""Between two checkpoints: so long the ledger may be behind the rows."""
TRAITS: Final = Traits(
    guarantee="exactly once; the ledger follows when an interval ends",
    late="dropped behind the watermark, counted and kept: rta.late()",
    latency="an event: milliseconds",
)
_again: Final[dict[str, Callable[[], Materialized]]] = {}
"""Table → the call that starts its query again."""
_started: Final[dict[str, Materialized]] = {}


def followed(
    topic: Topics, transform: Transform, *, table: str, key: Sequence[str], event: EventType | None, starting: Position, max_skew: str,
    only_batches: Mapping[str, Any],
) -> Materialized:  # fmt: skip
    """Start, or start anew, the query that keeps a table up to date in real time; the arguments are those of rta.follow().

    Args:
        topic: The topic.
        transform: The analysis.
        table: The table.
        key: The columns that identify a row.
        event: The type of the events.
        starting: Where a new checkpoint begins.
        max_skew: How far an event may be ahead.
        only_batches: Those that only micro-batches have; `trigger` may be {"realTime": interval}, and max_events_per_batch bounds those
            of the start.
    """
    name, most, interval = _checked(topic, key, only_batches)
    if (before := _started.pop(table, None)) and before.isActive:  # a cell was run again
        before.stop()
    made = materialize(
        name, transform, table=table, key=key, event=event or event_type(name), real_time=interval, starting=starting, max_skew=max_skew,
        max_events_per_batch=most,
    )  # fmt: skip
    _started[table] = made
    _again[table] = partial(
        followed, topic, transform, table=table, key=key, event=event, starting=starting, max_skew=max_skew, only_batches=only_batches,
    )  # fmt: skip
    return made


def drained(
    topic: Topics, transform: Transform, *, table: str, key: Sequence[str], event: EventType | None, starting: Position, max_skew: str,
    only_batches: Mapping[str, Any],
) -> Drained:  # fmt: skip
    """Take what is new into a table that is filled in real time, and end; the arguments are those of followed()."""
    began = time.monotonic()
    name, most, _ = _checked(topic, key, only_batches)
    before = max((batch.batch_id for batch in ledger.newest(table)), default=-1)
    with failures_said(str(checkpoint_of(table)), table):
        brought_up(
            name, transform, table=table, key=key, event=event or event_type(name), starting=starting, max_skew=max_skew,
            max_events_per_batch=most,
        )  # fmt: skip
    return Drained.of(table, name, ledger.batches(table, after=before), time.monotonic() - began)


def restart(table: str) -> Materialized | None:
    """Start the query again that this process has started last for a table; None if it has started none.

    >>> restart("never_followed")
    """
    return _again[table]() if table in _again else None


def forget(table: str) -> None:
    """Start no query again for a table.

    >>> forget("never_followed")
    """
    _again.pop(table, None)


def _checked(topic: Topics, key: Sequence[str], given: Mapping[str, Any]) -> tuple[str, int | None, str]:  # fmt: skip
    """Return the topic, the most events of a micro-batch at the start, and the interval. Raises InputError for what does not fit."""
    known, own = {"max_events_per_batch", "trigger"}, f"engine={SPARK_REALTIME!r}"
    for name, value in given.items():
        if value and name not in known:
            raise InputError(f"{own} has no {name}", found=f"{name}={value!r}", fix='leave it out, or use engine="spark"')  # fmt: skip
    if not isinstance(topic, str):
        raise InputError(f"{own} reads one topic", found=f"{type(topic).__name__} for topic", fix='give the name of one, or use engine="spark"')  # fmt: skip
    if not key:
        raise InputError(f"{own} needs a key", found="none", fix="give the columns that identify a row: key=[…]")  # fmt: skip
    trigger = dict(given.get("trigger") or {"realTime": INTERVAL})
    if set(trigger) != {"realTime"}:
        raise InputError(f"{own} has a trigger of its own", found=repr(trigger), fix='{"realTime": "10 seconds"}')  # fmt: skip
    return topic, given.get("max_events_per_batch"), str(trigger["realTime"])
