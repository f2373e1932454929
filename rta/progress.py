"""Say what is going on while a person waits: one line on stderr, in a terminal, a log or a cell."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

Item = TypeVar("Item")


def progress(items: Sequence[Item], label: str, *, unit: str = "item") -> Iterable[Item]:
    """Yield the items behind a progress bar; nothing is shown for an empty sequence.

    >>> list(progress([], "fetching"))
    []
    """
    from tqdm import tqdm

    return tqdm(items, desc=label, unit=unit, leave=False, disable=not items, delay=0.5)


@contextmanager
def step(label: str) -> Iterator[None]:
    """Announce a step that may take a while, and how long it took.

    >>> with step("counting"):
    ...     pass
    """
    began = time.monotonic()
    print(f"… {label}", file=sys.stderr, flush=True)
    yield
    took = time.monotonic() - began
    if took >= 1:
        print(f"  {label}: {took:.1f} s", file=sys.stderr, flush=True)
