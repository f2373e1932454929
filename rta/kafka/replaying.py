"""Play history again as if it were live: at the speed of its event time, several topics on one clock."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from datetime import datetime, timedelta
from numbers import Real
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING, Any, Final, Literal, Self

from rta.errors import InputError
from rta.events.event_types import EventType, event_type
from rta.html import table, text
from rta.kafka import topics
from rta.kafka.auth_errors import raising_refused
from rta.kafka.delivery_report import Deliveries, DeliveryReport
from rta.kafka.history import Due, History, merged, microseconds
from rta.kafka.pace import Pace
from rta.kafka.paced import bounded_producer
from rta.kafka.tail import EPOCH
from rta.names import checked
from rta.progress import watched

if TYPE_CHECKING:
    from types import TracebackType

    import pandas as pd
    from pyspark.sql import DataFrame

State = Literal["seeking", "playing", "paused", "finished", "stopped", "failed"]
_TIMEOUT: Final = 60.0  # seconds after which an event without an answer of Kafka is unknown
_LONG_AGO, _FAR = -(2**63), 2**63  # microseconds: before and after every moment
_playing: Final[dict[str, Replay]] = {}
"""Topic → what this process plays into it."""


def replay(
    source: str | Sequence[str] | DataFrame | pd.DataFrame | Iterable[Mapping[str, Any]] | Path,
    *,
    into: str | Mapping[str, str] | None = None,
    event: EventType | Mapping[str, EventType] | None = None,
    speed: float = 600.0,
    from_: datetime | None = None,
    to: datetime | None = None,
    wait: bool = True,
) -> Replay:
    """Play history into another topic as if it were live: at the speed of its event time, in the order of its arrival.

    The clock shows the newest event time so far, as a watermark does. So an event that arrived out of order is sent right after the
    one before it, and one that was late is late again. Several topics share one clock; in each of them a partition keeps its order,
    and between partitions the time counts that Kafka has noted, to the millisecond. A record keeps its key, value and headers byte for byte, bad ones
    too, and its partition if both topics have as many; its time in Kafka is new. A frame is played in its own order: sort it by when
    its events arrived. What comes onto a topic after the start is not played, and memory does not grow with the history.

    Topics keep their records, so to play twice into one topic is to publish the events twice. If this process plays into the
    topic already, that replay is stopped first: run a cell again, and there is still one.

    Args:
        source: A topic, a list of topics, or what rta.publish() takes: a Spark or pandas frame, a list of dicts, a Path.
        into: The topic to play into, or source topic → topic; by default `<topic>.replay`. It is made if it is missing, with as many
            partitions as the source.
        event: The type of the events, or topic → type; by default the one that is named like the topic.
        speed: How many seconds of event time pass in a second.
        from_: Begin when the clock comes to this moment, which needs a zone; what arrived before is read, and not sent.
        to: End when the clock comes to this moment.
        wait: Return when all is sent; with False return at once, and play in a thread.

    Returns:
        The replay: see Replay.

    Raises:
        TopicError: If a source is no topic.
        InputError: If speed is not above 0, a moment has no zone, the end is not after the start, or a topic would be played into itself.
        BrokerError: If Kafka has not acknowledged all events.

    Example:
        >>> events = [{"user_id": 7, "at": f"2024-11-15T10:{minute}:00Z"} for minute in (10, 50, 20)]
        >>> clicks = rta.EventType("doc-clicks", "user_id BIGINT, at TIMESTAMP", event_time="at", key="user_id")
        >>> _ = rta.publish(events, "doc-clicks", event=clicks)
        >>> replay("doc-clicks", event=clicks, speed=36_000)
        Replay: doc-clicks → doc-clicks.replay, 36,000 times as fast: finished, 3 events sent, clock at 2024-11-15 10:50:00 UTC
        >>> with replay("doc-clicks", event=clicks, speed=1, wait=False) as playing:
        ...     playing.speed = 1_000_000
        ...     playing.wait().state
        'finished'
    """
    _require_speed(speed)
    begin, end = _moment("from_", from_, _LONG_AGO), _moment("to", to, _FAR)
    if end <= begin:
        raise InputError("the end of the replay is not after its start", found=f"{from_} to {to}", fix="exchange the two")  # fmt: skip
    histories = _histories(source, event)
    targets = _targets([each.name for each in histories], into, _names(source))
    for each in histories:
        topics.ensure_topic(targets[each.name], partitions=each.partitions or 4, right="WRITE")
    for target in set(targets.values()) & set(_playing):
        _playing[target].stop()
    playing = Replay(histories, targets, speed=speed, begin=begin, end=end)
    if wait:
        try:
            playing.wait()
        except BaseException:
            playing.stop()
            raise
    return playing


class Replay:
    """History that is being played: see rta.replay(). Its methods may be called from any thread, and take effect at once.

    As a context manager it is stopped at the end of the block.

    Attributes:
        topics: Source → the topic that it is played into.
        events: That topic → the type of its events.
        error: What it failed with; None if it did not.

    Example:
        >>> pages = rta.EventType("doc-pages", "at TIMESTAMP", event_time="at")
        >>> playing = rta.replay([{"at": "2024-11-15T10:30:00Z"}], event=pages, wait=False)
        >>> playing.wait().state, f"{playing.position:%H:%M}"
        ('finished', '10:30')
    """

    def __init__(
        self,
        histories: Sequence[History],
        targets: Mapping[str, str],
        *,
        speed: float,
        begin: int,
        end: int,
    ) -> None:
        self.topics = dict(targets)
        self.events = {targets[each.name]: each.event for each in histories}
        self.error: BaseException | None = None
        self._histories, self._begin, self._end = histories, begin, end
        self._same = {
            each.name: each.partitions == len(topics.offsets(targets[each.name]))
            for each in histories
        }
        self._deliveries = {target: Deliveries(None) for target in targets.values()}
        self._pace, self._passed = Pace(speed=speed), 0
        self._outcome: State | None = None
        self._ended = Event()
        self._thread = Thread(target=self._run, name=f"rta replay of {', '.join(targets)}", daemon=True)  # fmt: skip
        _playing.update(dict.fromkeys(self._deliveries, self))
        self._thread.start()

    @property
    def state(self) -> State:
        """What it does: "seeking" (it looks for the first event to send), "playing", "paused"; or how it ended: "finished", "stopped", "failed"."""
        if self._outcome:
            return self._outcome
        if self._pace.paused:
            return "paused"
        return "seeking" if self.position is None else "playing"

    @property
    def position(self) -> datetime | None:
        """What its clock shows, in UTC: it goes on between two events, and stands while an event is overdue. None while it looks for the first one."""
        shown = self._pace.moment
        return None if shown is None else EPOCH + timedelta(microseconds=shown)

    @property
    def speed(self) -> float:
        """How many seconds of event time pass in a second. Set it to change it."""
        return self._pace.speed

    @speed.setter
    def speed(self, speed: float) -> None:
        _require_speed(speed)
        self._pace.speed = speed

    @property
    def sent(self) -> int:
        """How many events it has sent."""
        return sum(each.sent for each in self._deliveries.values())

    @property
    def behind(self) -> float:
        """By how many seconds at most an event was sent after it was due: above some tenths, this machine is too slow for the speed."""
        return self._pace.behind

    @property
    def reports(self) -> dict[str, DeliveryReport]:
        """What became of the events by now, by the topic they were played into."""
        seconds = self._pace.seconds
        return {
            target: each.report(target, seconds=seconds, behind=self.behind, log=None)
            for target, each in self._deliveries.items()
        }

    def pause(self) -> None:
        """Stand still until resume().

        Raises:
            InputError: If it has ended.
        """
        self._require_alive()
        self._pace.pause()

    def resume(self) -> None:
        """Go on from where the clock stands.

        Raises:
            InputError: If it has ended.
        """
        self._require_alive()
        self._pace.resume()

    def seek(self, moment: datetime) -> None:
        """Go to the first event at which the clock shows a moment or more; from there it plays on, or stays paused.

        Forward, the events between are read, and not sent. Backward, the history is read from its beginning, and the events from the
        moment on are sent again: the topic then has them twice, with the same ids, and for a query with a watermark they are late.

        Args:
            moment: When; it needs a zone.

        Raises:
            InputError: If the moment has no zone or is not in the part that is played, or the replay has ended.
        """
        self._require_alive()
        wanted = _moment("the moment to seek", moment, _FAR)
        if not self._begin <= wanted < self._end:
            raise InputError("this moment is not in the part that is played", found=moment, fix="see from_ and to of rta.replay()")  # fmt: skip
        self._pace.seek(wanted)

    def stop(self) -> None:
        """End it: when this returns, Kafka has answered for all that was sent, and no thread is left."""
        self._pace.stop()
        self._ended.wait()
        self._thread.join()

    def wait(self) -> Replay:
        """Wait until it has ended, with a progress bar.

        Raises:
            RtaError: What it failed with.
            BrokerError: If Kafka has not acknowledged all events.
        """
        label = f"replaying {', '.join(self.topics)}"
        with watched(label, self._progress, unit="event"):
            self._ended.wait()  # a join() that is interrupted takes a living thread for ended (Python 3.11)
        if self.error:
            raise self.error
        for report in self.reports.values():
            report.require_all()
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:  # fmt: skip
        self.stop()
        if error is None:
            self.wait()

    def __repr__(self) -> str:
        """Say in one line what is played, and how far it is."""
        where = ", ".join(f"{name} → {target}" for name, target in self.topics.items())
        failed = f" ({self.error})" if self.error else ""
        at = f", clock at {text(self.position)}" if self.position else ""
        return f"Replay: {where}, {self.speed:,g} times as fast: {self.state}, {self.sent:,} events sent{at}{failed}"  # fmt: skip

    def _repr_html_(self) -> str:
        """Show the same as a table."""
        facts = [(name, f"→ {target}") for name, target in self.topics.items()]
        facts += [
            ("state", self.state),
            ("clock", text(self.position)),
            ("times as fast", f"{self.speed:,g}"),
        ]
        failed = [("failed", str(self.error))] if self.error else []
        return table([*facts, ("events sent", self.sent), *failed])

    def _progress(self) -> tuple[int, int | None]:
        """Return how many events it has passed, and of how many."""
        totals = [each.total for each in self._histories]
        known = self._end == _FAR and None not in totals
        return self._passed, sum(each or 0 for each in totals) if known else None

    def _require_alive(self) -> None:
        if self._outcome:
            raise InputError("the replay has ended", found=self._outcome, fix="start another one with rta.replay()")  # fmt: skip

    def _run(self) -> None:
        try:
            with raising_refused(), bounded_producer(_TIMEOUT, self._give_up) as producer:
                self._play(producer)
            self._outcome = "stopped" if self._pace.stopped else "finished"
        except BaseException as error:  # noqa: BLE001 - the thread's end; wait() raises it
            self.error, self._outcome = error, "failed"
        finally:
            self._pace.stop()
            for target in self._deliveries:
                if _playing.get(target) is self:
                    del _playing[target]
            self._ended.set()

    def _give_up(self) -> None:
        for each in self._deliveries.values():
            each.give_up()

    def _play(self, producer: Any) -> None:
        """Send each event when it is due; somebody who seeks what was read already has the histories read again."""
        begin: int | None = self._begin
        while begin is not None:
            with closing(merged(self._histories)) as events:  # type: ignore[type-var]
                begin = self._play_from(begin, events, producer)

    def _play_from(self, begin: int, events: Iterator[Due], producer: Any) -> int | None:
        """Play to the end and return None; or return the moment that somebody seeks, if its events were read already."""
        read, self._passed = _LONG_AGO, 0
        for due in events:
            if due.moment >= self._end:
                return None
            while True:
                if due.moment >= begin and self._pace.wait(due.moment) is not None:
                    self._send(producer, due)
                    break
                if not self._pace.called:
                    break  # it comes before the beginning
                sought = self._pace.sought()
                if sought is None or sought <= read:
                    return sought
                begin = sought
            read, self._passed = due.moment, self._passed + 1
        return None

    def _send(self, producer: Any, due: Due) -> None:
        target, event = self.topics[due.history], due.event
        where = event.partition if self._same[due.history] else None
        self._deliveries[target].send(producer, target, event.key, event.value, event.headers, partition=where)  # fmt: skip


def _histories(source: Any, event: EventType | Mapping[str, EventType] | None) -> list[History]:
    """Return what is to be played; refuse a topic that is missing, and a source that is none."""
    names = _names(source)
    if not names:
        if not isinstance(event, EventType):
            raise InputError("a frame is played by its event time", found=f"event={event!r}", fix="give the type of its events (event=)")  # fmt: skip
        if isinstance(source, Iterator):
            raise InputError("a replay can go back, so its source must be readable twice", found=type(source).__name__, fix="give a list or a frame")  # fmt: skip
        return [History.of_source(source, event)]
    if len(set(names)) < len(names):
        raise InputError("a topic is named twice", found=names, fix="name it once")
    types = {name: event if isinstance(event, EventType) else (event or {}).get(name) or event_type(name) for name in names}  # fmt: skip
    described = [topics.description(name) for name in names]
    for each in described:
        each.require("READ")
    return [History.of_topic(each, types[each.name]) for each in described]


def _names(source: Any) -> list[str]:
    """Return the topics that a source names; none if it is a frame."""
    if isinstance(source, str):
        return [source]
    named = isinstance(source, list | tuple) and all(isinstance(each, str) for each in source)
    return list(source) if named else []


def _targets(names: Sequence[str], into: str | Mapping[str, str] | None, played: Sequence[str]) -> dict[str, str]:  # fmt: skip
    """Return source → the topic to play it into; played: the sources that are topics."""
    if isinstance(into, str):
        if len(names) > 1:
            raise InputError("several topics need a topic each to be played into", found=f"into={into!r}", fix="give a mapping: source → topic")  # fmt: skip
        into = {names[0]: into}
    if unknown := sorted(set(into or ()) - set(names), key=str):
        raise InputError("into names a source that is not played", found=unknown, fix=f"use some of {list(names)}")  # fmt: skip
    targets = {name: checked("topic", (into or {}).get(name, f"{name}.replay")) for name in names}
    if same := sorted(set(targets.values()) & set(played)):
        raise InputError("a topic cannot be played into a topic that is read", found=same, fix="give another topic (into=)")  # fmt: skip
    return targets


def _moment(name: str, moment: datetime | None, default: int) -> int:
    """Return a moment in microseconds since the epoch."""
    if moment is None:
        return default
    if not isinstance(moment, datetime) or moment.tzinfo is None:
        raise InputError(f"{name} is a moment with its zone", found=repr(moment), fix="give a datetime with a zone, such as tzinfo=datetime.UTC")  # fmt: skip
    return microseconds(moment)


def _require_speed(speed: float) -> None:
    if not (isinstance(speed, Real) and 0 < speed < math.inf):
        raise InputError("the speed of a replay is a number above 0", found=repr(speed), fix="600 plays ten minutes in a second; pause() stands still")  # fmt: skip
