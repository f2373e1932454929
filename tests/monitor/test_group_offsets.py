"""rta.publish_offsets(): the offsets of a query as a consumer group, as Kafka's own client reads them."""

from collections.abc import Callable

import pytest
from confluent_kafka import Consumer, ConsumerGroupTopicPartitions
from confluent_kafka.admin import AdminClient
from pyspark.sql import SparkSession

import rta
from rta.errors import InputError, QueryError
from rta.kafka import broker
from tests.support.waiting import until

pytestmark = pytest.mark.kafka


def committed(group: str) -> dict[tuple[str, int], int]:
    """Return the offsets of a group as librdkafka reads them."""
    admin = AdminClient({"bootstrap.servers": broker.bootstrap()})
    asked = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)])
    found = asked[group].result().topic_partitions
    return {(each.topic, each.partition): each.offset for each in found}


def test_what_is_committed_is_what_the_last_micro_batch_has_read(
    spark: SparkSession, topic: Callable[..., str]
) -> None:
    """After each micro-batch and at the end; the lag is that of the table; the query goes on from its checkpoint, not the group."""
    name = topic(partitions=2)
    group = f"g-{name}"
    how = {"table": "grouped", "key": ["window", "user_id"], "event": rta.USER_EVENTS}
    rta.publish(rta.user_events(spark, rows=60), name, key="user_id")
    query = rta.follow(name, rta.transforms.totals, **how)  # type: ignore[arg-type]
    published = rta.publish_offsets(query, group=group, every=0.1)
    try:
        query.processAllAvailable()
        read = {(name, p): at for p, at in rta.store.offsets("grouped")[name].items()}
        until(lambda: committed(group) == read)
        assert sum(read.values()) == 60
        assert sum(each.lag for each in rta.lag(group)) == 0
        assert group in repr(published)
        rta.publish(rta.user_events(spark, rows=40, first_row=60), name, key="user_id")
        query.processAllAvailable()
    finally:
        query.stop()
    until(lambda: not published._thread.is_alive())
    assert published.error is None
    assert sum(committed(group).values()) == 100  # its last word
    rta.publish(rta.user_events(spark, rows=5, first_row=100), name, key="user_id")
    assert sum(each.lag for each in rta.lag(group)) == 5
    again = rta.follow(name, rta.transforms.totals, **how)  # type: ignore[arg-type]
    try:
        again.processAllAvailable()
        assert rta.accounting("grouped").consumed == 105
        assert sum(committed(group).values()) == 100  # opt-in: this start did not ask for it
        member = Consumer({"bootstrap.servers": broker.bootstrap(), "group.id": f"{group}-members"})
        member.subscribe([name])
        until(lambda: member.poll(0.1) or member.assignment())
        with pytest.raises(InputError, match="has members; found: state Stable"):
            rta.publish_offsets(again, group=f"{group}-members")
        assert committed(f"{group}-members") == {}
        member.close()
    finally:
        again.stop()


def test_a_query_without_a_topic_or_a_name_is_refused(spark: SparkSession) -> None:
    """Before anything is committed."""
    rate = spark.readStream.format("rate").option("rowsPerSecond", 100).load()
    query = rate.writeStream.format("noop").queryName("no_topic").start()
    nameless = rate.writeStream.format("noop").start()
    try:
        until(lambda: query.lastProgress)
        with pytest.raises(QueryError, match="'no_topic' reads no topic"):
            rta.publish_offsets(query)
        with pytest.raises(InputError, match="has no name"):
            rta.publish_offsets(nameless)
        with pytest.raises(InputError, match="time above 0"):
            rta.publish_offsets(query, every=0)
    finally:
        query.stop()
        nameless.stop()
