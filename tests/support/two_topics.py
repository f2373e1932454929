"""Two topics with random events, and the truth of a query over them in plain Python.

From the offsets of each micro-batch it says what the watermark was, which events were late, and what the query must have written.
Nothing of it is asked of Spark.
"""

import json
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

import pandas as pd
from pyspark.sql import DataFrame
from pyspark.sql import Row as RowOf
from pyspark.sql import functions as F
from pyspark.sql.streaming.stateful_processor import StatefulProcessor, StatefulProcessorHandle

import rta
from rta.engines import Source
from rta.store import ledger
from rta.testing import oracle
from tests.support.truth import checkpoint_of

VIEWS: Final = rta.EventType(
    "any-views", "view_id STRING NOT NULL, user_id BIGINT NOT NULL, seen_at TIMESTAMP NOT NULL", event_time="seen_at"
)  # fmt: skip
BUYS: Final = rta.EventType(
    "any-buys", "buy_id STRING NOT NULL, user_id BIGINT NOT NULL, price DECIMAL(12, 2), bought_at TIMESTAMP NOT NULL",
    event_time="bought_at",
)  # fmt: skip
START: Final = datetime(2024, 11, 15, 10, tzinfo=UTC)
DELAY: Final = timedelta(minutes=10)
REACH: Final = timedelta(minutes=30)
GAP: Final = timedelta(minutes=9)
NEVER: Final = datetime.min.replace(tzinfo=UTC)
WITHIN: Final = (
    "v.user_id = b.user_id AND bought_at BETWEEN seen_at AND seen_at + INTERVAL 30 MINUTES"
)
Row = tuple[Any, ...]
Transform = Callable[..., DataFrame]


@dataclass(frozen=True)
class Event:
    """An event on a topic, as the truth has it."""

    offset: int
    name: str
    user: int
    at: datetime


@dataclass(frozen=True)
class Pair:
    """Two topics with random events: out of order, some far behind, copies, and one that is broken."""

    views: str
    buys: str

    @property
    def topics(self) -> dict[str, Source]:
        """How a query reads both: in small micro-batches."""
        return {
            "views": Source(self.views, VIEWS, max_events_per_batch=8),
            "buys": Source(self.buys, BUYS, max_events_per_batch=8),
        }

    @property
    def one(self) -> dict[str, Any]:
        """How a query reads the views alone."""
        return {"event": VIEWS, "max_events_per_batch": 8}

    @property
    def events(self) -> dict[str, list[Event]]:
        """Topic → its good events."""
        return {topic: self.events_of(topic) for topic in (self.views, self.buys)}

    def events_of(self, topic: str) -> list[Event]:
        """Return the good events of one of the two."""
        names = {
            self.views: (VIEWS, "view_id", "seen_at"),
            self.buys: (BUYS, "buy_id", "bought_at"),
        }
        event, key, time = names[topic]
        good = oracle.events(topic, event)
        columns = (good[name].to_pylist() for name in ("offset", key, "user_id", time))
        return [Event(offset, name, user, at.replace(tzinfo=UTC)) for offset, name, user, at in zip(*columns, strict=True)]  # fmt: skip


def minutes(seed: int, many: int) -> list[float]:
    """Return minutes that go on, out of order by up to eight, with a few of an hour before."""
    dice = random.Random(seed)  # noqa: S311 - a test that can be repeated
    return [
        round(4 * n + dice.uniform(-8, 0) - (60 if dice.random() < 0.2 and n > 10 else 0), 2) + 60
        for n in range(many)
    ]


def publish(topic: str, kind: str, at: Iterable[float], seed: int = 0) -> None:
    """Put events onto a topic, each at a minute after START."""
    dice = random.Random(seed)  # noqa: S311 - a test that can be repeated
    time = {"view": "seen_at", "buy": "bought_at"}[kind]
    price = {"price": Decimal("1.10")} if kind == "buy" else {}
    users = (2, 4) if kind == "buy" else (1, 3)  # some on each side have no partner
    events = [
        {f"{kind}_id": f"{kind}{n}", "user_id": dice.randint(*users), time: START + timedelta(minutes=m), **price}
        for n, m in enumerate(at)
    ]  # fmt: skip
    copies = [events[n] for n in range(0, len(events), 7)]
    assert rta.kafka.publish_paced([*events, *copies], topic).ok == len(events) + len(copies)


def batches(table: str) -> list[list[ledger.Batch]]:
    """Return the entries of each micro-batch of a table."""
    found: dict[int, list[ledger.Batch]] = {}
    for entry in ledger.batches(table):
        found.setdefault(entry.batch_id, []).append(entry)
    return [found[number] for number in sorted(found)]


@dataclass(frozen=True)
class Truth:
    """What must have happened: topic → the events that were not late, and the watermark at the end."""

    kept: Mapping[str, list[Event]]
    late: Mapping[str, set[int]]
    closed: datetime


def truth(
    table: str,
    events: Mapping[str, list[Event]],
    ends: Callable[[datetime], datetime] = lambda at: at,
    *,
    starts: bool = False,
) -> Truth:
    """Follow the micro-batches: the watermark is behind the slowest topic, and an event is late by the one of the batch before.

    Args:
        table: The table, whose ledger has the cuts.
        events: Topic → its events.
        ends: When the state that an event is for ends, by its time.
        starts: Whether the query was started several times. Spark then forgets how far each topic was, so its watermarks are taken from
            the ledger and the checkpoint.
    """
    kept: dict[str, list[Event]] = {topic: [] for topic in events}
    late: dict[str, set[int]] = {topic: set() for topic in events}
    newest = dict.fromkeys(events, NEVER + DELAY)
    before = current = NEVER
    for entries in batches(table):
        for entry in entries:
            if starts:
                before = entry.watermark or NEVER
            for event in events[entry.topic]:
                if entry.start_offsets[0] <= event.offset < entry.end_offsets[0]:
                    is_late = ends(event.at) <= before
                    late[entry.topic] |= {event.offset} if is_late else set()
                    kept[entry.topic] += [] if is_late else [event]
                    newest[entry.topic] = max(newest[entry.topic], event.at)
        before, current = current, max(current, min(newest.values()) - DELAY)
    if starts:
        newest_file = max(
            (checkpoint_of(table) / "offsets").glob("[0-9]*"), key=lambda path: int(path.name)
        )
        told = json.loads(newest_file.read_text().splitlines()[1])["batchWatermarkMs"]
        current = datetime.fromtimestamp(told / 1000, UTC)
    return Truth(kept, late, current)


def rows(table: str, *columns: str) -> list[Row]:
    """Return the rows of a table, sorted."""
    return sorted(map(tuple, rta.read(table)[list(columns)].astype(object).to_numpy().tolist()))


def require_accounted(table: str, found: Truth, *, bad: int = 1, **duplicates: int) -> None:
    """Each topic by itself: late are those that the truth names, at the offsets that it names; the rest is used."""
    listed = rta.late(table)
    for topic, kept in found.kept.items():
        told = rta.accounting(table, topic=topic)
        assert told.balanced, told
        copies = duplicates.get(topic, 0)
        assert (told.late, told.used, told.duplicate, told.quarantined) == (len(found.late[topic]), len(kept) - copies, copies, bad)  # fmt: skip
        assert {*listed.loc[listed["topic"] == topic, "offset"]} == found.late[topic]


def marked(views: DataFrame) -> DataFrame:
    """Give the views their watermark."""
    return views.withWatermark("seen_at", "10 minutes")


def joined(how: str) -> Transform:
    """Join views with the purchases of the half hour after each."""

    def transform(views: DataFrame, buys: DataFrame) -> DataFrame:
        bought = buys.withWatermark("bought_at", "10 minutes").alias("b")
        pairs = marked(views).alias("v").join(bought, F.expr(WITHIN), how)
        return pairs.select(
            F.coalesce("v.offset", F.lit(-1)).alias("view"), F.coalesce("b.offset", F.lit(-1)).alias("buy"),
            F.coalesce("v.user_id", "b.user_id").alias("user_id"),
        )  # fmt: skip

    return transform


def pairs(found: Truth, both: Pair) -> set[Row]:
    """Return the pairs that a join makes of what was not late."""
    return {
        (view.offset, buy.offset, view.user)
        for view in found.kept[both.views]
        for buy in found.kept[both.buys]
        if view.user == buy.user and view.at <= buy.at <= view.at + REACH
    }


def without_partner(found: Truth, both: Pair) -> set[Row]:
    """Return what a left join gives for views without a partner, once none can come any more."""
    partners = {view for view, *_ in pairs(found, both)}
    return {(e.offset, -1, e.user) for e in found.kept[both.views] if e.offset not in partners and e.at + REACH < found.closed}  # fmt: skip


def sessions(views: DataFrame) -> DataFrame:
    """Count the events of each user's sessions."""
    window = F.session_window("seen_at", "9 minutes").alias("session")
    return marked(views).groupBy(window, "user_id").agg(F.count("*").alias("events"))


def merged(
    events: Iterable[Event], gap: timedelta = GAP
) -> list[tuple[int, datetime, datetime, int]]:
    """Return user, start, end and number of events of each session."""
    found: list[tuple[int, datetime, datetime, int]] = []
    for event in sorted(events, key=lambda each: (each.user, each.at)):
        user, start, end, many = found[-1] if found else (0, NEVER, NEVER, 0)
        if user == event.user and event.at <= end:
            found[-1] = (user, start, max(end, event.at + gap), many + 1)
        else:
            found.append((event.user, event.at, event.at + gap, 1))
    return found


class Many(StatefulProcessor):
    """Keep how many views a user has made, in states that live for so many milliseconds; by default in one that lives for ever."""

    def __init__(self, **lives: int) -> None:
        self.lives: dict[str, int | None] = dict(lives) or {"events": None}

    def init(self, handle: StatefulProcessorHandle) -> None:
        """Open the states."""
        self.states = {
            name: handle.getValueState(name, "many LONG", *([ms] if ms else []))
            for name, ms in self.lives.items()
        }

    def handleInputRows(self, key: Any, rows: Iterator[Any], timerValues: Any) -> Iterator[Any]:  # noqa: N802, N803, ARG002 - Spark's own names
        """Add the rows of a micro-batch."""
        new, found = sum(1 for _ in rows), dict[str, int]()
        for name, state in self.states.items():
            known = state.get() if state.exists() else None
            found[name] = (known[0] if known else 0) + new
            state.update((found[name],))
        yield RowOf(user_id=key[0], **found)

    def close(self) -> None:
        """Nothing is open."""


def counted_by_hand(views: DataFrame) -> DataFrame:
    """Count the views of each user with a processor."""
    users = marked(views).groupBy("user_id")
    return users.transformWithState(Many(), "user_id LONG, events LONG", "Update", "EventTime")


class Closing(StatefulProcessor):
    """Count the views of each ten minutes, and give the count by a timer once the watermark has passed their end."""

    def init(self, handle: StatefulProcessorHandle) -> None:
        """Open the state: end in milliseconds → views."""
        self.handle = handle
        self.many = handle.getMapState("many", "end LONG", "many LONG")

    def handleInputRows(self, key: Any, rows: Iterator[Any], timerValues: Any) -> Iterator[Any]:  # noqa: N802, N803, ARG002 - Spark's own names
        """Add the rows of a micro-batch, and set a timer for each new ten minutes."""
        ends = Counter((int(row.seen_at.timestamp()) // 600 + 1) * 600_000 for row in rows)
        for end, new in ends.items():
            known = self.many.getValue((end,)) if self.many.containsKey((end,)) else None
            if known is None:
                self.handle.registerTimer(end)
            self.many.updateValue((end,), ((known[0] if known else 0) + new,))
        yield from ()

    def handleExpiredTimer(self, key: Any, timerValues: Any, expiredTimerInfo: Any) -> Iterator[Any]:  # fmt: skip # noqa: N802, N803, ARG002
        """Give the count, and forget it."""
        end = expiredTimerInfo.getExpiryTimeInMs()
        counted = self.many.getValue((end,))
        assert counted, "a timer has its count"
        self.many.removeKey((end,))
        yield RowOf(user_id=key[0], closed=end, events=counted[0])

    def close(self) -> None:
        """Nothing is open."""


def closed_by_timers(views: DataFrame) -> DataFrame:
    """Count the views of each user in ten minutes with a processor that has a timer for each end."""
    users = marked(views).groupBy("user_id")
    return users.transformWithState(Closing(), "user_id LONG, closed LONG, events LONG", "Append", "EventTime")  # fmt: skip


class ManyInPandas(StatefulProcessor):
    """Keep how many views a user has made; the rows come as frames of pandas."""

    def init(self, handle: StatefulProcessorHandle) -> None:
        """Open the state."""
        self.state = handle.getValueState("events", "many LONG")

    def handleInputRows(self, key: Any, rows: Iterator[Any], timerValues: Any) -> Iterator[Any]:  # noqa: N802, N803, ARG002 - Spark's own names
        """Add the rows of a micro-batch."""
        known = self.state.get() if self.state.exists() else None
        many = (known[0] if known else 0) + sum(len(frame) for frame in rows)
        self.state.update((many,))
        yield pd.DataFrame({"user_id": [key[0]], "events": [many]})

    def close(self) -> None:
        """Nothing is open."""


def counted_in_pandas(views: DataFrame) -> DataFrame:
    """Count the views of each user with a processor in pandas."""
    users = marked(views).groupBy("user_id")
    return users.transformWithStateInPandas(ManyInPandas(), "user_id LONG, events LONG", "Update", "EventTime")  # fmt: skip
