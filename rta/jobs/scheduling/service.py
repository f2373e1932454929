"""The scheduler beside other things: in the background, as a systemd unit, or kept alive by cron."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from fcntl import LOCK_EX, LOCK_NB, LOCK_SH, flock
from pathlib import Path
from typing import IO, Final

from rta.errors import JobError
from rta.jobs.scheduling.scheduler import require
from rta.settings import private_folder, settings
from rta.setup.processes import runs, started
from rta.setup.systemd import unit as systemd_unit

_PATIENCE: Final = 30.0  # seconds for its start, or its end
_children: Final[
    list[subprocess.Popen[bytes]]
] = []  # a Popen that is deleted while its process runs would warn


@contextmanager
def announced() -> Iterator[bool]:
    """Note that this process is the scheduler of this home, while the block runs; False if another one is."""
    import psutil

    with _file().open("a+") as note:
        if not _taken(note):
            yield False
            return
        note.truncate(0)
        json.dump({"pid": os.getpid(), "started": started(psutil.Process())}, note)
        note.flush()
        yield True


def scheduler_status() -> int | None:
    """Return the process id of the scheduler of this home; None if there is none.

    >>> scheduler_status() is None
    True
    """
    with _file().open("a+") as note:
        try:
            flock(note, LOCK_SH | LOCK_NB)
        except BlockingIOError:
            note.seek(0)
            text = note.read()
            return int(json.loads(text)["pid"]) if text else None
    return None


def start_scheduler(*, limit: int | None = None) -> int:
    """Start a scheduler in the background, if this home has none, and return its process id.

    It outlives this process; its lines are in `scheduler/console.log` in the home.

    Args:
        limit: How many runs go on at once; by default one for two cores.

    Raises:
        InputError: If the limit is not at least 1.
        JobError: If it does not start.

    >>> start_scheduler(limit=0)
    Traceback (most recent call last):
    rta.errors.InputError: a scheduler runs at least one at a time; found: 0; fix: give 1 or more
    """
    require(limit)
    if running := scheduler_status():
        return running
    options = ["--limit", str(limit)] if limit else []
    environment = {name: value for name, value in os.environ.items() if name != "RTA_RUN_ID"}
    with _log().open("a") as log:
        process = subprocess.Popen(
            [*_command(), *options], cwd=_file().parent, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            env=environment,
        )  # fmt: skip
    _children.append(process)
    deadline = time.monotonic() + _PATIENCE
    while process.poll() is None and time.monotonic() < deadline:
        if scheduler_status():
            return process.pid
        time.sleep(0.05)
    if running := scheduler_status():  # another one was quicker
        return running
    raise JobError("the scheduler did not start", found="".join(_log().read_text().splitlines(keepends=True)[-3:]), fix=f"read {_log()}")  # fmt: skip


def stop_scheduler() -> bool:
    """End the scheduler of this home, and return whether there was one; runs that it has started go on.

    Raises:
        JobError: If it does not end.

    >>> stop_scheduler()
    False
    """
    import signal

    pid = scheduler_status()
    if pid is None:
        return False
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + _PATIENCE
    while scheduler_status() == pid and runs(pid):
        if time.monotonic() > deadline:
            raise JobError("the scheduler does not end", found=f"process {pid}", fix=f"read {_log()}; then: kill -9 {pid}, which harms no run")  # fmt: skip
        time.sleep(0.05)
    for each in _children:
        if each.pid == pid:
            each.wait(_PATIENCE)
    return True


def unit() -> str:
    """Return the text of a systemd user unit that runs the scheduler.

    >>> "KillMode=process" in unit()
    True
    """
    # Its runs go on when it ends, as they do without systemd.
    return systemd_unit("rta scheduler", _command(), settings().home.absolute(), kill="process")


def crontab() -> str:
    """Return a line for cron that keeps a scheduler running: it looks each minute, and starts one if there is none.

    >>> crontab().startswith("* * * * * RTA_HOME=")
    True
    """
    known = settings()
    variables = {"RTA_HOME": known.home.absolute(), "RTA_CACHE": known.cache.absolute()}
    words = [*(f"{name}={shlex.quote(str(path))}" for name, path in variables.items()), shlex.join(_command())]  # fmt: skip
    # In crontab(5) a percent sign ends the command.
    return f"* * * * * {' '.join(words)} --if-absent >> {shlex.quote(str(_log()))} 2>&1".replace("%", r"\%")  # fmt: skip


def _taken(note: IO[str]) -> bool:
    for _ in range(20):  # who only looks holds it for a moment, too
        try:
            flock(note, LOCK_EX | LOCK_NB)
        except BlockingIOError:
            time.sleep(0.05)
        else:
            return True
    return False


def _command() -> list[str]:
    return [sys.executable, "-P", "-m", "rta.cli", "scheduler"]


def _file() -> Path:
    return private_folder(settings().home.absolute() / "scheduler") / "lock"


def _log() -> Path:
    return _file().with_name("console.log")
