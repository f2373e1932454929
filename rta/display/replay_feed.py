"""A replay that is watched and steered: what it has sent, when that happened against when it arrived, the watermark, what was late."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Final

from rta.display.feeds import Feed, State
from rta.display.rows import Rows
from rta.display.topic_feed import TopicFeed
from rta.engines.spark.late_reading import late
from rta.errors import InputError
from rta.html import text
from rta.kafka.history import event_time, microseconds
from rta.kafka.tail import EPOCH
from rta.monitor.verdicts import Verdict
from rta.monitor.vitals import Vitals, in_ledger
from rta.store import ledger, serving_tables

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd

    from rta.kafka.replaying import Replay

_TYPES: Final = {
    "event_time": "time", "arrived": "time", "topic": "text", "fate": "text", "key": "text", "value": "text", "partition": "number",
    "offset": "number",
}  # fmt: skip
_IN_TIME, _LATE, _WATERMARK = "in time", "late", "watermark"
_STATES: Final[Mapping[str, State]] = {
    "seeking": "running", "playing": "running", "paused": "paused", "finished": "ended", "stopped": "ended", "failed": "failed",
}  # fmt: skip
_SLOW: Final = 1.0  # seconds after its time: this machine is too slow for the speed


class ReplayFeed(Feed):
    """What a replay plays, read from the topics that it plays into; tables that a query keeps of them tell watermark and late events."""

    kind = "replay"
    mode = "append"
    can: ClassVar[Sequence[str]] = ("pause", "stop", "speed", "seek")

    def __init__(self, playing: Replay) -> None:
        self.replay = playing
        self.title = "replay of " + ", ".join(playing.topics)
        self._topics = {topic: TopicFeed(topic) for topic in playing.events}
        self._tables = self._kept()  # asked for once a look
        self._rows: dict[str, Rows] = {}
        self._before: tuple[float, int] | None = None
        self._known: object = None
        self._lines: list[tuple[str, datetime, datetime]] = []
        self._all_seen = False

    def rows(self, limit: int) -> Rows | None:
        import pandas as pd

        ended = self.state in ("ended", "failed")
        fresh = {topic: found for topic, feed in self._topics.items() if (found := feed.rows(limit))}  # fmt: skip
        self._rows |= fresh
        self._tables = self._kept()
        known = self._committed()
        if not fresh and known == self._known and ended == self._all_seen:
            return None
        self._known, places = known, self._late()
        shown = [row for topic, found in self._rows.items() for row in self._told(topic, found, places)]  # fmt: skip
        shown.sort(key=lambda row: (row[1], row[-2], row[-1]), reverse=True)
        self._all_seen = ended
        frame = pd.DataFrame(shown[:limit], columns=list(_TYPES), dtype=object)
        return Rows(frame, _TYPES, ("topic", "partition", "offset"), self.replay.sent)

    def _told(
        self, topic: str, found: Rows, late_ones: set[tuple[str, int, int]]
    ) -> list[list[Any]]:
        """Return the rows of a topic."""
        event, rows = self.replay.events[topic], []
        for key, value, partition, offset, arrived in found.frame.itertuples(index=False):
            own = event_time((value or "").encode(), event, microseconds(arrived))
            moment = None if own is None else EPOCH + timedelta(microseconds=own)
            fate = _LATE if (topic, partition, offset) in late_ones else _IN_TIME
            rows.append([moment, arrived, topic, fate, key, value, partition, offset])
        return rows

    def _kept(self) -> list[str]:
        """Return the tables that a query keeps of what is played."""
        return [each.name for each in serving_tables.tables() if {*each.topics} & {*self._topics}]

    def _committed(self) -> object:
        """Return what is different after each micro-batch of a query that reads what is played."""
        return [(each.query_id, each.batch_id) for table in self._tables for each in ledger.newest(table)]  # fmt: skip

    def _late(self) -> set[tuple[str, int, int]]:
        """Take the watermarks, and return the places of the late events."""
        self._lines, places = [], set()
        for table in self._tables:
            marks = [(table, each.committed_at, each.watermark) for each in ledger.batches(table)]
            self._lines += [(name, at, mark) for name, at, mark in marks if at and mark]
            found = late(table)
            places |= set(found[["topic", "partition", "offset"]].itertuples(index=False, name=None))  # fmt: skip
        return places

    def chart(self, rows: pd.DataFrame) -> alt.LayerChart:
        """Draw when the events of the rows happened against when they arrived, with the watermark as a line."""
        import altair as alt
        import pandas as pd

        since = rows["arrived"].min() if len(rows) else None
        lines = [line for line in self._lines if since is None or line[1] >= since]
        marks = pd.DataFrame([(mark, at, table, _WATERMARK) for table, at, mark in lines], columns=["event_time", "arrived", "topic", "fate"])  # fmt: skip
        events = rows.dropna(subset=["event_time"])[["event_time", "arrived", "topic", "fate"]]
        frame = pd.concat([events.astype(object), marks.astype(object)], ignore_index=True)
        kinds, colours = [_IN_TIME, _LATE, _WATERMARK], ["#4c78a8", "#e45756", "#54a24b"]
        base = alt.Chart().encode(
            alt.X("arrived:T", title="when it arrived in Kafka (UTC)", scale=alt.Scale(type="utc")),
            alt.Y("event_time:T", title="event time (UTC)", scale=alt.Scale(type="utc")),
            alt.Color("fate:N", title=None, scale=alt.Scale(domain=kinds, range=colours)),
        )
        points = base.mark_point(filled=True, opacity=0.7).transform_filter(alt.datum.fate != _WATERMARK)  # fmt: skip
        shapes = alt.Shape("fate:N", title=None, scale=alt.Scale(domain=kinds, range=["circle", "triangle-up", "stroke"]))  # fmt: skip
        sizes = alt.condition(alt.datum.fate == _LATE, alt.value(80), alt.value(18))
        line = base.mark_line(interpolate="step-before").transform_filter(alt.datum.fate == _WATERMARK)  # fmt: skip
        drawn: Any = alt.layer(points.encode(shapes, size=sizes), line.encode(detail="topic:N"), data=frame)  # fmt: skip
        chart: alt.LayerChart = drawn.properties(height=260)
        return chart

    def vitals(self) -> Vitals:
        now, sent = time.monotonic(), self.replay.sent
        then, self._before = self._before, (now, sent)
        rate = (sent - then[1]) / max(now - then[0], 1e-9) if then else None
        of_table = [in_ledger(table)[-1] for table in self._tables[:1]]
        found = of_table[0] if of_table else Vitals(datetime.now(UTC))
        return replace(found, in_rate=rate, event_time=self.replay.position)

    @property
    def state(self) -> State:
        return _STATES[self.replay.state]

    @property
    def error(self) -> str | None:
        return str(self.replay.error) if self.replay.error else None

    def verdict(self, history: Sequence[Vitals], state: str) -> Verdict:  # noqa: ARG002
        playing = self.replay
        at = f", clock at {text(playing.position)}" if playing.position else ""
        said = (
            f"{playing.state}, {playing.speed:,g} times as fast{at}, {playing.sent:,} events sent"
        )
        if playing.error:
            return Verdict(f"{said}: {self.error}", "bad")
        if playing.behind > _SLOW:
            return Verdict(f"{said}, {playing.behind:.1f} s behind: this machine is too slow for it", "warn")  # fmt: skip
        return Verdict(said, "good" if playing.state == "playing" else "idle")

    def caught_up(self, now: Vitals) -> bool:  # noqa: ARG002
        return self._all_seen

    def over(self) -> str | None:
        """Say how the replay has ended, once all of it is shown and the query that reads it has taken it."""
        if not self._all_seen or any(in_ledger(table)[-1].behind for table in self._tables):
            return None
        return str(self.verdict([], ""))

    def pause(self) -> bool:
        self.replay.pause()
        return True

    def resume(self) -> None:
        self.replay.resume()

    def stop_query(self) -> None:
        self.replay.stop()

    def controls(self) -> dict[str, Any]:
        at = self.replay.position
        return {"speed": self.replay.speed, "at": at and f"{at:%Y-%m-%d %H:%M}"}

    def steer(self, what: str, value: object) -> None:
        """Set the speed, or go to a moment.

        Raises:
            InputError: If it is no number, or no moment.
        """
        if what == "speed":
            self.replay.speed = float(value) if isinstance(value, int | float) else value  # type: ignore[assignment]
            return
        try:
            moment = datetime.fromisoformat(str(value))
        except ValueError:
            raise InputError("a moment to seek is a date and a time, in UTC", found=repr(value), fix="2013-01-05 07:00") from None  # fmt: skip
        self.replay.seek(moment if moment.tzinfo else moment.replace(tzinfo=UTC))

    def close(self) -> None:
        for each in self._topics.values():
            each.close()
