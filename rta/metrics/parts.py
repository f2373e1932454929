"""Ask something that may not answer: its silence holds nobody up, and what went wrong is a sentence."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final, TypeVar

from rta.errors import RtaError

T = TypeVar("T")
_log: Final = logging.getLogger(__name__)


class Part:
    """One part of what is looked at, asked in a thread of its own.

    Args:
        name: What it is.
        patience: Seconds to wait for its answer. It may still answer later; it is not asked again before.

    >>> part = Part("kafka", patience=5)
    >>> part.ask(lambda: 42)
    (42, None)
    >>> part.ask(lambda: 1 / 0)
    (None, 'ZeroDivisionError: division by zero')
    """

    def __init__(self, name: str, patience: float) -> None:
        self.name, self.patience = name, patience
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=f"look at {name}")
        self._asked: Future[Any] | None = None

    def ask(self, look: Callable[[], T]) -> tuple[T | None, str | None]:
        """Return what it answers, and None; or None, and why it did not answer."""
        if self._asked is None or self._asked.done():  # an answer that came too late is of the past
            self._asked = self._pool.submit(look)
        try:
            return self._asked.result(self.patience), None
        except TimeoutError:
            return None, f"no answer for {self.patience:g} s"
        except RtaError as error:
            return None, str(error).splitlines()[0]
        except Exception as error:  # noqa: BLE001 - it is logged and shown; a scrape must have an answer
            _log.warning("looking at %s failed", self.name, exc_info=True)
            return None, f"{type(error).__name__}: {error}".splitlines()[0]

    def close(self) -> None:
        """Wait for nothing more."""
        self._pool.shutdown(wait=False, cancel_futures=True)
