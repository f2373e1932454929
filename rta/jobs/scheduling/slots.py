"""Schedules and their slots in the serving database. A claim is one conditional write: of two schedulers one has it."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from rta.errors import InputError
from rta.jobs.scheduling.planning import Schedule, Slot, planned
from rta.jobs.states import State
from rta.names import checked
from rta.settings import settings
from rta.store import database
from rta.store.rows import from_json, own_rows

if TYPE_CHECKING:
    import sqlalchemy as sa

_OPEN = (State.QUEUED, State.RUNNING)


def schedules() -> list[Schedule]:
    """Return all schedules, by name."""
    return [_schedule(row) for row in own_rows("SELECT * FROM rta_schedules ORDER BY name")]


def named(name: str) -> Schedule:
    """Return a schedule.

    Raises:
        InputError: If there is none of this name.
    """
    found = own_rows("SELECT * FROM rta_schedules WHERE name = ?", [checked("job", name)])
    if not found:
        known = ", ".join(each.name for each in schedules()) or "none"
        raise InputError(f"no schedule {name!r}", found=f"schedules: {known}", fix="correct the name")  # fmt: skip
    return _schedule(found[0])


def slots(schedule: str | None = None, *, states: Iterable[State] = (), limit: int | None = None) -> list[Slot]:  # fmt: skip
    """Return slots, those that were due last first."""
    chosen = [*states]
    which = [] if schedule is None else ["schedule = ?"]
    which += [f"state IN ({', '.join('?' * len(chosen))})"] if chosen else []
    query = f"SELECT * FROM rta_slots WHERE {' AND '.join(which) or '1 = 1'} ORDER BY due_at DESC, scheduled_for DESC"  # noqa: S608 - of ours
    most = "" if limit is None else f" LIMIT {limit:d}"
    values = [*([] if schedule is None else [schedule]), *map(str, chosen)]
    return [_slot(row) for row in own_rows(query + most, values)]


def open_slots(schedule: str | None = None) -> list[Slot]:
    """Return the slots that wait or run."""
    return slots(schedule, states=_OPEN)


def slot_of(schedule: str, scheduled_for: datetime) -> Slot | None:
    """Return a slot; None if there is none."""
    return next((each for each in slots(schedule) if each.scheduled_for == scheduled_for), None)


def add(schedule: Schedule) -> None:
    """Store a new schedule.

    Raises:
        InputError: If there is one of this name.
    """
    from rta.store.catalog import SCHEDULES

    with database.writing(database.engine()) as connection:
        there = connection.execute(SCHEDULES.select().where(SCHEDULES.c.name == schedule.name))
        if there.first():
            raise InputError(f"there is a schedule {schedule.name!r} already", fix="remove it first, or choose another name")  # fmt: skip
        connection.execute(SCHEDULES.insert().values(asdict(schedule)))


def change(name: str, **values: Any) -> None:
    """Change a schedule."""
    from rta.store.catalog import SCHEDULES

    with database.writing(database.engine()) as connection:
        connection.execute(SCHEDULES.update().where(SCHEDULES.c.name == name).values(values))


def remove(name: str) -> None:
    """Delete a schedule, and those of its slots that wait; those that ran stay."""
    from rta.store.catalog import SCHEDULES, SLOTS

    with database.writing(database.engine()) as connection:
        waits = (SLOTS.c.schedule == name) & (SLOTS.c.state == State.QUEUED)
        connection.execute(SLOTS.delete().where(waits))
        connection.execute(SCHEDULES.delete().where(SCHEDULES.c.name == name))


def plan(schedule: Schedule, now: datetime, *, active: bool) -> list[Slot]:
    """Write the slots of the moments that have passed; return those that this call has written."""
    new, to = planned(schedule, now, active=active)
    return put_planned(schedule, new, to) if new else []


def put_planned(schedule: Schedule, new: Sequence[Slot], to: datetime) -> list[Slot]:
    """Write slots, and up to where a schedule is planned; nothing if somebody else has planned it meanwhile."""
    from rta.store.catalog import SCHEDULES, SLOTS

    with database.writing(database.engine()) as connection:
        ours = (SCHEDULES.c.name == schedule.name) & (SCHEDULES.c.planned_to == schedule.planned_to)
        if not connection.execute(SCHEDULES.update().where(ours).values(planned_to=to)).rowcount:
            return []
        there = connection.execute(
            SLOTS.select().with_only_columns(SLOTS.c.scheduled_for)
            .where((SLOTS.c.schedule == schedule.name) & SLOTS.c.scheduled_for.in_([each.scheduled_for for each in new]))
        )  # fmt: skip
        known = {_utc(each) for each in there.scalars()}  # a backfill may have been quicker
        fresh = [each for each in new if each.scheduled_for not in known]
        if fresh:
            connection.execute(SLOTS.insert(), [_values(each) for each in fresh])
        return fresh


def put(new: Sequence[Slot]) -> None:
    """Write slots; one that is there already is asked for again, if it has ended."""
    from rta.store.catalog import SLOTS

    with database.writing(database.engine()) as connection:
        for each in new:
            same = _same(SLOTS, each)
            again = {"reason", "state", "due_at", "not_before", "attempts", "claimed_by", "ended_at", "message"}  # fmt: skip
            values = {name: value for name, value in _values(each).items() if name in again}
            ended = same & SLOTS.c.state.not_in(_OPEN)
            if not connection.execute(SLOTS.select().where(same)).first():
                connection.execute(SLOTS.insert().values(_values(each)))
            else:
                connection.execute(SLOTS.update().where(ended).values(values))


def update(before: Slot, after: Slot) -> bool:
    """Change a slot if it is as it was before; return whether it was. Of two who try one succeeds."""
    from rta.store.catalog import SLOTS

    unchanged = _same(SLOTS, before) & (SLOTS.c.state == before.state) & (SLOTS.c.attempts == before.attempts)  # fmt: skip
    with database.writing(database.engine()) as connection:
        return bool(connection.execute(SLOTS.update().where(unchanged).values(_values(after))).rowcount)  # fmt: skip


def claimed(slot: Slot, run_id: str, now: datetime) -> Slot | None:
    """Claim a slot for a run that does not exist yet; None if somebody else was quicker."""
    taken = replace(
        slot, state=State.RUNNING, attempts=slot.attempts + 1, run_ids=(*slot.run_ids, run_id), claimed_by=here(),
        started_at=slot.started_at or now,
    )  # fmt: skip
    return taken if update(slot, taken) else None


def given_back(slot: Slot, wait: timedelta, now: datetime) -> Slot:
    """Return a claimed slot whose run never began, as it was before the claim."""
    return replace(slot, state=State.QUEUED, attempts=slot.attempts - 1, run_ids=slot.run_ids[:-1], claimed_by=None, not_before=max(slot.not_before, now + wait))  # fmt: skip


def here() -> str:
    """Name this machine and this home: only a scheduler of both can know that a run of them is dead."""
    return f"{socket.gethostname()}:{settings().home.absolute()}"


def prune(schedule: str, moments: Iterable[datetime]) -> None:
    """Delete slots that have ended."""
    from rta.store.catalog import SLOTS

    with database.writing(database.engine()) as connection:
        old = (SLOTS.c.schedule == schedule) & SLOTS.c.scheduled_for.in_([*moments])
        connection.execute(SLOTS.delete().where(old & SLOTS.c.state.not_in(_OPEN)))


def _same(table: sa.Table, slot: Slot) -> sa.ColumnElement[bool]:
    return (table.c.schedule == slot.schedule) & (table.c.scheduled_for == slot.scheduled_for)


def _values(slot: Slot) -> dict[str, Any]:
    ends = None if slot.offsets is None else {str(at): end for at, end in slot.offsets.items()}
    return asdict(slot) | {"state": str(slot.state), "run_ids": list(slot.run_ids), "offsets": ends}  # fmt: skip


def _schedule(row: Mapping[str, Any]) -> Schedule:
    return Schedule(**{**row, "parameters": from_json(row["parameters"]), "paused": bool(row["paused"])})  # fmt: skip


def _slot(row: Mapping[str, Any]) -> Slot:
    offsets: dict[str, int] | None = from_json(row["offsets"])
    return Slot(**{
        **row, "state": State(row["state"]), "run_ids": tuple(from_json(row["run_ids"])),
        "offsets": offsets and {int(partition): end for partition, end in offsets.items()},
    })  # fmt: skip


def _utc(stored: Any) -> datetime:
    """Return a moment as both databases give it."""
    return stored if isinstance(stored, datetime) else datetime.fromisoformat(stored)
