"""Session windows on Flink and Spark: plain Python's rows, to the microsecond; sessions that grow, begin earlier, and become one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from itertools import count
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyspark.sql import SparkSession

import rta
from rta.engines import flink
from rta.kafka import client
from tests.engines.contract.queries import SESSIONS
from tests.engines.contract.test_every_engine import GENERATED
from tests.engines.contract.truths import Rows, kept, of_batch

TOPIC: Final = "sessions-of-users"
BEGIN: Final = datetime(2024, 11, 15, 10, tzinfo=UTC)
GAP: Final = timedelta(minutes=5)
LATENESS: Final = timedelta(hours=2)
MICROSECOND: Final = timedelta(microseconds=1)
SESSION, KEY = SESSIONS["sessions"]


@dataclass(frozen=True)
class Event:
    """An event of a user."""

    user: int
    at: datetime
    amount: Decimal = Decimal("1.00")
    reported: bool = False

    def sent(self, number: int) -> bytes:
        """Return its record."""
        told = {"event_id": str(number), "user_id": self.user, "action": "view", "amount": str(self.amount), "timestamp": self.at.isoformat()}  # fmt: skip
        return json.dumps(told | ({"reported_at": BEGIN.isoformat()} if self.reported else {})).encode()  # fmt: skip


@dataclass
class World:
    """What was sent."""

    topic: str
    sent: list[Event] = field(default_factory=list)

    def send(self, events: Iterable[Event]) -> None:
        """Send events, those of a user to one partition, with a bad one behind them."""
        producer = client.producer()
        for each in events:
            client.send(producer, self.topic, each.sent(len(self.sent)), key=str(each.user).encode())  # fmt: skip
            self.sent.append(each)
        client.send(producer, self.topic, b"{broken", partition=0)
        producer.close()

    def drain(self, table: str, engine: str) -> None:
        """Take what is new into a table."""
        rta.drain(self.topic, SESSION, table=table, key=KEY, event=rta.USER_EVENTS, engine=engine)


def truth(events: Iterable[Event], closed: datetime | None = None) -> Rows:
    """Return the sessions as a table has them, in plain Python: those that end at or before a moment, if one is given."""
    found: list[list[Event]] = []
    for event in sorted(events, key=lambda each: (each.user, each.at)):
        last = found[-1][-1] if found else None
        if last and last.user == event.user and event.at <= last.at + GAP:
            found[-1].append(event)
        else:
            found.append([event])
    return sorted(row(each) for each in found if closed is None or each[-1].at + GAP <= closed)


def row(session: list[Event]) -> tuple[str, ...]:
    """Return the row of a session: start and end, then its columns by name."""
    amounts = [each.amount for each in session]
    total = sum(amounts)
    mean = (total / Decimal(len(amounts))).quantize(Decimal("0.000001"), ROUND_HALF_UP)
    reported = sum(each.reported for each in session)
    moments = [str(at.replace(tzinfo=None)) for at in (session[0].at, session[-1].at + GAP)]
    return (*moments, *map(str, (moments[0], max(amounts), min(amounts), mean, len(session), reported, total, session[0].user)))  # fmt: skip


def after(minutes: float, user: int = 1, more: timedelta = timedelta(0)) -> Event:
    """Return an event so many minutes after the beginning."""
    return Event(user, BEGIN + timedelta(minutes=minutes) + more)


def test_an_event_between_two_sessions_makes_them_one(
    cluster: flink.Cluster, spark: SparkSession, topic: Callable[..., str]
) -> None:
    """What Spark's batch says after each drain: also at the very edge of the gap, for what comes late, and before the first."""
    world, table = World(topic(partitions=2)), "sessions_merged"
    waves = [
        [after(0), after(8), after(100), after(0, user=2), after(5, 2, MICROSECOND)],  # the gap, and one more: two sessions
        [after(4), after(105), after(110), after(95, 1, -MICROSECOND)],  # one of two; to the end of the gap; one too early
        [after(-3), after(-9), after(97)],  # the start moves; before 10 o'clock; three become one
        [after(300, user=3), after(0, user=3), after(300, user=3)],
    ]  # fmt: skip
    sizes = []
    for wave in waves:
        world.send(wave)
        world.drain(table, "flink")
        batch = of_batch(SESSION(rta.read_batch(world.topic, event=rta.USER_EVENTS)))
        assert batch == truth(world.sent)
        assert kept(table) == batch
        sizes.append(len(batch))
    assert sizes == [5, 5, 5, 7]
    told = rta.accounting(table)
    assert (told.consumed, told.used, told.late, told.quarantined, told.flawed) == (19, 15, 0, 4, 0)


@pytest.fixture(scope="module")
def world(spark: SparkSession, cluster: object) -> World:
    """Make a topic that grows."""
    rta.kafka.create_topic(TOPIC, partitions=2)
    return World(TOPIC)


@pytest.fixture(scope="module")
def hours() -> Iterator[int]:
    """Count the waves."""
    return count()


@st.composite
def waves(draw: st.DrawFn) -> list[tuple[int, int, Decimal, bool]]:
    """Make events: user, microseconds, amount, whether it was reported. Many are exactly a gap after another, or a microsecond off."""
    long = 90 * 60_000_000
    made = draw(st.lists(st.integers(0, long), min_size=12, max_size=25))
    made += [made[0] + 300_000_000 + draw(st.integers(-1, 1)) for _ in range(3)]
    rest = st.tuples(st.integers(1, 3), st.integers(-9999, 9999), st.booleans())
    drawn = [(user, at, Decimal(cents).scaleb(-2), reported) for at, (user, cents, reported) in ((at, draw(rest)) for at in made)]  # fmt: skip
    return list(draw(st.permutations(drawn)))


@settings(GENERATED, max_examples=4)
@given(wave=waves())
def test_stream_batch_and_flink_are_plain_python(
    world: World, hours: Iterator[int], wave: list[tuple[int, int, Decimal, bool]]
) -> None:
    """Each wave begins an hour after the one before it, in the middle of its sessions. Spark has what its watermark has closed."""
    begin = BEGIN + timedelta(hours=next(hours))
    world.send(Event(user, begin + timedelta(microseconds=at), amount, reported) for user, at, amount, reported in wave)  # fmt: skip
    for engine in ("spark", "flink"):
        world.drain(f"sessions_{engine}", engine)
    whole = truth(world.sent)
    assert of_batch(SESSION(rta.read_batch(TOPIC, event=rta.USER_EVENTS))) == whole
    assert kept("sessions_flink") == whole
    newest = max(each.at for each in world.sent)
    mark = (
        newest - LATENESS - timedelta(microseconds=newest.microsecond % 1000)
    )  # Spark's has milliseconds
    assert kept("sessions_spark") == truth(world.sent, closed=mark)
    for engine in ("spark", "flink"):
        told = rta.accounting(f"sessions_{engine}")
        assert (told.used, told.late, told.flawed) == (len(world.sent), 0, 0), engine


def test_a_closed_session_is_the_same_row_on_both(world: World) -> None:
    """What was held was not for nothing; once an event long after closes all, the tables differ by its own session alone."""
    assert len(kept("sessions_spark")) > 3
    world.send([after(100_000)])
    for engine in ("spark", "flink"):
        world.drain(f"sessions_{engine}", engine)
    own = truth([after(100_000)])
    assert sorted([*kept("sessions_spark"), *own]) == kept("sessions_flink")
