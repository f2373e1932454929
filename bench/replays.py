"""How fast Kappa replays a topic into a second version: with nothing else to do, and while events arrive.

Version 1 has served the whole topic before the clock starts, so Spark is warm, and it goes on meanwhile.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final
from uuid import uuid4

from bench.child import Phase, Setup, save, timed
from bench.drain import KEY
from bench.latency import percentiles

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rta.architectures import Kappa
    from rta.store.ledger import Batch

RATE: Final = 1_000  # events a second
WARM: Final = 5.0  # seconds that they arrive before the replay begins
LONG: Final = 600  # seconds: the sender is stopped long before

Place = tuple[int, int]  # partition, offset


def quiet(setup: Setup, scratch: Path) -> None:
    """Replay the bench's own topic: nothing arrives there."""
    with _serving(setup.topic) as wired:
        phase, done = timed("replay", partial(_replay, wired))
        _tell(phase, setup, scratch, wired, done)


def live(setup: Setup, scratch: Path) -> None:
    """Replay a copy of the topic while a thousand events a second arrive there."""
    import rta

    topic = f"replay-{uuid4().hex[:8]}"
    _copy(setup.topic, topic)
    history = {number: end for number, (_, end) in rta.kafka.offsets(topic).items()}
    with _serving(topic) as wired:
        with _arriving(topic):
            phase, done = timed("replay", partial(_replay, wired))
        for query in wired.queries:
            query.processAllAvailable()
        truth, sent = _live_truth(setup, topic, history, scratch)
        served = waited(sent, rta.store.batches(f"{wired.table}_v1"), phase)
        _tell(phase, replace(setup, truth=truth), scratch, wired, done, **percentiles(served))
    rta.kafka.delete_topic(topic)


@contextmanager
def _serving(topic: str) -> Iterator[Kappa]:
    """Let version 1 serve all of a topic."""
    import rta
    from rta.architectures import base

    table = f"bench_{uuid4().hex[:8]}"
    rta.spark()
    with rta.kappa(
        topic, rta.transforms.totals, table=table, key=KEY, event=rta.USER_EVENTS
    ) as wired:
        wired.catch_up()
        yield wired
    base.drop(table)


def _replay(wired: Kappa) -> int:
    """Return how many events the second version has taken once it has caught up."""
    import rta

    return wired.replay(rta.transforms.totals).wait().done


def _tell(
    phase: Phase, setup: Setup, scratch: Path, wired: Kappa, done: int, **figures: float
) -> None:
    """Hold both versions to the truth, after the switch."""
    import pyarrow as pa

    from bench.setup import check_totals

    faults = []
    for number in (1, 2):
        wired.switch(number)
        answer = pa.Table.from_pandas(wired.read(), preserve_index=False)
        path = save(answer, scratch / "answer.parquet")
        faults.append(check_totals(setup, {"answer": path}))
    speed = {"events_per_second": done / (phase.ended - phase.began)}
    phase.tell(fault="; ".join(filter(None, faults)), figures=speed | figures)


@contextmanager
def _arriving(topic: str) -> Iterator[None]:
    """Let events arrive, sent by a process of its own, from a while before until the end of the block."""
    import rta

    before = sum(end for _, end in rta.kafka.offsets(topic).values())
    command = [sys.executable, "-m", "bench.sender", topic, str(RATE), str(LONG)]
    sender = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        while sum(end for _, end in rta.kafka.offsets(topic).values()) < before + RATE * WARM:
            assert sender.poll() is None, "the sender ended"
            time.sleep(0.1)
        yield
        assert sender.poll() is None, "the sender ended"
    finally:
        sender.terminate()
        sender.wait()


def _copy(topic: str, to: str) -> None:
    """Copy a topic, each partition in its order."""
    import rta
    from rta.kafka.client import spark_options

    rta.kafka.create_topic(to, partitions=len(rta.kafka.offsets(topic)))
    options = spark_options()
    events = rta.spark().read.format("kafka").options(**options, subscribe=topic).load()
    columns = events.select("key", "value", "partition")
    columns.write.format("kafka").options(**options, topic=to).save()


def _live_truth(
    setup: Setup, topic: str, history: Mapping[int, int], scratch: Path
) -> tuple[str, dict[Place, float]]:
    """Add the totals of what arrived to the truth; return the file, and when each was meant to be sent."""
    import duckdb

    from bench.setup import read_topic
    from bench.topic import records
    from rta.kafka.paced import INTENDED
    from tests.support.truth import TOTALS

    arrived, truth = scratch / "arrived.parquet", scratch / "truth.parquet"
    read_topic(topic, arrived, history)
    totals = f"WITH events AS (FROM '{arrived}') {TOTALS}"
    duckdb.execute(f"COPY (FROM '{setup.truth}' UNION ALL ({totals})) TO '{truth}'")
    sent = {
        (record.partition, record.offset): int(dict(record.headers)[INTENDED]) / 1e6
        for record in records(topic, history)
    }
    return str(truth), sent


def waited(sent: Mapping[Place, float], batches: Sequence[Batch], phase: Phase) -> list[float]:
    """Return the milliseconds that the events of a phase waited until the served version had them."""
    committed = {
        (partition, offset): batch.committed_at.timestamp()
        for batch in batches
        if batch.committed_at
        for partition, end in batch.end_offsets.items()
        for offset in range(batch.start_offsets.get(partition, 0), end)
        if (partition, offset) in sent
    }
    return [
        (committed[at] - intended) * 1000
        for at, intended in sent.items()
        if phase.began <= intended <= phase.ended
    ]
