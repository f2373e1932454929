"""Faults of a topic under its reader: deleted, made again, cut short by retention, widened."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event
from typing import Any

import pytest
from kafka import KafkaAdminClient, TopicPartition
from pyspark.errors import StreamingQueryException
from pyspark.sql import DataFrame, SparkSession

import rta
from rta.architectures import archives, internals
from rta.errors import QueryError
from rta.store import ledger
from rta.testing import oracle
from tests.support.truth import KEY, TOTALS, held_sink, true_totals
from tests.support.waiting import HANG, terminated, until

pytestmark = pytest.mark.kafka
HOW: dict[str, Any] = {"key": KEY, "event": rta.USER_EVENTS}


@contextmanager
def admin() -> Iterator[Any]:
    """Lend Kafka's admin client."""
    client = KafkaAdminClient(bootstrap_servers=rta.kafka.bootstrap())
    try:
        yield client
    finally:
        client.close()


def test_f17_a_topic_made_again_with_more_events(
    spark: SparkSession, topic: Callable[..., str]
) -> None:
    """Spark would go on at the old offset and skip the rest in silence: refused, running and at the start."""
    name = topic()
    rta.publish(rta.user_events(spark, rows=200), name, key="user_id")
    with held_sink() as (come, gate):
        query = rta.follow(name, rta.transforms.totals, table="f17", **HOW)
        try:
            until(come.is_set)  # all is read; meanwhile:
            before = true_totals(name)
            rta.kafka.delete_topic(name)
            rta.kafka.create_topic(name, partitions=2)
            rta.publish(rta.user_events(spark, rows=600, first_row=200), name, key="user_id")
            gate.set()
            with pytest.raises(StreamingQueryException, match="deleted and made again"):
                terminated(query)
        finally:
            query.stop()
    assert "deleted and made again" in str(rta.health(query).error)
    assert oracle.differences(before, "f17") == []
    with pytest.raises(QueryError, match=r"deleted and made again.*topic id.*rta\.reset"):
        rta.drain(name, rta.transforms.totals, table="f17", **HOW)
    assert oracle.differences(before, "f17") == []
    rta.reset("f17")
    rta.drain(name, rta.transforms.totals, table="f17", **HOW)
    assert oracle.differences(true_totals(name), "f17") == []
    oracle.check_accounted("f17", name, used=600)


def test_f17_a_topic_made_again_under_its_archive(
    spark: SparkSession, topic: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A micro-batch that reads the new topic at the old offsets is not committed: no reader of the archive sees it."""
    name, come, gate, writer = topic(partitions=1), Event(), Event(), internals.parquet_sink

    def held(session: SparkSession, *of: str) -> Callable[[DataFrame, int], None]:
        write = writer(session, *of)

        def second_waits(frame: DataFrame, batch_id: int) -> None:
            if batch_id:
                come.set()
                assert gate.wait(HANG)
            write(frame, batch_id)

        return second_waits

    monkeypatch.setattr(archives, "parquet_sink", held)
    rta.publish(rta.user_events(spark, rows=50), name)
    query = rta.architectures.archive(
        name, event=rta.USER_EVENTS, trigger={"processingTime": "0 seconds"}
    )
    try:
        query.processAllAvailable()
        rta.publish(rta.user_events(spark, rows=10, first_row=50), name)
        until(come.is_set)
        rta.kafka.delete_topic(name)
        rta.kafka.create_topic(name, partitions=1)
        rta.publish(rta.user_events(spark, rows=200, first_row=1_000), name)
        gate.set()
        with pytest.raises(StreamingQueryException, match="deleted and made again"):
            terminated(query)
    finally:
        gate.set()
        query.stop()
    assert rta.architectures.archived(name) == {0: 50}
    assert rta.architectures.read_archive(name, event=rta.USER_EVENTS).count() == 50
    with pytest.raises(QueryError, match=r"deleted and made again.*rta\.architectures\.discard"):
        rta.architectures.archive(name, event=rta.USER_EVENTS)
    archives.discard(name)
    rta.architectures.archive(name, event=rta.USER_EVENTS).awaitTermination()
    assert rta.architectures.read_archive(name, event=rta.USER_EVENTS).count() == 200


def test_f17_a_topic_deleted_while_a_query_runs(
    spark: SparkSession, topic: Callable[..., str]
) -> None:
    """The query ends by itself, its health names the topic, the table stays as it was.

    It takes 3 s, or 63 where the deletion falls between Kafka's two questions for offsets: Kafka asks the second for its minute.
    """
    name = topic()
    rta.publish(rta.user_events(spark, rows=100), name, key="user_id")
    query = rta.follow(name, rta.transforms.totals, table="f17_gone", **HOW)
    try:
        query.processAllAvailable()
        before = true_totals(name)
        rta.kafka.delete_topic(name)
        with pytest.raises(StreamingQueryException, match="UnknownTopicOrPartition"):
            terminated(query)
    finally:
        query.stop()
    assert f"there is no topic {name!r}" in str(rta.health(query).error)
    assert oracle.differences(before, "f17_gone") == []


def test_f18_retention_overtakes_the_reader(spark: SparkSession, topic: Callable[..., str]) -> None:
    """The error names what is gone; those who go on without it have it counted, and all else exactly."""
    name = topic()
    rta.publish(rta.user_events(spark, rows=200), name, key="user_id")
    rta.drain(name, rta.transforms.totals, table="f18", **HOW)
    taken = ledger.offsets("f18")[name]
    messages = rta.events.poisoned(
        rta.user_events(spark, rows=200, first_row=200), share=0.1, kinds=["nan"]
    )
    rta.publish(messages, name, order_by="reported_at")
    raw = oracle.read_topic(name)
    everything = oracle.events(name, rta.USER_EVENTS)
    gone = {p: (first, first + 20 + p) for p, first in taken.items()}
    with admin() as client:
        client.delete_records({TopicPartition(name, p): end for p, (_, end) in gone.items()})

    before = ledger.batches("f18")
    with pytest.raises(QueryError) as caught:
        rta.drain(name, rta.transforms.totals, table="f18", **HOW)
    for p, (first, end) in gone.items():
        assert f"partition {p}: offsets {first} to {end - 1} ({end - first} events)" in str(
            caught.value
        )
    assert "failOnDataLoss" in str(caught.value)
    assert ledger.batches("f18") == before

    drained = rta.drain(
        name, rta.transforms.totals, table="f18", options={"failOnDataLoss": "false"}, **HOW
    )
    assert drained.accounting.lost == sum(end - first for first, end in gone.values()) == 41
    assert "lost 41" in str(drained)
    found = rta.accounting("f18")
    assert found.balanced
    assert (found.consumed, found.lost) == (len(raw) - 41, 41)
    lost = " OR ".join(
        f'(partition = {p} AND "offset" >= {first} AND "offset" < {end})'
        for p, (first, end) in gone.items()
    )
    there = oracle.run(f"SELECT * FROM events WHERE NOT ({lost})", events=everything)
    assert found.used == there.num_rows
    assert oracle.differences(oracle.run(TOTALS, events=there), "f18") == []
    places = {
        (p, at)
        for batch in ledger.batches("f18")
        for p, end in batch.end_offsets.items()
        for at in range(batch.start_offsets[p], end)
    }
    overtaken = {(p, at) for p, (first, end) in gone.items() for at in range(first, end)}
    assert places == {(each.partition, each.offset) for each in raw} - overtaken
    assert rta.dlq.read_dead_letters(name).count() == found.quarantined > 0


def test_f19_partitions_added_while_a_query_runs(
    spark: SparkSession, topic: Callable[..., str]
) -> None:
    """2 → 4: the new ones are read from their first event."""
    name = topic(partitions=2)
    rta.publish(rta.user_events(spark, rows=200), name, key="user_id")
    query = rta.follow(name, rta.transforms.totals, table="f19", **HOW)
    try:
        query.processAllAvailable()
        with admin() as client:
            client.create_partitions({name: 4})
        rta.publish(rta.user_events(spark, rows=200, first_row=200), name, key="user_id")
        rta.kafka.publish_paced(({"bad": number} for number in range(40)), name, key="bad")
        query.processAllAvailable()
        assert sorted(rta.health(query).lag[name].items()) == [(p, 0) for p in range(4)]
    finally:
        query.stop()
    assert all(latest > 0 for _, latest in rta.kafka.offsets(name).values())
    assert oracle.differences(true_totals(name), "f19") == []
    oracle.check_accounted("f19", name, used=400, quarantined=40)
    dead_letters = rta.dlq.read_dead_letters(name).groupBy("partition").count().collect()
    assert {dead_letter["partition"] for dead_letter in dead_letters} == set(range(4))
