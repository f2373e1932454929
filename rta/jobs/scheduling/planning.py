"""What a schedule asks for at a moment: new slots, the next one to start, and what follows a try. Pure: a test drives it through a year.

A slot is keyed by the moment for which it was scheduled, and a schedule is planned up to a moment that never goes back: a clock that
is set back doubles nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import islice
from typing import Any, Final

from rta.jobs.scheduling.moments import of_cron, of_period
from rta.jobs.states import State

ON_TIME: Final = timedelta(seconds=60)
"""So late a moment is still on time: a poll takes a second, a busy machine a while."""
_AT_ONCE: Final = 1000  # slots of one plan; the rest follows with the next one
_LONGEST: Final = 3600.0  # seconds between two tries
_CHOSEN: Final[Mapping[str, tuple[State | None, ...]]] = {
    "none": (None, State.MISSED, State.SKIPPED),
    "failed": (State.FAILED, State.TIMED_OUT, State.CANCELLED, State.LOST),
}
Offsets = Mapping[int, int]


@dataclass(frozen=True)
class Schedule:
    """A notebook, when it runs, and what happens if it cannot.

    Args:
        name: Its name, which is that of its job.
        notebook: The path of the notebook.
        parameters: The values of its parameters.
        cron: A cron line.
        zone: The time zone of the cron line.
        every: Seconds between two runs.
        on_new: A topic: runs when it has new events.
        events: How many new events are enough.
        missed: What happens with moments at which no scheduler ran: "skip", "once" (the last one runs) or "all".
        staleness: Seconds after which a missed moment does not run; None for no limit.
        overlap: What happens at a moment at which the run before goes on: "skip" or "queue".
        retries: How many more tries a run has that failed.
        backoff: Seconds before the first of them; each next one waits twice as long, at most an hour.
        timeout: Seconds for one try, then kernel and JVM are ended.
        deadline: Seconds from the moment it was due until the last try must have ended.
        keep_runs: How many of the newest runs are kept; None for all.
        keep_days: For how many days runs are kept; None for ever.
        paused: Whether it plans nothing.
        created_at: When it was made.
        planned_to: Up to where its moments have slots.
    """

    name: str
    notebook: str
    created_at: datetime
    planned_to: datetime
    parameters: Mapping[str, Any] = field(default_factory=dict)
    cron: str | None = None
    zone: str = "UTC"
    every: float | None = None
    on_new: str | None = None
    events: int = 1
    missed: str = "once"
    staleness: float | None = None
    overlap: str = "skip"
    retries: int = 0
    backoff: float = 60.0
    timeout: float | None = 6 * 3600
    deadline: float | None = None
    keep_runs: int | None = None
    keep_days: float | None = None
    paused: bool = False

    def moments(self, after: datetime) -> Iterator[datetime]:
        """Yield its moments after a moment; a schedule that waits for events has none."""
        if self.cron:
            return of_cron(self.cron, self.zone, after)
        return of_period(self.every, after) if self.every else iter(())

    def next(self, count: int = 5, *, after: datetime | None = None) -> list[datetime]:
        """Return its next moments, in UTC; none while it is paused."""
        return [] if self.paused else list(islice(self.moments(after or self.planned_to), count))

    @property
    def when(self) -> str:
        """Say when it runs."""
        if self.cron:
            return f"{self.cron} {self.zone}"
        if self.every:
            return f"every {self.every:g} s"
        return f"{self.events:,} new in {self.on_new}"


@dataclass(frozen=True)
class Slot:
    """One moment of a schedule, and what has become of it; its tries are runs.

    Args:
        schedule: The name of the schedule.
        scheduled_for: Its moment, UTC.
        reason: Why there is a slot: "cron", "every", "new", "manual" or "backfill".
        state: How it does.
        due_at: When it was due, UTC: of a backfill, when that was asked for.
        not_before: When the next try may begin, UTC.
        attempts: How many tries have begun.
        run_ids: The runs of its tries, and of those before a backfill.
        claimed_by: The machine and the home of the scheduler that has started it.
        started_at: When its first try began, UTC.
        ended_at: When it ended, UTC.
        message: Why it ended so.
        offsets: Partition → end of the topic when it became due.
    """

    schedule: str
    scheduled_for: datetime
    reason: str
    state: State
    due_at: datetime
    not_before: datetime
    attempts: int = 0
    run_ids: tuple[str, ...] = ()
    claimed_by: str | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    message: str | None = None
    offsets: Offsets | None = None


def planned(schedule: Schedule, now: datetime, *, active: bool) -> tuple[list[Slot], datetime]:
    """Return the slots of the moments that have passed since the last plan, and up to where it is planned now.

    Args:
        schedule: The schedule.
        now: What the clock says.
        active: Whether a slot of it waits or runs.
    """
    if schedule.paused or now <= schedule.planned_to:
        return [], schedule.planned_to
    ahead = schedule.moments(schedule.planned_to)
    due: list[datetime] = []
    last = True
    for moment in ahead:
        last = moment > now
        if last or len(due) == _AT_ONCE:
            break
        due.append(moment)
    slots = []
    for moment in due:
        slot = _planned(schedule, moment, now, newest=last and moment == due[-1], active=active)
        active = active or slot.state == State.QUEUED
        slots.append(slot)
    return slots, due[-1] if due else schedule.planned_to


def _planned(schedule: Schedule, moment: datetime, now: datetime, *, newest: bool, active: bool) -> Slot:  # fmt: skip
    reason = "cron" if schedule.cron else "every"
    slot = Slot(schedule.name, moment, reason, State.QUEUED, due_at=moment, not_before=moment)
    age = now - moment
    if age <= ON_TIME:
        if active and schedule.overlap == "skip":
            return replace(slot, state=State.SKIPPED, ended_at=now, message="the run before it had not ended")  # fmt: skip
        return slot
    stale = schedule.staleness is not None and age.total_seconds() > schedule.staleness
    if stale or schedule.missed == "skip" or (schedule.missed == "once" and not newest):
        return replace(slot, state=State.MISSED, ended_at=now, message=f"no scheduler ran; it was due {age.total_seconds():.0f} s before")  # fmt: skip
    return slot


def due_by_events(schedule: Schedule, ends: Offsets, before: Offsets | None, now: datetime) -> Slot | None:  # fmt: skip
    """Return a slot if its topic has enough new events since the last slot; None if not.

    Args:
        schedule: The schedule.
        ends: Partition → the topic's end now.
        before: The same of the last slot; None if there was none.
        now: What the clock says.
    """
    # An end that went back is that of a topic that was made again.
    new = sum(end - at if (at := (before or {}).get(each, 0)) <= end else end for each, end in ends.items())  # fmt: skip
    if schedule.paused or new < schedule.events:
        return None
    return Slot(schedule.name, now, "new", State.QUEUED, due_at=now, not_before=now, offsets=ends, message=f"{new:,} new events")  # fmt: skip


def to_start(slots: Iterable[Slot], now: datetime) -> Slot | None:
    """Return which of a schedule's open slots is to start now; None if one runs, or a try waits for its time."""
    opened = [each for each in slots if not each.state.ended]
    if not opened or any(each.state == State.RUNNING for each in opened):
        return None
    first = min(opened, key=lambda each: (-each.attempts, each.due_at, each.scheduled_for))
    return first if first.not_before <= now else None


def overdue(schedule: Schedule, slot: Slot, now: datetime) -> Slot | None:
    """Return a waiting slot as ended if its deadline has passed; None if it may still start."""
    left = time_left(schedule, slot, now)
    if slot.state != State.QUEUED or left is None or left > 0:
        return None
    tried = f"after {slot.attempts} {'try' if slot.attempts == 1 else 'tries'}" if slot.attempts else "before it could start"  # fmt: skip
    state = State.FAILED if slot.attempts else State.MISSED
    return replace(slot, state=state, ended_at=now, message=f"its deadline passed {tried}; {slot.message or ''}".rstrip("; "))  # fmt: skip


def time_left(schedule: Schedule, slot: Slot, now: datetime) -> float | None:
    """Return the seconds until the deadline of a slot; None if it has none."""
    if schedule.deadline is None:
        return None
    return (slot.due_at - now).total_seconds() + schedule.deadline


def time_for(schedule: Schedule, slot: Slot, now: datetime) -> float | None:
    """Return the seconds that a try has: its timeout, or what is left until the deadline."""
    limits = [each for each in (schedule.timeout, time_left(schedule, slot, now)) if each is not None]  # fmt: skip
    return max(min(limits), 1.0) if limits else None


def after_try(schedule: Schedule, slot: Slot, state: State, message: str | None, now: datetime) -> Slot:  # fmt: skip
    """Return a slot after a try has ended: waiting for the next one, or ended."""
    left = time_left(schedule, slot, now)
    wait = min(schedule.backoff * 2 ** min(slot.attempts - 1, 30), _LONGEST)
    again = (
        state in (State.FAILED, State.TIMED_OUT, State.LOST) and slot.attempts <= schedule.retries
    )
    if again and (left is None or left > wait):
        return replace(slot, state=State.QUEUED, not_before=now + timedelta(seconds=wait), message=message, claimed_by=None)  # fmt: skip
    if again or (state == State.TIMED_OUT and left is not None and left < 1):
        message = f"its deadline leaves no more time; {message or ''}".rstrip("; ")
    return replace(slot, state=state, ended_at=now, message=message)


def backfilled(
    schedule: Schedule, start: datetime, end: datetime, there: Mapping[datetime, State], now: datetime, *, only: str, reverse: bool,
) -> list[Slot]:  # fmt: skip
    """Return slots for the moments from a start up to, and without, an end.

    Args:
        schedule: The schedule.
        start: The first moment.
        end: The moment after the last one.
        there: The slots that there are: moment → state.
        now: What the clock says.
        only: Which moments: "none" are those without a run, "failed" those whose last run did not succeed.
        reverse: The newest first.
    """
    chosen = []
    for moment in schedule.moments(start - timedelta(microseconds=1)):
        if moment >= end or moment > now:
            break
        if there.get(moment) in _CHOSEN[only]:
            chosen.append(moment)
    # In the order in which they are due: the database sorts by that.
    dues = [now + timedelta(microseconds=at) for at in range(len(chosen))]
    order = reversed(chosen) if reverse else chosen
    return [Slot(schedule.name, moment, "backfill", State.QUEUED, due_at=due, not_before=now) for moment, due in zip(order, dues, strict=True)]  # fmt: skip
