"""A look at Kafka: what is unread and how old it is, look after look, and the dead letters of many topics at once."""

from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest
from kafka import TopicPartition

from rta.kafka import client, topics
from rta.metrics.open_dead_letters import OpenDeadLetters
from rta.metrics.unread import OldestUnread, Reader

pytestmark = pytest.mark.kafka


def written(topic: str, stamps: range, *, key: bytes | None = None) -> None:
    """Write a record per timestamp."""
    with closing(client.producer()) as producer:
        for at in stamps:
            client.send(producer, topic, b"{}", key, partition=0, timestamp_ms=at)
        producer.flush()


def test_the_oldest_unread_record_is_told_again_after_the_query_has_gone_on(
    topic: Callable[..., str],
) -> None:
    """One reader for all looks: a partition that was read before gives its record at the next position, too."""
    name = topic(partitions=1)
    written(name, range(1_000, 1_010))
    with closing(Reader()) as reader:
        oldest = OldestUnread(reader)
        for at in (3, 5, 5, 9):
            assert oldest.timestamps({(name, 0, at): 10}) == {(name, 0, at): 1_000 + at}


def test_the_dead_letters_of_many_topics_are_counted_in_one_pass(
    topic: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each queue on its own, what was sent back apart; a queue that is gone, and one that was made again, are not remembered."""
    names = [topic(partitions=1) for _ in range(3)]
    queues = [f"{name}.dlq" for name in names]
    for queue in queues:
        topics.create_topic(queue, partitions=1)
    for count, queue in enumerate(queues, start=1):
        written(queue, range(count))
    assigned, read_from = list[set[TopicPartition]](), client.read_from

    def noted(reader: Any, offsets: dict[TopicPartition, int]) -> None:
        assigned.append(set(offsets))
        read_from(reader, offsets)

    monkeypatch.setattr(client, "read_from", noted)
    with closing(Reader()) as reader:
        dead = OpenDeadLetters(reader)
        ranges = {queue: {0: (0, count)} for count, queue in enumerate(queues, start=1)}
        assert dead.counts(ranges) == dict(zip(names, (1, 2, 3), strict=True))
        assert assigned == [{TopicPartition(queue, 0) for queue in queues}]
        assert dead.counts(ranges) == dict(zip(names, (1, 2, 3), strict=True))
        assert len(assigned) == 1  # nothing new: nothing read
        written(queues[0], range(4))
        assert dead.counts({queues[0]: {0: (0, 5)}}) == {names[0]: 5}
        assert dead.counts(ranges)[names[1]] == 2  # forgotten, and read again
