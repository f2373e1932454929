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


FIRST: Final = "from import to the first row"


def _live(row: str, phase: str) -> Place:
    return "live", row, phase


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
    *(Target(f"rta's time on Flink / Flink SQL by hand, {phase}", ("engines", "rta on Flink", phase), "seconds", 1.1, "times",
             over=("engines", "Flink SQL by hand", phase)) for phase in ("cold", "warm")),
    *(Target(f"a table by {row}, 1,000 events/s, 99 %", ("latency", f"{row}, table", "1,000 events/s"), "p99_ms", 25, "ms")
      for row in ("real-time mode", "Flink", "Kafka Streams")),
    Target("real-time mode, 200 events/s, 99 %", ("latency", "real-time mode", "200 events/s"), "p99_ms", 25, "ms"),
    Target("real-time mode, 1,000 events/s, 99 %", ("latency", "real-time mode", "1,000 events/s"), "p99_ms", 40, "ms"),
    *(Target(f"a live table, {rate}, from append to the screen, 99 %", _live("table", rate), "p99_ms", 1_500, "ms")
      for rate in ("200 events/s", "1,000 events/s")),
    *(Target(f"a live real-time table, {rate}, from append to the screen, 99 %", _live("real-time table", rate), "p99_ms", 150, "ms")
      for rate in ("200 events/s", "1,000 events/s")),
    Target("a micro-batch with a live view / without", _live("beside a query", "with the view"), "batch_ms", 1.05, "times",
           over=_live("beside a query", "without")),
    *(Target(f"a micro-batch, scraped: {how} / no scrape", ("metrics", "beside a query", how), "batch_ms", 1.05, "times",
             over=("metrics", "beside a query", "no scrape")) for how in ("rta metrics", "in the notebook")),
    *(Target(f"memory of the {name} while a view is watched, last third / first", _live("a table for minutes", "1,000 events/s"),
             f"{name}_growth", 1.1, "times") for name in ("kernel", "jvm", "browser")),
    Target("a view of 10,000 rows that scrolls", _live("10,000 rows", "scrolling"), "frames_per_s", 60, "frames/s", at_least=True),
    Target("kernel CPU of a dashboard, 50 viewers / 1", _live("a dashboard", "50 viewers"), "kernel_cpu", 2, "times",
           over=_live("a dashboard", "1 viewer")),
    *(Target(f"from import to the first live row{where} / PySpark by hand", _live(f"rta.live{row}", FIRST), "seconds", 0.5, "times",
             over=_live("PySpark by hand", FIRST)) for row, where in (("", ""), (", a spare driver", " in `make lab`, which keeps a spare driver"))),
    *(Target(f"a nested event of 25 fields, {ours} / {plain}", ("parse", "a nested event of 25 fields", ours), "seconds", 1.3, "times",
             over=("parse", "a nested event of 25 fields", plain)) for ours, plain in (("rta, JSON", "from_json"), ("rta, Avro", "from_avro"))),
    Target("micro-batches, 1,000 events/s, 99 %", ("latency", "micro-batch", "1,000 events/s"), "p99_ms", 1_000, "ms"),
]  # fmt: skip
