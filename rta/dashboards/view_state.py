"""What one view shows now, from its frames: so a viewer that comes late, or was slow, gets all of it without asking the kernel."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, Final

_NAMES: Final = ("title", "kind", "mode", "every", "state", "verdict", "columns", "key", "look", "total", "marks", "spec", "values")  # fmt: skip
_HISTORY: Final = 240  # as many as the page keeps


class ViewState:
    """The frames of a view added up, as live.js adds them up."""

    def __init__(self) -> None:
        self.seq = -1
        self._heard = time.monotonic()
        self._facts: dict[str, Any] = {}
        self._rows: dict[int, Sequence[Any]] = {}
        self._order: list[int] = []
        self._history: deque[Mapping[str, Any]] = deque(maxlen=_HISTORY)

    def take(self, frame: Mapping[str, Any]) -> bool:
        """Add a frame; False if one before it is missing, so that a full one is needed."""
        full = frame.get("full", False)
        if not full and frame["seq"] != self.seq + 1:
            return False
        if full:
            self.__init__()  # type: ignore[misc]
        self.seq, self._heard = frame["seq"], time.monotonic()
        self._facts |= {name: frame[name] for name in _NAMES if name in frame}
        self._rows.update(frame.get("put", ()))
        if "order" in frame:
            self._order = [each for each in frame["order"] if each in self._rows]
            self._rows = {each: self._rows[each] for each in self._order}
        vitals = frame.get("vitals")
        for each in (*frame.get("history", ()), *([vitals] if vitals else ())):
            if not self._history or each["at"] > self._history[-1]["at"]:
                self._history.append(each)
        return True

    def full(self) -> dict[str, Any]:
        """Return all as one frame, without buttons, and how many milliseconds ago the kernel was heard.

        >>> state = ViewState()
        >>> state.take({"seq": 1, "full": True, "title": "delays", "put": [[7, ["JFK"]]], "order": [7]})
        True
        >>> state.take({"seq": 2, "put": [[7, ["EWR"]]]})
        True
        >>> state.full()["put"]
        [[7, ['EWR']]]
        >>> state.take({"seq": 9, "put": []})
        False
        """
        return self._facts | {
            "seq": self.seq, "full": True, "can": [], "age": round(1000 * (time.monotonic() - self._heard)),
            "put": [[each, self._rows[each]] for each in self._order], "order": self._order, "history": list(self._history),
        }  # fmt: skip

    def shows(self, what: str) -> bool:
        """Tell whether the page shows this term of the accounting, so that a viewer may ask for its events."""
        return bool(self._history) and (self._history[-1].get(what) or 0) > 0

    @property
    def over(self) -> bool:
        """Whether it has ended, so that no more frames come."""
        return self._facts.get("state") == "ended"
