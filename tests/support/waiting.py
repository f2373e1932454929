"""Wait for what happens: no clock decides a test, for a machine may be many times slower and all is well.

Only what takes as long as HANG is a fault: the error then says what was waited for, and what was seen last.
"""

from __future__ import annotations

import inspect
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any, AnyStr, Final

if TYPE_CHECKING:
    import psutil
    from pyspark.sql.streaming.query import StreamingQuery

HANG: Final = (
    600.0  # seconds: on a quiet machine nothing that is waited for takes a twentieth of it
)


def suspended(process: psutil.Process) -> None:
    """Let a process stand still: on a busy machine its threads run on for a while after the signal, each until it has a processor."""
    process.suspend()

    def states() -> set[str]:
        found = set()
        for thread in Path(f"/proc/{process.pid}/task").iterdir():
            with suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
                found.add((thread / "stat").read_text().rpartition(")")[2].split()[0])
        return found

    until(lambda: states() == {"T"})


def until(
    happened: Callable[[], Any],
    alive: subprocess.Popen[Any] | None = None,
    *,
    progress: Callable[[], object] = lambda: None,
    hang: float = HANG,
) -> Any:
    """Wait until something has happened, and return it; it hangs only once its progress is the same for so long.

    A process that ends before it is a failure.
    """
    far, deadline = progress(), time.monotonic() + hang
    while True:
        over = (
            alive is not None and alive.poll() is not None
        )  # looked at first: it may be its last act
        if found := happened():
            return found
        if alive is not None and over:
            raise AssertionError(f"{alive.args!r} ended before {_source(happened)}: {alive.communicate()}")  # fmt: skip
        if (now := progress()) != far:
            far, deadline = now, time.monotonic() + hang
        if time.monotonic() > deadline:
            raise AssertionError(f"a hang: {hang:g} s for {_source(happened)}; seen last: {found!r}")  # fmt: skip
        time.sleep(0.02)


def finished(process: subprocess.Popen[AnyStr], *, hang: float = HANG) -> tuple[AnyStr, AnyStr]:
    """Wait for the end of a process, and return what it has written; one that hangs is killed."""
    try:
        return process.communicate(timeout=hang)
    except subprocess.TimeoutExpired:
        process.kill()
        said = process.communicate()
        raise AssertionError(f"a hang: {hang:g} s for the end of {process.args!r}; it said: {said}") from None  # fmt: skip


def joined(thread: Thread, *, hang: float = HANG) -> None:
    """Wait for the end of a thread; of one that hangs the error says where it is."""
    thread.join(hang)
    if thread.is_alive():
        frame = sys._current_frames().get(thread.ident or 0)
        where = "".join(traceback.format_stack(frame)) if frame else "no frame"
        raise AssertionError(f"a hang: {hang:g} s for the end of {thread.name}, which is at\n{where}")  # fmt: skip


def terminated(query: StreamingQuery, *, hang: float = HANG) -> None:
    """Wait for the end of a query, and raise what it failed with."""
    if not query.awaitTermination(int(hang)):
        raise AssertionError(f"a hang: {hang:g} s for the end of {query.name}: {query.status}, {query.lastProgress}")  # fmt: skip


def _source(happened: Callable[[], Any]) -> str:
    """Say what a condition is: a lambda by its line, anything else by its name."""
    if getattr(happened, "__name__", "") == "<lambda>":
        return inspect.getsource(happened).strip()
    return repr(happened)
