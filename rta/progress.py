"""Show progress while a person waits: on stderr in a terminal or log, in the cell in a notebook."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import copy_context
from threading import Event, Thread
from typing import Any, Final, TypeVar

Item = TypeVar("Item")
Advance = Callable[..., None]  # takes a count, and the total once it is known
_MANY: Final = 10_000  # shown as 10.0k


def progress(items: Sequence[Item], label: str, *, unit: str = "item") -> Iterable[Item]:
    """Yield the items, with a progress bar; nothing is shown for an empty sequence.

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
    """Show a progress bar after a second, and remove it at the end; lend `advance(count)`.

    It shows how many of all are done, how fast, and how long the rest will take; advance(0) updates the time.

    >>> with bar("counting", total=2) as advance:
    ...     advance(1)
    """
    with _in_cell(label, total, unit) if _in_notebook() else _on_terminal(label, total, unit) as advance:  # fmt: skip
        yield advance


@contextmanager
def watched(label: str, look: Callable[[], tuple[int, int | None]], *, unit: str) -> Iterator[None]:
    """Show a progress bar while the block waits.

    A wait of less than a second asks nothing. Errors of look() are ignored: the block meets them, too, and raises them.

    Args:
        label: What is going on.
        look: Returns how many are done, and of how many; it is asked every second.
        unit: What is counted, in the singular.

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

        # The context tells IPython to which cell an output belongs.
        thread = Thread(target=copy_context().run, args=(follow,), daemon=True, name=label)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join(1)  # look() may still wait for an answer that nobody needs


@contextmanager
def _on_terminal(label: str, total: int | None, unit: str) -> Iterator[Advance]:
    """Show a bar on stderr; only every 10 s in a log, because each update is a line there."""
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
    began, done, tell = time.monotonic(), 0, None

    def advance(count: int, all_of_them: int | None = None) -> None:
        nonlocal done, tell
        done += count
        seconds = time.monotonic() - began
        if tell or seconds > 1:
            tell = tell or _line()
            tell(f"{label}: {told_of(done, total if all_of_them is None else all_of_them, unit, seconds)}")  # fmt: skip

    try:
        yield advance
    finally:
        if tell:
            tell("")


def told_of(done: int, total: int | None, unit: str, seconds: float) -> str:
    """Return how many of all are done, how fast, and how long the rest will take.

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
    """Show a step that may take a while, and then how long it took.

    >>> with step("counting"):
    ...     pass
    """
    began, tell = time.monotonic(), _line()
    tell(f"{label} …")
    yield
    took = time.monotonic() - began
    if took >= 1 or _in_notebook():
        tell(f"{label}: {took:.1f} s")


def said(sentence: str) -> None:
    """Tell a person in one line what was done for him.

    >>> said("done")
    """
    _line()(sentence)


def _in_notebook() -> bool:
    """Return whether a kernel runs this, so that a person looks at cells and not at a terminal."""
    ipython = sys.modules.get("IPython")
    return hasattr(ipython.get_ipython(), "kernel") if ipython else False


def _line() -> Callable[[str], None]:
    """Return a function that shows a text: in place of its last one in the running cell, or as a line on stderr."""
    if not _in_notebook():
        return lambda text: print(text, file=sys.stderr, flush=True)
    from IPython.display import display

    cell: Any = display({"text/plain": ""}, raw=True, display_id=True)  # type: ignore[no-untyped-call]
    return lambda text: cell.update({"text/plain": text}, raw=True)
