"""Run a scheduler that is killed at one step of a run: planned, claimed, started, ended."""

import os
import signal
import sys
from typing import Any

from rta.jobs.scheduling import attempt, scheduler, slots


def die(*_: object, **__: object) -> None:
    """Die as by kill -9."""
    os.kill(os.getpid(), signal.SIGKILL)


def dying_after(function: Any) -> Any:
    """Return a function that dies when its work is done."""
    return lambda *args, **how: die(function(*args, **how))


step = sys.argv[1]
if step == "planned":
    slots.put_planned = dying_after(slots.put_planned)
elif step == "claimed":
    scheduler.started = die  # type: ignore[assignment]
elif step == "started":
    scheduler.started = dying_after(scheduler.started)
elif step == "ended":  # the run has ended, and its slot does not know
    attempt.settle = die  # type: ignore[assignment]
    scheduler.started = lambda slot, _: attempt.attempt(slot.schedule, slot.scheduled_for)  # type: ignore[assignment, return-value]
while True:
    scheduler.Scheduler().tick()
