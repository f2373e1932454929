"""rta.retries: what is away is asked again, less and less often; what is refused is refused at once."""

from collections.abc import Callable, Iterator
from itertools import count
from threading import Event
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyspark.sql import SparkSession

import rta
from rta import retries
from rta.engines.spark import topic_identity
from rta.errors import BrokerError, RefusedError, RtaError, TableError, TopicError
from rta.kafka import topics
from rta.retries import retried
from rta.store import database, serving
from rta.store.database import DatabaseAwayError
from rta.testing import oracle
from tests.faults.test_process import full
from tests.support.truth import KEY, true_totals
from tests.support.waiting import HANG, until

AWAY = BrokerError("Kafka is away")


class Clock:
    """A clock that goes only where somebody waits, and remembers for how long."""

    def __init__(self) -> None:
        self.now, self.waits = 0.0, list[float]()

    def sleep(self, seconds: float) -> None:
        """Let the time pass."""
        self.now += seconds
        self.waits.append(seconds)

    def monotonic(self) -> float:
        """Tell the time; asking takes a moment."""
        self.now += 1e-6
        return self.now


@pytest.fixture
def clock() -> Iterator[Clock]:
    """Give rta.retries such a clock."""
    made = Clock()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retries, "time", SimpleNamespace(sleep=made.sleep, monotonic=made.monotonic))
        yield made


def failing(times: float, error: RtaError) -> Callable[[], int]:
    """Make a question that fails so often, and then tells how often it was asked."""
    asked = count(1)

    def ask() -> int:
        number = next(asked)
        if number <= times:
            raise error
        return number

    return ask


@pytest.mark.parametrize("error", [AWAY, DatabaseAwayError("away")])
def test_what_is_away_is_asked_again(clock: Clock, error: RtaError) -> None:
    """Waits of at most 0.1, 0.2, 0.4 … 5 seconds, and a random part of these; then the answer."""
    parts = iter([1.0, 1.0, 0.5, 1.0, 1.0, 1.0, 1.0, 0.0, 1.0])
    assert retried(failing(9, error), chance=lambda: next(parts)) == 10
    assert clock.waits == pytest.approx([0.1, 0.2, 0.2, 0.8, 1.6, 3.2, 5, 0, 5])


@pytest.mark.parametrize(
    "error", [RefusedError("denied"), TopicError("missing"), TableError("other schema"), KeyError("k")]
)  # fmt: skip
def test_what_is_refused_is_raised_at_once(clock: Clock, error: Exception) -> None:
    """A wrong password, a missing topic, somebody's own error: asked once, no wait."""
    asked: list[int] = []

    def ask() -> None:
        asked.append(1)
        raise error

    with pytest.raises(type(error)):
        retried(ask)
    assert (len(asked), clock.waits) == (1, [])


def test_patience_ends_with_the_error_and_a_last_try(clock: Clock) -> None:
    """The last question is asked when the patience is over, not before; the error is the last one, itself."""
    with pytest.raises(BrokerError) as raised:
        retried(failing(float("inf"), AWAY), patience=7.0, chance=lambda: 1.0)
    assert raised.value is AWAY
    assert clock.now == pytest.approx(7.0, abs=1e-3)
    clock.waits.clear()
    with pytest.raises(BrokerError):
        retried(failing(1, AWAY), patience=0)
    assert clock.waits == []


@given(st.floats(0, 1), st.integers(0, 3_000))
def test_it_does_not_tire(part: float, times: int) -> None:
    """However often it fails and however the dice fall: no wait over the cap, no overflow, the answer in the end."""
    made = Clock()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retries, "time", SimpleNamespace(sleep=made.sleep, monotonic=made.monotonic))
        asked = retried(failing(times, AWAY), patience=1e9, cap=3.0, chance=lambda: part)
    assert asked == times + 1
    assert len(made.waits) == times
    assert all(0 <= wait <= 3.0 for wait in made.waits)


def test_a_query_asks_kafka_by_the_same_rule(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """A query that runs asks for its topic's id again while Kafka is away, and fails at once if Kafka refuses."""
    ask = failing(3, AWAY)
    monkeypatch.setattr(topics, "topic_id", lambda _: str(ask()))
    topic_identity.require_topic("clicks", "4")
    assert len(clock.waits) == 3
    refuse = failing(1, RefusedError("denied"))
    monkeypatch.setattr(topics, "topic_id", lambda _: str(refuse()))
    with pytest.raises(RefusedError):
        topic_identity.require_topic("clicks", "4")


@pytest.mark.kafka
def test_a_query_outlives_a_database_that_is_full_for_a_while(
    spark: SparkSession, topic: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The batch waits while its database has no space, and is written once as soon as it has; the query never ends."""
    name, failed, commit = topic(), Event(), serving.commit_batch
    how: dict[str, Any] = {"key": KEY, "event": rta.USER_EVENTS}
    rta.publish(rta.user_events(spark, rows=100), name, key="user_id")
    rta.drain(name, rta.transforms.totals, table="retried_database", **how)

    def watched(*arguments: Any, **named: Any) -> bool:
        try:
            return commit(*arguments, **named)
        except DatabaseAwayError:
            failed.set()
            raise

    monkeypatch.setattr(serving, "commit_batch", watched)
    monkeypatch.setattr(database, "PATIENCE", HANG)
    rta.publish(rta.user_events(spark, rows=2_000, first_row=100), name, key="user_id")
    with full(database.engine()):
        query = rta.follow(name, rta.transforms.totals, table="retried_database", **how)
        until(failed.is_set)
        assert query.isActive
        assert rta.accounting("retried_database").consumed == 100
    query.processAllAvailable()
    assert query.isActive
    query.stop()
    assert oracle.differences(true_totals(name), "retried_database") == []
    oracle.check_accounted("retried_database", name, used=2_100)
