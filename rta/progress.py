"""Say what is going on while a person waits: on stderr in a terminal or log, in the cell in a notebook."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

Item = TypeVar("Item")


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
def bar(
    label: str, *, total: int | None = None, unit: str = "item"
) -> Iterator[Callable[[int], None]]:
    """Show a bar that appears after a second and leaves nothing behind; lend `advance(count)`.

    >>> with bar("counting", total=2) as advance:
    ...     advance(1)
    """
    from tqdm import tqdm

    began, done, cell = time.monotonic(), 0, None
    here = _in_notebook()
    with tqdm(
        total=total, desc=label, unit=unit, leave=False, delay=1, unit_scale=True, disable=here
    ) as shown:  # fmt: skip

        def advance(count: int) -> None:
            nonlocal done, cell
            done += count
            if not here:
                shown.update(count)
            elif cell or time.monotonic() - began > 1:
                cell = cell or _cell()
                cell.update({"text/plain": f"{label}: {done:,} {unit}s"}, raw=True)

        yield advance
    if cell:
        cell.update({"text/plain": ""}, raw=True)


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


def _in_notebook() -> bool:
    """Tell whether a kernel runs this, so that a person looks at cells and not at a terminal."""
    ipython = sys.modules.get("IPython")
    return hasattr(ipython.get_ipython(), "kernel") if ipython else False


def _cell() -> Any:
    """Return a display of the running cell that can be updated."""
    from IPython.display import display

    return display({"text/plain": ""}, raw=True, display_id=True)  # type: ignore[no-untyped-call]
