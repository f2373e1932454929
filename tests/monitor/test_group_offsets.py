"""rta.publish_offsets(): the offsets of a query as a consumer group, as librdkafka and Kafka's own command read them."""

import os
import subprocess
from collections.abc import Callable
from typing import Final

import pytest
from confluent_kafka import Consumer, ConsumerGroupTopicPartitions
from confluent_kafka.admin import AdminClient
from pyspark.sql import SparkSession

import rta
from rta.errors import InputError, QueryError
from rta.kafka import broker
from rta.setup.jars import kafka_jars, verified
from rta.setup.java import find_java
from tests.support.waiting import HANG, until

pytestmark = pytest.mark.kafka
TOOLS: Final = {"org.apache.kafka:kafka-tools:4.3.0": "b88bc6ccc520d648142515526e4042c285612ce94b032434a88e3e936e38b600"}  # fmt: skip
"""The jar with Kafka's commands: a broker does not need it."""


def told_by_kafka(group: str) -> dict[tuple[str, int], tuple[int, int, int]]:
    """Return what `kafka-consumer-groups.sh --describe` prints: topic and partition → offset, end and lag."""
    jars = os.pathsep.join(map(str, [*kafka_jars(), *verified(TOOLS, what="Kafka's commands")]))
    command = [str(find_java().executable), "-XX:TieredStopAtLevel=1", "-cp", jars, "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
               "--bootstrap-server", broker.bootstrap(), "--describe", "--group", group]  # fmt: skip
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=HANG).stdout
    [head, *lines] = [line.split() for line in said.splitlines() if line.strip() and "no active members" not in line]  # fmt: skip
    rows = [dict(zip(head, line, strict=False)) for line in lines]
    assert {row["GROUP"] for row in rows} <= {group}, said
    return {(row["TOPIC"], int(row["PARTITION"])): (int(row["CURRENT-OFFSET"]), int(row["LOG-END-OFFSET"]), int(row["LAG"])) for row in rows}  # fmt: skip


def committed(group: str) -> dict[tuple[str, int], int]:
    """Return the offsets of a group as librdkafka reads them."""
    admin = AdminClient({"bootstrap.servers": broker.bootstrap()})
    asked = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)])
    found = asked[group].result().topic_partitions
    return {(each.topic, each.partition): each.offset for each in found}


def test_what_is_committed_is_what_the_last_micro_batch_has_read(
    spark: SparkSession, topic: Callable[..., str]
) -> None:
    """After each micro-batch and at the end; the lag is that of the table, by rta and by Kafka's own command; the query goes on from its checkpoint."""
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
    ours = {(each.topic, each.partition): (each.committed, each.latest, each.lag) for each in rta.lag(group)}  # fmt: skip
    assert sum(behind for _, _, behind in ours.values()) == 5
    assert told_by_kafka(group) == ours
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
