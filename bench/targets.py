"""What was wanted beforehand, beside what came out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from bench.summary import Place, Runs, Spread, figure, number, ratio

FULL: Final = 2_000_000


@dataclass(frozen=True)
class Target:
    """A figure of a row, or its ratio to another's, and the limit that was set for it.

    over: the row to divide by. at_least: whether more is better. full: holds for 2,000,000 events only.
    """

    what: str
    where: Place
    name: str
    limit: float
    unit: str
    over: Place | None = None
    at_least: bool = False
    full: bool = False

    def achieved(self, runs: Runs) -> Spread | None:
        """Return what came out, or None where it was not measured right."""
        if self.full and any(run["events"] != FULL for run in runs):
            return None
        if self.over is None:
            return figure(runs, self.where, self.name)
        return ratio(runs, self.where, self.over, self.name)

    def held(self, found: Spread) -> bool:
        """Whether the median is on the right side of the limit."""
        return found.median >= self.limit if self.at_least else found.median <= self.limit

    @property
    def wanted(self) -> str:
        """Write the limit as a person would."""
        return f"{'≥' if self.at_least else '≤'} {number(self.limit)} {self.unit}"


def _drain(row: str, phase: str) -> Place:
    return "drain", row, phase


def _start(phase: str) -> Place:
    return "start", "a notebook", phase


TARGETS: Final = [
    Target("the article's time / rta's, cold", _drain("article", "cold"), "seconds", 3, "times",
           over=_drain("rta", "cold"), at_least=True),
    Target("the article's time / rta's, warm", _drain("article", "warm"), "seconds", 4, "times",
           over=_drain("rta", "warm"), at_least=True),
    Target("rta's time / the hand-written query's, cold", _drain("rta", "cold"), "seconds", 1.03, "times",
           over=_drain("hand-written", "cold")),
    Target("rta's time / the hand-written query's, warm", _drain("rta", "warm"), "seconds", 1.03, "times",
           over=_drain("hand-written", "warm")),
    Target("rta, 2,000,000 events from the first record, cold", _drain("rta", "cold"), "from_first_record", 12, "s",
           full=True),
    Target("Lambda's recompute() / plain Spark over the same files, warm", ("recompute", "Lambda", "warm"), "seconds", 1.3,
           "times", over=("recompute", "Spark", "warm")),
    Target("its batch view alone / plain Spark over the same files, warm", ("recompute", "the batch view alone", "warm"), "seconds", 1.3,
           "times", over=("recompute", "Spark", "warm")),
    Target("import rta", _start("import rta"), "seconds", 0.3, "s"),
    Target("broker up, the first time", ("start", "the broker", "broker up, the first time"), "seconds", 3, "s"),
    Target("rta.spark(), files in the cache", _start("rta.spark(), files in the cache"), "seconds", 5, "s"),
    Target("from import to the first row of a stream", _start("from import to the first row of a stream"), "seconds", 12, "s"),
    Target("real-time mode, 200 events/s, 99 %", ("latency", "real-time mode", "200 events/s"), "p99_ms", 25, "ms"),
    Target("real-time mode, 1,000 events/s, 99 %", ("latency", "real-time mode", "1,000 events/s"), "p99_ms", 40, "ms"),
    Target("micro-batches, 1,000 events/s, 99 %", ("latency", "micro-batch", "1,000 events/s"), "p99_ms", 1_000, "ms"),
]  # fmt: skip
