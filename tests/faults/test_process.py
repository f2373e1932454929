"""Faults of processes: the driver's JVM, the notebook's kernel, two of them at once, a disk that is full, a heap too small."""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager
from pyspark.sql import SparkSession

import rta
from rta.errors import QueryError
from rta.kafka import broker
from rta.setup.processes import still_running
from rta.store import database, ledger
from rta.testing import oracle
from tests.support.truth import KEY, ROOT, child, jvm_of, true_totals
from tests.support.two_topics import (
    GAP,
    Pair,
    merged,
    minutes,
    pairs,
    publish,
    require_accounted,
    rows,
    truth,
    without_partner,
)
from tests.support.waiting import HANG, finished, until

pytestmark = pytest.mark.kafka
HOW: Final[dict[str, Any]] = {"key": KEY, "event": rta.USER_EVENTS}


def killed_again_and_again(
    follower: subprocess.Popen[str], chance: random.Random, moments: Sequence[int], tables: Sequence[str]
) -> tuple[str, str]:  # fmt: skip
    """Kill the JVM of a child that drains, each time its tables have so many events; return what it has said, once it is done."""
    killed: set[int] = set()
    try:
        for moment in moments:
            until(lambda at=moment: ledger.summed(*tables).consumed >= at, follower)  # type: ignore[misc]
            jvm = until(
                lambda: (found := jvm_of(follower.pid)) and found.pid not in killed and found,
                follower,
            )
            time.sleep(
                chance.uniform(0, 0.4)
            )  # anywhere in a batch, or in the start of the next session
            jvm.kill()
            killed.add(jvm.pid)
        return finished(follower)
    finally:
        follower.kill()
        follower.communicate()


@pytest.mark.soak
def test_f05_the_drivers_jvm_is_killed_twenty_times(
    spark: SparkSession, topic: Callable[..., str]
) -> None:
    """SIGKILL at twenty seeded moments over 30,000 events: the same Python starts a new one and goes on by itself."""
    name, chance = topic(), random.Random(5)  # noqa: S311 - the same moments each time
    rta.publish(rta.user_events(spark, rows=30_000), name, order_by="timestamp")
    follower = child("drain_until_done", name)
    said, trace = killed_again_and_again(follower, chance, sorted(chance.sample(range(29_000), 20)), ["f05"])  # fmt: skip
    assert follower.returncode == 0, trace
    assert "the JVM of Spark ended; found: killed by signal 9" in said
    assert "; fix: call rta.spark() for a new one" in said
    assert said.count("failed:") >= 10  # the others hit a session while it started
    assert oracle.differences(true_totals(name), "f05") == []
    oracle.check_accounted("f05", name, used=30_000)


@pytest.mark.soak
def test_f05_a_join_sessions_and_a_processor_survive_it(topic: Callable[..., str]) -> None:
    """SIGKILL to the JVM at eight seeded moments of three queries: each is exact, and each topic is accounted for."""
    pair, chance = Pair(topic(partitions=1), topic(partitions=1)), random.Random(9)  # noqa: S311 - the same moments each time
    publish(pair.views, "view", minutes(1, 70), 1)
    publish(pair.buys, "buy", minutes(2, 70), 2)
    tables = ("f05_join", "f05_sessions", "f05_processor")
    follower = child("drain_three_kinds", pair.views, pair.buys)
    _, trace = killed_again_and_again(follower, chance, sorted(chance.sample(range(300), 8)), tables)  # fmt: skip
    assert follower.returncode == 0, trace
    events, views = pair.events, {pair.views: pair.events[pair.views]}
    found = truth("f05_join", events, starts=True)
    require_accounted("f05_join", found, bad=0)
    alone = without_partner(found, pair)
    assert alone
    assert rows("f05_join", "view", "buy", "user_id") == sorted(pairs(found, pair) | alone)
    found = truth("f05_sessions", views, lambda at: at + GAP, starts=True)
    require_accounted("f05_sessions", found, bad=0)
    final = [
        (user, start, end, many)
        for user, start, end, many in merged(found.kept[pair.views])
        if end <= found.closed
    ]
    assert rows("f05_sessions", "user_id", "session_start", "session_end", "events") == final
    found = truth("f05_processor", views, starts=True)
    require_accounted("f05_processor", found, bad=0)
    kept = Counter(event.user for event in found.kept[pair.views])
    assert rows("f05_processor", "user_id", "events") == sorted(kept.items())


KERNEL = """
import rta
rta.spark(master="local[4]", conf={"spark.ui.enabled": "false"})
query = rta.follow(%r, rta.transforms.totals, table="f08", key=["window", "user_id"], event=rta.USER_EVENTS)
query.processAllAvailable()
print(rta.up().pid)
"""


def executed(client: BlockingKernelClient, code: str) -> str:
    """Run code in a kernel and return what it printed."""
    printed: list[str] = []

    def heard(message: dict[str, Any]) -> None:
        if message["msg_type"] == "stream" and message["content"]["name"] == "stdout":
            printed.append(message["content"]["text"])

    reply = client.execute_interactive(code, timeout=HANG, output_hook=heard)
    assert reply["content"]["status"] == "ok", reply["content"]
    return "".join(printed)


def test_f08_f11_a_second_kernel_is_refused_until_the_first_is_killed(
    spark: SparkSession, topic: Callable[..., str]
) -> None:
    """Two processes, one checkpoint: the first is untouched; SIGKILL of its kernel leaves the broker and no lock."""
    name = topic()
    rta.publish(rta.user_events(spark, rows=200), name, key="user_id")
    kernel = KernelManager()
    kernel.start_kernel(env=os.environ | {"PYTHONPATH": str(ROOT)})
    client = kernel.blocking_client()
    try:
        client.start_channels()
        client.wait_for_ready(timeout=HANG)
        adopted = executed(client, KERNEL % name)
        running = broker.status()
        assert running
        assert int(adopted) == running.pid
        process: int = kernel.provisioner.pid  # type: ignore[union-attr]
        jvm = jvm_of(process)
        assert jvm
        with pytest.raises(
            QueryError, match=rf"another query fills table 'f08'; found: process {process}, since"
        ):
            rta.drain(name, rta.transforms.totals, table="f08", **HOW)
        assert executed(client, "query.processAllAvailable(); print(query.isActive)") == "True\n"
        os.kill(process, signal.SIGKILL)
    finally:
        client.stop_channels()
        kernel.shutdown_kernel(now=True)
        kernel.cleanup_resources()
    rta.publish(rta.user_events(spark, rows=100, first_row=200), name, key="user_id")
    taken = rta.drain(
        name, rta.transforms.totals, table="f08", **HOW
    )  # waits for the claim, as long as the JVM ends
    assert taken.accounting.consumed == 100
    assert not still_running([jvm], patience=HANG)
    assert broker.up() == running
    assert oracle.differences(true_totals(name), "f08") == []
    oracle.check_accounted("f08", name, used=300)


def test_f16_the_database_is_full(
    spark: SparkSession, topic: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite has no page left: the batch is not there in part, the cause is said; with space it goes on, the same."""
    monkeypatch.setattr(database, "PATIENCE", 0.5)
    name = topic()
    rta.publish(rta.user_events(spark, rows=100), name, key="user_id")
    rta.drain(name, rta.transforms.totals, table="f16", **HOW)
    before = rta.read("f16")
    rta.publish(rta.user_events(spark, rows=2_000, first_row=100), name, key="user_id")
    with (
        full(database.engine()),
        pytest.raises(
            QueryError,
            match=r"fills 'f16' failed: the serving database .*full.*fix: .*free it, then run again",
        ) as caught,
    ):
        rta.drain(name, rta.transforms.totals, table="f16", **HOW)
    assert "database or disk is full" in str(caught.value.found)
    assert rta.read("f16").equals(before)
    assert rta.accounting("f16").consumed == 100
    assert rta.drain(name, rta.transforms.totals, table="f16", **HOW).accounting.consumed == 2_000
    assert oracle.differences(true_totals(name), "f16") == []
    oracle.check_accounted("f16", name, used=2_100)


@contextmanager
def full(engine: Any) -> Iterator[None]:
    """Let the database's file grow no more, in every connection of this process; it has no free page, either."""
    import sqlalchemy as sa

    def limit(connection: Any, *_: object) -> None:
        [pages] = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count={pages}")

    with closing(engine.raw_connection()) as connection:
        connection.driver_connection.execute("VACUUM")
    engine.dispose()
    sa.event.listen(engine, "connect", limit)
    try:
        yield
    finally:
        sa.event.remove(engine, "connect", limit)
        engine.dispose()


@pytest.mark.soak
def test_f16_the_disk_is_full(
    spark: SparkSession, topic: Callable[..., str], tmp_path: Path
) -> None:
    """4 MB, for a checkpoint and then for a table: it stops with the cause; with space it goes on, the same.

    In a mount namespace of its own, which Linux gives to everybody, root or not.
    """
    name = topic()
    rta.publish(rta.user_events(spark, rows=3_000), name, order_by="timestamp")
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = f"mount -t tmpfs -o size=4m tmpfs '{disk}' && exec \"$@\""
    run = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mount, "sh",
         sys.executable, "-m", "tests.children.fill_the_disk", name, str(disk), f"sqlite:///{disk}/rta.db"],
        env=os.environ | {"RTA_KAFKA_BOOTSTRAP": rta.kafka.bootstrap(), "PYTHONPATH": str(ROOT),
                          "RTA_HOME": str(tmp_path / "home")},
        capture_output=True, text=True, timeout=HANG, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr
    checkpoint, _, table, _ = run.stdout.splitlines()
    assert "the disk is full" in checkpoint
    assert "No space left on device" in checkpoint
    assert "database or disk is full" in table


@pytest.mark.soak
def test_f37_two_kernels_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing runs yet; both start at the same moment: one broker, one database, both tables right."""
    monkeypatch.setenv("RTA_HOME", str(tmp_path))
    both = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.children.start_all", name], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
        for name in ("one", "two")
    ]  # fmt: skip
    try:
        said = [finished(each) for each in both]
        assert [each.returncode for each in both] == [0, 0], said
        running = broker.status()
        assert running
        assert {int(out) for out, _ in said} == {running.pid}
        for name in ("one", "two"):
            assert oracle.differences(true_totals(name), name) == []
            oracle.check_accounted(name, name, used=300)
    finally:
        broker.down()


@pytest.mark.soak
def test_f38_a_heap_too_small(spark: SparkSession, topic: Callable[..., str]) -> None:
    """A million keys on the heap, 256 MB: it ends with the cause; more memory goes on from there, and is right."""
    name = topic(partitions=4)
    events = rta.user_events(spark, rows=1_000_000, users=10**9, skew=0)
    rta.publish(events, name, order_by="timestamp")
    said, trace = finished(child("drain_with_a_small_heap", name))
    assert said.startswith("the query that fills 'f38' failed: out of memory; found: exit code 3: "), (said, trace)  # fmt: skip
    assert "OutOfMemoryError" in said
    assert "rta.spark(conf={'spark.driver.memory': '4g'})" in said
    done = ledger.summed("f38").consumed
    assert done < 1_000_000
    taken = rta.drain(name, rta.transforms.totals, table="f38", max_events_per_batch=200_000, **HOW)
    assert taken.accounting.consumed == 1_000_000 - done
    assert taken.rows > 900_000 - done
    assert oracle.differences(true_totals(name), "f38") == []
    oracle.check_accounted("f38", name, used=1_000_000)


def test_f38_a_heap_that_spark_itself_refuses() -> None:
    """Too small to start: one sentence, with the number and the setting."""
    with child("start_with_too_small_a_heap") as small:
        said, trace = finished(small)
    assert said.count("\n") == 1, trace
    assert "Spark did not start; found: " in said
    assert "must be at least 471859200" in said
    assert "spark.driver.memory" in said
