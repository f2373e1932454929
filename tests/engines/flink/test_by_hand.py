"""Flink SQL by hand: patterns among events, equal to a plain program; types as they are; bad events aside."""

from __future__ import annotations

import json
import random
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

import rta
from rta.engines import flink
from rta.errors import InputError, QueryError
from rta.kafka import client

PAYMENTS = rta.EventType(
    "flink-payments",
    "card BIGINT NOT NULL, amount DECIMAL(9,2) NOT NULL, at TIMESTAMP NOT NULL",
    event_time="at",
    key="card",
)
FRAUD = """
    SELECT card, began, big_at, big FROM `flink-payments` MATCH_RECOGNIZE (
      PARTITION BY card ORDER BY `at`
      MEASURES FIRST(SMALL.`at`) AS began, BIG.`at` AS big_at, BIG.amount AS big
      ONE ROW PER MATCH AFTER MATCH SKIP PAST LAST ROW
      PATTERN (SMALL{3} BIG) WITHIN INTERVAL '10' MINUTE
      DEFINE SMALL AS SMALL.amount <= 5.00, BIG AS BIG.amount > 500)
"""


def payments() -> list[dict[str, Any]]:
    """Make payments of which some are small, some large."""
    chosen = random.Random(5)  # noqa: S311 - a seed
    at, made = datetime(2024, 11, 15, 10, tzinfo=UTC), []
    for _ in range(3_000):
        at += timedelta(milliseconds=chosen.randrange(1, 3_000))
        size = chosen.choice([(1, 5), (1, 5), (1, 5), (20, 90), (500.01, 900)])
        made.append({"card": chosen.randrange(40), "amount": Decimal(f"{chosen.uniform(*size):.2f}"), "at": at})  # fmt: skip
    return made


def frauds(events: list[dict[str, Any]]) -> set[tuple[Any, ...]]:
    """Find three small payments and a large one within ten minutes, as a plain program does."""
    cards: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for event in sorted(events, key=lambda each: each["at"]):
        cards[event["card"]].append(event)
    found = set()
    for card, of in cards.items():
        at = 0
        while at + 3 < len(of):
            *small, large = of[at : at + 4]
            short = large["at"] - small[0]["at"] < timedelta(minutes=10)
            if short and large["amount"] > 500 and all(each["amount"] <= 5 for each in small):
                found.add((card, small[0]["at"], large["at"], large["amount"]))
                at += 4
            else:
                at += 1
    return found


@pytest.fixture(scope="module")
def sent(home: object) -> list[dict[str, Any]]:
    """Send payments out of order by up to two minutes, and a broken one."""
    events = payments()
    rta.kafka.create_topic(PAYMENTS.name, partitions=1)
    producer = client.producer()
    client.send(producer, PAYMENTS.name, b"{broken")
    shuffled = random.Random(6)  # noqa: S311 - a seed
    for event in sorted(events, key=lambda each: each["at"] + timedelta(seconds=shuffled.randrange(120))):  # fmt: skip
        told = {"card": event["card"], "amount": float(event["amount"]), "at": event["at"].isoformat(timespec="milliseconds")}  # fmt: skip
        client.send(producer, PAYMENTS.name, json.dumps(told).encode())
    producer.close()
    return events


def test_a_pattern_is_found_as_a_plain_program_finds_it(
    cluster: flink.Cluster, sent: list[dict[str, Any]]
) -> None:
    """MATCH_RECOGNIZE over events that are out of order."""
    found = flink.sql(FRAUD, events=[PAYMENTS])
    assert len(found) > 20
    assert set(found.itertuples(index=False, name=None)) == frauds(sent)


def test_values_keep_their_types(cluster: flink.Cluster, sent: list[dict[str, Any]]) -> None:
    """A sum of decimals is exact, a time has its zone; a broken event is not there."""
    [row] = flink.sql("SELECT COUNT(*) AS n, SUM(amount) AS total, MIN(`at`) AS first_at FROM `flink-payments`", events=[PAYMENTS]).to_dict("records")  # fmt: skip
    assert row["n"] == len(sent)
    assert row["total"] == sum(each["amount"] for each in sent)
    assert row["first_at"] == min(each["at"] for each in sent)  # fmt: skip


def test_what_is_amiss_is_said(cluster: flink.Cluster, sent: list[dict[str, Any]]) -> None:
    """A query without a topic, and one that Flink cannot read."""
    with pytest.raises(InputError, match="reads no topic"):
        flink.sql("SELECT 1")
    with pytest.raises(QueryError, match="nowhere"):
        flink.sql("SELECT nowhere FROM `flink-payments`", events=[PAYMENTS])
