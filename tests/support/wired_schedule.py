"""F41 over Lambda and Kappa: both follow one topic while anything happens; two readers look, the oracle judges at the end."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Final

import pytest

import rta
from rta.architectures import Kappa, Lambda
from rta.store import views
from rta.testing import oracle
from tests.support.schedule import (
    Action,
    World,
    add_partition,
    kill_broker,
    kill_broker_under_load,
    killed,
    once,
    publish,
    restart_broker,
)
from tests.support.truth import KEY, checkpoint_of, child, true_totals
from tests.support.watching import reader

HOW: Final[dict[str, Any]] = {"key": KEY, "event": rta.USER_EVENTS}
DISTINCT: Final = "SELECT DISTINCT ON (event_id, timestamp) * FROM events"


@dataclass
class Wired(World):
    """A topic, and the two wirings of one function that follow it."""

    lam: Lambda | None = None
    kap: Kappa | None = None

    @property
    def names(self) -> list[str]:
        """What readers read."""
        return [f"{self.table}_lambda", f"{self.table}_kappa"]

    @property
    def idle(self) -> bool:
        """Whether nobody follows the topic."""
        return self.lam is None and self.elsewhere is None

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Read both views all the time: no count goes back, no state is half or double."""
        publish(self)
        start(self)
        with ExitStack() as readers:
            for name in self.names:
                readers.enter_context(reader(name))
            yield

    def finish(self) -> None:
        """Let both correct what was late, and hold them against the oracle."""
        if self.elsewhere is not None:
            kill_elsewhere(self)
        if self.lam is None:
            start(self)
        publish(self)
        recompute(self)
        replay(self)
        assert self.lam
        assert self.kap
        for wired in (self.lam, self.kap):
            wired.catch_up()
            hold(wired, self)
        assert rta.compare(self.lam, self.kap).equal

    def close(self) -> None:
        """End what goes on, wherever it is."""
        if self.elsewhere is not None:
            killed(self.elsewhere)
        for wired in (self.lam, self.kap):
            if wired is not None:
                wired.stop()


def hold(wired: Lambda | Kappa, world: Wired) -> None:
    """Compare an answer and its accounting with the topic itself: everything is there, once, nothing is late."""
    topic = world.topic
    records = {(raw.partition, raw.offset) for raw in oracle.read_topic(topic)}
    good = oracle.events(topic, rta.USER_EVENTS)
    used = oracle.run(DISTINCT, events=good).num_rows
    found = wired.accounting()
    said = (found.consumed, found.used, found.duplicate, found.late, found.quarantined)
    bad = len(records) - good.num_rows
    assert said == (len(records), used, good.num_rows - used, 0, bad), (wired.architecture, said)
    assert oracle.differences(true_totals(topic, DISTINCT), wired.table) == []
    assert rta.dlq.read_dead_letters(topic).count() == bad
    assert records.issuperset(world.acknowledged)


def start(world: Wired) -> None:
    """Wire both, or go on with them."""
    world.lam = rta.lambda_(world.topic, once, table=world.names[0], **HOW)
    world.kap = rta.kappa(world.topic, once, table=world.names[1], **HOW)


def stop(world: Wired) -> None:
    """Stop the queries wherever they are, as a closed notebook does."""
    assert world.lam
    assert world.kap
    for wired in (world.lam, world.kap):
        queries = wired.queries
        wired.stop()
        assert [query.exception() for query in queries] == [None] * len(queries)
    world.lam = world.kap = None


def catch_up(world: Wired) -> None:
    """Let both take what is there; afterwards each has every offset."""
    assert world.lam
    assert world.kap
    for wired in (world.lam, world.kap):
        wired.catch_up()
        assert wired.accounting().balanced
        assert wired.accounting().consumed == len(oracle.read_topic(world.topic))


def recompute(world: Wired) -> None:
    """Swap Lambda's batch view."""
    assert world.lam
    world.lam.recompute()


def replay(world: Wired) -> None:
    """Replay, switch, and retire what Kappa served."""
    assert world.kap
    replayed(world.kap)


def replayed(kap: Kappa) -> None:
    """Replay, switch, and retire what was served."""
    assert kap.view
    served = kap.view.served
    replay = kap.replay(once)
    replay.wait()
    kap.switch(replay.version)
    kap.retire(served)


def maintained(lam: Lambda, kap: Kappa) -> None:
    """Do what a scheduled job would do again and again."""
    lam.recompute()
    replayed(kap)


def fail_to_switch(world: Wired) -> None:
    """Die in the transaction that swaps Lambda's batch view."""
    assert world.lam
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(views, "_note", _die)
        with pytest.raises(KeyboardInterrupt):
            world.lam.recompute()


def _die(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def lose_commit(world: Wired) -> None:
    """Take away the proof that a last batch was done, of a part of either view."""
    parts = [part for name in world.names for part in (views.find(name) or _no_view()).parts]
    folders = [checkpoint_of(part) / "commits" for part in parts]
    commits = world.random.choice([folder for folder in folders if folder.exists()])
    newest = max(commits.glob("[0-9]*"), key=lambda path: int(path.name), default=None)
    for path in (newest, newest.with_name(f".{newest.name}.crc")) if newest else ():
        path.unlink()


def _no_view() -> views.View:
    raise AssertionError("the view is gone")


def maintain_elsewhere(world: Wired) -> None:
    """Let a process with a driver of its own recompute, replay and switch without end."""
    world.elsewhere = child("maintain_both", world.topic, world.table)
    assert world.elsewhere.stdout is not None
    assert world.elsewhere.stdout.readline() == "maintaining\n", world.elsewhere.communicate()


def kill_elsewhere(world: Wired) -> None:
    """Kill that driver at any moment: in a recomputation, a replay, a switch."""
    assert world.elsewhere is not None
    publish(world)
    time.sleep(world.random.uniform(0, 15))
    assert world.elsewhere.poll() is None, _words(world.elsewhere)
    killed(world.elsewhere)
    world.elsewhere = None


def _words(process: subprocess.Popen[str]) -> tuple[str, str]:
    return process.communicate()


def _runs(world: Wired) -> bool:
    return world.lam is not None


HERE: Final = (
    Action(publish, 30),
    Action(catch_up, 10, _runs),
    Action(recompute, 10, _runs),
    Action(replay, 10, _runs),
    Action(fail_to_switch, 4, _runs),
    Action(stop, 8, _runs),
    Action(start, 20, lambda world: world.idle),
    Action(lose_commit, 8, lambda world: world.idle),
    Action(add_partition, 2, lambda world: world.partitions < 4),
)
EVERYWHERE: Final = (
    *HERE,
    Action(maintain_elsewhere, 8, lambda world: world.idle),
    Action(kill_elsewhere, 20, lambda world: world.elsewhere is not None),
    Action(restart_broker, 3),
    Action(kill_broker, 3),
    Action(kill_broker_under_load, 3),
)
