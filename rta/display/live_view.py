"""A view that follows its feed: the loop that looks, what it tells its pages, and what a person asks of it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from threading import Event, RLock, Thread, current_thread
from typing import Any, Final, Self

from rta.display import cell, still
from rta.display.feeds import Feed
from rta.display.moving_chart import Drawn, drawn
from rta.display.rows import Differ, Rows
from rta.display.still import Snapshot
from rta.errors import RtaError
from rta.monitor.verdicts import Verdict, spoken
from rta.monitor.vitals import Vitals, as_message

_HISTORY: Final = 240  # moments that are kept, in the kernel and in the page
_MARKS: Final = 50
_BEAT: Final = 1.0  # seconds from one look at the vitals to the next; a page that hears nothing for long is stale
_UNSEEN: Final = (
    600.0  # seconds after which the query that a view has made stops, if no page shows it
)
_SHARE: Final = 4  # a look may take a fifth of one core: the query has the rest
_REST: Final = 5.0  # seconds to rest at most: a look during which a laptop slept took hours
_READ: Final = 8.0  # seconds in which a person reads why something was refused
_PATIENCE: Final = 10.0  # seconds for a look that is under way


@dataclass(frozen=True)
class _Picture:
    """What the pages show at one moment."""

    verdict: Verdict
    state: str = ""
    rows: Rows | None = None
    drawn: Drawn | None = None
    vitals: Vitals | None = None
    controls: Mapping[str, Any] | None = None
    marks: Sequence[Mapping[str, Any]] = ()

    def same(self, other: _Picture) -> bool:
        """Tell whether nothing is new."""
        parts = ((self.rows, other.rows), (self.drawn, other.drawn), (self.vitals, other.vitals), (self.marks, other.marks))  # fmt: skip
        plain = ((self.verdict, other.verdict), (self.state, other.state), (self.controls, other.controls))  # fmt: skip
        return all(one is two for one, two in parts) and all(one == two for one, two in plain)


def _newest_kept(now: Vitals, before: Vitals) -> Vitals:
    """Keep the newest event time: a batch without events knows none, and one of late events an older one."""
    known = [each.event_time for each in (now, before) if each.event_time]
    return replace(now, event_time=max(known, default=None))


def _still(one: Vitals, other: Vitals) -> bool:
    """Tell whether nothing came, was done or changed from one moment to the other."""
    return not (one.in_rate or one.out_rate) and replace(one, at=other.at) == other


class LiveView:
    """A view of something that moves; rta.live() makes it. It is a context manager that stops at its end."""

    def __init__(
        self, feed: Feed, *, chart: Any = None, limit: int = 1_000, every: float = 0.25,
        ends: Callable[[LiveView], str | None] = lambda _: None,
    ) -> None:  # fmt: skip
        self.feed, self.limit, self.every = feed, limit, every
        self.pages: list[cell.Page] = []
        self.rows: Rows | None = None
        self.history: deque[Vitals] = deque(maxlen=_HISTORY)
        self.began = time.monotonic()
        self._chart, self._ends, self._trouble = chart, ends, ""
        self._refused = "", 0.0  # what a person asked for in vain, and when
        self._drawn: Drawn | None = None
        self._drawn_rows: Rows | None = None
        self._marks: list[dict[str, Any]] = []
        self._differ, self._seq, self._told = Differ(), 0, _Picture(Verdict("", "idle"))
        self._lock, self._wake, self._ended, self._paused = RLock(), Event(), Event(), False
        self._looking = RLock()  # rows are asked for by one thread at a time; taken before _lock
        self._closed, self._parked, self._why = False, False, "ended"
        self._thread = Thread(target=self.run, daemon=True, name=f"live {feed.title}")
        self._measuring = Thread(target=self._measure, daemon=True, name=f"figures of {feed.title}")
        self._figures: list[Vitals] = []  # taken beside the rows, and not yet noted
        self._unmeasured: Exception | None = None  # why there are none

    # What a person calls

    def snapshot(self) -> Snapshot:
        """Return what is shown now: rows as pandas, the figures, and a still picture in a notebook."""
        self._looked()
        with self._lock:
            assert self.rows is not None  # noqa: S101 - the first look of a feed always has rows
            chart = self._drawn.whole() if self._drawn else None
            return Snapshot(
                self.feed.title,
                self.rows,
                self.verdict,
                tuple(self.history),
                chart,
                tuple(self._marks),
            )

    @property
    def charted(self) -> bool:
        """Whether it draws a chart."""
        return self._chart is not None

    @property
    def state(self) -> str:
        """Tell whether it is running, paused, stopped, ended or failed."""
        if self._ended.is_set():
            return "ended"
        return "paused" if self._paused else self.feed.state

    @property
    def verdict(self) -> Verdict:
        """How the stream does, in words."""
        return self._judged(self.state)

    def _judged(self, state: str) -> Verdict:
        refused, at = self._refused
        trouble = self._trouble or (refused if time.monotonic() - at < _READ else "")
        if trouble:
            return Verdict(trouble, "bad")
        if state == "ended":
            return Verdict(self._why, "idle")
        return self.feed.verdict(list(self.history), state)

    def pause(self) -> None:
        """Hold the picture, and the query goes on; of a replay, pause it."""
        self._paused = not self.feed.pause()
        self._wake.set()

    def resume(self) -> None:
        """Follow again, or go on with the replay."""
        self._paused = False
        self.feed.resume()
        self._wake.set()

    def mark(self, label: str, at: datetime | None = None) -> None:
        """Put a labelled line on the time axis, such as "broker killed"."""
        moment = (at or datetime.now(UTC)).timestamp() * 1000
        with self._lock:
            self._marks = [*self._marks[1 - _MARKS :], {"at": moment, "label": label}]
        self._wake.set()

    def stop(self) -> None:
        """End the view, and remove what it has made; a query that it only shows goes on. Its last picture stays."""
        if self.feed.state == "running":
            self._looked()
        self._ended.set()
        self._wake.set()
        for each in (self._thread, self._measuring):
            if each.is_alive() and each is not current_thread():
                each.join(_PATIENCE)
        self._close()

    def wait(self) -> Self:
        """Wait until the view has ended by its bound."""
        self._thread.join()
        return self

    def __enter__(self) -> Self:
        cell.show(self)  # the view is not the last expression of its cell
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def __repr__(self) -> str:
        return still.text(self.snapshot())

    def _ipython_display_(self) -> None:
        cell.show(self)

    # What pages say

    def told(self, message: Mapping[str, Any]) -> None:
        """Do what a person asks for in a page: hello, pause, resume, stop, restart, list; speed and seek with their value."""
        do = message.get("do")
        if self._closed and do not in ("hello", "list"):
            return  # what it could steer is gone
        try:
            if do in ("pause", "resume"):
                getattr(self, do)()
            elif do in ("speed", "seek"):
                self.feed.steer(str(do), message.get("value"))
            elif do == "stop":
                self.feed.stop_query()
            elif do == "restart":
                self.feed.restart()
            elif do == "list":
                self._send({"list": still.listed(self.feed, str(message.get("what")))})
            self._refused = "", 0.0
        except RtaError as error:
            self._refused = str(error).splitlines()[0], time.monotonic()
        self._tell(full=do == "hello")
        self._wake.set()

    # The loop

    def start(self) -> Self:
        """Follow in a thread; the figures have one of their own if the feed allows it."""
        self._thread.start()
        if self.feed.figures_apart:
            self._measuring.start()
        return self

    def _measure(self) -> None:
        """Take the figures beside the rows: they come from Spark, the broker and the ledger, and rows shall not wait for them."""
        while not self._ended.wait(_BEAT):
            if self._paused or not self.history:  # the first look has all of the history
                continue
            try:
                self._figures, self._unmeasured = [self.feed.vitals()], None
            except Exception as error:  # noqa: BLE001 - the next look raises it
                self._unmeasured = error

    def run(self) -> Self:
        """Look, tell the pages and wait, until the view is stopped or its bound is reached.

        In the thread of start() an error is shown in the view, which goes on: a broker may come back, or another driver.
        """
        beat = -_BEAT
        while not self._ended.is_set():
            # Of its own core: on a busy machine a look waits, and would then be made ever more seldom.
            began, spent = time.monotonic(), time.thread_time()
            due = began - beat >= _BEAT
            why = None
            with self._going_on():
                if not self._paused:
                    self.look(vitals=due)
                self._trouble = self._parked_said() or ""
                why = self._ends(self)
            if why:
                self._why = why
                self._ended.set()
                self._close()
                break
            with self._going_on():  # it asks for the state
                self._tell(beat=due)
            beat = began if due else beat
            spent, took = time.thread_time() - spent, time.monotonic() - began
            # A database that is slow rests as long.
            self._wake.wait(max(self.every, min(max(spent * _SHARE, took), _REST)))
            self._wake.clear()
        return self

    @contextmanager
    def _going_on(self) -> Iterator[None]:
        """Keep an error from ending the thread of start(), and show it."""
        try:
            yield
        except Exception as error:
            if current_thread() is not self._thread:
                raise
            self._trouble = (str(error) or type(error).__name__).splitlines()[0]

    def look(self, *, vitals: bool = True) -> None:
        """Take the rows and figures of this moment."""
        with self._looking:
            # The figures first: if they say that nothing is unread, the rows that follow have it all.
            if not self.history:
                seen = self.feed.history()
            elif self._measuring.is_alive():
                seen, self._figures = self._figures, []
            else:
                seen = [self.feed.vitals()] if vitals else []
            found = self.feed.rows(self.limit)
            with self._lock:
                self.rows = found or self.rows
                for each in seen:
                    before = self.history[-1] if self.history else each
                    self._note(_newest_kept(each, before))
            if self._chart is not None and self.rows and self.rows is not self._drawn_rows:
                self._drawn, self._drawn_rows = drawn(self._chart, self.rows), self.rows
            if self._unmeasured:
                raise self._unmeasured

    def _note(self, now: Vitals) -> None:
        """Keep the figures; of a quiet time the first and the last, so that its length is known however long it is."""
        if len(self.history) > 1 and _still(self.history[-2], self.history[-1]) and _still(self.history[-1], now):  # fmt: skip
            self.history.pop()
        self.history.append(now)

    def _looked(self) -> None:
        """Take the first rows, if there are none: the thread of start() may be just about to."""
        if self.rows is None:
            with self._looking:
                if self.rows is None:
                    self.look()

    def _parked_said(self) -> str | None:
        """Stop the query that only this view needs if no page shows it; return the sentence that says so."""
        unseen = (
            self.feed.kind == "frame"
            and self.pages
            and all(page.unseen() > _UNSEEN for page in self.pages)
        )
        if unseen and not self._parked and self.feed.state == "running":
            self.feed.stop_query()
            self._parked = True
        self._parked = self._parked and self.feed.state != "running"
        return (
            f"stopped: no page has shown it for {spoken(_UNSEEN)}; restart goes on where it was"
            if self._parked
            else None
        )

    def _tell(self, *, full: bool = False, beat: bool = True) -> None:
        """Send the pages what is new; nothing while a page has not drawn what it was sent."""
        with self._lock:
            if not self.pages or not (full or all(page.ready() for page in self.pages)):
                return
            figures = self.history[-1] if self.history else None
            state = self.state
            now = _Picture(self._judged(state), state, self.rows, self._drawn, figures, self.feed.controls(), self._marks)  # fmt: skip
            if full or beat or not now.same(self._told):
                self._send(self._frame(now, self._told, full=full or not self._seq))
                self._told = now

    def _frame(self, now: _Picture, before: _Picture, *, full: bool) -> dict[str, Any]:
        self._seq += 1
        frame: dict[str, Any] = {"seq": self._seq, "full": full, "state": now.state, "verdict": asdict(now.verdict)}  # fmt: skip
        if now.rows is not None and now.rows is not before.rows:
            frame |= self._differ.different(now.rows)
        if full:
            frame |= {"title": self.feed.title, "kind": self.feed.kind, "mode": self.feed.mode, "every": self.every}  # fmt: skip
            frame["can"] = [] if self._closed else [*self.feed.can]
            frame |= self._differ.everything()
            frame["history"] = [as_message(each) for each in self.history]
        if now.vitals and (full or now.vitals is not before.vitals):
            frame["vitals"] = as_message(now.vitals)
        if now.controls and (full or now.controls != before.controls):
            frame["controls"] = now.controls
        if full or now.marks is not before.marks:
            frame["marks"] = now.marks
        if now.drawn and (full or now.drawn is not before.drawn):
            frame["values"] = now.drawn.values
            if full or not before.drawn or now.drawn.spec != before.drawn.spec:
                frame["spec"] = now.drawn.spec
        return frame

    def _send(self, frame: dict[str, Any]) -> None:
        for page in self.pages:
            page.send(frame)

    def _close(self) -> None:
        """Remove what was made, and leave the last picture in place of what looks alive."""
        if self._closed:
            return
        self._closed = True
        self.feed.close()
        self._tell(full=True)
        for page in self.pages:
            page.leave(still.bundle(self.snapshot()))

    def forget(self) -> None:
        """End the view, and remove it from all tabs: its cell has another one."""
        self.stop()
        for page in self.pages:
            page.close()
