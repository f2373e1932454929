"""What the fault tests share: the truth without Spark, the checkpoint's folder, a child that dies, a setting for a while, a sink that waits."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from threading import Event
from typing import Any, Final

import psutil
import pyarrow as pa
import pytest
from pyspark.sql import SparkSession

import rta
from rta.settings import settings
from rta.store import ledger, serving
from rta.testing import oracle
from tests.support.waiting import HANG

ROOT: Final = Path(__file__).parents[2]
KEY: Final = ["window", "user_id"]
TOTALS: Final = """
    SELECT time_bucket(INTERVAL '5 minutes', "timestamp") AS window_start,
           time_bucket(INTERVAL '5 minutes', "timestamp") + INTERVAL '5 minutes' AS window_end,
           user_id, SUM(amount) AS total_amount, COUNT(*) AS event_count
    FROM events GROUP BY ALL
"""


def true_totals(topic: str, events: str = "SELECT * FROM events") -> pa.Table:
    """Compute the article's totals from the topic itself, without Spark."""
    good = oracle.run(events, events=oracle.events(topic, rta.USER_EVENTS))
    return oracle.run(TOTALS, events=good)


def checkpoint_of(table: str) -> Path:
    """Return the folder where a table's query keeps its checkpoint."""
    return settings().home / "checkpoints" / table


@contextmanager
def setting(spark: SparkSession, name: str, value: str) -> Iterator[None]:
    """Set one property of the session for a while."""
    before = spark.conf.get(name, None)
    spark.conf.set(name, value)
    try:
        yield
    finally:
        if before is None:
            spark.conf.unset(name)
        else:
            spark.conf.set(name, before)


def child(program: str, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    """Run a program of tests/children in a process of its own, on the same broker: one that a test may kill."""
    return subprocess.Popen(
        [sys.executable, "-m", f"tests.children.{program}", *arguments],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"RTA_KAFKA_BOOTSTRAP": rta.kafka.bootstrap(), "PYTHONPATH": str(ROOT)} | environment,
    )  # fmt: skip


def jvm_of(process: int) -> psutil.Process | None:
    """Find the driver's JVM under a process; no `java -version`, which is asked before it starts."""
    below = psutil.Process(process).children(recursive=True)
    with suppress(psutil.Error):  # one has just ended: asked again
        return next(
            (each for each in below if any("SparkSubmit" in w for w in each.cmdline())), None
        )
    return None


def late_places(
    topic: str, table: str, *, delay: timedelta, window: timedelta | None
) -> set[tuple[int, int]]:
    """Find the late events, (partition, offset), from the batches' offsets alone: they, or their windows, had ended."""
    rows = oracle.events(topic, rta.USER_EVENTS).to_pylist()
    times = {(row["partition"], row["offset"]): row["timestamp"] for row in rows}
    epoch = datetime(1970, 1, 1)  # noqa: DTZ001 - the oracle's instants are UTC without a zone
    late: set[tuple[int, int]] = set()
    before = now = epoch  # the watermarks of the batch before and of this one
    for batch in ledger.batches(table):
        assert batch.watermark is None or batch.watermark.replace(tzinfo=None) == before
        here = [
            (p, at)
            for p, end in batch.end_offsets.items()
            for at in range(batch.start_offsets.get(p, 0), end)
            if (p, at) in times  # the bad ones move no watermark
        ]
        ends = {
            at: times[at]
            if window is None
            else epoch + ((times[at] - epoch) // window + 1) * window
            for at in here
        }
        late |= {at for at, end in ends.items() if end <= before}
        newest = max((times[at] for at in here), default=epoch)
        newest -= timedelta(microseconds=newest.microsecond % 1000)  # Spark's has milliseconds
        before, now = now, max(now, newest - delay)
    return late


@contextmanager
def held_sink() -> Iterator[tuple[Event, Event]]:
    """Hold each batch at its commit until the gate opens; gives (a batch has come, the gate)."""
    come, gate, commit = Event(), Event(), serving.commit_batch

    def held(*arguments: Any, **named: Any) -> bool:
        come.set()
        assert gate.wait(HANG)
        return commit(*arguments, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(serving, "commit_batch", held)
        try:
            yield come, gate
        finally:
            gate.set()
