"""What the exporter of figures costs a query that runs: scraped once a second, in the notebook and as a process of its own, and not at all.

One query takes each turn's events in micro-batches of the same size, and the turns change: so all three see the same machine.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from threading import Event, Thread
from typing import TYPE_CHECKING, Final
from urllib.request import urlopen
from uuid import uuid4

from bench.child import Phase, Setup, cpu_seconds
from bench.drain import KEY

if TYPE_CHECKING:
    from pyspark.sql.streaming.query import StreamingQuery

KINDS: Final = ("no scrape", "rta metrics", "in the notebook")
TURNS, BATCHES = 6, 10  # turns of each kind, micro-batches of a turn
WARM: Final = 1  # turns of each that are not counted
MOST: Final = 100  # events of a micro-batch
EVERY: Final = 1.0  # seconds between two scrapes


def beside(setup: Setup, scratch: Path) -> None:
    """Let a query take events in turns, with an exporter that is scraped and without; tell the medians of its micro-batches."""
    import rta

    each = max(1, min(MOST, setup.events // (TURNS * BATCHES * len(KINDS))))
    topic = f"metrics-{uuid4().hex[:8]}"
    table = topic.replace("-", "_")
    took: dict[str, list[float]] = {kind: [] for kind in KINDS}
    scrapes: dict[str, list[float]] = {kind: [] for kind in KINDS}
    phases = {kind: Phase(kind, time.time(), cpu_seconds()) for kind in KINDS}
    sent = 0
    with ExitStack() as stack:
        addresses = {
            "rta metrics": stack.enter_context(_apart(scratch)),
            "in the notebook": stack.enter_context(rta.metrics.serve(port=0)).address,
        }
        rta.publish(rta.user_events(rta.spark(), rows=1), topic, partitions=1)
        query = rta.follow(topic, rta.transforms.totals, table=table, key=KEY, event=rta.USER_EVENTS, max_events_per_batch=each)  # fmt: skip
        query.processAllAvailable()
        for turn in range(TURNS):
            for kind in KINDS:
                with _scraped(addresses.get(kind), scrapes[kind]):
                    found = _turn(query, topic, first=1 + sent, rows=each * BATCHES)
                sent += each * BATCHES
                took[kind] += found if turn >= WARM else []
        query.stop()
    counted = rta.accounting(table).consumed
    fault = "" if counted == 1 + sent else f"{counted} of {1 + sent} events counted"
    for kind, phase in phases.items():
        phase.ended, phase.cpu = time.time(), cpu_seconds()
        figures = {"batch_ms": median(took[kind]), "batches": len(took[kind])}
        if scrapes[kind]:
            figures |= {"scrapes": len(scrapes[kind]), "scrape_ms": 1000 * median(scrapes[kind])}
        phase.tell(fault=fault, figures=figures)
    rta.reset(table)
    rta.kafka.delete_topic(topic)


def _turn(query: StreamingQuery, topic: str, *, first: int, rows: int) -> list[float]:
    """Publish events, wait until the query has them, and return how long each of its micro-batches took."""
    import rta

    before = max((at for at, _ in _taken(query)), default=-1)
    rta.publish(rta.user_events(rta.spark(), rows=rows, first_row=first), topic)
    query.processAllAvailable()
    return [ms for at, ms in _taken(query) if at > before]


def _taken(query: StreamingQuery) -> list[tuple[int, float]]:
    """Return number and milliseconds of the newest micro-batches with events."""
    return [(each["batchId"], each["durationMs"]["triggerExecution"]) for each in query.recentProgress if each["numInputRows"]]  # fmt: skip


@contextmanager
def _scraped(address: str | None, took: list[float]) -> Iterator[None]:
    """Scrape an address once a second while the block runs, and note the seconds of each; without an address do nothing."""
    ended = Event()

    def scrape() -> None:
        while address and not ended.is_set():
            began = time.monotonic()
            with urlopen(address) as answer:  # noqa: S310 - of ours, on loopback
                answer.read()
            took.append(time.monotonic() - began)
            ended.wait(EVERY)

    thread = Thread(target=scrape)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@contextmanager
def _apart(scratch: Path) -> Iterator[str]:
    """Run `rta metrics` as a process of its own, and lend its address."""
    with (scratch / "exporter").open("w+") as said:
        process = subprocess.Popen([sys.executable, "-m", "rta.cli", "metrics", "--port", "0"], stdout=said, stderr=said)  # fmt: skip
        try:
            while not (found := _address(scratch / "exporter")):
                assert process.poll() is None, (scratch / "exporter").read_text()
                time.sleep(0.1)
            yield found
        finally:
            process.terminate()
            process.wait()


def _address(said: Path) -> str:
    return next(
        (word.strip(";") for word in said.read_text().split() if word.startswith("http://")), ""
    )
