"""What a schedule asks for, driven by a clock that is not ours: through a year in seconds, backwards, and through outages."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from rta.jobs.scheduling.planning import (
    Schedule,
    Slot,
    after_try,
    backfilled,
    due_by_events,
    overdue,
    planned,
    time_for,
    to_start,
)
from rta.jobs.states import State

START = datetime(2028, 1, 1, tzinfo=UTC)  # a leap year
ZONES = ("Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "America/Santiago")  # fmt: skip


class World:
    """A database, a scheduler and a clock for one schedule, in memory: runs take a fixed time."""

    def __init__(self, schedule: Schedule, *, takes: timedelta = timedelta(seconds=30)) -> None:
        self.schedule, self.takes, self.now = schedule, takes, schedule.planned_to
        self.slots: dict[datetime, Slot] = {}
        self.opened: dict[datetime, Slot] = {}
        self.ran: Counter[datetime] = Counter()
        self.ends: Iterator[State] | None = None

    def look(self, now: datetime) -> None:
        """Do what a scheduler does at a moment."""
        opened = [*self.opened.values()]
        for slot in opened:
            if slot.state == State.RUNNING and slot.started_at and slot.started_at + self.takes <= now:  # fmt: skip
                state = next(self.ends) if self.ends else State.SUCCEEDED
                self._put(after_try(self.schedule, slot, state, None, now))
        opened = [*self.opened.values()]
        new, to = planned(self.schedule, now, active=bool(opened))
        self.schedule = replace(self.schedule, planned_to=to)
        for slot in new:
            assert slot.scheduled_for not in self.slots, "doubled"
            self._put(slot)
        opened = [*self.opened.values()]
        for slot in opened:
            if ended := overdue(self.schedule, slot, now):
                self._put(ended)
        opened = [*self.opened.values()]
        if first := to_start(opened, now):
            self.ran[first.scheduled_for] += 1
            self._put(replace(first, state=State.RUNNING, attempts=first.attempts + 1, started_at=now))  # fmt: skip

    def states(self) -> Counter[State]:
        """Count the slots by their state."""
        return Counter(each.state for each in self.slots.values())

    def _put(self, slot: Slot) -> None:
        self.slots[slot.scheduled_for] = slot
        self.opened.pop(slot.scheduled_for, None)
        if not slot.state.ended:
            self.opened[slot.scheduled_for] = slot


def _schedule(**how: object) -> Schedule:
    return Schedule("s", "n.ipynb", START, START, **how)  # type: ignore[arg-type]


@pytest.mark.parametrize("zone", ZONES)
def test_a_leap_year_of_a_daily_schedule(zone: str) -> None:
    """Looked at every half hour and just after each moment, set back by an hour each month: 366 moments, each run once, none missed."""
    world = World(_schedule(cron="30 2 * * *", zone=zone))
    now = START
    while now < START + timedelta(days=366):
        now += timedelta(minutes=30)
        [moment] = world.schedule.next(1)
        if moment <= now:  # as a poll of a second does: just after it
            world.look(moment + timedelta(seconds=1))
            if moment.day == 15:  # the clock is set back by an hour, and goes on from there
                for minute in range(60):
                    world.look(moment - timedelta(minutes=60 - minute))
        world.look(now)
    assert set(world.ran.values()) == {1}
    assert world.states()[State.MISSED] == 0
    assert len(world.slots) == 366


@pytest.mark.parametrize(
    ("how", "ran", "missed"),
    [
        ({"missed": "skip"}, [], [0, 1, 2, 3, 4]),
        ({"missed": "once"}, [4], [0, 1, 2, 3]),
        ({"missed": "all", "overlap": "queue"}, [0, 1, 2, 3, 4], []),
        ({"missed": "all", "overlap": "queue", "staleness": 8000.0}, [3, 4], [0, 1, 2]),
        ({"missed": "once", "staleness": 600.0}, [], [0, 1, 2, 3, 4]),
    ],
)
def test_moments_without_a_scheduler(
    how: dict[str, object], ran: list[int], missed: list[int]
) -> None:
    """After five hours away: none, the last one or all run, none older than it may be; the others are said to be missed."""
    world = World(_schedule(every=3600.0, **how))
    back = START + timedelta(hours=5, minutes=30)
    for minute in range(25):
        world.look(back + timedelta(minutes=minute))
    hours = [START + timedelta(hours=each + 1) for each in range(5)]
    assert [each for each, hour in enumerate(hours) if world.ran[hour]] == ran
    assert [each for each, hour in enumerate(hours) if world.slots[hour].state == State.MISSED] == missed  # fmt: skip
    world.look(START + timedelta(hours=6, seconds=2))  # and the next one is on time
    assert world.ran[START + timedelta(hours=6)] == 1


def test_a_year_away_is_planned_in_pieces() -> None:
    """A line of each minute has half a million missed moments: a thousand slots at a time, and only the last one runs."""
    world = World(_schedule(cron="*/30 * * * *"))
    now = START + timedelta(days=100)
    while world.schedule.planned_to + timedelta(minutes=30) <= now:
        before = len(world.slots)
        world.look(now)
        assert len(world.slots) - before <= 1000
    assert world.states() == {State.MISSED: 4799, State.RUNNING: 1}


def test_a_moment_while_the_run_before_goes_on() -> None:
    """It is skipped, and says so, or waits for its turn."""
    for overlap, skipped in (("skip", 6), ("queue", 0)):
        world = World(_schedule(every=600.0, overlap=overlap), takes=timedelta(minutes=15))
        for minute in range(121):
            world.look(START + timedelta(minutes=minute, seconds=1))
        assert world.states()[State.SKIPPED] == skipped
        assert set(world.ran.values()) == {1}
        assert max(world.ran) - min(world.ran) >= timedelta(minutes=60)


def test_tries_of_one_slot_wait_twice_as_long_each_time() -> None:
    """Failed, too slow and lost runs are tried again; the next moment is skipped meanwhile; then it ends as the last try did."""
    world = World(_schedule(every=3600.0, retries=3, backoff=60.0), takes=timedelta(seconds=1))
    world.ends = iter([State.FAILED, State.LOST, State.TIMED_OUT, State.FAILED])
    first = START + timedelta(hours=1)
    begun = []
    for second in range(900):
        before = world.ran[first]
        world.look(first + timedelta(seconds=second))
        if world.ran[first] > before:
            begun.append(second)
    assert begun == [0, 61, 182, 423]  # a second for each try
    assert (world.slots[first].state, world.slots[first].attempts) == (State.FAILED, 4)
    for state in (State.CANCELLED, State.SUCCEEDED):  # nobody wants these again
        slot = replace(world.slots[first], attempts=1)
        assert after_try(world.schedule, slot, state, None, first).state == state


def test_a_deadline_ends_tries_and_what_waits() -> None:
    """No try begins that cannot end in time; one that runs has what is left; a slot that never started was missed."""
    schedule = _schedule(every=3600.0, retries=9, backoff=300.0, deadline=600.0, timeout=3600.0)
    slot = Slot("s", START, "every", State.RUNNING, START, START, attempts=1)
    assert time_for(schedule, slot, START + timedelta(seconds=100)) == 500
    again = after_try(schedule, slot, State.FAILED, "x", START + timedelta(seconds=100))
    assert again.state == State.QUEUED
    last = after_try(schedule, slot, State.FAILED, "x", START + timedelta(seconds=400))
    assert (last.state, last.message) == (State.FAILED, "its deadline leaves no more time; x")
    late = START + timedelta(seconds=601)
    assert (ended := overdue(schedule, again, late))
    assert (ended.state, ended.message) == (State.FAILED, "its deadline passed after 1 try; x")
    assert (never := overdue(schedule, replace(again, attempts=0), late))
    assert never.state == State.MISSED
    assert overdue(replace(schedule, deadline=None), again, late) is None


def test_a_paused_schedule_plans_nothing() -> None:
    """Neither moments nor events."""
    paused = _schedule(every=60.0, paused=True)
    assert planned(paused, START + timedelta(days=1), active=False) == ([], START)
    assert paused.next() == []
    assert due_by_events(_schedule(on_new="t", paused=True), {0: 5}, None, START) is None


def test_new_events_of_a_topic() -> None:
    """Enough of them make a slot that keeps the ends of the topic; a topic that was made again counts from its start."""
    schedule = _schedule(on_new="t", events=10)
    slot = due_by_events(schedule, {0: 6, 1: 4}, None, START)
    assert slot
    assert (slot.reason, slot.offsets, slot.message) == ("new", {0: 6, 1: 4}, "10 new events")
    assert due_by_events(schedule, {0: 12, 1: 7}, slot.offsets, START) is None
    assert due_by_events(schedule, {0: 12, 1: 8}, slot.offsets, START)
    assert due_by_events(schedule, {0: 3, 1: 3}, slot.offsets, START) is None
    assert due_by_events(schedule, {0: 5, 1: 3, 2: 4}, slot.offsets, START)


def test_a_backfill_takes_what_was_asked_for() -> None:
    """Moments without a run, or whose run failed; the newest first if asked; never one of the future, never one that succeeded."""
    schedule = _schedule(every=3600.0)
    hours = [START + timedelta(hours=each) for each in range(8)]
    there = {
        hours[0]: State.SUCCEEDED, hours[1]: State.FAILED, hours[2]: State.MISSED, hours[3]: State.RUNNING,
        hours[4]: State.LOST,
    }  # fmt: skip
    now = hours[6]

    def asked(only: str, *, reverse: bool = False) -> list[int]:
        found = backfilled(schedule, START, hours[7], there, now, only=only, reverse=reverse)
        ordered = sorted(found, key=lambda each: each.due_at)
        return [hours.index(each.scheduled_for) for each in ordered]

    assert asked("none") == [2, 5, 6]
    assert asked("none", reverse=True) == [6, 5, 2]
    assert asked("failed") == [1, 4]
