"""The broker is killed at each step of a run that new events start, and its owner starts it again."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import psutil
import pytest

import rta
from rta import jobs
from rta.jobs.scheduling import scheduler as scheduling
from rta.jobs.scheduling import slots as store
from rta.jobs.scheduling.scheduler import Scheduler
from rta.jobs.states import State
from rta.kafka import broker
from rta.setup.processes import still_running
from rta.testing import oracle
from tests.faults.test_schedules import _ended, _look, _settled
from tests.jobs.test_jobs import _processes_of
from tests.support.notebooks import written
from tests.support.truth import true_totals
from tests.support.waiting import HANG, until

pytestmark = [pytest.mark.kafka, pytest.mark.usefixtures("spark")]

# Step → what the broker does not outlive: it is killed as soon as that has returned.
STEPS = {"planned": (store, "put_planned"), "claimed": (store, "claimed"), "started": (scheduling, "started")}  # fmt: skip
HELD = {"before the drain", "in a micro-batch", "after the drain"}
NEXT = "the next events"  # twenty more, and nothing is killed
ALL = ("before the look", *STEPS, "before the drain", "in a micro-batch", "after the drain", NEXT)
SOAK = pytest.mark.soak  # Spark starts twice


class Kafka:
    """The broker as somebody else's cluster: rta uses its address, and does not start it again."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._running = broker.up()
        patch.setenv("RTA_KAFKA_BOOTSTRAP", self._running.bootstrap)

    def kill(self) -> None:
        """End it by SIGKILL."""
        psutil.Process(self._running.pid).kill()
        until(lambda: broker.status() is None)

    def start(self) -> None:
        """Start it again, where it was."""
        before, self._running = self._running, broker.up()
        assert self._running.bootstrap == before.bootstrap


@pytest.fixture
def kafka(monkeypatch: pytest.MonkeyPatch) -> Iterator[Kafka]:
    """Lend the shared broker to be killed, and see to it that it runs afterwards."""
    made = Kafka(monkeypatch)
    yield made
    broker.up()


class Gates:
    """Places in a notebook: who comes to one that is closed says so, and waits until it is opened."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def cell(self) -> str:
        """Return the cell that makes them."""
        return f"""import pathlib, time
folder = pathlib.Path({str(self._folder)!r})
def hold(here):
    while (folder / f"closed {{here}}").exists():
        (folder / f"reached {{here}}").touch()
        time.sleep(0.05)
"""

    def close(self, step: str) -> None:
        """Let the notebook wait there."""
        (self._folder / f"closed {step}").touch()

    def reached(self, step: str) -> bool:
        """Return whether the notebook has come there."""
        return (self._folder / f"reached {step}").exists()

    def open(self, step: str) -> None:
        """Let it go on."""
        (self._folder / f"closed {step}").unlink()


def _draining(path: Path, gates: Gates, topic: str, table: str) -> Path:
    """Write a notebook that drains a topic in micro-batches of twenty events."""
    drain = f"""rta.drain({topic!r}, rta.transforms.totals, table={table!r}, key=["window", "user_id"], event=rta.USER_EVENTS,
    max_events_per_batch=20, also=[lambda rows, batch: batch.batch_id == 1 and hold("in a micro-batch")])"""
    start = "import rta\nspark = rta.spark(master='local[1]')\nhold('before the drain')"
    return written(path, gates.cell(), start, drain, "hold('after the drain')")


def _publish(topic: str, rows: int, *, first: int = 0) -> None:
    """Publish so many events of seven users."""
    events = rta.user_events(rta.spark(), rows=rows, first_row=first, users=7)
    rta.publish(events, topic, key="user_id")


@contextmanager
def _killed_after(step: str, kafka: Kafka) -> Iterator[None]:
    """Kill the broker after the first call of what does a step of the scheduler."""
    room, name = STEPS[step]
    does, kill = getattr(room, name), iter([kafka.kill])

    def then(*given: object, **named: object) -> object:
        found = does(*given, **named)
        next(kill, lambda: None)()
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(room, name, then)
        yield


def _exact(job: str, topic: str, ends: list[int]) -> None:
    """Hold runs, table and accounting against the ends of the topic at which a run was due: each has succeeded once, and nothing runs on."""
    slots = store.slots(job)
    assert [(each.state, each.offsets) for each in slots] == [(State.SUCCEEDED, {0: end}) for end in ends]  # fmt: skip
    tries = {each.run_id: each for each in jobs.history(job)}
    assert sorted(tries) == sorted(run for each in slots for run in each.run_ids)
    assert [each for each in tries if tries[each].state == State.SUCCEEDED] == [each.run_ids[-1] for each in slots]  # fmt: skip
    assert sum(each.accounting[job].consumed for each in tries.values() if each.accounting) == ends[0]  # fmt: skip
    assert oracle.differences(true_totals(topic), job) == []
    oracle.check_accounted(job, topic, used=ends[0])
    assert not still_running([each for run in tries for each in _processes_of(run)], patience=HANG)


@pytest.mark.parametrize(
    "steps",
    [
        ("before the look", "in a micro-batch", "after the drain"),
        pytest.param(("planned", NEXT), marks=SOAK),
        pytest.param(("claimed", NEXT), marks=SOAK),
        pytest.param(("started", "before the drain", NEXT), marks=SOAK),
        pytest.param(ALL, marks=SOAK),
    ],
    ids=lambda steps: f"{len(steps)} from {steps[0]}",
)
def test_f77_the_broker_is_killed_at_each_step_of_a_run(
    steps: tuple[str, ...], kafka: Kafka, tmp_path: Path, topic: Callable[..., str]
) -> None:
    """The scheduler says so and goes on, a try without Kafka has failed and says so; the events have one run, the next ones the next; each counts once."""
    name, gates, said = topic(partitions=1), Gates(tmp_path), list[str]()
    job = re.sub("[ -]", "_", f"f77_{steps[0]}_{len(steps)}")
    _publish(name, 60)
    jobs.schedule(_draining(tmp_path / f"{job}.ipynb", gates, name, job), on_new=name, events=20, retries=9, backoff=0.1)  # fmt: skip
    # At each look Kafka is asked, which else happens every five seconds.
    seconds, begun = count(step=5), datetime.now(UTC)
    ours = Scheduler(say=said.append, clock=lambda: begun + timedelta(seconds=next(seconds)))

    def complains() -> int:
        return sum(line.startswith(f"✗ {job}: Kafka does not answer") for line in said)

    def failed() -> int:
        return len(jobs.history(job, state=State.FAILED))

    with _ended(ours):
        for number, step in enumerate(steps):
            if step in HELD and HELD.isdisjoint(steps[:number]):
                for each in HELD.intersection(steps):
                    gates.close(each)
            if step == NEXT:
                _settled(job, ours)
                _publish(name, 20, first=60)
                _look(ours, lambda: len(store.slots(job)) > 1)
                continue
            if step in STEPS:
                before = failed()
                with _killed_after(step, kafka):
                    _look(ours, lambda: failed() > before)  # noqa: B023 - it is called here
            elif step == "before the look":
                kafka.kill()
                _look(ours, complains)
                assert store.slots(job) == []
            else:
                _look(ours, lambda: gates.reached(step))  # noqa: B023 - it is called here
                kafka.kill()
                gates.open(step)
                if step == "after the drain":
                    before = complains()
                    assert _settled(job, ours).state == State.SUCCEEDED
                    _look(ours, lambda: complains() > before)  # noqa: B023 - it is called here
            kafka.start()
        _settled(job, ours)
        _look(ours, lambda: said[-1] == f"{job}: goes on" or steps[-1] != "after the drain")
    assert complains() == len({"before the look", "after the drain"}.intersection(steps))
    _exact(job, name, [80, 60] if NEXT in steps else [60])
    lost = [str(each.message) for each in jobs.history(job) if each.state != State.SUCCEEDED]
    assert [each for each in lost if "Kafka does not answer" not in each] == []
    assert len(lost) >= len(STEPS.keys() & {*steps})
    jobs.remove(job)
