"""Faults of Flink: its JVM, the broker and the process that fills the table are killed, its disk is full; the answer is DuckDB's over the topic."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import count
from operator import eq
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

import rta
from rta.engines import flink
from rta.engines.flink import engine
from rta.engines.flink.gateway import call
from rta.kafka import broker_config
from rta.setup.processes import end, runs
from tests.support.engine_faults import (
    broker_killed,
    exact,
    followed,
    grown,
    killed_in_turn,
    sent,
    spoilt,
)
from tests.support.own_flink import killed_and_started_again, somebodys
from tests.support.truth import ROOT
from tests.support.waiting import HANG, until


@pytest.fixture
def running(home: object) -> Iterator[flink.Cluster]:
    """Lend a Flink that a test may kill."""
    yield flink.up()
    flink.down()


def kill(_: int) -> None:
    """Kill Flink."""
    running = flink.status()
    assert running is not None
    assert running.pid is not None
    os.kill(running.pid, signal.SIGKILL)


def test_f60_flink_is_killed(
    running: flink.Cluster, spark: SparkSession, topic: Callable[..., str]
) -> None:
    """It starts again by itself, from its last checkpoint: no event is lost, none is counted twice."""
    name = topic(partitions=2)
    killed_in_turn(spark, followed(name, "flink_killed", "flink"), name, kill, times=2, rows=1_000)


@pytest.mark.soak
def test_f60_flink_is_killed_ten_times(
    running: flink.Cluster, spark: SparkSession, topic: Callable[..., str]
) -> None:
    """The same, ten times over 30,000 events."""
    name = topic(partitions=2)
    query = followed(name, "flink_killed_often", "flink")
    killed_in_turn(spark, query, name, kill, times=10, rows=3_000)


def test_f72_a_flink_of_ones_own_is_killed(
    spark: SparkSession,
    topic: Callable[..., str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its owner starts it again, without its jobs: the query waits for it, and goes on from its last checkpoint."""
    name = topic(partitions=2)
    with somebodys(tmp_path) as theirs, ExitStack() as ended:
        assert theirs.pid
        pids = [theirs.pid]
        monkeypatch.setenv("RTA_FLINK_GATEWAY", theirs.gateway)
        monkeypatch.setenv("RTA_FLINK_STATE", (tmp_path / "shared").as_uri())

        def kill_theirs(_: int) -> None:
            pids.append(killed_and_started_again(pids[-1], tmp_path))
            ended.callback(end, pids[-1], patience=HANG)

        query = followed(name, "flink_of_ones_own", "flink")
        killed_in_turn(spark, query, name, kill_theirs, times=1, rows=1_000)
        assert len(pids) == 2


def test_f73_the_home_of_flink_is_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody could find it any more, and so not stop it: it ends by itself."""
    monkeypatch.setenv("RTA_HOME", str(tmp_path / "home"))
    pid = flink.up().pid
    assert pid is not None
    shutil.rmtree(tmp_path / "home", ignore_errors=True)  # it may be writing a log
    shutil.rmtree(tmp_path / "home", ignore_errors=True)
    until(lambda: not runs(pid))


@contextmanager
def taken(look: Callable[[int], bool]) -> Iterator[None]:
    """Have a program take a port between the look for it and Flink's start, at these looks: 0 is for the REST API, 1 for the gateway."""
    free, looks = broker_config.free_port, count()
    with pytest.MonkeyPatch.context() as race, socket.socket() as taker:
        taker.bind(("127.0.0.1", 0))  # one that listened would let Flink's first caller wait
        race.setattr(broker_config, "free_port", lambda: taker.getsockname()[1] if look(next(looks)) else free())  # fmt: skip
        yield


def test_f74_a_port_is_taken_when_it_starts_again(
    running: flink.Cluster, spark: SparkSession, topic: Callable[..., str]
) -> None:
    """It takes another one; if it cannot start three times in a row, the query says why, and the next call goes on."""
    name = topic(partitions=2)
    query, records = followed(name, "flink_port", "flink"), 0
    for door in (0, 1):
        records += sent(spark, name, door, 300)
        query.processAllAvailable()
        with taken(partial(eq, door)):
            kill(0)
            records += sent(spark, name, 10 + door, 300)
            query.processAllAvailable()
        assert query.restarts == 1 + door
    with taken(lambda _: True):
        kill(0)
        failed = until(query.exception)
    assert "Flink ended while it started" in str(failed)
    assert "Could not start rest endpoint on any port" in str(failed)
    assert not query.isActive
    records += sent(spark, name, 20, 300)
    again = followed(name, "flink_port", "flink")
    again.processAllAvailable()
    again.stop()
    exact(name, "flink_port", records)


def test_f61_the_broker_is_killed_under_flink(
    running: flink.Cluster, spark: SparkSession, topic: Callable[..., str]
) -> None:
    """Flink and the process that fills the table find it again, and go on."""
    broker_killed(spark, topic(partitions=2), "flink_broker", "flink")


def test_f62_who_fills_the_table_is_gone(
    running: flink.Cluster, spark: SparkSession, topic: Callable[..., str]
) -> None:
    """The job goes on without the kernel that started it; who follows the topic next finds it, and misses nothing."""
    name = topic(partitions=2)
    records = sent(spark, name, 1, 500)
    query = followed(name, "flink_gone", "flink")
    query.processAllAvailable()
    query.let_go()
    records += sent(spark, name, 2, 500)
    again = followed(name, "flink_gone", "flink")
    assert again.job.id == query.job.id
    again.processAllAvailable()
    again.stop()
    exact(name, "flink_gone", records)


def test_f63_partitions_are_added_under_flink(
    running: flink.Cluster, spark: SparkSession, topic: Callable[..., str]
) -> None:
    """The new ones are read from their first event."""
    name = topic(partitions=1)
    records = sent(spark, name, 1, 300)
    query = followed(name, "flink_grows", "flink")
    query.processAllAvailable()
    grown(name, 3)
    records += sent(spark, name, 2, 300) + spoilt(
        name, 1, partition=2
    )  # Spark's producer may not know it yet
    query.processAllAvailable()
    query.stop()
    exact(name, "flink_grows", records)
    assert len(query.reached()) > 1


def test_f67_flink_goes_on_from_a_savepoint_with_another_parallelism(
    running: flink.Cluster, spark: SparkSession, topic: Callable[..., str]
) -> None:
    """One task, then two, then one again: groups and counts go over to other tasks, exactly."""
    name, records = topic(partitions=1), 0
    for turn, tasks in enumerate((1, 2, 1)):
        if turn == 1:
            grown(name, 2)
        records += sent(spark, name, turn, 300) + spoilt(name, 1, partition=min(turn, 1))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(engine, "_MOST_TASKS", tasks)
            query = followed(name, "flink_rescaled", "flink")
        query.processAllAvailable()
        vertices = call("GET", query.native)["vertices"]
        assert {each["parallelism"] for each in vertices} == {tasks}
        query.stop()
        exact(name, "flink_rescaled", records)


@pytest.mark.soak
def test_f68_the_disk_of_flinks_checkpoints_is_full(
    spark: SparkSession, topic: Callable[..., str], tmp_path: Path
) -> None:
    """A Flink whose checkpoints are on a disk of 8 MB, which is full: it ends with the cause; with space it goes on, exactly.

    In a mount namespace of its own, which Linux gives to everybody, root or not.
    """
    name = topic(partitions=2)
    records = sent(spark, name, 1, 500)
    disk = tmp_path / "home" / "checkpoints"
    disk.mkdir(parents=True)
    mount = f"mount -t tmpfs -o size=8m tmpfs '{disk}' && exec \"$@\""
    run = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mount, "sh",
         sys.executable, "-m", "tests.children.fill_the_disk_of_flink", name, str(disk), str(records)],
        env=os.environ | {"RTA_KAFKA_BOOTSTRAP": rta.kafka.bootstrap(), "PYTHONPATH": str(ROOT),
                          "RTA_HOME": str(tmp_path / "home")},
        capture_output=True, text=True, timeout=HANG, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr
    failed, whole = run.stdout.splitlines()[-2:]
    assert "No space left on device" in failed
    assert whole == "whole"
