"""Schedules as a person makes and changes them: `rta.jobs.schedule(…)`, and what `rta schedule` does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from rta.errors import InputError
from rta.html import Facts, Marked
from rta.jobs import parameters as rules
from rta.jobs import runner
from rta.jobs.scheduling import slots as store
from rta.jobs.scheduling.moments import seconds_of, zone_of
from rta.jobs.scheduling.planning import Schedule, Slot, backfilled
from rta.jobs.states import State
from rta.names import checked

Duration = float | str | timedelta
Missed = Literal["skip", "once", "all"]
Overlap = Literal["skip", "queue"]
Only = Literal["none", "failed"]


def schedule(
    notebook: str | Path,
    parameters: Mapping[str, Any] | None = None,
    *,
    cron: str | None = None,
    zone: str = "UTC",
    every: Duration | None = None,
    on_new: str | None = None,
    events: int = 1,
    name: str | None = None,
    missed: Missed = "once",
    staleness: Duration | None = None,
    overlap: Overlap | None = None,
    retries: int = 0,
    backoff: Duration = 60,
    timeout: Duration | None = 6 * 3600,
    deadline: Duration | None = None,
    keep_runs: int | None = None,
    keep_days: float | None = None,
) -> Schedule:
    """Run a notebook as a job at the moments of a schedule, once a scheduler runs: see scheduler().

    The moment reaches the notebook as its parameter `scheduled_for`, if it has one, and as RTA_SCHEDULED_FOR.

    Args:
        notebook: The path of the notebook.
        parameters: Values for names that its cell tagged `parameters` assigns; no secrets, for they are stored.
        cron: A cron line: minute, hour, day of the month, month, day of the week.
        zone: The time zone of the cron line.
        every: The time between two runs, such as "15 minutes"; counted from 1970.
        on_new: A topic: run when it has new events.
        events: How many new events are enough.
        name: The name of schedule and job; by default the notebook's.
        missed: What happens with moments at which no scheduler ran: "skip", "once" (the last one runs), "all".
        staleness: A missed moment does not run if it is older.
        overlap: What happens at a moment at which the run before goes on: "skip" or "queue"; by default "queue" if all missed moments
            run, otherwise "skip".
        retries: How many more tries a run has that failed, took too long or was lost.
        backoff: The time before the first of them; each next one waits twice as long.
        timeout: The time for one try; then kernel and Spark are ended.
        deadline: The time from when it was due until the last try must have ended.
        keep_runs: How many of the newest runs are kept.
        keep_days: For how many days runs are kept.

    Raises:
        InputError: If an argument is wrong; nothing is stored.

    >>> schedule("reports/daily.ipynb", cron="0 2 * * *", zone="Europe/Berlin")
    Traceback (most recent call last):
    rta.errors.InputError: there is no such notebook; found: reports/daily.ipynb; fix: check the path
    """
    path, now = Path(notebook).absolute(), datetime.now(UTC)
    document = runner.read_notebook(notebook)
    values = dict(parameters or {})
    _require_storable(rules.checked(document, values))
    made = Schedule(
        checked("job", name or path.stem), str(path), now, now, values, cron=cron, zone=zone, every=_seconds(every),
        on_new=on_new and checked("topic", on_new), events=events, missed=missed, staleness=_seconds(staleness),
        overlap=overlap or ("queue" if missed == "all" else "skip"), retries=retries, backoff=seconds_of(backoff),
        timeout=_seconds(timeout), deadline=_seconds(deadline), keep_runs=keep_runs, keep_days=keep_days,
    )  # fmt: skip
    _require_sense(made)
    store.add(made)
    return made


def schedules() -> Facts[Schedule]:
    """List the schedules with their next moment.

    >>> schedules()
    []
    """
    last = {each.schedule: each for each in reversed(store.slots(limit=1000))}

    def row(each: Schedule) -> Mapping[str, object]:
        slot, ahead = last.get(each.name), each.next(1, after=datetime.now(UTC))
        return {
            "schedule": each.name, "when": each.when, "next": ahead[0] if ahead else "paused" if each.paused else "",
            "last": slot and slot.scheduled_for, "state": slot and Marked(slot.state, slot.state.level),
            "message": slot and slot.message, "notebook": each.notebook,
        }  # fmt: skip

    return Facts(store.schedules(), row=row)


def slots(name: str | None = None, *, limit: int = 20) -> Facts[Slot]:
    """List the slots of a schedule, or of all, those that were due last first.

    >>> slots("never_scheduled")
    []
    """
    found = store.slots(name and checked("job", name), limit=limit)
    return Facts(found, row=lambda each: {
        "schedule": each.schedule, "scheduled for": each.scheduled_for, "state": Marked(each.state, each.state.level),
        "tries": each.attempts, "reason": each.reason, "message": each.message, "run": each.run_ids[-1] if each.run_ids else None,
    })  # fmt: skip


def pause(name: str) -> None:
    """Plan nothing for a schedule until resume(); what waits already still runs.

    >>> pause("never_scheduled")
    Traceback (most recent call last):
    rta.errors.InputError: no schedule 'never_scheduled'; found: schedules: none; fix: correct the name
    """
    store.named(name)
    store.change(name, paused=True)


def resume(name: str) -> None:
    """Plan a schedule again, from now on: the moments of the pause were not missed.

    >>> resume("never_scheduled")
    Traceback (most recent call last):
    rta.errors.InputError: no schedule 'never_scheduled'; found: schedules: none; fix: correct the name
    """
    if store.named(name).paused:
        store.change(name, paused=False, planned_to=datetime.now(UTC))


def remove(name: str) -> None:
    """Delete a schedule and what waits of it; a run that has begun goes on, and all runs are kept.

    >>> remove("never_scheduled")
    Traceback (most recent call last):
    rta.errors.InputError: no schedule 'never_scheduled'; found: schedules: none; fix: correct the name
    """
    store.remove(store.named(name).name)


def run_now(name: str) -> Slot:
    """Ask the scheduler to run a schedule once more, now; its next moments stay.

    >>> run_now("never_scheduled")
    Traceback (most recent call last):
    rta.errors.InputError: no schedule 'never_scheduled'; found: schedules: none; fix: correct the name
    """
    known, now = store.named(name), datetime.now(UTC)
    slot = Slot(known.name, now, "manual", State.QUEUED, due_at=now, not_before=now)
    store.put([slot])
    return slot


def backfill(
    name: str, start: datetime | str, end: datetime | str, *, only: Only = "none", reverse: bool = False, dry_run: bool = False,
) -> Facts[Slot]:  # fmt: skip
    """Ask the scheduler to run the moments of a schedule from a start up to, and without, an end.

    Args:
        name: The name of the schedule.
        start: The first moment; without a zone it is one of the schedule's.
        end: The moment after the last one.
        only: "none": moments that have no run. "failed": moments whose run did not succeed.
        reverse: The newest first.
        dry_run: Only say which.

    Returns:
        Their slots.

    Raises:
        InputError: If there is no such schedule, it has no moments, or a moment cannot be read.

    >>> backfill("never_scheduled", "2026-01-01", "2026-02-01")
    Traceback (most recent call last):
    rta.errors.InputError: no schedule 'never_scheduled'; found: schedules: none; fix: correct the name
    """
    known = store.named(name)
    if known.on_new:
        raise InputError("a schedule that waits for events has no moments to fill", found=known.when, fix="run_now()")  # fmt: skip
    if only not in ("none", "failed"):
        raise InputError("only is wrong", found=repr(only), fix="choose none or failed")
    there = {each.scheduled_for: each.state for each in store.slots(name)}
    span = _moment(start, known.zone), _moment(end, known.zone)
    new = backfilled(known, *span, there, datetime.now(UTC), only=only, reverse=reverse)
    if not dry_run:
        store.put(new)
    return Facts(new, row=lambda each: {"schedule": each.schedule, "scheduled for": each.scheduled_for})  # fmt: skip


def facts_of(known: Schedule) -> dict[str, Any]:
    """Return a schedule with its next five moments, for a program."""
    ahead = known.next(after=datetime.now(UTC))
    return asdict(known) | {"next": [each.astimezone(zone_of(known.zone)).isoformat() for each in ahead]}  # fmt: skip


def _seconds(given: Duration | None) -> float | None:
    return None if given is None else seconds_of(given)


def _moment(given: datetime | str, zone: str) -> datetime:
    try:
        moment = given if isinstance(given, datetime) else datetime.fromisoformat(given)
    except ValueError:
        raise InputError("not a moment", found=repr(given), fix='write it like "2026-03-01" or "2026-03-01T02:00"') from None  # fmt: skip
    return (moment if moment.tzinfo else moment.replace(tzinfo=zone_of(zone))).astimezone(UTC)


def _require_storable(values: Mapping[str, Any]) -> None:
    """Refuse what the database must not, or cannot, keep exactly."""
    import json

    for name, value in values.items():
        if rules.is_secret(name, value):
            raise InputError(f"parameter {name!r} is a secret, and a schedule is stored", fix="let the notebook read it from the environment of the scheduler")  # fmt: skip
        try:
            same = json.loads(json.dumps(value)) == value
        except TypeError:
            same = False
        if not same and not isinstance(value, tuple):
            raise InputError(f"parameter {name!r} cannot be stored", found=repr(value)[:80], fix="give text, numbers, lists, or dicts with text as keys")  # fmt: skip


def _require_sense(made: Schedule) -> None:
    """Refuse arguments that contradict each other, or can never do anything."""
    given = [each for each in (made.cron, made.every, made.on_new) if each is not None]
    rules_of = (
        (len(given) != 1, "a schedule has one of cron, every and on_new", len(given), 'give one, such as cron="0 2 * * *"'),
        (made.missed not in ("skip", "once", "all"), "missed is wrong", made.missed, "choose skip, once or all"),
        (made.overlap not in ("skip", "queue"), "overlap is wrong", made.overlap, "choose skip or queue"),
        (made.missed == "all" and made.overlap == "skip", "not all missed moments can run if those that overlap are skipped", "missed=all, overlap=skip", "queue them"),
        (made.every is not None and made.every < 1, "a period is at least a second", made.every, "give 1"),
        (made.events < 1, "at least one event must be new", made.events, "give 1"),
        (made.retries < 0, "retries are not negative", made.retries, "give 0"),
        (made.keep_runs is not None and made.keep_runs < 1, "at least one run is kept", made.keep_runs, "give 1"),
        (made.keep_days is not None and made.keep_days <= 0, "runs are kept for a while", made.keep_days, "give 1"),
    )  # fmt: skip
    for wrong, what, found, fix in rules_of:
        if wrong:
            raise InputError(what, found=found, fix=fix)
    zone_of(made.zone)
    if not made.on_new and not made.next(1):
        raise InputError("it never comes", found=made.when, fix="correct the cron line")
