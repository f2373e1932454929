"""F41's machine: one table under a random schedule of faults, a reader beside it, and the oracle at the end."""

import json
import os
import random
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import psutil
from kafka import KafkaAdminClient
from pyspark.sql import DataFrame, SparkSession

import rta
from rta.kafka import broker
from rta.setup.processes import still_running
from rta.store import ledger, serving_tables
from rta.testing import oracle
from tests.support.truth import KEY, checkpoint_of, child, late_places, true_totals
from tests.support.waiting import HANG, finished, joined, until

HOW: Final[dict[str, Any]] = {"key": KEY, "event": rta.USER_EVENTS, "max_events_per_batch": 60}
OLD: Final = 0.3  # the share of publications that go back in time


def once(events: DataFrame) -> DataFrame:
    """Add up each event once."""
    return rta.transforms.totals(rta.transforms.deduplicate(events), lateness=None)


@dataclass
class World:
    """A topic, the table that is kept up to date with it, and who does so at the moment."""

    spark: SparkSession
    topic: str
    table: str
    random: random.Random
    folder: Path
    most: int = 120  # events of one publication
    events: int = 0
    partitions: int = 2
    query: Any = None
    elsewhere: subprocess.Popen[str] | None = None
    acknowledged: list[tuple[int, int]] = field(default_factory=list)

    def watched(self) -> AbstractContextManager[None]:
        """Read what readers read, all the time."""
        return watched(self.table)

    def finish(self) -> None:
        """End what goes on, take the rest, and hold all of it against the oracle."""
        finish(self)

    def close(self) -> None:
        """End what goes on, wherever it is."""
        if self.elsewhere is not None:
            killed(self.elsewhere)
        if self.query is not None:
            self.query.stop()

    @property
    def idle(self) -> bool:
        """Whether nobody follows the topic."""
        return self.query is None and self.elsewhere is None

    def some(self) -> DataFrame:
        """Make the next events; now and then old ones again (copies), or others of that time (late)."""
        rows, dice = self.random.randrange(10, self.most), self.random.random()
        seed, first = 0, self.events
        if dice < OLD and self.events:
            seed = 0 if dice < OLD / 2 else self.events
            first = self.random.randrange(self.events)
        self.events = max(self.events, first + rows)
        return rta.user_events(
            self.spark, rows=rows, first_row=first, seed=seed, users=20, rate=0.1, lateness="30 minutes",
            late_share=0.3, duplicates=0.15, duplicate_delay="20 minutes",
        )  # fmt: skip


def publish(world: World) -> None:
    """Publish in bulk: good, late, doubled and bad events."""
    share = world.random.choice((0.0, 0.1))
    rta.publish(rta.events.poisoned(world.some(), share=share), world.topic, order_by="reported_at")


def drain(world: World) -> None:
    """Take what is new."""
    rta.drain(world.topic, once, table=world.table, **HOW)


def follow(world: World) -> None:
    """Follow the topic in this process."""
    world.query = rta.follow(world.topic, once, table=world.table, **HOW)


def settle(world: World) -> None:
    """Let the query take what is there."""
    world.query.processAllAvailable()


def stop(world: World) -> None:
    """Stop the query wherever it is."""
    world.query.stop()
    assert world.query.exception() is None
    world.query = None


def lose_commit(world: World) -> None:
    """Take away the proof that the last batch was done: death between the sink's write and Spark's commit."""
    commits = checkpoint_of(world.table) / "commits"
    newest = max(commits.glob("[0-9]*"), key=lambda path: int(path.name), default=None)
    for path in (newest, newest.with_name(f".{newest.name}.crc")) if newest else ():
        path.unlink()


def follow_elsewhere(world: World) -> None:
    """Follow the topic in a process with a driver of its own."""
    world.elsewhere = child("follow_once", world.topic, world.table)
    assert world.elsewhere.stdout is not None
    assert world.elsewhere.stdout.readline() == "following\n"


def kill_elsewhere(world: World) -> None:
    """Kill that driver, its JVM and its Python, when it has written a batch of what was just published."""
    assert world.elsewhere is not None
    before = len(ledger.batches(world.table))
    publish(world)
    until(lambda: len(ledger.batches(world.table)) > before)
    killed(world.elsewhere)
    world.elsewhere = None


def killed(process: subprocess.Popen[str]) -> None:
    """Kill a process with all that it has started."""
    family = [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
    for each in family:
        each.kill()
    finished(process)
    assert not still_running(family, patience=HANG)


def restart_broker(world: World) -> None:
    """Stop Kafka cleanly, and start it again."""
    broker.down()
    broker.up()


def kill_broker(world: World) -> None:
    """Kill Kafka, and start it again."""
    running = broker.status()
    assert running is not None
    os.kill(running.pid, signal.SIGKILL)
    until(lambda: broker.status() is None)
    broker.up()


def kill_broker_under_load(world: World) -> None:
    """Kill Kafka while a producer waits for its answers; what was acknowledged is written down."""
    log = world.folder / f"acknowledged-{world.events}"
    events = world.some()
    sender = threading.Thread(
        target=rta.kafka.publish_paced, args=(events, world.topic),
        kwargs={"key": "user_id", "time": "timestamp", "speed_up": 600, "log": log, "timeout": HANG},
    )  # fmt: skip
    sender.start()
    until(lambda: log.exists() and '"ok"' in log.read_text())
    kill_broker(world)
    joined(sender)
    answers = [json.loads(line) for line in log.read_text().splitlines()]
    world.acknowledged += [(a["partition"], a["offset"]) for a in answers if a["outcome"] == "ok"]


def add_partition(world: World) -> None:
    """Give the topic a partition more."""
    world.partitions += 1
    admin = KafkaAdminClient(bootstrap_servers=rta.kafka.bootstrap())
    try:
        admin.create_partitions({world.topic: world.partitions})
    finally:
        admin.close()


@dataclass(frozen=True)
class Action:
    """Something that may happen: how often, and when it can."""

    do: Callable[[Any], None]
    weight: int
    possible: Callable[[Any], bool] = lambda _: True


HERE: Final = (
    Action(publish, 30),
    Action(drain, 16, lambda world: world.idle),
    Action(follow, 10, lambda world: world.idle),
    Action(settle, 8, lambda world: world.query is not None),
    Action(stop, 16, lambda world: world.query is not None),
    Action(lose_commit, 8, lambda world: world.idle),
    Action(add_partition, 2, lambda world: world.partitions < 5),
)
EVERYWHERE: Final = (
    *HERE,
    Action(follow_elsewhere, 6, lambda world: world.idle),
    Action(kill_elsewhere, 12, lambda world: world.elsewhere is not None),
    Action(restart_broker, 3),
    Action(kill_broker, 3),
    Action(kill_broker_under_load, 3),
)


def happen(world: World, actions: tuple[Action, ...], number: int) -> None:
    """Let so many actions happen as the dice fall; where one fails, the error says which had happened."""
    done: list[str] = []
    try:
        with world.watched():
            for _ in range(number):
                possible = [action for action in actions if action.possible(world)]
                weights = [action.weight for action in possible]
                [action] = world.random.choices(possible, weights)
                done.append(action.do.__name__)
                action.do(world)
            world.finish()
    except BaseException as error:
        error.add_note(f"after {len(done)} actions: {', '.join(done)}")
        raise
    finally:
        world.close()


def finish(world: World) -> None:
    """End what goes on, take the rest, and hold all of it against the oracle."""
    if world.elsewhere is not None:
        kill_elsewhere(world)
    if world.query is not None:
        stop(world)
    publish(world)
    drain(world)
    topic, table = world.topic, world.table
    late = late_places(topic, table, delay=timedelta(minutes=10), window=None)
    good = oracle.events(topic, rta.USER_EVENTS)
    places = ", ".join(map(str, sorted(late))) or "(-1, -1)"
    distinct = (
        f'SELECT DISTINCT ON (event_id) * FROM events WHERE (partition, "offset") NOT IN ({places})'
    )
    used = oracle.run(distinct, events=good).num_rows
    records = {(raw.partition, raw.offset) for raw in oracle.read_topic(topic)}
    bad = len(records) - good.num_rows
    oracle.check_accounted(
        table, topic, used=used, late=len(late), duplicate=good.num_rows - len(late) - used, quarantined=bad
    )  # fmt: skip
    assert oracle.differences(true_totals(topic, distinct), table) == []
    assert rta.dlq.read_dead_letters(topic).count() == bad
    assert records.issuperset(world.acknowledged)
    assert len(set(world.acknowledged)) == len(world.acknowledged)


@contextmanager
def watched(table: str) -> Iterator[None]:
    """Read the table all the time: whole batches only, and no count that goes back."""
    ended, faults, looks = threading.Event(), [], [0]
    known: dict[Any, int] = {}
    both = (
        f"SELECT COALESCE((SELECT SUM(event_count) FROM {table}), 0) AS counted, "
        "COALESCE(SUM(used), 0) AS used FROM rta_batches WHERE table_name = :name"
    )

    def look() -> None:
        while not ended.wait(0.2):
            if table not in [each.name for each in serving_tables.tables()]:
                continue
            looks[0] += 1
            [(counted, used)] = rta.sql(both, {"name": table}).to_numpy().tolist()
            rows = rta.read(table)
            counts = dict(
                zip(
                    zip(rows.window_start, rows.user_id, strict=True), rows.event_count, strict=True
                )
            )
            back = [key for key, count in known.items() if counts.get(key, 0) < count]
            known.update(counts)
            if counted != used or back:
                faults.append(f"{counted} counted, {used} used; back: {back[:3]}")

    reader = threading.Thread(target=look)
    reader.start()
    try:
        yield
    finally:
        ended.set()
        joined(reader)
    assert looks[0] > 0
    assert faults == []
