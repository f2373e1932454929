"""The scheduler: it plans what is due, and starts each try as a process of its own, so many at a time.

It holds nothing that is not in the database or in a lock, so it may die at any moment: its tries go on, and the next scheduler
finds them by their locks. Two at once share the work.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event
from typing import IO, Final

from rta.errors import BrokerError, InputError, JobError, RtaError
from rta.jobs import runs
from rta.jobs.scheduling import slots as store
from rta.jobs.scheduling.attempt import AGAIN, folder, locked, settle
from rta.jobs.scheduling.places import gone, places
from rta.jobs.scheduling.planning import Schedule, Slot, due_by_events, overdue, to_start
from rta.jobs.states import State
from rta.store.database import DatabaseAwayError

_POLL: Final = 1.0  # seconds between two looks; while tries run, a fifth of it
_EVENTS_POLL: Final = timedelta(seconds=5)  # between two questions to the broker for one schedule
# For so long its home may be away: a file system is mounted again.
_GONE: Final = timedelta(seconds=60)
Said = Callable[[str], None]


class GoneError(JobError):
    """The home or the database of a scheduler was deleted."""


class Scheduler:
    """What starts the runs of all schedules.

    Args:
        limit: How many tries run at once; by default one for two cores.
        say: Takes a line about what happens.
        clock: Returns the time.
    """

    def __init__(self, *, limit: int | None = None, say: Said = print, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:  # fmt: skip
        self.limit = limit or max(1, (os.cpu_count() or 1) // 2)
        self._tell, self._clock = say, clock
        self._children: dict[tuple[str, datetime], subprocess.Popen[bytes]] = {}
        self._asked: dict[str, datetime] = {}  # when the broker was asked for a schedule's topic
        self._silence: tuple[datetime, BrokerError] | None = None  # the look in which it was silent
        self._troubles: dict[str, str] = {}  # what was said of each schedule; "" is the scheduler
        self._places: Mapping[Path, int | None] = {}
        self._gone_since: datetime | None = None

    def run(self, stop: Event) -> None:
        """Look again and again until it is told to stop. The tries that run go on.

        Raises:
            GoneError: If its home or its database was deleted a minute ago.
        """
        while not stop.is_set():
            with self._told(""):
                self.tick()
            stop.wait(_POLL / 5 if self._children else _POLL)
        for name, moment in self._children:
            self._say(f"{name} {moment:%Y-%m-%d %H:%M:%S} UTC goes on; `rta jobs` shows its end")

    def tick(self) -> None:
        """Plan what is due now, settle what has died, start what has its turn.

        Raises:
            DatabaseAwayError: If the database is away.
            JobError: If its home or its database is not there.
            GoneError: If that has been so for a minute.
        """
        now = self._clock()
        self._require_places(now)
        self._reap()
        waiting: dict[str, list[Slot]] = {}
        for each in store.open_slots():
            waiting.setdefault(each.schedule, []).append(each)
        for schedule in store.schedules():
            with self._told(schedule.name):
                mine = waiting.setdefault(schedule.name, [])
                mine += self._planned(schedule, mine, now)
                for slot in mine:
                    if (ended := overdue(schedule, slot, now)) and store.update(slot, ended):
                        self._say(_line(ended))
        running = [each for slots in waiting.values() for each in slots if each.state == State.RUNNING and each.claimed_by == store.here()]  # fmt: skip
        alive = sum(self._lives(each) for each in running)
        ready = [first for slots in waiting.values() if (first := to_start(slots, now))]
        for slot in sorted(ready, key=lambda each: (each.due_at, each.schedule)):
            if alive >= self.limit:
                break
            with self._told(slot.schedule):
                alive += self._start(slot.schedule, now)

    def _require_places(self, now: datetime) -> None:
        self._places = self._places or places()
        away = gone(self._places)
        self._gone_since = (self._gone_since or now) if away else None
        if self._gone_since and now - self._gone_since >= _GONE:
            raise GoneError("what the scheduler works with was deleted or replaced", found=away, fix="start it again")  # fmt: skip
        if away:
            raise JobError("what the scheduler works with is not there", found=away, fix=f"put it back: after {_GONE.seconds} s the scheduler ends")  # fmt: skip

    def _planned(self, schedule: Schedule, waiting: list[Slot], now: datetime) -> list[Slot]:
        """Write the slots that have become due; return those that wait."""
        if schedule.on_new:
            new = [] if waiting else self._by_events(schedule, schedule.on_new, now)
        else:
            new = store.plan(schedule, now, active=bool(waiting))
        for slot in new:
            self._say(_line(slot))
        return [each for each in new if not each.state.ended]

    def _by_events(self, schedule: Schedule, topic: str, now: datetime) -> list[Slot]:
        asked = self._asked.get(schedule.name)
        if schedule.paused or (asked and timedelta(0) <= now - asked < _EVENTS_POLL):
            return []
        self._asked[schedule.name] = now
        ends = self._ends(topic, now)
        known = store.slots(schedule.name, limit=100)
        before = next((each.offsets for each in known if each.offsets is not None), None)
        moment = max(now, schedule.planned_to + timedelta(microseconds=1))
        slot = due_by_events(schedule, ends, before, moment)
        return store.put_planned(schedule, [slot], moment) if slot else []

    def _ends(self, topic: str, now: datetime) -> dict[int, int]:
        """Ask Kafka for the ends of a topic. One that is silent takes seconds to be so: a look waits for it once, not for each schedule."""
        from rta.kafka.topics import description

        if self._silence and self._silence[0] == now:
            raise self._silence[1]
        try:
            return {partition: end for partition, (_, end) in description(topic).ranges.items()}
        except BrokerError as error:
            self._silence = now, error
            raise

    def _lives(self, slot: Slot) -> bool:
        """Return whether a try goes on; settle it if its process has died."""
        with self._told(slot.schedule), locked(slot.schedule) as lock:
            if lock is None:
                return True
            self._settled(slot.schedule)
        return False

    def _settled(self, name: str) -> None:
        """Settle the tries of a schedule that nobody runs: the caller holds its lock."""
        for slot in store.open_slots(name):
            if slot.state == State.RUNNING and slot.claimed_by == store.here():
                self._say(f"{_line(slot)}: its process has died; then: {_line(settle(slot))}")

    def _start(self, name: str, now: datetime) -> bool:
        """Start the next try of a schedule; return whether there is one."""
        with locked(name) as lock:
            if lock is None:
                return False
            self._settled(name)
            slot = to_start(store.open_slots(name), now)
            taken = slot and store.claimed(slot, runs.new_id(), now)
            if not taken:
                return False
            if dead := self._children.pop((name, taken.scheduled_for), None):
                dead.wait()  # an earlier try of this moment, which has died: it held the lock
            try:
                self._children[name, taken.scheduled_for] = started(taken, lock)
            except OSError:
                store.update(taken, store.given_back(taken, AGAIN, now))
                raise
        self._say(f"{_line(taken)}, try {taken.attempts}, run {taken.run_ids[-1]}")
        return True

    def _reap(self) -> None:
        for (name, moment), child in list(self._children.items()):
            if child.poll() is not None:
                del self._children[name, moment]
                slot = store.slot_of(name, moment)
                self._say(_line(slot) if slot else f"{name} {moment} is gone")

    @contextmanager
    def _told(self, about: str) -> Iterator[None]:
        """Say an error once, and go on: the next look may succeed."""
        try:
            yield
        except GoneError:
            raise
        except (RtaError, OSError) as caught:
            error = caught if isinstance(caught, RtaError) else _unwritten(caught)
            if about and isinstance(error, DatabaseAwayError):
                raise  # that is the trouble of all
            if self._troubles.get(about) != error.what:
                self._troubles[about] = error.what
                self._say(f"✗ {about or 'scheduler'}: {error}")
        else:
            if self._troubles.pop(about, None):
                self._say(f"{about or 'scheduler'}: goes on")

    def _say(self, line: str) -> None:
        """Say a line; if its log is on a disk that is full, the line is lost, and the runs are not."""
        with suppress(OSError):
            self._tell(line)


def started(slot: Slot, lock: IO[str]) -> subprocess.Popen[bytes]:
    """Start the process of a claimed try, in a session of its own; it takes over the lock of its schedule."""
    command = [sys.executable, "-P", "-m", "rta.jobs.scheduling.attempt", slot.schedule, slot.scheduled_for.isoformat(), str(lock.fileno())]  # fmt: skip
    with (folder() / f"{slot.schedule}.log").open("w") as log:
        return subprocess.Popen(
            command, pass_fds=[lock.fileno()], stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder(),
            start_new_session=True, env=_environment(os.environ),
        )  # fmt: skip


def scheduler(*, limit: int | None = None, say: Said = print) -> None:
    """Run a scheduler in this process until Ctrl-C or SIGTERM; the runs that it has started go on.

    Args:
        limit: How many runs go on at once; by default one for two cores.
        say: Takes a line about what happens.

    Raises:
        InputError: If the limit is not at least 1.

    >>> scheduler(limit=0)
    Traceback (most recent call last):
    rta.errors.InputError: a scheduler runs at least one at a time; found: 0; fix: give 1 or more
    """
    require(limit)
    stop = Event()
    before = {each: signal.signal(each, lambda *_: stop.set()) for each in (signal.SIGINT, signal.SIGTERM)}  # fmt: skip
    try:
        Scheduler(limit=limit, say=say).run(stop)
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def require(limit: int | None) -> None:
    """Raise InputError if a limit lets nothing run."""
    if limit is not None and limit < 1:
        raise InputError("a scheduler runs at least one at a time", found=limit, fix="give 1 or more")  # fmt: skip


def _environment(of: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a try: it belongs to no run around the scheduler."""
    return {name: value for name, value in of.items() if name not in ("RTA_RUN_ID", "RTA_SCHEDULED_FOR")}  # fmt: skip


def _unwritten(error: OSError) -> RtaError:
    return JobError("a file of the scheduler cannot be written", found=error, fix="free some space on the disk of RTA_HOME; it goes on by itself")  # fmt: skip


def _line(slot: Slot) -> str:
    because = f": {slot.message}" if slot.message else ""
    return f"{slot.schedule} {slot.scheduled_for:%Y-%m-%d %H:%M:%S} UTC {slot.state}{because}"
