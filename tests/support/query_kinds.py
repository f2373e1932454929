"""Each kind of query that Spark has, with what it must give in plain Python: tests/engines/test_query_kinds.py holds one to the other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from tests.support.two_topics import (
    DELAY,
    GAP,
    WITHIN,
    Event,
    Pair,
    Row,
    Transform,
    Truth,
    closed_by_timers,
    counted_by_hand,
    joined,
    marked,
    merged,
    pairs,
    sessions,
    without_partner,
)

TEN: Final = timedelta(minutes=10)
HOUR: Final = timedelta(hours=1)


@dataclass(frozen=True)
class Kind:
    """A query, and its truth.

    Args:
        transform: The query.
        columns: Of its table.
        truth: The rows that it gives for the events that were not late, as far as the watermark has closed them.
        key: Of its table.
        two: Whether it reads both topics.
        mode: Spark's output mode.
        ends: When the state that an event is for ends, by its time: it is late if that is behind the watermark.
        copies: Whether it drops copies.
        batch: The query as a batch, where Spark has no batch form of it.
    """

    transform: Transform
    columns: tuple[str, ...]
    truth: Callable[[Truth, Pair], Iterable[Row]]
    key: tuple[str, ...] = ()
    two: bool = False
    mode: str | None = None
    ends: Callable[[datetime], datetime] = lambda at: at
    copies: bool = False
    batch: Transform | None = None


def floor(at: datetime, length: timedelta) -> datetime:
    """Return the beginning of the window that a moment is in."""
    return at - (at - at.replace(hour=0, minute=0, second=0, microsecond=0)) % length


def views(found: Truth, both: Pair) -> list[Event]:
    """Return the views that were not late."""
    return found.kept[both.views]


def exploded(views: DataFrame) -> DataFrame:
    """Make two rows of some events, and none of the others."""
    return views.where("user_id > 1").select("offset", F.explode(F.array(F.lit("a"), F.lit("b"))).alias("item"))  # fmt: skip


def by_ten_minutes(views: DataFrame) -> DataFrame:
    """Count the views of a user in ten minutes."""
    return marked(views).groupBy(F.window("seen_at", "10 minutes"), "user_id").agg(F.count("*").alias("events"))  # fmt: skip


def hopping(views: DataFrame) -> DataFrame:
    """Count the views of an hour, each half an hour; nothing is late, for an event would be late in some of its windows only."""
    patient = views.withWatermark("seen_at", "2 days")
    return patient.groupBy(F.window("seen_at", "1 hour", "30 minutes")).agg(F.count("*").alias("events"))  # fmt: skip


def without_copies(views: DataFrame) -> DataFrame:
    """Take each view once; which of its copies is not said."""
    return marked(views).dropDuplicatesWithinWatermark(["view_id"]).select("view_id", "user_id")


def busiest(views: DataFrame) -> DataFrame:
    """Count ten minutes, and of these take the largest of an hour."""
    tens = marked(views).groupBy(F.window("seen_at", "10 minutes")).agg(F.count("*").alias("n"))
    return tens.groupBy(F.window(F.window_time("window"), "1 hour").alias("hour")).agg(F.max("n").alias("most"))  # fmt: skip


def pairs_of_an_hour(views: DataFrame, buys: DataFrame) -> DataFrame:
    """Count the pairs that a join makes, by the hour of their view."""
    bought = buys.withWatermark("bought_at", "10 minutes").alias("b")
    both = marked(views).alias("v").join(bought, F.expr(WITHIN)).select("seen_at")
    return both.groupBy(F.window("seen_at", "1 hour").alias("hour")).agg(F.count("*").alias("pairs"))  # fmt: skip


def of_both(views: DataFrame, buys: DataFrame) -> DataFrame:
    """Count what a user does in ten minutes, of either topic."""
    kept = "topic", "partition", "offset", "user_id"  # with its place a late event is found again
    bought = buys.withWatermark("bought_at", "10 minutes").select(*kept, F.col("bought_at").alias("seen_at"))  # fmt: skip
    done = marked(views).select(*kept, "seen_at").unionByName(bought)
    return done.groupBy(F.window("seen_at", "10 minutes"), "user_id").agg(F.count("*").alias("events"))  # fmt: skip


COUNTRIES: Final = {1: "de", 2: "fr"}


def looked_up(views: DataFrame) -> DataFrame:
    """Look up the country of a user in a frame that stands still; one has none."""
    still = views.sparkSession.createDataFrame([*COUNTRIES.items()], "user_id BIGINT, country STRING")  # fmt: skip
    return views.join(still, "user_id").select("offset", "country")


def counted(views: DataFrame) -> DataFrame:
    """Count the views of each user: the whole result each time."""
    return views.groupBy("user_id").agg(F.count("*").alias("events"))


def _tens(found: Truth, both: Pair) -> Iterable[Row]:
    counts = Counter((floor(each.at, TEN), each.user) for each in views(found, both))
    return [(start, user, many) for (start, user), many in counts.items() if start + TEN <= found.closed]  # fmt: skip


def _timers(found: Truth, both: Pair) -> Iterable[Row]:
    counts = Counter((each.user, floor(each.at, TEN) + TEN) for each in views(found, both))
    return [(user, int(end.timestamp() * 1000), many) for (user, end), many in counts.items() if end <= found.closed]  # fmt: skip


def _hops(found: Truth, both: Pair) -> Iterable[Row]:
    half = timedelta(minutes=30)
    starts = (floor(each.at, half) - n * half for each in views(found, both) for n in (0, 1))
    return list(Counter(starts).items())


def _busiest(found: Truth, both: Pair) -> Iterable[Row]:
    hours: dict[datetime, int] = {}
    for start, many in Counter(floor(each.at, TEN) for each in views(found, both)).items():
        hour = floor(start, HOUR)
        hours[hour] = max(hours.get(hour, 0), many)
    return [(hour, most) for hour, most in hours.items() if hour + HOUR <= found.closed]


def _pairs(found: Truth, both: Pair) -> Iterable[Row]:
    at = {view.offset: view.at for view in views(found, both)}
    return Counter(floor(at[view], HOUR) for view, *_ in pairs(found, both)).items()


def _of_both(found: Truth, both: Pair) -> Iterable[Row]:
    counts = Counter((floor(each.at, TEN), each.user) for kept in found.kept.values() for each in kept)  # fmt: skip
    return [(start, user, many) for (start, user), many in counts.items()]


def _once(found: Truth, both: Pair) -> Iterable[Row]:
    return {(each.name, each.user) for each in views(found, both)}


def _joined(how: str) -> Callable[[Truth, Pair], Iterable[Row]]:
    """Say what a join gives: rows without a partner once none can come any more."""

    def rows(found: Truth, both: Pair) -> Iterable[Row]:
        matched = pairs(found, both)
        lonely, right = without_partner(found, both), {row[1] for row in matched}
        other = {(-1, e.offset, e.user) for e in found.kept[both.buys] if e.offset not in right and e.at <= found.closed}  # fmt: skip
        return matched | (lonely if how != "inner" else set()) | (other if how == "full" else set())

    return rows


_JOIN: Final[dict[str, Any]] = {"columns": ("view", "buy", "user_id"), "key": ("view", "buy"), "two": True}  # fmt: skip
KINDS: Final = {
    "filter, projection, explode": Kind(
        exploded, ("offset", "item"), lambda found, both: [(e.offset, item) for e in views(found, both) if e.user > 1 for item in "ab"],
        ends=lambda at: at + timedelta(days=9),
    ),
    "append": Kind(
        by_ten_minutes, ("window_start", "user_id", "events"), _tens, ("window", "user_id"), mode="append",
        ends=lambda at: floor(at, TEN) + TEN,
    ),
    "hopping": Kind(hopping, ("window_start", "events"), _hops, ("window",), ends=lambda at: at + timedelta(days=9)),
    "session": Kind(
        sessions, ("user_id", "session_start", "session_end", "events"),
        lambda found, both: [row for row in merged(views(found, both)) if row[2] <= found.closed],
        ("session", "user_id"), ends=lambda at: at + GAP,
    ),
    "inner join": Kind(joined("inner"), truth=_joined("inner"), **_JOIN),
    "left join": Kind(joined("left"), truth=_joined("left"), **_JOIN),
    "full join": Kind(joined("full"), truth=_joined("full"), **_JOIN),
    "aggregate of a join": Kind(pairs_of_an_hour, ("hour_start", "pairs"), _pairs, ("hour",), two=True),
    "union of two topics": Kind(
        of_both, ("window_start", "user_id", "events"), _of_both, ("window", "user_id"), two=True, ends=lambda at: floor(at, TEN) + TEN,
    ),
    "join with what stands still": Kind(
        looked_up, ("offset", "country"), lambda found, both: [(e.offset, COUNTRIES[e.user]) for e in views(found, both) if e.user in COUNTRIES],
        ends=lambda at: at + timedelta(days=9),
    ),
    "complete": Kind(
        counted, ("user_id", "events"), lambda found, both: Counter(e.user for e in views(found, both)).items(), ("user_id",), mode="complete",
        ends=lambda at: at + timedelta(days=9),
    ),
    "deduplication": Kind(without_copies, ("view_id", "user_id"), _once, copies=True, batch=lambda views: views.dropDuplicates(["view_id"])),
    "chained aggregates": Kind(busiest, ("hour_start", "most"), _busiest, ("hour",), ends=lambda at: floor(at, TEN) + TEN),
    "transformWithState": Kind(
        counted_by_hand, ("user_id", "events"), lambda found, both: Counter(e.user for e in views(found, both)).items(), ("user_id",)
    ),
    "timers": Kind(
        closed_by_timers, ("user_id", "closed", "events"), _timers, ("user_id", "closed"),
        batch=lambda views: by_ten_minutes(views).select("user_id", F.unix_millis("window.end").alias("closed"), "events"),
    ),
}  # fmt: skip
assert DELAY == TEN  # the watermark of all of them
