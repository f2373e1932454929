"""F42: ten minutes at 1,000 events a second; memory, descriptors, threads and files come to rest."""

import json
import os
import platform
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from statistics import median
from typing import Any, Final

import psutil
import pytest

import rta
from rta.kafka import broker
from rta.settings import settings
from rta.testing import oracle
from tests.support.schedule import killed
from tests.support.truth import ROOT, checkpoint_of, child, late_places, true_totals
from tests.support.waiting import finished

pytestmark = [pytest.mark.kafka, pytest.mark.soak]
RATE: Final = 1_000
SPEED: Final = (
    30  # event time runs so much faster than the clock, so that windows and their state end
)
EVERY: Final = (
    5.0  # seconds between two samples; each sixth is taken after a full garbage collection
)
WARM: Final = 10  # seconds of load before anything is measured
FULL: Final = 600  # seconds until all that Spark keeps for a while (100 batches) has been let go
MEBI: Final = 2**20
# How much more the last third may show at most than the middle third: a share, and a number beside it.
ALLOWED: Final = {
    "kernel_rss": (0.05, 16 * MEBI), "kernel_fds": (0, 8), "kernel_threads": (0, 4),
    "driver_heap_after_gc": (0.10, 16 * MEBI), "driver_fds": (0.10, 32), "driver_threads": (0.10, 16),
    "broker_rss": (0.10, 32 * MEBI), "broker_fds": (0, 16), "broker_threads": (0, 8),
    "checkpoint_files": (0.20, 50), "home_files": (0, 16),
}  # fmt: skip
# The driver may fill its heap (2 GiB by rta.dataframes.session) before it collects: beside it classes, RocksDB, buffers.
DRIVER_RSS: Final = 3 * 2**30


def test_f42_everything_comes_to_rest(topic: Callable[..., str], tmp_path: Path) -> None:
    """No leak in kernel, driver, broker, files; and every event of the load is in the table, once."""
    seconds = int(os.environ.get("SECONDS") or FULL)
    name, answers = topic(partitions=4), []
    follower = child("follow_under_load", name, RTA_SPARK_MASTER="local[16]")
    try:
        assert follower.stdout is not None
        assert follower.stdout.readline() == "following\n"
        send(name, 0, WARM)  # classes are loaded, code is compiled, pools are filled
        ask(follower, "settle")
        sender = threading.Thread(target=lambda: answers.append(send(name, WARM, seconds)))
        sender.start()
        samples = list(sampled(follower, sender))
        ask(follower, "settle")
        finished(follower)
    finally:
        if follower.poll() is None:
            killed(follower)
    [sent] = answers
    summary = thirds(samples)
    written = write(samples, summary, seconds, tmp_path)
    assert (sent.ok, sent.failed, sent.unknown) == (seconds * RATE, 0, 0)
    late = late_places(name, "f42", delay=timedelta(minutes=10), window=timedelta(minutes=5))
    oracle.check_accounted("f42", name, late=len(late), quarantined=0, duplicate=0)
    if not late:
        assert oracle.differences(true_totals(name), "f42") == []
    assert max(sample["driver_rss"] for sample in samples) < DRIVER_RSS
    grown = {what: each for what, each in summary.items() if each["last"] > each["allowed"]}
    assert not grown, (
        f"still growing after {seconds} s and {samples[-1]['batch']} batches (Spark keeps the files of 100): "
        f"{grown}; the series is in {written}"
    )


def send(topic: str, since: int, seconds: int) -> Any:
    """Publish some seconds of the load by the clock."""
    events = load(since * RATE, (since + seconds) * RATE)
    return rta.kafka.publish_paced(events, topic, key="user_id", rate=RATE)


def load(first: int, end: int) -> Iterator[dict[str, Any]]:
    """Make the events in their order: a thousand users, the first the busiest."""
    began = datetime(2024, 11, 15, 10, 30, tzinfo=UTC)
    for n in range(first, end):
        place = n * 7_919 % 10_007 / 10_007
        yield {
            "event_id": f"e{n}", "user_id": 1 + int(place**3 * 1_000), "action": "purchase",
            "amount": Decimal(n % 9_973).scaleb(-2),
            "timestamp": began + timedelta(seconds=n * SPEED / RATE),
        }  # fmt: skip


def sampled(follower: Any, sender: threading.Thread) -> Iterator[dict[str, Any]]:
    """Measure everything at a steady pace, while the sender sends."""
    running = broker.status()
    assert running is not None
    [java] = [p for p in psutil.Process(follower.pid).children() if "java" in p.name()]
    processes = {
        "kernel": psutil.Process(follower.pid),
        "driver": java,
        "broker": psutil.Process(running.pid),
    }
    began, number = time.monotonic(), 0
    while sender.is_alive():
        sender.join(max(0.0, began + number * EVERY - time.monotonic()))
        collect = number % 6 == 5
        told = ask(follower, "collect" if collect else "sample")
        sample: dict[str, Any] = {"seconds": round(time.monotonic() - began, 1), **told}
        if collect:
            sample["driver_heap_after_gc"] = told["driver_heap"]
        for what, process in processes.items():
            with process.oneshot():
                sample[f"{what}_rss"] = process.memory_info().rss
                sample[f"{what}_fds"] = process.num_fds()
                sample[f"{what}_threads"] = process.num_threads()
        checkpoint = files(checkpoint_of("f42"))
        sample |= {
            "checkpoint_files": checkpoint,
            "home_files": files(settings().home) - checkpoint,
        }
        number += 1
        yield sample


def ask(follower: Any, wish: str) -> dict[str, Any]:
    """Ask the follower how it is."""
    follower.stdin.write(wish + "\n")
    follower.stdin.flush()
    told: dict[str, Any] = json.loads(follower.stdout.readline())
    return told


def files(folder: Path) -> int:
    """Count the files under a folder."""
    return sum(len(names) for _, _, names in os.walk(folder))


def thirds(samples: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Compare the most of the middle third with the most of the last; of files that Spark sweeps once a minute, the median."""
    summary = {}
    cut = samples[-1]["seconds"] / 3
    for what, (share, number) in ALLOWED.items():
        series = [(each["seconds"], each[what]) for each in samples if what in each]
        # The first sweep comes after some minutes and leaves less than the others, so neither peaks nor troughs compare.
        most = median if what == "checkpoint_files" else max
        middle = most(value for at, value in series if cut <= at < 2 * cut)
        last = most(value for at, value in series if at >= 2 * cut)
        summary[what] = {"middle": middle, "last": last, "allowed": middle * (1 + share) + number}
    return summary


def write(
    samples: list[dict[str, Any]], summary: dict[str, Any], seconds: int, other: Path
) -> Path:
    """Keep the series: a full run's beside the benchmarks."""
    folder = ROOT / "bench" / "results" if seconds >= FULL else other
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"soak-{datetime.now(UTC):%Y-%m-%d}.json"
    machine = {
        "cpus": os.cpu_count(),
        "memory": psutil.virtual_memory().total,
        "system": platform.platform(),
    }
    told = {"seconds": seconds, "rate": RATE, "event_time_speed": SPEED, "machine": machine}
    path.write_text(json.dumps(told | {"thirds": summary, "samples": samples}, indent=1) + "\n")
    print(f"F42: the series is in {path}")
    return path
