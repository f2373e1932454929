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
    with bar(label, total=len(items), unit=unit) as advance:
        for item in items:
            yield item
            advance(1)


@contextmanager
def bar(
    label: str, *, total: int | None = None, unit: str = "item"
) -> Iterator[Callable[[int], None]]:
    """Show a bar that appears after half a second and leaves nothing behind; lend `advance(count)`.

    >>> with bar("counting", total=2) as advance:
    ...     advance(1)
    """
    from tqdm import tqdm

    cell = _cell()
    with tqdm(
        total=total,
        desc=label,
        unit=unit,
        leave=False,
        delay=0.5,
        unit_scale=True,
        disable=bool(cell),
    ) as shown:
        done = 0

        def advance(count: int) -> None:
            nonlocal done
            done += count
            if cell:
                cell.update({"text/plain": f"{label}: {done:,} {unit}s"}, raw=True)
            else:
                shown.update(count)

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
    cell = _cell()
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


def _cell() -> Any:
    """Return a display of the running cell that can be updated; None where there is no notebook."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    if shell is None or not hasattr(shell, "kernel"):
        return None
    from IPython.display import display

    return display({"text/plain": ""}, raw=True, display_id=True)  # type: ignore[no-untyped-call]
