"""Retry while something is away: exponential backoff with full jitter. What is not retriable is raised at once."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from rta.errors import RtaError

T = TypeVar("T")


def retried(
    ask: Callable[[], T],
    *,
    patience: float = 60.0,
    base: float = 0.1,
    cap: float = 5.0,
    chance: Callable[[], float] = random.random,
) -> T:
    """Call `ask` until it returns, or raises an error that is not retriable, or `patience` is over; then raise the last error.

    Each wait is a random part of a limit that doubles from `base` to `cap`, so that many who wait do not return at the same moment.

    Args:
        ask: What is called again while it raises a retriable RtaError.
        patience: Seconds in all.
        base: Seconds of the first limit.
        cap: Seconds of the largest limit.
        chance: Returns the random part, from 0 to 1.

    >>> retried(lambda: 1)
    1
    """
    deadline = time.monotonic() + patience
    for limit in doubling(base, cap):
        try:
            return ask()
        except RtaError as error:
            left = deadline - time.monotonic()
            if not error.retriable or left <= 0:
                raise
        time.sleep(min(chance() * limit, left))
    raise AssertionError("unreachable: the limits do not end")


def doubling(base: float, cap: float) -> Iterator[float]:
    """Yield base, twice that, and so on without end, but never more than cap.

    >>> from itertools import islice
    >>> list(islice(doubling(1, 5), 5))
    [1, 2, 4, 5, 5]
    """
    limit = base
    while True:
        yield min(limit, cap)
        limit = min(limit * 2, cap)
