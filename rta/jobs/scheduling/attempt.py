"""One try of a slot, in a process of its own: `python -m rta.jobs.scheduling.attempt`.

It inherits the lock of its schedule from the scheduler that has claimed the slot, and so holds it until it ends, however it ends.
Whoever gets the lock knows that no try of this schedule runs, and settles what it finds.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path
from typing import IO, Final

from rta.errors import InputError, RtaError
from rta.jobs import managing, runs
from rta.jobs.runner import Order, perform
from rta.jobs.scheduling import slots
from rta.jobs.scheduling.moments import zone_of
from rta.jobs.scheduling.planning import Schedule, Slot, after_try, time_for
from rta.jobs.states import State
from rta.names import checked
from rta.retries import retried
from rta.settings import private_folder, settings

AGAIN: Final = timedelta(seconds=5)
"""Until a slot whose run could not begin is tried again."""
# For so many seconds a try waits for its database, once its notebook has ended.
_AWAY: Final = 24 * 3600.0


def folder() -> Path:
    """Return the folder with the locks of the schedules."""
    return private_folder(settings().home.absolute() / "schedules")


@contextmanager
def locked(schedule: str) -> Iterator[IO[str] | None]:
    """Lend the lock of a schedule; None if somebody holds it."""
    with (folder() / f"{checked('job', schedule)}.lock").open("a+") as lock:
        try:
            flock(lock, LOCK_EX | LOCK_NB)
        except BlockingIOError:
            yield None
        else:
            yield lock


def settle(slot: Slot, error: RtaError | None = None) -> Slot:
    """Write what has become of the newest try of a slot, as its run's receipt says; the caller holds the schedule's lock.

    A run that was never recorded has never begun: its slot waits again, as if it had not been claimed.

    Args:
        slot: The claimed slot.
        error: Why its run could not begin, if somebody knows.
    """
    now, receipt = datetime.now(UTC), None
    with suppress(InputError):
        receipt = runs.receipt(slot.run_ids[-1])
    if receipt and receipt.state == State.RUNNING:
        return slot  # on another machine, or its folder was removed
    if receipt is None and (error is None or error.retriable):
        after = slots.given_back(slot, AGAIN if error else timedelta(0), now)
    else:
        end = (receipt.state, receipt.message) if receipt else (State.FAILED, str(error))
        after = after_try(_schedule_of(slot), slot, *end, now)
    slots.update(slot, after)
    return after


def attempt(name: str, scheduled_for: datetime) -> Slot:
    """Run the claimed try of a slot, and settle it."""
    slot = slots.slot_of(name, scheduled_for)
    if slot is None or slot.state != State.RUNNING:
        raise InputError("this try is not claimed", found=f"{name} {scheduled_for}", fix="leave it to the scheduler")  # fmt: skip
    error: RtaError | None = None
    try:
        schedule = slots.named(name)
        perform(Order(
            Path(schedule.notebook), schedule.parameters, name=name, run_id=slot.run_ids[-1],
            timeout=time_for(schedule, slot, datetime.now(UTC)),
            scheduled_for=scheduled_for.astimezone(zone_of(schedule.zone)), away=_AWAY,
        ))  # fmt: skip
    except RtaError as raised:
        error = raised
        _say(f"{type(raised).__name__}: {raised}")
    except KeyboardInterrupt:
        _say("cancelled")
    settled = retried(lambda: settle(slot, error), patience=_AWAY)
    _prune(_schedule_of(slot))
    return settled


def _say(line: str) -> None:
    """Say a line in the log of the schedule; on a disk that is full it is in the message of the slot alone."""
    with suppress(OSError):
        print(line, file=sys.stderr)


def _prune(schedule: Schedule) -> None:
    """Remove the runs and the slots that the schedule does not keep; the newest slot stays."""
    keep, days = schedule.keep_runs, schedule.keep_days
    if keep is None and days is None:
        return
    managing.prune(schedule.name, keep_runs=keep, keep_days=days)
    oldest = None if days is None else datetime.now(UTC) - timedelta(days=days)
    ended = [each for each in slots.slots(schedule.name) if each.state.ended]
    old = [each for at, each in enumerate(ended) if at and ((keep is not None and at >= keep) or (oldest and each.due_at < oldest))]  # fmt: skip
    slots.prune(schedule.name, [each.scheduled_for for each in old])


def _schedule_of(slot: Slot) -> Schedule:
    """Return the schedule of a slot; one that was removed has no more tries."""
    try:
        return slots.named(slot.schedule)
    except InputError:
        return Schedule(slot.schedule, "", slot.due_at, slot.due_at)


def main(name: str, scheduled_for: str, lock: str) -> None:
    """Take the lock that the scheduler hands down, and run the try."""
    os.set_inheritable(int(lock), False)  # noqa: FBT003 - its signature; the kernel must not hold it
    attempt(name, datetime.fromisoformat(scheduled_for))


if __name__ == "__main__":
    main(*sys.argv[1:])
