"""The dashboards that run: each holds a lock that ends with its process, in a folder that only its owner can read."""

from __future__ import annotations

import json
import os
import secrets
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from fcntl import LOCK_EX, LOCK_NB, LOCK_SH, LOCK_UN, flock
from pathlib import Path
from typing import IO, Final

from rta.errors import InputError, JobError
from rta.html import Facts
from rta.names import checked
from rta.settings import private_folder, settings

_PATIENCE: Final = 60.0  # seconds for the queries of a dashboard to stop
_TIMES: Final = "%Y-%m-%d %H:%M:%S %Z"


@dataclass(frozen=True)
class Dashboard:
    """A dashboard that runs.

    Args:
        name: Its name; by default that of its notebook.
        address: Where it listens; its link has a token, too: see link().
        notebook: The path of its notebook.
        pid: The id of the process that serves it.
        since: When it was started.
    """

    name: str
    address: str
    notebook: str
    pid: int
    since: datetime


class Claim:
    """A name that is ours while we hold it."""

    def __init__(self, name: str, folder: Path, lock: IO[str]) -> None:
        self.name, self.folder, self._lock = name, folder, lock

    def token(self, *, new: bool = False) -> str:
        """Return the dashboard's token, which stays the same from start to start unless a new one is wanted."""
        file = self.folder / "token"
        if new:
            file.unlink(missing_ok=True)
        if not file.exists():
            with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as made:
                made.write(secrets.token_urlsafe(24))
        return file.read_text().strip()

    def last_port(self) -> int:
        """Return the port of the last time, so that a link goes on being good; 0 if there was none."""
        file = self.folder / "port"
        return int(file.read_text()) if file.exists() else 0

    def listed(self, address: str, notebook: Path) -> None:
        """Enter the dashboard into the list."""
        (self.folder / "port").write_text(address.rpartition(":")[2])
        entry = Dashboard(self.name, address, str(notebook), os.getpid(), datetime.now(UTC))
        self._lock.seek(0)
        self._lock.truncate()
        json.dump(asdict(entry) | {"since": f"{entry.since:{_TIMES}}"}, self._lock)
        self._lock.flush()


@contextmanager
def claimed(name: str, notebook: Path) -> Iterator[Claim]:
    """Lend a dashboard's name while nobody else serves it, or its notebook.

    Raises:
        JobError: If somebody does; it says where.
    """
    folder = private_folder(_home() / checked("job", name))
    for each in running():
        if each.notebook == str(notebook) or each.name == name:
            raise _taken(each)
    with (folder / "lock").open("a+") as lock:
        try:
            flock(lock, LOCK_EX | LOCK_NB)
        except BlockingIOError:
            raise JobError(f"dashboard {name!r} is being started by another process", fix="rta dashboard --list") from None  # fmt: skip
        lock.truncate(0)
        try:
            yield Claim(name, folder, lock)
        finally:
            lock.truncate(0)


def running() -> Facts[Dashboard]:
    """List the dashboards that run; one whose process has ended is none.

    Returns:
        Dashboards, by name, without their tokens; a notebook shows them as a table.

    Example:
        >>> running()
        []
    """
    found = []
    for file in sorted(_home().glob("*/lock")):
        with file.open() as lock:
            if _held(lock) and (text := lock.read()):
                entry = json.loads(text)
                since = datetime.strptime(entry["since"], _TIMES).replace(tzinfo=UTC)
                found.append(Dashboard(**entry | {"since": since}))
    return Facts(found, row=lambda each: {**asdict(each), "pid": str(each.pid)})


def link(name: str) -> str:
    """Return the address of a dashboard with its token: who has it may look.

    Raises:
        InputError: If no such dashboard runs.

    Example:
        >>> link("nothing")
        Traceback (most recent call last):
        rta.errors.InputError: no dashboard 'nothing' runs; found: none; fix: rta dashboard NOTEBOOK starts one
    """
    entry = _running(name)
    return linked(entry.address, (_home() / name / "token").read_text().strip())


def linked(address: str, token: str) -> str:
    """Return an address with a token."""
    return f"{address}/?token={token}"


def stop(name: str) -> None:
    """Stop a dashboard, its queries and its kernel, and wait until they have ended.

    Raises:
        InputError: If no such dashboard runs.
        JobError: If it does not end.

    Example:
        >>> stop("nothing")
        Traceback (most recent call last):
        rta.errors.InputError: no dashboard 'nothing' runs; found: none; fix: rta dashboard NOTEBOOK starts one
    """
    entry = _running(name)
    os.kill(entry.pid, signal.SIGTERM)
    deadline = time.monotonic() + _PATIENCE
    with (_home() / name / "lock").open() as lock:
        while _held(lock):
            if time.monotonic() > deadline:
                raise JobError(f"dashboard {name!r} does not end", found=f"process {entry.pid} after {_PATIENCE:.0f} s", fix=f"kill -9 {entry.pid}")  # fmt: skip
            time.sleep(0.05)


def _running(name: str) -> Dashboard:
    there = {each.name: each for each in running()}
    if name not in there:
        raise InputError(f"no dashboard {name!r} runs", found=", ".join(there) or "none", fix="rta dashboard NOTEBOOK starts one")  # fmt: skip
    return there[name]


def _taken(entry: Dashboard) -> JobError:
    return JobError(
        f"this dashboard runs already, at {entry.address}", found=f"{entry.name}, process {entry.pid}, since {entry.since:{_TIMES}}",
        fix=f"rta dashboard --link {entry.name} prints its link; rta dashboard --stop {entry.name} stops it",
    )  # fmt: skip


def _held(lock: IO[str]) -> bool:
    """Tell whether a process holds a lock."""
    try:
        flock(lock, LOCK_SH | LOCK_NB)
    except BlockingIOError:
        return True
    flock(lock, LOCK_UN)
    return False


def _home() -> Path:
    return settings().home / "dashboards"
