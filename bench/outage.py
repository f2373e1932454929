"""A minute without the query, at a thousand events a second: how long until readers see events as soon as before.

Measured at each event, as bench.latency does: it has caught up with the first event whose wait for a visible result
is no longer than the longest before the outage.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final
from uuid import uuid4

from bench.child import Phase, Setup, cpu_seconds
from bench.drain import KEY
from bench.latency import latencies, percentiles, sent_to, wait_for
from bench.readers import Seen, read_table, reading

if TYPE_CHECKING:
    from pyspark.sql.streaming.query import StreamingQuery

RATE: Final = 1_000  # events a second
WARM, BEFORE, OUTAGE, AFTER = 15, 15, 60, 40  # seconds; those of the first are not counted
SEEN: Final = (
    5  # seconds within which an event must be seen before the outage: else there is no usual wait
)


@dataclass(frozen=True)
class Wait:
    """When an event was meant to be sent, and the milliseconds until its result was visible."""

    intended: float
    ms: float


def micro_batch(setup: Setup, _: Path) -> None:
    """Stop rta.follow() while events arrive, start it again, and look at each event."""
    import rta

    shorter = min(1.0, setup.events / 300_000)  # a small topic asks for a short look
    topic, seen = f"outage-{uuid4().hex[:8]}", Seen()
    table, events = (
        topic.replace("-", "_"),
        round(RATE * (WARM + BEFORE + OUTAGE + AFTER) * shorter),
    )
    rta.kafka.create_topic(topic, partitions=4)
    query = _follow(topic, table)
    query.processAllAvailable()
    command = [sys.executable, "-m", "bench.sender", topic, str(RATE), str(events / RATE)]
    sender = subprocess.Popen(command, text=True, stdout=subprocess.PIPE)
    with reading(partial(read_table, table, seen)):
        time.sleep((WARM + BEFORE) * shorter)
        stopped = time.time()
        query.stop()
        time.sleep(OUTAGE * shorter)
        phase = Phase(f"{OUTAGE * shorter:.0f} s without it", time.time(), cpu_seconds())
        query = _follow(topic, table)
        told = sender.communicate()[0]
        wait_for(seen, events)
    phase.cpu = cpu_seconds()
    query.stop()
    sent = sent_to(topic)
    rta.reset(table)
    rta.kafka.delete_topic(topic)
    found = latencies(sent, seen.results)
    if Counter(key for key, _ in sent) != seen.counts or sender.returncode:
        phase.ended = time.time()
        phase.tell(
            fault=f"WRONG: counted {seen.counts.total()} of {len(sent)} events, {events} wanted"
        )
        return
    waits = [Wait(intended, ms or 0.0) for (_, intended), ms in zip(sent, found, strict=True)]
    warm = waits[0].intended + WARM * shorter
    before = [each for each in waits if warm <= each.intended < stopped - SEEN]
    usual = max(each.ms for each in before)
    phase.ended, after = caught_up(waits, stopped, usual)
    fault = "" if usual <= SEEN * 1000 else f"it was behind before the outage: {usual:,.0f} ms"
    phase.tell(
        fault=fault or ("" if after else "it never caught up"),
        figures={
            "missed": sum(stopped <= each.intended < phase.began for each in waits),
            "before_p99_ms": percentiles([each.ms for each in before])["p99_ms"],
            "behind_ms": json.loads(told)["behind"] * 1000,
            **(percentiles([each.ms for each in after]) if after else {}),
        },
    )


def caught_up(waits: Sequence[Wait], stopped: float, usual: float) -> tuple[float, list[Wait]]:
    """Return when the first event after the stop was visible that waited no longer than usual, and all from there on."""
    since = [each for each in waits if each.intended > stopped]
    for place, each in enumerate(since):
        if each.ms <= usual:
            return each.intended + each.ms / 1000, since[place:]
    return stopped, []


def _follow(topic: str, table: str) -> StreamingQuery:
    import rta

    return rta.follow(topic, rta.transforms.totals, table=table, key=KEY, event=rta.USER_EVENTS)
