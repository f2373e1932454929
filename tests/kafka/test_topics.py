"""Topics, offsets and lag on the real broker."""

from collections.abc import Callable

import pytest

from rta.errors import BrokerError, InputError, TopicError
from rta.kafka import consumer_groups, topics
from rta.kafka.broker import bootstrap
from tests.support.waiting import HANG


def test_a_topic_is_made_once_and_described(topic: Callable[..., str]) -> None:
    """Creating twice returns the same facts; another number of partitions is refused."""
    name = topic(partitions=3)
    assert topics.create_topic(name, partitions=3) == topics.Topic(name, 3, 0)
    with pytest.raises(TopicError, match="3, not 5"):
        topics.create_topic(name, partitions=5)
    with pytest.raises(TopicError, match="exists already"):
        topics.create_topic(name, partitions=3, exist_ok=False)


def test_a_missing_topic_names_its_neighbours(topic: Callable[..., str]) -> None:
    """A misspelt topic is answered with the name that was meant."""
    name = topic()
    with pytest.raises(TopicError, match=name):
        topics.offsets(name + "x")
    with pytest.raises(TopicError, match="there is no topic"):
        topics.delete_topic(name + "x")


def test_a_deleted_topic_is_gone(topic: Callable[..., str]) -> None:
    """Deleting removes the topic from the list; deleting it again is fine only where that is said."""
    name = topic()
    topics.delete_topic(name)
    topics.delete_topic(name, missing_ok=True)
    with pytest.raises(TopicError):
        topics.delete_topic(name)
    assert name not in [known.name for known in topics.list_topics()]


def test_lag_counts_what_a_group_has_yet_to_read(topic: Callable[..., str]) -> None:
    """A group that read two of five records is three behind."""
    from kafka import KafkaConsumer, KafkaProducer

    name = topic(partitions=1)
    producer = KafkaProducer(bootstrap_servers=bootstrap())
    for number in range(5):
        producer.send(name, str(number).encode()).get(HANG)
    producer.close()
    consumer = KafkaConsumer(
        name, bootstrap_servers=bootstrap(), group_id=f"{name}-readers", auto_offset_reset="earliest",
        max_poll_records=2, enable_auto_commit=False, consumer_timeout_ms=HANG * 1000,
    )  # fmt: skip
    read = [next(consumer).value, next(consumer).value]
    consumer.commit()
    consumer.close()
    assert read == [b"0", b"1"]
    assert [row.lag for row in consumer_groups.lag(f"{name}-readers")] == [3]
    assert topics.offsets(name) == {0: (0, 5)}


@pytest.mark.parametrize("name", ["../x", "a b", "", "a/b", ".", "ü"])
def test_a_topic_name_from_outside_passes_the_allow_list(name: str) -> None:
    """A name that is not on the allow-list never reaches the broker."""
    with pytest.raises(InputError, match="legal topic name"):
        topics.create_topic(name)


def test_a_broker_that_is_away_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a wrong bootstrap address the error names it."""
    monkeypatch.setenv("RTA_KAFKA_BOOTSTRAP", "127.0.0.1:1")
    with pytest.raises(BrokerError, match=r"127\.0\.0\.1:1.*RTA_KAFKA_BOOTSTRAP"):
        topics.list_topics()
