"""The runs of jobs: one at a time for each job, by a lock that ends with its process; each run is a row of `rta_jobs`.

A runner that is killed leaves its row 'running'. The next run or listing sees that nobody holds the lock, and corrects the row
to 'lost'.
"""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from fcntl import LOCK_EX, LOCK_NB, LOCK_SH, flock
from pathlib import Path
from typing import IO, Any, ClassVar, Final

from rta.errors import InputError, JobError
from rta.html import Facts, Marked
from rta.jobs.receipts import TIMES, Receipt, consumed
from rta.jobs.states import State
from rta.names import checked
from rta.settings import private_folder, settings
from rta.setup.processes import still_running
from rta.store import database
from rta.store.rows import from_json, own_rows

CANCELLED: Final = "cancelled"  # a file in the folder of a run that a person has ended
_PATIENCE: Final = (
    3.0  # seconds: a listing holds the lock for a moment, on a busy machine for a second
)


@dataclass(frozen=True)
class Run:
    """A run that holds its job's lock."""

    job: str
    run_id: str
    started_at: datetime
    folder: Path


class BusyError(JobError):
    """The job is running already; a later attempt may succeed."""

    retriable: ClassVar[bool] = True


def new_id() -> str:
    """Return an id for a run; they sort by time."""
    now = datetime.now(UTC)
    return f"{now:%Y%m%dT%H%M%S}.{now.microsecond // 1000:03}Z-{secrets.token_hex(3)}"


@contextmanager
def claimed(job: str, run_id: str | None = None) -> Iterator[Run]:
    """Lend a new run of a job, with a folder of its own, while nobody else runs the job.

    Args:
        job: The name of the job.
        run_id: The id of the run; by default a new one.

    Raises:
        BusyError: if somebody does; it says which run, in which process, since when.
    """
    folder = _job_folder(job)
    with (folder / "lock").open("a+") as lock:
        _lock(lock, job)
        _bury(job)
        now = datetime.now(UTC)
        run_id = run_id or new_id()
        holder = {"run_id": run_id, "pid": os.getpid(), "started": f"{now:{TIMES}}"}
        lock.truncate(0)
        lock.write(json.dumps(holder))
        lock.flush()
        yield Run(job, run_id, now, private_folder(folder / run_id))


def record(receipt: Receipt) -> None:
    """Record a run, or its end, in the history."""
    from rta.store.catalog import JOBS

    facts = receipt.as_dict()
    row = {name: facts[name] for name in ("run_id", "job", "notebook", "parameters", "state", "message", "folder")}  # fmt: skip
    row |= {"started_at": receipt.started_at, "ended_at": receipt.ended_at, "receipt": facts}
    with database.writing(database.engine()) as connection:
        same = JOBS.c.run_id == receipt.run_id
        if not connection.execute(JOBS.update().where(same).values(row)).rowcount:
            connection.execute(JOBS.insert().values(row))


def history(
    job: str | None = None, *, state: State | str | None = None, limit: int = 20
) -> Facts[Receipt]:
    """List the runs of a job, or of all jobs, newest first; pandas.DataFrame(history()) is a table, rta.live(history) shows it live.

    Args:
        job: The name of the job; by default all.
        state: Only runs in this state, such as "failed".
        limit: At most this many.

    Raises:
        InputError: If a name is wrong.

    >>> history("never-run")
    []
    """
    wanted: dict[str, str] = {} if job is None else {"job": checked("job", job)}
    for name in {each.job for each in _rows({"state": State.RUNNING, **wanted})}:
        with (_job_folder(name) / "lock").open("a+") as lock:
            if _taken(lock, LOCK_SH):
                _bury(name)
    if state is not None:
        if state not in {*State}:
            raise InputError("no such state", found=repr(state), fix=f"choose from {', '.join(State)}")  # fmt: skip
        wanted["state"] = state
    return Facts(_rows(wanted, limit), row=row_of)


def holder(job: str) -> tuple[str, int] | None:
    """Return the run that holds a job now, and its process; None if nobody does."""
    with (_job_folder(job) / "lock").open("a+") as lock:
        if _taken(lock, LOCK_SH):
            return None
        lock.seek(0)
        facts = json.loads(lock.read() or "{}")
        return (facts["run_id"], int(facts["pid"])) if facts else None


def forget(run_ids: Sequence[str]) -> None:
    """Delete the rows of runs."""
    from rta.store.catalog import JOBS

    with database.writing(database.engine()) as connection:
        for run_id in run_ids:
            connection.execute(JOBS.delete().where(JOBS.c.run_id == run_id))


def is_here(run: Receipt) -> bool:
    """Return whether the folder of a run is one of this home."""
    return Path(run.folder) == _job_folder(run.job) / run.run_id


def row_of(receipt: Receipt) -> dict[str, object]:
    """Return a run as a row of a table."""
    return {
        "job": receipt.job, "state": Marked(receipt.state, receipt.state.level), "started": receipt.started_at, "seconds": receipt.seconds,
        "message": receipt.message, "run": receipt.run_id,
    }  # fmt: skip


def receipt(run_id: str) -> Receipt:
    """Return the receipt of a run.

    Raises:
        InputError: If there is no such run.

    >>> receipt("yesterday")
    Traceback (most recent call last):
    rta.errors.InputError: no run 'yesterday'; fix: choose one from the history
    """
    found = _rows({"run_id": run_id})
    if not found:
        raise InputError(f"no run {run_id!r}", fix="choose one from the history")
    if found[0].state == State.RUNNING:  # it may be dead
        history(found[0].job, limit=1)
        found = _rows({"run_id": run_id})
    return found[0]


def _rows(wanted: Mapping[str, str], limit: int | None = None) -> list[Receipt]:
    """Return the receipts whose columns have these values, newest first."""
    which = " AND ".join(f"{column} = ?" for column in wanted) or "1 = 1"
    most = "" if limit is None else f" LIMIT {limit:d}"
    query = (
        f"SELECT receipt FROM rta_jobs WHERE {which} ORDER BY started_at DESC, run_id DESC{most}"  # noqa: S608 - names of ours
    )
    found = own_rows(query, list(wanted.values()))
    return [Receipt.from_dict(from_json(row["receipt"])) for row in found]


def _bury(job: str) -> None:
    """Correct the rows of this job's dead runs, which are still "running"; the caller holds the lock."""
    for each in _rows({"job": job, "state": State.RUNNING}):
        if Path(each.folder).is_dir():  # else it runs on another machine, or its folder was removed
            end_processes(each.run_id)
            record(_end_of(each))


def _end_of(run: Receipt) -> Receipt:
    """Return the receipt of a run whose end is not in the history."""
    written = Path(run.folder) / "receipt.json"
    executed = Path(run.folder) / "notebook.ipynb"
    accounting, offsets = consumed(run.run_id)
    if written.exists():  # the database was away at the end
        end = Receipt.from_dict(json.loads(written.read_text()))
        return replace(end, accounting=accounting, offsets=offsets)
    cancelled = (Path(run.folder) / CANCELLED).exists()
    lost = replace(
        run, state=State.CANCELLED if cancelled else State.LOST, message="its runner was killed before the end",
        accounting=accounting, offsets=offsets, executed=str(executed) if executed.exists() else None,
    )  # fmt: skip
    with suppress(OSError):  # the disk is full, or its folder not ours: the history says the same
        lost.write()
    return lost


def end_processes(run_id: str, *, patience: float = 10) -> None:
    """Wait until the kernel of a dead run and its Spark have ended, so that no two write one table.

    They end by themselves within seconds; otherwise they are killed. Processes that the notebook detached on purpose, such as
    the broker, have sessions of their own, and go on.
    """
    import psutil

    left = [each for each in psutil.process_iter() if _belongs(each, run_id)]
    alive = still_running(left, patience=patience)
    for each in alive:
        each.kill()
    still_running(alive, patience=patience)


def _belongs(process: Any, run_id: str) -> bool:
    import psutil

    try:
        if process.environ().get("RTA_RUN_ID") != run_id or process.pid == os.getpid():
            return False
        session = os.getsid(process.pid)
    except (psutil.Error, OSError):
        return False
    try:
        return any("ipykernel" in word for word in psutil.Process(session).cmdline())
    except psutil.Error:
        return True  # the kernel is gone, and this is what it started


def _job_folder(job: str) -> Path:
    home = private_folder(settings().home.absolute())
    return private_folder(private_folder(home / "jobs") / checked("job", job))


def _taken(lock: IO[str], kind: int) -> bool:
    try:
        flock(lock, kind | LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _lock(lock: IO[str], job: str) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not _taken(lock, LOCK_EX):
        if time.monotonic() > deadline:
            lock.seek(0)
            holder = json.loads(lock.read() or "{}")
            raise BusyError(
                f"job {job!r} is running already",
                found=f"run {holder.get('run_id')}, process {holder.get('pid')}, since {holder.get('started')}",
                fix="wait for its end, or run under another name",
            )
        time.sleep(0.05)
