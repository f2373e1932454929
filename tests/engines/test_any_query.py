"""Queries of several topics and of each kind that Spark has: the stream equals the batch, and each topic's events are accounted for.

The truth is plain Python: from the offsets of each micro-batch it says what the watermark was, which events were late, and what the
query must have written. Nothing of it is asked of Spark.
"""

import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import Row as RowOf
from pyspark.sql import functions as F
from pyspark.sql.streaming.stateful_processor import StatefulProcessor, StatefulProcessorHandle

import rta
from rta.engines import Source
from rta.errors import InputError, QueryError
from rta.store import ledger
from rta.testing import oracle
from tests.support.truth import checkpoint_of

pytestmark = pytest.mark.kafka

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
        names = {
            self.views: (VIEWS, "view_id", "seen_at"),
            self.buys: (BUYS, "buy_id", "bought_at"),
        }
        return {
            topic: [
                Event(offset, name, user, at.replace(tzinfo=UTC))
                for offset, name, user, at in zip(
                    *(oracle.events(topic, event)[c].to_pylist() for c in ("offset", key, "user_id", time)), strict=True
                )
            ]
            for topic, (event, key, time) in names.items()
        }  # fmt: skip


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


@pytest.fixture(scope="module")
def pair(spark: SparkSession) -> Pair:
    """Give two topics with a partition each, so that the cut into micro-batches is what the ledger says."""
    found = Pair("any-query-views", "any-query-buys")
    for seed, (topic, kind) in enumerate(((found.views, "view"), (found.buys, "buy"))):
        rta.kafka.create_topic(topic, partitions=1)
        publish(topic, kind, minutes(seed, 24), seed)
        rta.publish(spark.createDataFrame([("{broken",)], ["value"]), topic)
    return found


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


def truth(table: str, events: Mapping[str, list[Event]], ends: Callable[[datetime], datetime] = lambda at: at) -> Truth:  # fmt: skip
    """Follow the micro-batches: the watermark is behind the slowest topic, and an event is late by the one of the batch before.

    Args:
        table: The table, whose ledger has the cuts.
        events: Topic → its events.
        ends: When the state that an event is for ends, by its time.
    """
    kept: dict[str, list[Event]] = {topic: [] for topic in events}
    late: dict[str, set[int]] = {topic: set() for topic in events}
    newest = dict.fromkeys(events, NEVER + DELAY)
    before = current = NEVER
    for entries in batches(table):
        for entry in entries:
            for event in events[entry.topic]:
                if entry.start_offsets[0] <= event.offset < entry.end_offsets[0]:
                    is_late = ends(event.at) <= before
                    late[entry.topic] |= {event.offset} if is_late else set()
                    kept[entry.topic] += [] if is_late else [event]
                    newest[entry.topic] = max(newest[entry.topic], event.at)
        before, current = current, max(current, min(newest.values()) - DELAY)
    return Truth(kept, late, current)


def rows(table: str, *columns: str) -> list[Row]:
    """Return the rows of a table, sorted."""
    return sorted(map(tuple, rta.read(table)[list(columns)].astype(object).to_numpy().tolist()))


def require_accounted(table: str, found: Truth, **duplicates: int) -> None:
    """Each topic by itself: late are those that the truth names, at the offsets that it names; the rest is used."""
    listed = rta.late(table)
    for topic, kept in found.kept.items():
        told = rta.accounting(table, topic=topic)
        assert told.balanced, told
        copies = duplicates.get(topic, 0)
        assert (told.late, told.used, told.duplicate, told.quarantined) == (len(found.late[topic]), len(kept) - copies, copies, 1)  # fmt: skip
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


@pytest.mark.parametrize("how", ["inner", "left", "full"])
def test_a_join_of_two_topics_is_exact(pair: Pair, how: str) -> None:
    """Each pair once; an outer join's unmatched rows once the watermark has passed their last partner, and not before."""
    table = f"any_{how}"
    drained = rta.drain(pair.topics, joined(how), table=table, key=["view", "buy"])
    found = truth(table, pair.events)
    assert all(found.late.values()), "the events of the test are late on both sides"
    require_accounted(table, found)
    assert {*drained.by_topic} == {pair.views, pair.buys}
    expected = pairs(found, pair)
    views, buys = ({row[side] for row in expected} for side in (0, 1))
    if how != "inner":
        expected |= {
            (each.offset, -1, each.user) for each in found.kept[pair.views]
            if each.offset not in views and each.at + REACH < found.closed
        }  # fmt: skip
    if how == "full":
        expected |= {
            (-1, each.offset, each.user) for each in found.kept[pair.buys]
            if each.offset not in buys and each.at <= found.closed
        }  # fmt: skip
    assert rows(table, "view", "buy", "user_id") == sorted(expected)
    assert how == "inner" or any(-1 in row for row in expected)


def merged(events: Iterable[Event], gap: timedelta) -> list[tuple[int, datetime, datetime, int]]:
    """Return user, start, end and number of events of each session."""
    found: list[tuple[int, datetime, datetime, int]] = []
    for event in sorted(events, key=lambda each: (each.user, each.at)):
        user, start, end, many = found[-1] if found else (0, NEVER, NEVER, 0)
        if user == event.user and event.at <= end:
            found[-1] = (user, start, max(end, event.at + gap), many + 1)
        else:
            found.append((event.user, event.at, event.at + gap, 1))
    return found


def test_sessions_are_in_the_table_once_they_are_final(pair: Pair) -> None:
    """Late is by the end of an event's own session; what the last watermark has not passed is not there yet."""
    gap = timedelta(minutes=9)

    def sessions(views: DataFrame) -> DataFrame:
        window = F.session_window("seen_at", "9 minutes").alias("session")
        return marked(views).groupBy(window, "user_id").agg(F.count("*").alias("events"))

    rta.drain(pair.views, sessions, table="any_sessions", key=["session", "user_id"], **pair.one)
    found = truth("any_sessions", {pair.views: pair.events[pair.views]}, lambda at: at + gap)
    assert found.late[pair.views]
    require_accounted("any_sessions", found)
    whole = merged(found.kept[pair.views], gap)
    final = [(user, start, end, many) for user, start, end, many in whole if end <= found.closed]
    assert 0 < len(final) < len(whole)
    assert rows("any_sessions", "user_id", "session_start", "session_end", "events") == final


def test_copies_are_dropped_within_the_watermark(pair: Pair) -> None:
    """A copy that comes in time is a duplicate; one that comes after the watermark has passed it is late. An aggregate follows."""

    def counted(views: DataFrame) -> DataFrame:
        once = marked(views).dropDuplicatesWithinWatermark(["view_id"])
        return once.groupBy(F.window("seen_at", "1 hour"), "user_id").agg(F.count("*").alias("events"))  # fmt: skip

    rta.drain(pair.views, counted, table="any_within", key=["window", "user_id"], **pair.one)
    found = truth("any_within", {pair.views: pair.events[pair.views]})
    kept = {event.name: event for event in found.kept[pair.views]}
    copies = len(found.kept[pair.views]) - len(kept)
    assert copies
    require_accounted("any_within", found, **{pair.views: copies})
    assert sum(row[0] for row in rows("any_within", "events")) == len(kept)


def test_an_aggregate_of_an_aggregate_is_final_when_it_is_written(pair: Pair) -> None:
    """Counts of ten minutes, and of these the largest of an hour: only hours that the watermark has closed."""

    def busiest(views: DataFrame) -> DataFrame:
        tens = marked(views).groupBy(F.window("seen_at", "10 minutes")).agg(F.count("*").alias("n"))
        return tens.groupBy(F.window(F.window_time("window"), "1 hour").alias("hour")).agg(F.max("n").alias("most"))  # fmt: skip

    def ten(at: datetime) -> datetime:
        return at.replace(minute=at.minute // 10 * 10, second=0, microsecond=0) + DELAY

    rta.drain(pair.views, busiest, table="any_busiest", key=["hour"], **pair.one)
    found = truth("any_busiest", {pair.views: pair.events[pair.views]}, ten)
    require_accounted("any_busiest", found)
    tens = Counter(ten(event.at) for event in found.kept[pair.views])
    hours: dict[datetime, int] = {}
    for end, many in tens.items():
        hour = (end - timedelta(microseconds=1)).replace(minute=0, second=0, microsecond=0)
        hours[hour] = max(hours.get(hour, 0), many)
    closed = {
        hour: many for hour, many in hours.items() if hour + timedelta(hours=1) <= found.closed
    }
    assert closed
    assert rows("any_busiest", "hour_start", "most") == sorted(closed.items())


def test_rows_of_an_event_and_events_without_a_row(pair: Pair) -> None:
    """A projection, a filter and explode need no state: every good event is used, however many rows it makes."""

    def exploded(views: DataFrame) -> DataFrame:
        both = F.explode(F.array(F.lit("a"), F.lit("b"))).alias("item")
        return views.where("user_id > 1").select("offset", both, "view_id")

    drained = rta.drain(
        pair.views, exploded, table="any_items", **pair.one
    )  # no key: rows are added
    events = pair.events[pair.views]
    assert (drained.accounting.used, drained.accounting.quarantined) == (len(events), 1)
    made = [(each.offset, item, each.name) for each in events if each.user > 1 for item in "ab"]
    assert rows("any_items", "offset", "item", "view_id") == made


class Newest(StatefulProcessor):
    """Keep how many views a user has made, and forget the user an hour after the last one."""

    def init(self, handle: StatefulProcessorHandle) -> None:
        """Open the state."""
        self.handle = handle
        self.many = handle.getValueState("many", "many LONG")

    def handleInputRows(self, key: Any, rows: Iterator[Any], timerValues: Any) -> Iterator[Any]:  # noqa: N802, N803, ARG002 - Spark's own names
        """Add the rows of a micro-batch."""
        known = self.many.get() if self.many.exists() else None
        many = (known[0] if known else 0) + sum(1 for _ in rows)
        self.many.update((many,))
        yield RowOf(user_id=key[0], events=many)

    def close(self) -> None:
        """Nothing is open."""


def test_a_stateful_processor_is_accounted_for(pair: Pair) -> None:
    """A stateful processor in Python (transformWithState): an event is late by its time, and the stream's last row of a key is that of the batch."""

    def counted(views: DataFrame) -> DataFrame:
        users = marked(views).groupBy("user_id")
        return users.transformWithState(Newest(), "user_id LONG, events LONG", "Update", "EventTime")  # fmt: skip

    rta.drain(pair.views, counted, table="any_processor", key=["user_id"], **pair.one)
    found = truth("any_processor", {pair.views: pair.events[pair.views]})
    assert found.late[pair.views]
    require_accounted("any_processor", found)
    kept = Counter(event.user for event in found.kept[pair.views])
    assert rows("any_processor", "user_id", "events") == sorted(kept.items())
    whole = rta.read_batch(pair.views, event=VIEWS)
    batch = whole.where(~whole["offset"].isin([*found.late[pair.views]])).transform(counted)
    assert sorted(map(tuple, batch.collect())) == sorted(kept.items())


def test_batch_and_kappa_take_several_topics(pair: Pair) -> None:
    """The batch over the archives of both has every pair; Kappa has those of the events that were not late, after a replay, too."""
    how: dict[str, Any] = {"key": ["view", "buy"]}
    everything = Truth(pair.events, {}, NEVER)
    with rta.batch(pair.topics, joined("inner"), table="any_batch", **how) as batch:
        told = batch.recompute()
    assert (told.batches, told.quarantined, told.late, told.balanced) == (1, 2, 0, True)
    assert rows("any_batch", "view", "buy", "user_id") == sorted(pairs(everything, pair))
    with rta.kappa(pair.topics, joined("inner"), table="any_kappa", **how) as kappa:
        kappa.catch_up()
        found = truth("any_kappa_v1", pair.events)
        assert rows("any_kappa", "view", "buy", "user_id") == sorted(pairs(found, pair))
        replay = kappa.replay(joined("left"))
        assert replay.wait().behind == 0
        assert kappa.switch().served == 2
    with pytest.raises(InputError, match="Lambda takes one topic"):
        rta.lambda_(pair.topics, joined("inner"), table="any_lambda", **how)  # type: ignore[arg-type]


def test_what_cannot_run_is_said_before_anything_is_made(pair: Pair) -> None:
    """Each with the sentence that says what to write instead; no table, no checkpoint."""

    def itself(views: DataFrame) -> DataFrame:
        return marked(views).join(marked(views).select(F.col("user_id").alias("other")), F.expr("user_id = other"))  # fmt: skip

    def endless(views: DataFrame, buys: DataFrame) -> DataFrame:
        return views.join(buys.select("user_id", "buy_id"), "user_id", "left")

    def sessions(views: DataFrame) -> DataFrame:
        return marked(views).groupBy(F.session_window("seen_at", "9 minutes")).count()

    def per_user(views: DataFrame) -> DataFrame:
        return marked(views).groupBy("user_id").count()

    how: dict[str, Any] = {"table": "any_refused", "key": ["user_id"]}
    one = {"event": VIEWS}
    for topics, transform, given, said in (
        (pair.views, itself, one, "2 branches of any-query-views .*second topic"),
        (pair.topics, endless, {}, r"cannot start.*withWatermark.* on both topics, and a range of time"),
        (pair.topics, lambda views, purchases: views.join(purchases, "user_id"), {}, "parameters of the transform are not the names"),
        (pair.topics, lambda views, **_: views, {}, "unused: any-query-buys"),
        (pair.topics, joined("inner"), one, "event is for one topic"),
        ({"views": pair.views, "buys": pair.views}, joined("inner"), {}, "any-query-views"),
        (pair.views, sessions, {**one, "mode": "update"}, "mode 'update'.*use 'append' or 'complete'"),
        (pair.views, per_user, {**one, "mode": "final"}, "not an output mode"),
        (pair.views, per_user, {**one, "key": ()}, "without a key each change would be one more row"),
    ):  # fmt: skip
        with pytest.raises((InputError, QueryError), match=said):
            rta.drain(topics, transform, **{**how, **given})
    assert not checkpoint_of("any_refused").exists()
    assert "any_refused" not in [each.name for each in rta.store.tables()]


def test_a_whole_result_replaces_the_table(pair: Pair) -> None:
    """In complete mode a row that the result no longer has is no longer in the table."""

    def few(views: DataFrame) -> DataFrame:
        counted = views.groupBy("user_id").agg(F.count("*").alias("events"))
        return counted.where("events < 8").orderBy("events")

    rta.drain(pair.views, few, table="any_few", key=["user_id"], mode="complete", **pair.one)
    counts = Counter(event.user for event in pair.events[pair.views])
    few_rows = [(user, many) for user, many in sorted(counts.items()) if many < 8]
    assert len(few_rows) < len(counts)
    assert rows("any_few", "user_id", "events") == few_rows
