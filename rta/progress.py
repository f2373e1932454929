"""Say what is going on while a person waits: on stderr in a terminal or log, in the cell in a notebook."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import copy_context
from threading import Event, Thread
from typing import Any, Final, TypeVar

Item = TypeVar("Item")
Advance = Callable[..., None]  # count, and the total where it is known by now
_MANY: Final = 10_000  # shown as 10.0k


def progress(items: Sequence[Item], label: str, *, unit: str = "item") -> Iterable[Item]:
    """Yield the items behind a progress bar; nothing is shown for an empty sequence.

    >>> list(progress(["a"], "fetching"))
    ['a']
    """
    if not items:
        return
    with bar(label, total=len(items), unit=unit) as advance:
        for item in items:
            yield item
            advance(1)


@contextmanager
def bar(label: str, *, total: int | None = None, unit: str = "item") -> Iterator[Advance]:
    """Show a bar that appears after a second and leaves nothing behind; lend `advance(count)`.

    It tells how many of all are done, how fast, and how long it will take; advance(0) shows that time goes by.

    >>> with bar("counting", total=2) as advance:
    ...     advance(1)
    """
    with _in_cell(label, total, unit) if _in_notebook() else _on_terminal(label, total, unit) as advance:  # fmt: skip
        yield advance


@contextmanager
def watched(label: str, look: Callable[[], tuple[int, int | None]], *, unit: str) -> Iterator[None]:
    """Show a bar while the block runs, for a call that waits: look() is asked each second how many are done, and of how many.

    A wait of less than a second asks nothing. What is wrong while it is asked is told by the call itself, so it is not told here.

    >>> with watched("counting", lambda: (1, 2), unit="event"):
    ...     pass
    """
    ended = Event()
    with bar(label, unit=unit) as advance:

        def follow() -> None:
            shown = 0
            while not ended.wait(1):
                with suppress(Exception):
                    now, total = look()
                    if not ended.is_set():
                        advance(max(now - shown, 0), total)
                        shown = max(now, shown)

        # The context says to which cell an output belongs.
        thread = Thread(target=copy_context().run, args=(follow,), daemon=True, name=label)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join(1)  # it may wait for an answer that nobody needs now


@contextmanager
def _on_terminal(label: str, total: int | None, unit: str) -> Iterator[Advance]:
    """Show a bar on stderr; in a log seldom, for each time is a line there."""
    from tqdm import tqdm

    began, alive = time.monotonic(), sys.stderr.isatty()
    with tqdm(
        total=total, desc=label, unit=f" {unit}s", leave=False, delay=1,
        unit_scale=(total or _MANY) >= _MANY, mininterval=0.1 if alive else 10, dynamic_ncols=True,
    ) as shown:  # fmt: skip

        def advance(count: int, all_of_them: int | None = None) -> None:
            shown.total = total if all_of_them is None else all_of_them
            shown.update(count)
            if alive and time.monotonic() - began > 1:
                shown.refresh()

        yield advance


@contextmanager
def _in_cell(label: str, total: int | None, unit: str) -> Iterator[Advance]:
    """Show a line in the running cell."""
    began, done, cell = time.monotonic(), 0, None

    def advance(count: int, all_of_them: int | None = None) -> None:
        nonlocal done, cell
        done += count
        seconds = time.monotonic() - began
        if cell or seconds > 1:
            cell = cell or _cell()
            told = f"{label}: {told_of(done, total if all_of_them is None else all_of_them, unit, seconds)}"
            cell.update({"text/plain": told}, raw=True)

    try:
        yield advance
    finally:
        if cell:
            cell.update({"text/plain": ""}, raw=True)


def told_of(done: int, total: int | None, unit: str, seconds: float) -> str:
    """Say how many of all are done, how fast, and how long the rest will take.

    >>> told_of(250, 1000, "event", 10)
    '250 of 1,000 events, 25/s, about 30 s left'
    >>> told_of(0, 1000, "event", 3), told_of(7, None, "event", 7)
    ('0 of 1,000 events, for 3 s', '7 events, 1/s')
    """
    many = f"{done:,} {unit}s" if total is None else f"{done:,} of {total:,} {unit}s"
    if not done:
        return f"{many}, for {seconds:.0f} s"
    rate = done / max(seconds, 1e-9)
    speed = f"{rate:,.0f}/s" if rate >= 1 else f"one in {1 / rate:,.0f} s"
    rest = f", about {(total - done) / rate:,.0f} s left" if total and total > done else ""
    return f"{many}, {speed}{rest}"


@contextmanager
def step(label: str) -> Iterator[None]:
    """Announce a step that may take a while, and how long it took.

    >>> with step("counting"):
    ...     pass
    """
    began = time.monotonic()
    cell = _cell() if _in_notebook() else None
    if cell:
        cell.update({"text/plain": f"{label} …"}, raw=True)
    else:
        print(f"{label} …", file=sys.stderr, flush=True)
    yield
    took = time.monotonic() - began
    if cell:
        cell.update({"text/plain": f"{label}: {took:.1f} s"}, raw=True)
    elif took >= 1:
        print(f"{label}: {took:.1f} s", file=sys.stderr, flush=True)


def said(sentence: str) -> None:
    """Tell a person what was done on his behalf, in one line.

    >>> said("done")
    """
    if _in_notebook():
        _cell().update({"text/plain": sentence}, raw=True)
    else:
        print(sentence, file=sys.stderr, flush=True)


def _in_notebook() -> bool:
    """Tell whether a kernel runs this, so that a person looks at cells and not at a terminal."""
    ipython = sys.modules.get("IPython")
    return hasattr(ipython.get_ipython(), "kernel") if ipython else False


def _cell() -> Any:
    """Return a display of the running cell that can be updated."""
    from IPython.display import display

    return display({"text/plain": ""}, raw=True, display_id=True)  # type: ignore[no-untyped-call]
