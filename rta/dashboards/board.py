"""What a dashboard shows, and to whom: parts in their order, the state of each view, and viewers that each take what they can.

All of it lives in one thread, that of the server's loop.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from rta.dashboards.view_state import ViewState

_LISTS: Final = ("late", "duplicate", "quarantined")
_PAUSE: Final = 0.1  # seconds in which changes of the parts are gathered
Ask = Callable[[str, Mapping[str, Any]], None]


@dataclass
class _Seen:
    """What a viewer has of one view."""

    sent: int = -1
    drawn: int = -1
    missed: bool = False


@dataclass(eq=False)
class Viewer:
    """One open page.

    Args:
        send: Sends it a message.
        busy: Whether the network still has some of what was sent before.
    """

    send: Callable[[str], None]
    busy: Callable[[], bool]
    version: int = 0
    views: dict[str, _Seen] = field(default_factory=dict)


class Board:
    """The page of a dashboard, pushed to its viewers.

    Args:
        title: The title of the page.
        ask: Is called with a view and what to ask the kernel about it.
    """

    def __init__(self, title: str, ask: Ask = lambda _view, _message: None) -> None:
        self.title, self.ask = title, ask
        self.viewers: set[Viewer] = set()
        self.views: dict[str, ViewState] = {}
        self._parts: dict[tuple[int, int], tuple[int, dict[str, Any]]] = {}  # place → version, part
        self._version, self._flushing = 0, False
        self._status: dict[str, Any] = {"text": "starting", "level": "idle"}
        self._asked: dict[tuple[str, str], list[Viewer]] = {}

    # What the notebook says

    def put(
        self, place: tuple[int, int], *, html: str | None = None, view: str | None = None
    ) -> None:
        """Show text or a view in a place, instead of what was there; the parts are in the order of their places."""
        part = (
            {"kind": "view", "view": view}
            if view
            else {"kind": "output" if place[1] else "text", "html": html}
        )
        if part != self._parts.get(place, (0, {}))[1]:
            self._version += 1
            self._parts[place] = self._version, part
            self._flush_soon()

    def remove(self, place: tuple[int, int]) -> None:
        """Show a part no longer."""
        if self._parts.pop(place, None):
            self._version += 1
            self._flush_soon()

    def status(self, text: str, level: str = "idle") -> None:
        """Say how the dashboard does, above all parts; an empty text says nothing."""
        self._status = {"text": text, "level": level}
        self._version += 1
        self._flush_soon()

    def opened(self, view: str) -> None:
        """Expect frames of a view."""
        self.views[view] = ViewState()

    def frame(self, view: str, frame: Mapping[str, Any]) -> None:
        """Take a frame from the kernel, and pass it on to each viewer that has drawn the last one."""
        if "list" in frame:
            self._answer(view, frame["list"])
        if "seq" not in frame:
            return
        state = self.views[view]
        if not state.take(frame):
            self.ask(view, {"do": "hello"})
            return
        self.ask(view, {"do": "ack", "seq": frame["seq"]})
        whole = _message(view, state.full()) if frame.get("full") else ""
        text = whole or _message(view, {name: frame[name] for name in frame if name != "list"})
        for viewer in self.viewers:
            if (seen := viewer.views.get(view)) is None:
                continue
            if viewer.busy() or seen.drawn < seen.sent or seen.missed:
                seen.missed = True
                self._catch_up(viewer)
            else:
                seen.sent = state.seq
                viewer.send(text)

    # What viewers say

    def joined(self, viewer: Viewer) -> None:
        """Show the page to one more viewer."""
        self.viewers.add(viewer)
        self._flush(viewer)

    def left(self, viewer: Viewer) -> None:
        """Forget a viewer."""
        self.viewers.discard(viewer)

    def heard(self, viewer: Viewer, message: Any) -> None:
        """Take what a page says: that it wants all, has drawn a frame, or lists events that it shows. All else is ignored."""
        if not isinstance(message, dict) or (view := message.get("view")) not in self.views:
            return
        do, seen = message.get("do"), viewer.views.setdefault(str(view), _Seen())
        if do == "hello":
            seen.missed, seen.sent, seen.drawn = True, -1, -1
        elif do == "ack" and isinstance(number := message.get("seq"), int):
            seen.drawn = max(seen.drawn, min(number, seen.sent))
        elif do == "list" and message.get("what") in _LISTS:
            self._list(viewer, str(view), str(message["what"]))
        self._catch_up(viewer)

    # Delivery

    def _catch_up(self, viewer: Viewer) -> None:
        """Send a viewer the whole of each view of which it missed frames, if it has drawn what it was sent."""
        for view, seen in viewer.views.items():
            state = self.views[view]
            if seen.missed and seen.drawn >= seen.sent and state.seq >= 0 and not viewer.busy():
                seen.sent, seen.missed = state.seq, False
                viewer.send(_message(view, state.full()))

    def _list(self, viewer: Viewer, view: str, what: str) -> None:
        """Ask the kernel once for all viewers that wait for the same list."""
        if not self.views[view].shows(what):
            return
        waiting = self._asked.setdefault((view, what), [])
        if not waiting:
            self.ask(view, {"do": "list", "what": what})
        if viewer not in waiting:
            waiting.append(viewer)

    def _answer(self, view: str, found: Mapping[str, Any]) -> None:
        for viewer in self._asked.pop((view, str(found.get("what"))), []):
            if viewer in self.viewers:
                viewer.send(_message(view, {"list": found}))

    def _flush_soon(self) -> None:
        if not self._flushing:
            self._flushing = True
            asyncio.get_running_loop().call_later(_PAUSE, self._flush_all)

    def _flush_all(self) -> None:
        self._flushing = False
        for viewer in self.viewers:
            self._flush(viewer)
        if any(viewer.version < self._version for viewer in self.viewers):
            self._flush_soon()  # some were busy

    def _flush(self, viewer: Viewer) -> None:
        """Send a viewer the parts that are new to it."""
        if viewer.busy() or viewer.version == self._version > 0:
            return
        parts = [{"id": _named(place), **part} for place, (version, part) in self._parts.items() if version > viewer.version]  # fmt: skip
        viewer.version = self._version
        page = {
            "title": self.title,
            "status": self._status,
            "order": [_named(each) for each in sorted(self._parts)],
            "parts": parts,
        }
        viewer.send(json.dumps({"page": page}))


def _named(place: tuple[int, int]) -> str:
    return f"{place[0]}.{place[1]}"


def _message(view: str, frame: Mapping[str, Any]) -> str:
    return json.dumps({"view": view, "frame": frame}, separators=(",", ":"))
