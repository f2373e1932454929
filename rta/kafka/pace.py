"""The clock by which events are sent: at a rate, or by their own time; another thread may steer it."""

from __future__ import annotations

import time
from threading import Condition
from typing import Final

_LONGEST: Final = 3600.0  # seconds of one wait: the condition takes no endless ones


class Pace:
    """The clock of intended send times; it never waits for an answer of Kafka.

    It stands at its first event until that is sent, and not at the query behind it. A call of another thread takes effect at
    once, also on an event that is waited for.

    Args:
        rate: Events per second; None if events are sent by their moments, or at once if they have none.
        speed: How many seconds of the moments pass in a second.

    Attributes:
        began: When the first event was due, by the monotonic clock.
        behind: By how many seconds at most an event was sent after its intended time.

    >>> Pace(speed=60).wait(0) is None
    False
    """

    def __init__(self, rate: float | None = None, speed: float = 1.0) -> None:
        self.rate, self.began, self.wall = rate, time.monotonic(), time.time()
        self.number, self.behind = 0, 0.0
        self._speed, self._changed = (speed if rate is None else 1.0), Condition()
        self._first: int | None = None  # the moment at which the clock shows 0
        self._shown, self._since = 0.0, self.began  # what it showed, and when
        self._due = 0.0  # of the event that is waited for, by this clock
        self._target: int | None = None
        self._ended: float | None = None
        self.paused = self.stopped = False

    def wait(self, moment: int | None) -> int | None:
        """Wait until an event is due.

        Args:
            moment: Its time in microseconds since the epoch, if it is sent by it.

        Returns:
            When it was due by the world's clock, in microseconds since the epoch; None if it is not to be sent: the clock was stopped,
            or somebody seeks.
        """
        with self._changed:
            if self._first is None:
                self._start(moment or 0)
            self._due, waited = self._of(moment), False
            self.number += 1
            while not self.called:
                due = self._since + (self._due - self._shown) / self._speed
                early = _LONGEST if self.paused else due - time.monotonic()
                if early <= 0:
                    self.behind = max(self.behind, 0.0 if waited else -early)
                    return round((self.wall + due - self.began) * 1e6)
                self._changed.wait(min(early, _LONGEST))
                waited = True
            return None

    @property
    def called(self) -> bool:
        """Whether the clock was stopped, or somebody seeks."""
        return self.stopped or self._target is not None

    @property
    def seconds(self) -> float:
        """For how long it has run, with its pauses."""
        return (self._ended or time.monotonic()) - self.began

    @property
    def moment(self) -> int | None:
        """What the clock shows, in microseconds since the epoch; never more than the event that is waited for. None before the first."""
        with self._changed:
            return None if self._first is None else self._first + round(self._now() * 1e6)

    @property
    def speed(self) -> float:
        """How many seconds of the moments pass in a second."""
        return self._speed

    @speed.setter
    def speed(self, speed: float) -> None:
        with self._changed:
            self._go_on()
            self._speed = speed
            self._changed.notify_all()

    def pause(self) -> None:
        """Stand still."""
        with self._changed:
            self._go_on()
            self.paused = True
            self._changed.notify_all()

    def resume(self) -> None:
        """Go on from where the clock stands: what was due meanwhile does not come all at once."""
        with self._changed:
            self._go_on()
            self.paused = False
            self._changed.notify_all()

    def stop(self) -> None:
        """Send nothing more."""
        with self._changed:
            self._go_on()
            self._ended = self._ended or time.monotonic()
            self.paused = self.stopped = True
            self._changed.notify_all()

    def seek(self, moment: int) -> None:
        """Ask the sending thread to go to a moment."""
        with self._changed:
            self._target = moment
            self._changed.notify_all()

    def sought(self) -> int | None:
        """Return the moment that somebody seeks, once; the clock then starts anew with the next event."""
        with self._changed:
            target, self._target = self._target, None
            if target is not None:
                self._first = None
            return target

    def _start(self, moment: int) -> None:
        """Let the clock begin with a moment."""
        self._first, self._shown, self._since = moment, 0.0, time.monotonic()
        if self.number == 0:
            self.began, self.wall = self._since, time.time()

    def _of(self, moment: int | None) -> float:
        """Return when an event is due, by this clock."""
        if moment is not None:
            return (moment - (self._first or 0)) / 1e6
        return (time.monotonic() - self.began) if self.rate is None else self.number / self.rate

    def _now(self) -> float:
        """Return what the clock shows: it stands while an event is overdue."""
        if self.paused:
            return self._shown
        return min(self._shown + (time.monotonic() - self._since) * self._speed, self._due)

    def _go_on(self) -> None:
        """Begin to count anew from what the clock shows now."""
        self._shown, self._since = self._now(), time.monotonic()
