"""Bring the notices of a channel to it, in order, in a thread of its own: a slow channel holds up neither the watch nor another one."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from threading import Condition, Thread
from typing import Final

from rta.alerts.channels import Channel
from rta.alerts.states import Notice
from rta.retries import doubling

_log: Final = logging.getLogger(__name__)
_FIRST, _LONGEST = 1.0, 60.0  # seconds between two tries


class Courier:
    """Says what it is given, again and again until it was said.

    Args:
        channel: Where.
        said: Is called with each notice that was said.

    Attributes:
        trouble: Why the last try failed; None if it did not.
    """

    def __init__(self, channel: Channel, said: Callable[[Notice], None]) -> None:
        self.channel = channel
        self.trouble: str | None = None
        self._said, self._queue = said, deque[Notice]()
        self._changed, self._stopped, self._deadline = Condition(), False, 0.0
        self._thread = Thread(target=self._run, daemon=True, name=f"alerts to {channel.name}")
        self._thread.start()

    def bring(self, notice: Notice) -> None:
        """Say this, too."""
        with self._changed:
            self._queue.append(notice)
            self._changed.notify()

    def stop(self, patience: float) -> None:
        """Say what is left, for so many seconds at most, and end."""
        with self._changed:
            self._stopped, self._deadline = True, time.monotonic() + patience
            self._changed.notify()
        self._thread.join(patience + 1)

    def _run(self) -> None:
        waits = doubling(_FIRST, _LONGEST)
        while (notice := self._next()) is not None:
            if self._tried(notice):
                waits = doubling(_FIRST, _LONGEST)
                with self._changed:
                    self._queue.popleft()
                self._said(notice)
            else:
                with self._changed:
                    if self._stopped:
                        return
                    self._changed.wait_for(lambda: self._stopped, next(waits))

    def _next(self) -> Notice | None:
        """Wait for something to say; None if that is all."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._stopped)
            over = self._stopped and (not self._queue or time.monotonic() > self._deadline)
            return None if over else self._queue[0]

    def _tried(self, notice: Notice) -> bool:
        try:
            self.channel.say(notice)
        except Exception as error:  # noqa: BLE001 - a channel may raise anything: it is said, and tried again
            if self.trouble is None:
                _log.warning("%s fails: %s", self.channel.name, error)
            self.trouble = (str(error) or type(error).__name__).splitlines()[0]
            return False
        self.trouble = None
        return True
