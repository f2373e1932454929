"""Show progress while a person waits: on stderr in a terminal or log, in the cell in a notebook."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar, copy_context
from dataclasses import dataclass, field
from threading import Event, Thread
from typing import Any, Final, TypeVar

Item = TypeVar("Item")
Advance = Callable[..., None]  # takes a count, and the total once it is known
_MANY: Final = 10_000  # shown as 10.0k
_SOON: Final = 0.4  # seconds until a wait in a cell shows itself
_TICK: Final = 0.5  # seconds between two looks of its line
_shown: Final[ContextVar[Wait | None]] = ContextVar("shown", default=None)  # the innermost wait
_instead: Final[ContextVar[Callable[[str], None] | None]] = ContextVar("instead", default=None)


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
    """Show a progress bar if the block takes a moment, and remove it at the end; lend `advance(count)`.

    It shows how many of all are done, how fast, how long the rest will take, and what doing() was told. In a notebook its time goes on
    by itself; advance(0) updates the one on a terminal.

    >>> with bar("counting", total=2) as advance:
    ...     advance(1)
    """
    wait = Wait(label, total, unit)
    shown = _in_cell(wait) if _in_notebook() else _on_terminal(wait)
    with _inside(wait), shown as advance:
        yield advance


@contextmanager
def _inside(wait: Wait) -> Iterator[Wait]:
    """Let a wait be the one that doing() tells, and that is shown in place of the one around it."""
    around = _shown.get()
    token = _shown.set(wait)
    if around:
        around.covered += 1
    try:
        yield wait
    finally:
        _shown.reset(token)
        if around:
            around.covered -= 1


@contextmanager
def waiting(label: str) -> Iterator[None]:
    """Show that the block goes on, for how long, and what doing() was told, where there is nothing to count.

    >>> with waiting("starting the query"):
    ...     doing("planning")
    """
    with bar(label, unit=""):
        yield


def doing(text: str) -> None:
    """Tell the wait that this call is in what goes on now; nothing happens if there is none.

    >>> doing("planning")
    """
    if wait := _shown.get():
        wait.doing = text


@contextmanager
def watched(
    label: str, look: Callable[[], tuple[int, int | None]], *, unit: str, phase: Callable[[], str] = str
) -> Iterator[None]:  # fmt: skip
    """Show a progress bar while the block waits.

    A wait of less than a second asks nothing. Errors of look() and phase() are ignored: the block meets them, too, and raises them.

    Args:
        label: What is going on.
        look: Returns how many are done, and of how many; it is asked every second.
        unit: What is counted, in the singular.
        phase: Returns what is done at the moment; an empty text leaves what doing() was told.

    >>> with watched("counting", lambda: (1, 2), unit="event"):
    ...     pass
    """
    ended = Event()
    with bar(label, unit=unit) as advance:
        wait = _shown.get() or Wait(label, None, unit)

        def follow() -> None:
            shown = 0
            while not ended.wait(1):
                with suppress(Exception):
                    doing(phase() or wait.doing)
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


@dataclass
class Wait:
    """What is shown of a wait.

    >>> wait = Wait("clicks → totals", None, "event")
    >>> wait.doing = "planning"
    >>> wait.text(2)
    'clicks → totals: planning, for 2 s'
    >>> wait.known, wait.done, wait.total = True, 250, 1000
    >>> wait.text(10)
    'clicks → totals: 250 of 1,000 events, 25/s, about 30 s left; planning'
    """

    label: str
    total: int | None
    unit: str
    done: int = 0
    known: bool = False  # whether something was counted
    doing: str = ""
    covered: int = 0  # by how many waits inside, which are shown in its place
    began: float = field(default_factory=time.monotonic)

    def text(self, seconds: float) -> str:
        """Return the line after some seconds."""
        if not self.known:
            return f"{self.label}: {f'{self.doing}, ' if self.doing else ''}for {seconds:.0f} s"
        doing = f"; {self.doing}" if self.doing else ""
        return f"{self.label}: {told_of(self.done, self.total, self.unit, seconds)}{doing}"

    def advanced(self, count: int, total: int | None = None) -> None:
        """Count what was done."""
        self.done, self.known = self.done + count, True
        self.total = self.total if total is None else total


@contextmanager
def _on_terminal(wait: Wait) -> Iterator[Advance]:
    """Show a bar on stderr; only every 10 s in a log, because each update is a line there."""
    from tqdm import tqdm

    alive = sys.stderr.isatty()
    with tqdm(
        total=wait.total, desc=wait.label, unit=f" {wait.unit}s", leave=False, delay=1,
        unit_scale=(wait.total or _MANY) >= _MANY, mininterval=0.1 if alive else 10, dynamic_ncols=True,
    ) as shown:  # fmt: skip

        def advance(count: int, all_of_them: int | None = None) -> None:
            wait.advanced(count, all_of_them)
            shown.total = wait.total
            shown.set_postfix_str(wait.doing, refresh=False)
            shown.update(count)
            if alive and time.monotonic() - wait.began > 1:
                shown.refresh()

        yield advance


@contextmanager
def _in_cell(wait: Wait) -> Iterator[Advance]:
    """Show a line in the running cell, whose time goes on by itself."""
    if wait.total is not None:
        wait.known = True
    ticking = _ticking(wait.text, first=_SOON, hidden=lambda: bool(wait.covered))
    tell: Callable[[str], object] = str
    try:
        with ticking as tell:
            yield wait.advanced
    finally:
        tell(
            wait.text(time.monotonic() - wait.began)
        )  # a record of the cell's outputs has the whole of it
        tell("")


@contextmanager
def _ticking(
    text: Callable[[float], str], *, first: float = 0, hidden: Callable[[], bool] = bool
) -> Iterator[Callable[[str], None]]:
    """Show a text of the seconds in the running cell, again and again; lend what shows the last one, if there was a first one."""
    began, ended, lines = time.monotonic(), Event(), list[Callable[[str], None]]()

    def draw() -> None:
        pause, last = first or _TICK, ""
        while not ended.wait(pause):
            now = "" if hidden() else text(time.monotonic() - began)
            if now != last:
                if not lines:
                    lines.append(_line())
                lines[0](now)
            pause, last = _TICK, now

    if not first:
        lines.append(_line())
        lines[0](text(0))
    # The context tells IPython to which cell an output belongs.
    thread = Thread(target=copy_context().run, args=(draw,), daemon=True, name="progress")
    thread.start()
    try:
        yield lambda last: lines[0](last) if lines else None
    finally:
        ended.set()
        thread.join()


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
    began = time.monotonic()
    doing(label)
    if not _in_notebook():
        said(f"{label} …")
        yield
        if (took := time.monotonic() - began) >= 1:
            said(f"{label}: {took:.1f} s")
        return
    with _inside(Wait(label, None, "")) as wait:
        with _ticking(lambda seconds: f"{label} … {seconds:.0f} s", hidden=lambda: bool(wait.covered)) as tell:  # fmt: skip
            yield
        tell(f"{label}: {time.monotonic() - began:.1f} s")


def said(sentence: str) -> None:
    """Tell a person in one line what was done for him.

    >>> said("done")
    """
    _line()(sentence)


@contextmanager
def told_to(tell: Callable[[str], None]) -> Iterator[None]:
    """Give a function what a cell would show while the block works: the work of a button belongs to no cell.

    >>> with told_to(print):
    ...     said("done")
    done
    """
    token = _instead.set(tell)
    try:
        yield
    finally:
        _instead.reset(token)


def _in_notebook() -> bool:
    """Return whether a kernel runs this, so that a person looks at cells and not at a terminal."""
    ipython = sys.modules.get("IPython")
    return hasattr(ipython.get_ipython(), "kernel") if ipython else False


def _line() -> Callable[[str], None]:
    """Return a function that shows a text: in place of its last one in the running cell, or as a line on stderr."""
    if tell := _instead.get():
        return tell
    if not _in_notebook():
        return lambda text: print(text, file=sys.stderr, flush=True)
    from IPython.display import display

    cell: Any = display({"text/plain": ""}, raw=True, display_id=True)  # type: ignore[no-untyped-call]
    return lambda text: cell.update({"text/plain": text}, raw=True)
