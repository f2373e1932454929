"""Random events on every engine at once: Spark's batch, Spark's stream, Flink and Kafka Streams give DuckDB's rows, as text, and its counts.

All analyses run on all engines over one topic, which grows by a wave of events for each example. Each query drains a wave and goes on
where it was with the next one: twenty that wait would keep three cores busy. In each wave some events are late, some are there twice,
and some are bad.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pyspark.sql import SparkSession

import rta
from rta.kafka import client
from rta.testing import oracle
from tests.engines.contract.queries import PORTABLE
from tests.engines.contract.truths import KAFKA_STREAMS, SPARK, TRUTHS, batches, kept, of_batch

TOPIC: Final = "every-engine"
BEGIN: Final = datetime(2024, 11, 15, 10, tzinfo=UTC)
ENGINES: Final = ("spark", "flink", "kafka-streams")
POISON: Final = (b"{broken", b"", b'{"event_id": "x"}', None, b"[1]", '{"event_id": "\u00e4"'.encode("latin-1"))  # fmt: skip
Event = dict[str, Any]


@dataclass
class World:
    """What was sent: how many records, and how many of them are bad."""

    sent: int = 0
    bad: int = 0


@pytest.fixture(scope="module")
def world(spark: SparkSession, cluster: object) -> Iterator[World]:
    """Make the topic; programs live for seconds here."""
    rta.kafka.create_topic(TOPIC, partitions=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JDK_JAVA_OPTIONS", "-XX:TieredStopAtLevel=1")
        yield World()


def table_of(name: str, engine: str) -> str:
    """Return the table of an analysis on an engine."""
    return f"every_{name}_{engine.replace('-', '_')}"


@st.composite
def events(draw: st.DrawFn) -> Event:
    """Make an event: a few users, an hour and a half, to the microsecond."""
    at = BEGIN + timedelta(minutes=draw(st.integers(0, 90)), microseconds=draw(st.integers(0, 59_999_999)))  # fmt: skip
    made = {
        "event_id": str(draw(st.integers(0, 10**9))), "user_id": draw(st.integers(1, 4)),
        "action": draw(st.sampled_from(["purchase", "view", "größer", " größer "]) | st.text("aß %_'\\\t·\u00a0e\u0301\U0001f98a", max_size=9)),
        "amount": str(draw(st.decimals("-99999999.99", "99999999.99", places=2) | st.decimals("0", "120", places=2))),
        "timestamp": at.isoformat(),
    }  # fmt: skip
    return made | ({"reported_at": BEGIN.isoformat()} if draw(st.booleans()) else {})


@st.composite
def waves(draw: st.DrawFn) -> list[Event | bytes | None]:
    """Make events, copies of some and bad ones among them; the last one is late if it was not already."""
    made: list[Any] = draw(st.lists(events(), min_size=15, max_size=30))
    made += draw(st.lists(st.sampled_from(made), min_size=1, max_size=4))
    made += draw(st.lists(st.sampled_from(POISON), min_size=1, max_size=4))
    newest, oldest = ({**made[0], "user_id": 1, "action": "purchase", "amount": "20.00", "timestamp": (BEGIN + timedelta(minutes=at)).isoformat()} for at in (95, 0))  # fmt: skip
    return [*draw(st.permutations(made)), newest, oldest]


def send(wave: list[Event | bytes | None], world: World) -> None:
    """Send a wave, each event with its message key."""
    producer = client.producer()
    for each in wave:
        if isinstance(each, dict):
            client.send(
                producer, TOPIC, json.dumps(each).encode(), key=str(each["user_id"]).encode()
            )
        else:
            client.send(producer, TOPIC, each, partition=0)
            world.bad += 1
        world.sent += 1
    producer.close()


def hold(world: World, wave: list[Event | bytes | None]) -> None:
    """Send a wave, drain it by every query, and hold rows and counts of each to DuckDB's."""
    send(wave, world)
    for engine in ENGINES:
        for name, (transform, key) in PORTABLE.items():
            rta.drain(TOPIC, transform, table=table_of(name, engine), key=key, event=rta.USER_EVENTS, engine=engine)  # fmt: skip
    good = oracle.events(TOPIC, rta.USER_EVENTS)
    assert good.num_rows == world.sent - world.bad
    batch = rta.read_batch(TOPIC, event=rta.USER_EVENTS)
    for name, truth in TRUTHS.items():
        whole, _ = truth.answer(good)
        assert of_batch(PORTABLE[name][0](batch)) == whole, name
        spark = batches(table_of(name, "spark"))
        answers = {
            "spark": truth.answer(good, f"({SPARK})", batches=spark),
            "flink": (whole, 0),  # a group never closes
            "kafka-streams": truth.answer(good, KAFKA_STREAMS),
        }
        for engine, (rows, late) in answers.items():
            table = table_of(name, engine)
            assert kept(table) == rows, table
            told = rta.accounting(table)
            terms = (told.consumed, told.used, told.duplicate, told.late, told.quarantined)
            assert terms == (world.sent, good.num_rows - late, 0, late, world.bad), table
            assert told.flawed == 0, table


GENERATED: Final = settings(
    deadline=None, derandomize=True, database=None, phases=[Phase.generate],  # what was sent stays: nothing can be made smaller
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
)  # fmt: skip


@settings(GENERATED, max_examples=2)
@given(wave=waves())
def test_every_engine_gives_the_rows_and_the_counts_of_plain_sql(
    world: World, wave: list[Event | bytes | None]
) -> None:
    """Two waves; the first law and the second, for each analysis on each engine."""
    hold(world, wave)


def test_the_waves_had_late_events_copies_and_poison(world: World) -> None:
    """What was held was not for nothing: each engine that leaves out late events has left out some."""
    assert world.bad
    for name in TRUTHS:
        assert rta.accounting(table_of(name, "kafka-streams")).late
        assert rta.accounting(table_of(name, "spark")).late, name


@pytest.mark.soak
@settings(GENERATED, max_examples=25)
@given(wave=waves())
def test_every_engine_gives_the_rows_and_the_counts_of_plain_sql_for_long(
    world: World, wave: list[Event | bytes | None]
) -> None:
    """Twenty-five waves."""
    hold(world, wave)
