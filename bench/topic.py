"""Read a topic without Spark."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def records(topic: str, start: Mapping[int, int] | None = None) -> Iterator[Any]:
    """Yield the records of a topic, to its end at the time of the call, each partition in its order.

    start: partition → offset; by default all of them from the beginning.
    """
    from kafka import KafkaConsumer, TopicPartition

    import rta

    consumer = KafkaConsumer(bootstrap_servers=rta.kafka.bootstrap(), enable_auto_commit=False)
    partitions = [TopicPartition(topic, number) for number in rta.kafka.offsets(topic)]
    consumer.assign(partitions)
    consumer.seek_to_beginning(*partitions)
    for number, offset in (start or {}).items():
        consumer.seek(TopicPartition(topic, number), offset)
    ends = consumer.end_offsets(partitions)
    while any(consumer.position(each) < ends[each] for each in partitions):
        for found in consumer.poll(timeout_ms=1_000).values():
            yield from found
    consumer.close()
