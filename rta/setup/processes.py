"""Processes beside this one: whether they still run, and a lock that one of them holds at a time.

A zombie does not run: in a container whose first process reaps none it stays for ever.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    import psutil

Known = TypeVar("Known")
_apart: Final[list[subprocess.Popen[bytes]]] = []
"""What this process has started apart: a Popen that is deleted while its process runs would warn."""


def runs(process: psutil.Process | int) -> bool:
    """Tell whether a process, given as an object or by its id, still runs.

    >>> import os
    >>> runs(os.getpid()), runs(2**22 + 1)
    (True, False)
    """
    import psutil

    try:
        found = psutil.Process(process) if isinstance(process, int) else process
        return found.is_running() and found.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def started(process: psutil.Process) -> float:
    """Return when a process started, in seconds since the machine did; setting the clock does not change it."""
    import psutil

    return float(process.create_time() - psutil.boot_time())


def is_that(pid: int, begun: float) -> bool:
    """Tell whether the process that a file names by its id and its started() still runs: ids are reused.

    >>> import os, psutil
    >>> is_that(os.getpid(), started(psutil.Process())), is_that(os.getpid(), 0.5)
    (True, False)
    """
    import psutil

    try:
        process = psutil.Process(pid)
        return abs(started(process) - begun) < 1 and runs(process)
    except psutil.NoSuchProcess:
        return False


def still_running(processes: Iterable[psutil.Process], *, patience: float) -> list[psutil.Process]:
    """Wait up to `patience` seconds until processes have ended; return those that have not.

    >>> still_running([], patience=1)
    []
    """
    deadline = time.monotonic() + patience
    left = [each for each in processes if runs(each)]
    while left and time.monotonic() < deadline:
        time.sleep(0.02)
        left = [each for each in left if runs(each)]
    return left


@contextmanager
def one_at_a_time(lock: Path, *, wait: bool = True) -> Iterator[None]:
    """Let one process at a time into the block; the lock on this file ends with the process that holds it.

    Raises:
        BlockingIOError: If another process holds the lock and `wait` is False.

    >>> from tempfile import mkdtemp
    >>> with one_at_a_time(Path(mkdtemp()) / "lock"):
    ...     pass
    """
    with lock.open("w") as file:
        flock(file, LOCK_EX if wait else LOCK_EX | LOCK_NB)
        yield


def launched_apart(
    command: Sequence[str], *, cwd: Path, output: Path, env: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    r"""Start a program that outlives this process and Ctrl-C in its terminal; what it prints goes to a file.

    >>> from tempfile import mkdtemp
    >>> folder = Path(mkdtemp())
    >>> launched_apart(["echo", "hello"], cwd=folder, output=folder / "out").wait(), (folder / "out").read_text()
    (0, 'hello\n')
    """
    with output.open("w") as log:
        process = subprocess.Popen(
            command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    _apart.append(process)
    return process


def recorded(file: Path, kind: Callable[..., Known], *, pid: str = "pid") -> Known | None:
    """Return what a file says of a process, if that still runs; None if it does not, or there is no such file.

    Args:
        file: JSON with the fields of `kind`; `started` is the process's started().
        kind: What is returned.
        pid: The field with the id of the process.

    >>> recorded(Path("/nowhere.json"), dict) is None
    True
    """
    try:
        facts = json.loads(file.read_text())
        found = kind(**facts)
    except (FileNotFoundError, ValueError, TypeError):
        return None
    return found if is_that(facts[pid], facts["started"]) else None


def end(pid: int, *, patience: float) -> None:
    """End a process, by force after `patience` seconds; nothing happens if it has ended.

    >>> from tempfile import mkdtemp
    >>> asleep = launched_apart(["sleep", "60"], cwd=Path(mkdtemp()), output=Path(mkdtemp(), "out"))
    >>> end(asleep.pid, patience=10)
    >>> runs(asleep.pid)
    False
    """
    import psutil

    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        process.terminate()
        for left in still_running([process], patience=patience):
            left.kill()
            still_running([left], patience=patience)
        with suppress(
            psutil.TimeoutExpired
        ):  # a zombie stays as long as the kernel that started it
            process.wait(1)
    for child in _apart:
        child.poll()
