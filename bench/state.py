"""The state of many keys: its size, its commit; and the plateau that a watermark gives."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bench.child import Phase, Setup, timed

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

MB: Final = 1e6
MORE: Final = 10_000  # events of the micro-batch after the large one
POINTS: Final = 10  # of the plateau; each takes so many micro-batches:
BATCHES: Final = 3


def state_1k(setup: Setup, scratch: Path) -> None:
    """Keep the state of a thousand keys."""
    _state(setup, scratch, 1_000)


def state_100k(setup: Setup, scratch: Path) -> None:
    """Keep the state of a hundred thousand keys."""
    _state(setup, scratch, 100_000)


def state_1m(setup: Setup, scratch: Path) -> None:
    """Keep the state of a million keys."""
    _state(setup, scratch, 1_000_000)


def _state(setup: Setup, scratch: Path, keys: int) -> None:
    """Sum the whole topic by so many keys; the result goes nowhere, the state is what is weighed."""
    import psutil

    first = max(setup.events - MORE, setup.events // 2)
    phase, progress = timed("drained", partial(_by_keys, setup, scratch, keys, first))
    import rta

    large, last = (progress[place]["stateOperators"][0] for place in (0, -1))
    wanted = min(keys, setup.events)
    rows = last["numRowsTotal"]
    gateway: Any = rta.spark().sparkContext._gateway
    jvm = psutil.Process(gateway.proc.pid)
    phase.tell(
        fault="" if rows == wanted else f"WRONG: state of {rows} keys, not {wanted}",
        figures={
            "keys": rows,
            "jvm_mb": jvm.memory_info().rss / MB,
            "state_mb": last["memoryUsedBytes"] / MB,
            "checkpoint_mb": _size(scratch / "checkpoint") / MB,
            "commit_ms": large["commitTimeMs"],
            "small_commit_ms": last["commitTimeMs"],
        },
    )


def _by_keys(setup: Setup, scratch: Path, keys: int, first: int) -> list[dict[str, Any]]:
    """Take `first` events in one micro-batch, the rest in the next; return their progress."""
    from pyspark.sql import functions as F

    import rta

    rta.spark()
    number = F.split("event_id", "-")[1].cast("bigint")  # the generator counts its events
    events = rta.read_stream(setup.topic, event=rta.USER_EVENTS, max_events_per_batch=first)
    sums = rta.transforms.totals(
        events.withColumn("key", number % keys), by=["key"], window="3650 days"
    )
    return _drained(sums, scratch / "checkpoint")


def with_watermark(setup: Setup, scratch: Path) -> None:
    """Follow the article's totals, ten minutes of lateness: a window leaves the state when it has ended."""
    _over_time(setup, scratch, lateness="10 minutes")


def without_watermark(setup: Setup, scratch: Path) -> None:
    """Follow the same totals without a watermark: every window stays."""
    _over_time(setup, scratch, lateness=None)


def _over_time(setup: Setup, scratch: Path, *, lateness: str | None) -> None:
    """Take the topic in equal micro-batches, and tell the state after every few."""
    import duckdb

    import rta

    each = setup.events // (POINTS * BATCHES) + 10  # Spark rounds down, in each partition
    events = rta.read_stream(setup.topic, event=rta.USER_EVENTS, max_events_per_batch=each)
    began = time.time()
    progress = _drained(rta.transforms.totals(events, lateness=lateness), scratch / "checkpoint")
    found = list(points(progress))
    kept = found[-1][1]["keys"] + sum(p["stateOperators"][0]["numRowsRemoved"] for p in progress)
    wanted = duckdb.execute(f"SELECT COUNT(*) FROM '{setup.truth}'").fetchall()[0][0]
    fault = "" if kept == wanted else f"WRONG: {kept} windows of users, not {wanted}"
    for ended, point in found:  # its CPU is the watch's to know
        phase = Phase(f"after {point['events']:,.0f} events", began, 0.0, ended)
        phase.tell(fault=fault, figures=point)


def points(progress: Sequence[Mapping[str, Any]]) -> Iterator[tuple[float, dict[str, float]]]:
    """Yield the state after every few micro-batches and at the end: when it was so, and its figures."""
    taken = 0
    for number, batch in enumerate(progress, start=1):
        operator, taken = batch["stateOperators"][0], taken + batch["numInputRows"]
        if number % BATCHES == 0 or number == len(progress):
            moment = datetime.fromisoformat(batch["timestamp"]).timestamp()
            yield (
                moment + batch["batchDuration"] / 1000,
                {
                    "events": taken,
                    "keys": operator["numRowsTotal"],
                    "state_mb": operator["memoryUsedBytes"] / MB,
                    "small_commit_ms": operator["commitTimeMs"],
                },
            )


def _drained(sums: DataFrame, checkpoint: Path) -> list[dict[str, Any]]:
    """Run a query to the end of its topic, the result going nowhere; return the progress of each micro-batch."""
    query = (
        sums.writeStream.format("noop")
        .outputMode("update")
        .option("checkpointLocation", str(checkpoint))
        .trigger(availableNow=True)
        .start()
    )
    query.awaitTermination()
    return [progress for progress in query.recentProgress if progress["numInputRows"]]


def _size(folder: Path) -> int:
    """Sum the bytes of the files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
