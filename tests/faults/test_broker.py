"""Faults of the broker itself: stopped, killed, its disk full."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import accumulate, count, takewhile
from pathlib import Path
from threading import Event, Thread
from typing import Any

import psutil
import pytest
from pyspark.sql import SparkSession

import rta
from rta.kafka import broker
from rta.kafka.delivery_report import DeliveryReport
from rta.store import ledger
from rta.testing import oracle
from tests.support.truth import KEY, ROOT, true_totals
from tests.support.waiting import HANG, until

pytestmark = pytest.mark.kafka
HOW: dict[str, Any] = {"key": KEY, "event": rta.USER_EVENTS}


def user_event(number: int, **other: Any) -> dict[str, Any]:
    """Make one event, a second after the one before."""
    when = datetime(2024, 11, 15, 10, tzinfo=UTC) + timedelta(seconds=number)
    event = {"event_id": f"e{number}", "user_id": number % 7, "action": "purchase"}
    return event | {"amount": Decimal(number) / 100, "timestamp": when} | other


class Load:
    """A producer that goes on, a hundred events a second, and writes down what Kafka acknowledged."""

    def __init__(self, topic: str, log: Path) -> None:
        self.log, self.ended = log, Event()
        self.made: DeliveryReport | None = None
        self.thread = Thread(target=self._run, args=(topic,))
        self.thread.start()

    def _run(self, topic: str) -> None:
        numbers = takewhile(lambda _: not self.ended.is_set(), count())
        events = map(user_event, numbers)
        self.made = rta.kafka.publish_paced(events, topic, key="user_id", rate=100, log=self.log)

    def outcomes(self, outcome: str = "ok") -> list[dict[str, Any]]:
        """List the answers of one kind so far."""
        whole = self.log.read_text().rpartition("\n")[0].splitlines() if self.log.exists() else []
        return [answer for line in whole if (answer := json.loads(line))["outcome"] == outcome]

    def end(self) -> DeliveryReport:
        """Stop the clock, and wait for the answers that are out."""
        self.ended.set()
        self.thread.join()
        assert self.made
        return self.made


def require_all(outcomes: list[dict[str, Any]], topic: str) -> None:
    """Assert that each acknowledged event stands where Kafka said."""
    there = {(r.partition, r.offset): r.value for r in oracle.read_topic(topic)}
    said = {(each["partition"], each["offset"]): f"e{each['sequence']}" for each in outcomes}
    assert said
    assert {at: json.loads(there[at] or b"{}")["event_id"] for at in said} == said


@contextmanager
def broker_again() -> Iterator[broker.Broker]:
    """Lend the shared broker to be ended, and see to it that it runs afterwards."""
    running = broker.up()
    try:
        yield running
    finally:
        broker.up()


@pytest.mark.parametrize(
    "fault", [pytest.param("f01_restarted", marks=pytest.mark.soak), "f02_killed"]
)
def test_f01_f02_the_broker_ends_under_load(
    spark: SparkSession, topic: Callable[..., str], tmp_path: Path, fault: str
) -> None:
    """The query goes on by itself; all that was acknowledged is there; the table is the truth, whole at all times."""
    sign, outage = (signal.SIGKILL, 0) if fault == "f02_killed" else (signal.SIGTERM, 5)
    name, table = topic(), fault
    query = rta.follow(name, rta.transforms.totals, table=table, **HOW)
    load = Load(name, tmp_path / "log.jsonl")
    seen = [0]

    def went_on(acknowledged: int, consumed: int) -> bool:
        seen.append(int(rta.read(table)["event_count"].sum()))
        assert seen[-1] in [0, *accumulate(batch.used for batch in ledger.batches(table))]
        return len(load.outcomes()) > acknowledged and seen[-1] > consumed

    try:
        with broker_again() as before:
            until(lambda: went_on(50, 0))
            psutil.Process(before.pid).send_signal(sign)
            until(lambda: broker.status() is None)
            time.sleep(outage)  # the length of the fault; nothing waits for it
            assert broker.up().bootstrap == before.bootstrap
            there = len(load.outcomes())
            until(lambda: went_on(there + 50, there))
            made = load.end()
            query.processAllAvailable()
            assert query.isActive
    finally:
        load.end()
        query.stop()
    assert seen == sorted(seen)
    assert (made.failed, made.ok + made.unknown) == (0, made.sent)
    require_all(load.outcomes(), name)
    assert oracle.differences(true_totals(name), table) == []
    oracle.check_accounted(table, name, late=0, duplicate=0, quarantined=0)
    assert "One node is not safe against power loss" in (ROOT / "docs" / "topics.md").read_text()


@pytest.mark.soak
def test_f15_the_disk_of_the_broker_is_full(tmp_path: Path) -> None:
    """64 MB, then nothing: no false acknowledgement, the cause is said, and after space is freed all is there.

    In a mount namespace of its own, which Linux gives to everybody, root or not.
    """
    data = tmp_path / "home" / "broker" / "data"
    data.mkdir(parents=True)
    mount = f"mount -t tmpfs -o size=64m tmpfs '{data}' && exec \"$@\""
    run = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mount, "sh",
         sys.executable, "-m", "tests.children.fill_the_brokers_disk", str(data), str(tmp_path / "log.jsonl")],
        env=os.environ | {"RTA_HOME": str(tmp_path / "home"), "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=HANG, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert "no acknowledgement" in run.stdout or "KafkaTimeoutError" in run.stdout
