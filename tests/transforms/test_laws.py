"""The one law: for each public transform, the drained stream equals the batch, however it is cut."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from rta.testing.feeding import Fed, check_law
from rta.transforms import aggregates

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
HALF_PAST = datetime(2024, 11, 15, 10, 30, tzinfo=UTC)
pytestmark = pytest.mark.usefixtures("as_delivered")  # what people run is compiled
Events = list[dict[str, Any]]


def delays(flights: DataFrame) -> DataFrame:
    """Count flights and add their delays by hour and origin: a cancelled flight has no delay."""
    hours = flights.withWatermark("event_time", "2 hours").groupBy(
        F.window("event_time", "1 hour"), "origin"
    )
    return hours.agg(
        F.count("*").alias("event_count"), F.sum("delay_minutes").alias("delay_minutes")
    )


def distinct(events: DataFrame) -> DataFrame:
    """Keep one copy of each event, whichever: so without its place in the topic."""
    return aggregates.deduplicate(events).drop("topic", "partition", "offset")


def distinct_totals(events: DataFrame) -> DataFrame:
    """Add up each event once."""
    return aggregates.totals(aggregates.deduplicate(events), lateness=None)


@dataclass(frozen=True)
class Law:
    """One transform, and what plain Python knows about it."""

    transform: Callable[[DataFrame], DataFrame]
    covers: tuple[str, ...]  # names in rta.transforms.aggregates
    schema: str
    key: tuple[str, ...]
    time: str
    lateness: timedelta
    window: timedelta | None  # what must have ended for an event to be late; None: the event itself
    spread: int = 45  # minutes of event time

    def late(self, batches: list[Events]) -> set[int]:
        """Find the late events by their definition alone."""
        late, position, watermarks = set(), 0, [EPOCH, EPOCH]
        for rows in batches:
            for row in rows:
                if self.ends(row) <= watermarks[-2]:
                    late.add(position)
                position += 1
            newest = max((_instant(row[self.time]) for row in rows), default=EPOCH)
            watermarks.append(max(watermarks[-1], newest - self.lateness))
        return late

    def ends(self, row: dict[str, Any]) -> datetime:
        """Return the moment of event time from which on this event is too late."""
        moment = _instant(row[self.time])
        if self.window is None:
            return moment
        return EPOCH + ((moment - EPOCH) // self.window + 1) * self.window


USER_EVENT = "event_id STRING, user_id INT, amount DECIMAL(12, 2), timestamp TIMESTAMP"
FLIGHT = "event_id STRING, origin STRING, delay_minutes INT, event_time TIMESTAMP"
FIVE, TEN = timedelta(minutes=5), timedelta(minutes=10)
LAWS = {
    "totals": Law(
        aggregates.totals, ("totals",), USER_EVENT, ("window", "user_id"), "timestamp", TEN, FIVE
    ),
    "deduplicate": Law(
        distinct, ("deduplicate",), USER_EVENT, ("event_id",), "timestamp", TEN, None
    ),
    "totals of deduplicate": Law(
        distinct_totals, ("totals", "deduplicate"), USER_EVENT, ("window", "user_id"), "timestamp", TEN, None,
    ),
    "delays of flights": Law(
        delays, (), FLIGHT, ("window", "origin"), "event_time", timedelta(hours=2), timedelta(hours=1), 600,
    ),
}  # fmt: skip


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text)


@st.composite
def cut_events(draw: st.DrawFn, law: Law) -> list[Events]:
    """Draw events, send some of them twice, shuffle all, cut them into micro-batches: some empty."""
    minutes = draw(st.lists(st.integers(0, law.spread), min_size=1, max_size=12))
    events = [_event(draw, number, minute, law.time) for number, minute in enumerate(minutes)]
    if draw(st.booleans()):  # else they arrive as badly as can be
        events.sort(key=lambda event: str(event[law.time]))
    sent = events + draw(st.lists(st.sampled_from(events), max_size=5))
    if draw(st.booleans()):
        sent = draw(st.permutations(sent))
    cuts = sorted(draw(st.lists(st.integers(0, len(sent)), min_size=1, max_size=3)))
    return [sent[a:b] for a, b in zip([0, *cuts], [*cuts, len(sent)], strict=True)]


def _event(draw: st.DrawFn, number: int, minute: int, time: str) -> dict[str, Any]:
    """Draw what else an event holds, for both schemas: a reader takes the fields it knows."""
    moment = HALF_PAST + timedelta(minutes=minute, seconds=draw(st.sampled_from([0, 1, 59])))
    delay = draw(st.none() | st.integers(-30, 1_301))
    return {
        "event_id": f"e{number}",
        "user_id": draw(st.integers(1, 3)),
        "amount": str(draw(st.decimals("-9999999999.99", "9999999999.99", places=2))),
        "origin": draw(st.sampled_from(["EWR", "JFK"])),
        **({} if delay is None else {"delay_minutes": delay}),
        time: moment.isoformat(),
    }


@pytest.mark.parametrize("name", LAWS)
def test_a_drained_stream_equals_the_batch(spark: SparkSession, name: str) -> None:
    """Row for row, over random events, disorder, copies and cuts; and every event is accounted for."""
    law = LAWS[name]

    @settings(max_examples=8, deadline=None, derandomize=True, database=None, print_blob=True)
    @given(cut_events(law))
    def holds(batches: list[Events]) -> None:
        fed = check_law(law.transform, batches, schema=law.schema, key=law.key, spark=spark)
        assert fed.late == law.late(batches)
        assert _counted(fed) + len(fed.late) + _copies(law, batches) == fed.events

    holds()


def _counted(fed: Fed) -> int:
    """Count the events that stand in the result."""
    return sum(row.event_count if "event_count" in row else 1 for row in fed.stream.values())


def _copies(law: Law, batches: list[Events]) -> int:
    """Count the copies that are not late, where the transform drops copies."""
    if "deduplicate" not in law.covers:
        return 0
    late = law.late(batches)
    sent = [row["event_id"] for rows in batches for row in rows]
    on_time = [identity for position, identity in enumerate(sent) if position not in late]
    return len(on_time) - len(set(on_time))


def test_every_public_transform_is_under_the_law() -> None:
    """Who adds a transform adds it to LAWS."""
    public = {
        name
        for name, each in inspect.getmembers(aggregates, inspect.isfunction)
        if each.__module__ == aggregates.__name__ and not name.startswith("_")
    }
    assert public == {name for law in LAWS.values() for name in law.covers}


def float_totals(events: DataFrame) -> DataFrame:
    """Add up floats: the sum depends on the order."""
    return events.groupBy("user_id").agg(F.sum(F.col("amount").cast("double")).alias("total"))


def diced(events: DataFrame) -> DataFrame:
    """Throw a die: a batch that is repeated after a crash has other rows."""
    return events.select("event_id", F.rand(seed=1).alias("number"))


def stamped(events: DataFrame) -> DataFrame:
    """Look at the clock."""
    return events.select("event_id", F.current_timestamp().alias("seen_at"))


@pytest.mark.parametrize(
    ("wrong", "key"),
    [(float_totals, "user_id"), (diced, "event_id"), (stamped, "event_id")],
    ids=["floats", "dice", "the clock"],
)
def test_a_transform_that_breaks_the_law_is_caught(
    spark: SparkSession, wrong: Callable[[DataFrame], DataFrame], key: str
) -> None:
    """The law is no formality: order, dice and clock show."""
    # Batch reads the largest file first, so it adds up in another order than the stream.
    amounts = [["1e16"], ["1", "0"], ["1", "0", "0"]]
    batches = [
        [{"event_id": f"{n}-{m}", "user_id": 1, "amount": each} for m, each in enumerate(rows)]
        for n, rows in enumerate(amounts)
    ]
    schema = "event_id STRING, user_id INT, amount DECIMAL(20, 2)"
    with pytest.raises(AssertionError, match="stream and batch differ"):
        check_law(wrong, batches, schema=schema, key=[key], spark=spark)
