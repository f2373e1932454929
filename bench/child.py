"""What runs inside a measured process: phases with their time and CPU, the first record, the answer.

`python -m bench.child bench.drain:article SETUP SCRATCH` calls that function. Each phase is told
as one JSON line on stdout, after it has ended; nothing of rta or Spark is imported before the row is.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import SparkSession

TOLD: Final = "@bench "
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Setup:
    """The facts that every row may need; they travel to its process as JSON.

    topic: `events` user events. archive: the same as Parquet. spark: the settings of rta's session.
    fetch: those of its Kafka source. article: the query as printed. minutes: how long a live view is watched.
    """

    home: str
    events: int
    topic: str
    bootstrap: str
    archive: str
    truth: str
    spark: Mapping[str, str]
    fetch: Mapping[str, str]
    article: str
    minutes: float = 10


@dataclass
class Phase:
    """One measured piece of work. Times are seconds since the epoch, CPU that of the process tree."""

    name: str
    began: float
    cpu_before: float
    ended: float = 0.0
    cpu: float = 0.0

    def tell(self, **facts: Any) -> None:
        """Hand the phase to the measuring process: answer=, fault=, first_record=, from_start=, figures."""
        print(TOLD + json.dumps(self.__dict__ | facts), flush=True)


def timed(name: str, work: Callable[[], Answer]) -> tuple[Phase, Answer]:
    """Do the work of a phase; what is needed to check it comes after."""
    phase = Phase(name, time.time(), cpu_seconds())
    answer = work()
    phase.ended, phase.cpu = time.time(), cpu_seconds()
    return phase, answer


def cpu_seconds() -> float:
    """Return the CPU time of this process and all below it, those that have ended included."""
    import psutil

    me = psutil.Process()
    total = 0.0
    for process in [me, *me.children(recursive=True)]:
        try:
            total += sum(process.cpu_times()[:4])  # user and system, own and of reaped children
        except psutil.NoSuchProcess:  # it ended just now, and is in its parent's sum
            continue
    return total


def first_record(spark: SparkSession, since: float) -> float:
    """Return when the first task after a moment was launched: it reads the topic."""
    sc = spark.sparkContext._jsc.sc()
    sc.listenerBus().waitUntilEmpty()
    store = sc.statusStore()
    no_quantiles = getattr(store, "stageList$default$4")()
    stages = store.stageList(None, False, False, no_quantiles, None)  # noqa: FBT003 - Scala's
    moments = [stages.apply(place).firstTaskLaunchedTime() for place in range(stages.size())]
    launched = [float(each.get().getTime()) / 1000 for each in moments if each.isDefined()]
    return min(moment for moment in launched if moment >= since - 0.001)


def save(answer: pa.Table, path: Path) -> str:
    """Write an answer for the check: instants in UTC without a zone; return its place."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    for place, field in enumerate(answer.schema):
        if pa.types.is_timestamp(field.type):
            plain = answer[field.name].cast(pa.timestamp("us"))
            answer = answer.set_column(place, field.name, plain)
    pq.write_table(answer, path)
    return str(path)


def main() -> None:
    """Call the function of a row."""
    target, setup, scratch = sys.argv[1:]
    module, _, name = target.partition(":")
    getattr(import_module(module), name)(Setup(**json.loads(setup)), Path(scratch))


if __name__ == "__main__":
    # By its own name: the rows import it as bench.child.
    import_module("bench.child").main()
