"""Processes beside this one: whether they still run, and a lock that one of them holds at a time.

A zombie does not run: in a container whose first process reaps none it stays for ever.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import psutil


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
