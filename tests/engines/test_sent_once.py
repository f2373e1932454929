"""Each bad event of a topic lies in its dead letter queue once, and what the queue has lost comes again."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Final

import pytest
from kafka import TopicPartition
from pyspark.sql import SparkSession
from sqlalchemy import Engine, select

import rta
from rta.dataframes import sources
from rta.engines.spark import sent_once
from rta.kafka.client import administrator
from rta.kafka.topics import topic_id
from rta.store.catalog import SENT
from rta.testing import oracle
from tests.dlq.test_dead_letters import poisoned, sent_raw
from tests.support.truth import KEY

pytestmark = pytest.mark.kafka
Topic = Callable[..., str]
HOW: Final[dict[str, Any]] = {"key": KEY, "event": rta.USER_EVENTS}


def sent(topic: str, on: Engine) -> list[int]:
    """Send the bad events of a topic, and return how often each lies in the queue: how many of each number."""
    bad = sources.quarantined(topic, event=rta.USER_EVENTS)
    sent_once.send_once(bad, topic, topic_id(topic), on=on)
    return often(topic)


def often(topic: str) -> list[int]:
    """Count the copies of each bad event in the queue."""
    origins = [tuple(raw.headers[-4:]) for raw in oracle.read_topic(f"{topic}.dlq")]
    return sorted(origins.count(each) for each in set(origins))


def test_tables_of_one_topic_write_a_bad_event_once(spark: SparkSession, topic: Topic) -> None:
    """Several tables, one after the other with other cuts, and several threads at once: each has its count, the queue has each bad event once."""
    name = topic(partitions=2)
    poisoned(name, 30, missing=3, truncated=2)
    rta.drain(name, rta.transforms.totals, table="once_first", max_events_per_batch=20, **HOW)
    sent_raw(name, b"{", b"{}")
    rta.drain(name, rta.transforms.totals, table="once_second", **HOW)
    rta.drain(name, rta.transforms.totals, table="once_first", **HOW)
    for table in ("once_first", "once_second"):
        assert rta.accounting(table).quarantined == 7
    assert often(name) == [1] * 7
    assert len(rta.dlq.dead_letters(name)) == 7 == rta.dlq.read_dead_letters(name).count()


def test_what_was_sent_is_noted_and_counts_while_it_is_there(
    spark: SparkSession, topic: Topic, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once, again, after a death between send and note, with more events, a queue cut short or deleted, a topic made again."""
    name = topic(partitions=1)
    sent_raw(name, *[b"{"] * 5, b'{"a":1}')
    with monkeypatch.context() as patch:

        def dies(*_: Any) -> None:
            raise SystemExit("killed")

        patch.setattr(sent_once, "_note", dies)
        with suppress(SystemExit):
            sent(name, engine)
    assert often(name) == [1] * 6
    with ThreadPoolExecutor(3) as threads:
        list(threads.map(lambda _: sent(name, engine), range(3)))
    assert often(name) == [2] * 6  # at least once: the death, and one of the three
    sent_raw(name, b"[]")
    assert sent(name, engine) == [1] + [2] * 6
    with engine.connect() as connection:
        kept = connection.execute(select(SENT.c.first, SENT.c.end).order_by(SENT.c.first)).all()
    assert [tuple(run) for run in kept] == [(0, 6), (6, 7)]

    with administrator() as admin:
        admin.delete_records({TopicPartition(f"{name}.dlq", 0): 13})
    assert sent(name, engine) == [1] * 7
    assert sent(name, engine) == [1] * 7
    rta.kafka.delete_topic(f"{name}.dlq")
    assert sent(name, engine) == [1] * 7
    rta.kafka.delete_topic(name)
    rta.kafka.create_topic(name, partitions=1)
    sent_raw(name, b"{")
    assert sent(name, engine) == [1] * 8
