"""Faults of the broker itself: stopped, killed, full, not to be found; and events too large for it."""

import json
import os
import signal
import socket
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
from click.testing import CliRunner
from pyspark.sql import SparkSession

import rta
from rta import broker, oracle, serving
from rta.acknowledged import Acknowledged
from rta.cli import main
from rta.errors import InputError
from tests.truth import KEY, ROOT, true_totals

pytestmark = pytest.mark.kafka
HOW: dict[str, Any] = {"key": KEY, "event": rta.USER_EVENTS}


def user_event(number: int, **other: Any) -> dict[str, Any]:
    """Make one event, a second after the one before."""
    when = datetime(2024, 11, 15, 10, tzinfo=UTC) + timedelta(seconds=number)
    event = {"event_id": f"e{number}", "user_id": number % 7, "action": "purchase"}
    return event | {"amount": Decimal(number) / 100, "timestamp": when} | other


def until(holds: Callable[[], bool], patience: float = 120) -> None:
    """Wait for a state; its absence is a failure."""
    deadline = time.monotonic() + patience
    while not holds():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.05)


class Load:
    """A producer that goes on, a hundred events a second, and writes down what Kafka acknowledged."""

    def __init__(self, topic: str, log: Path) -> None:
        self.log, self.ended = log, Event()
        self.made: Acknowledged | None = None
        self.thread = Thread(target=self._run, args=(topic,))
        self.thread.start()

    def _run(self, topic: str) -> None:
        numbers = takewhile(lambda _: not self.ended.is_set(), count())
        events = map(user_event, numbers)
        self.made = rta.publish_paced(events, topic, key="user_id", rate=100, log=self.log)

    def outcomes(self, outcome: str = "ok") -> list[dict[str, Any]]:
        """List the answers of one kind so far."""
        whole = self.log.read_text().rpartition("\n")[0].splitlines() if self.log.exists() else []
        return [answer for line in whole if (answer := json.loads(line))["outcome"] == outcome]

    def end(self) -> Acknowledged:
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


@pytest.mark.parametrize("fault", ["f01_restarted", "f02_killed"])
def test_f01_f02_the_broker_ends_under_load(
    spark: SparkSession, topic: Callable[..., str], tmp_path: Path, fault: str
) -> None:
    """The query goes on by itself; all that was acknowledged is there; the table is the truth, whole at all times."""
    sign, outage = (signal.SIGKILL, 0) if fault == "f02_killed" else (signal.SIGTERM, 5)
    name, table = topic(), fault
    query = rta.follow(name, rta.totals, table=table, **HOW)
    load = Load(name, tmp_path / "log.jsonl")
    seen = [0]

    def went_on(acknowledged: int, consumed: int) -> bool:
        seen.append(int(rta.read(table)["event_count"].sum()))
        assert seen[-1] in [0, *accumulate(batch.used for batch in serving.batches(table))]
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
    assert "One node is not safe against power loss" in (ROOT / "README.md").read_text()


FULL = """
import json, os, sys
from pathlib import Path
import rta
from rta import broker, oracle
from rta.errors import BrokerError

data, log = Path(sys.argv[1]), Path(sys.argv[2])
broker.up()
try:
    (data / "filler").write_bytes(bytes(24 * 2**20))
    log.touch()
    asked = (n for n in range(600) if "unknown" not in log.read_text())
    events = ({"event_id": f"e{n}", "text": "x" * 100_000} for n in asked)
    made = rta.publish_paced(events, "full", partitions=1, log=log, timeout=10)
    assert made.ok and made.unknown and not made.failed, made
    while broker.status():
        pass
    try:
        broker.up()
        raise AssertionError("it runs on a full disk")
    except BrokerError as error:
        assert "No space left on device" in str(error), error
        assert "free disk space" in str(error), error
    (data / "filler").unlink()
    broker.up()
    there = {raw.offset: json.loads(raw.value)["event_id"] for raw in oracle.read_topic("full")}
    said = [json.loads(line) for line in log.read_text().splitlines()]
    for each in said:
        assert each["outcome"] != "ok" or there[each["offset"]] == f"e{each['sequence']}", each
    assert rta.publish_paced([{"event_id": "last"}], "full").ok == 1
    print(repr(made))
finally:
    broker.down()
"""


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
         sys.executable, "-c", FULL, str(data), str(tmp_path / "log.jsonl")],
        env=os.environ | {"RTA_HOME": str(tmp_path / "home"), "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert "no acknowledgement" in run.stdout or "KafkaTimeoutError" in run.stdout


def test_f24_large_events_among_small_ones(
    spark: SparkSession, topic: Callable[..., str], tmp_path: Path
) -> None:
    """Over the limit the producer names it; all others pass, through the query; a bad one of full size is quarantined."""
    from kafka import KafkaProducer

    name, limit = topic(partitions=1), 1_048_576
    sizes = {1: 900_000, 2: 1_100_000, 4: 20_000_000}
    events = [user_event(n, action="x" * sizes.get(n, 5)) for n in range(6)]
    made = rta.publish_paced(events, name, key="user_id", log=tmp_path / "log.jsonl")
    assert (made.ok, made.failed, made.unknown) == (4, 2, 0)
    assert [f"{limit:,}" in reason for reason in made.reasons] == [True]
    frame = spark.sql(
        "SELECT 'e9' event_id, 7L user_id, 8.00BD amount, timestamp '2024-11-15 10:00:09Z' timestamp"
    )
    for size in (1_100_000, 20_000_000):
        with pytest.raises(InputError, match=rf"{limit:,}"):
            rta.publish(frame.selectExpr("*", f"repeat('x', {size}) action"), name)
    rta.publish(frame.selectExpr("*", "repeat('x', 900000) action"), name)
    producer = KafkaProducer(bootstrap_servers=rta.bootstrap())
    producer.send(name, b"x" * (limit - 100)).get(30)
    producer.close()

    rta.drain(name, rta.totals, table="f24", **HOW)
    assert oracle.differences(true_totals(name), "f24") == []
    oracle.check_accounted("f24", name, used=5, quarantined=1)
    [letter] = rta.read_dead_letters(name).collect()
    assert len(letter.value) == limit - 100


def test_f35_a_wrong_bootstrap_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """A closed port, a name of nobody, no number, a program that is silent: the mend, exit code 1, within 10 s."""
    told: list[tuple[str, int, str]] = []
    with socket.create_server(("127.0.0.1", 0)) as silent:
        wrong = ["no-such-host.invalid:9092", "127.0.0.1:kafka", f"127.0.0.1:{silent.getsockname()[1]}"]  # fmt: skip
        runs = [
            subprocess.Popen(
                [sys.executable, "-m", "rta.cli", "tail", "t"], stderr=subprocess.PIPE, text=True,
                env=os.environ | {"RTA_KAFKA_BOOTSTRAP": address},
            )
            for address in wrong
        ]  # fmt: skip
        monkeypatch.setenv("RTA_KAFKA_BOOTSTRAP", "127.0.0.1:1")
        began = time.monotonic()
        here = CliRunner().invoke(main, ["topics"])
        assert time.monotonic() - began < 10
        told.append(("127.0.0.1:1", here.exit_code, here.stderr))
        for address, run in zip(wrong, runs, strict=True):
            said = run.communicate(timeout=60)[1]
            told.append((address, run.returncode, said))
    for address, code, said in told:
        assert code == 1, said
        assert said.startswith("✗"), said
        assert f"found: {address}" in said
        assert "do:    " in said
        assert "RTA_KAFKA_BOOTSTRAP" in said
        assert len(said.splitlines()) == 3, said


def test_f35_the_port_is_taken_in_the_last_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look and Kafka's start somebody takes the port: said, not mistaken for Kafka; again, and it runs."""
    monkeypatch.setenv("RTA_HOME", str(tmp_path))
    with socket.create_server(("127.0.0.1", 0)) as taker:
        port = taker.getsockname()[1]
        with monkeypatch.context() as race:
            race.setattr(broker, "free_port", lambda **_: port)
            refused = CliRunner().invoke(main, ["up"])
        assert refused.exit_code == 1, refused.output
        assert "Address already in use" in refused.stderr
        assert "run it again" in refused.stderr
        try:
            again = CliRunner().invoke(main, ["up"])
            assert again.exit_code == 0, again.output
            assert f":{port} " not in again.stdout
        finally:
            broker.down()
