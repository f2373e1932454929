"""How a run does, or has ended: one word, the same in the database, in receipts, in metrics and on pages."""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class State(StrEnum):
    """How a run does, or has ended.

    >>> State("timed out").ended, State.RUNNING.ended
    (True, False)
    """

    QUEUED = "queued"
    """Waits for its turn, or for its next try."""
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    """A cell, the kernel or the disk failed."""
    TIMED_OUT = "timed out"
    CANCELLED = "cancelled"
    """A person ended it: Ctrl-C, SIGTERM or `rta jobs cancel`."""
    SKIPPED = "skipped"
    """The run before it had not ended."""
    MISSED = "missed"
    """Nobody was there to start it in time."""
    LOST = "lost"
    """Its process died."""

    @property
    def ended(self) -> bool:
        """Return whether nothing more will happen."""
        return self not in (State.QUEUED, State.RUNNING)

    @property
    def level(self) -> str:
        """Return how good that is, as rta.html.Marked takes it."""
        return _LEVELS.get(self, "bad")


_LEVELS: Final = {
    State.SUCCEEDED: "good", State.QUEUED: "idle", State.RUNNING: "idle",
    State.SKIPPED: "warn", State.CANCELLED: "warn",
}  # fmt: skip
