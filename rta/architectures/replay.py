"""How far a replay has come: what it has taken of the topic, how fast it goes, and when it will have caught up."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rta.engines.spark.topic_identity import patiently
from rta.kafka.headway import events, passed
from rta.kafka.topics import offsets
from rta.progress import bar
from rta.store import serving

if TYPE_CHECKING:
    from pyspark.sql.streaming.query import StreamingQuery


@dataclass(frozen=True)
class ReplayProgress:
    """events: in the topic now; done: in the table; rate: events/s since the replay began in this process."""

    done: int
    events: int
    rate: float

    @property
    def behind(self) -> int:
        """The events that are still to be taken."""
        return self.events - self.done

    @property
    def seconds_left(self) -> float | None:
        """The time until it has caught up, at this rate; None before the first micro-batch has ended."""
        return 0.0 if not self.behind else self.behind / self.rate if self.rate else None

    def __str__(self) -> str:
        share = 100 * self.done / self.events if self.events else 100
        left = self.seconds_left
        when = (
            "no micro-batch has ended yet" if left is None else f"caught up in about {left:,.0f} s"
        )
        return f"{self.done:,} of {self.events:,} events ({share:.0f} %), {self.rate:,.0f} events/s, {when if self.behind else 'caught up'}"

    __repr__ = __str__


@dataclass(frozen=True)
class Replay:
    """A version of a function on its way through the history of a topic, into a table of its own."""

    topic: str
    version: int
    table: str
    query: StreamingQuery
    check: Callable[[], None]  # raises what went wrong beside the query
    took: Callable[[float], None]  # is told the seconds until it had all of history
    began: tuple[float, int]  # when, and with how many events in the table

    def progress(self) -> ReplayProgress:
        """Tell how far it is."""
        return self._progress(patiently(lambda: offsets(self.topic)))

    def _progress(self, known: Mapping[int, tuple[int, int]]) -> ReplayProgress:
        """Tell how far it is on its way through what a topic has, or had: partition → earliest and latest offset."""
        began, first = self.began
        done = events_in(self.table, self.topic, known)
        rate = (done - first) / max(time.monotonic() - began, 1e-9)
        return ReplayProgress(done, events(known), rate)

    def wait(self) -> ReplayProgress:
        """Return when it has everything that is in the topic now, and show how far it is meanwhile."""
        # Held to what there is now: retention must not move the goal away.
        known, shown = patiently(lambda: offsets(self.topic)), 0
        goal = events(known)
        with bar(f"{self.topic} → {self.table}", total=goal, unit="event") as advance:
            while (now := self._progress(known)).done < goal:
                self.query.awaitTermination(0.2)  # type: ignore[arg-type]
                if not self.query.isActive:
                    self.query.awaitTermination()
                    self.check()
                    return now
                advance(max(now.done - shown, 0))
                shown = now.done
        self.took(time.monotonic() - self.began[0])
        return self.progress()


def events_in(table: str, topic: str, known: Mapping[int, tuple[int, int]]) -> int:
    """Count how many of the offsets that a topic has now a table contains.

    known: partition → the topic's earliest and latest offset.

    >>> events_in("no_such_table", "clicks", {0: (0, 5)})
    0
    """
    return passed(serving.offsets(table).get(topic, {}), known)
