"""The thread that fills the table of another engine: what a wait for it costs."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from pyspark.sql import SparkSession

import rta
from rta.engines.materializer import Materializer
from rta.kafka import client

pytestmark = pytest.mark.kafka


def test_a_wait_does_not_read_the_topic(
    spark: SparkSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That an event is still to come is known from one record, however many there are, until the engine has counted it."""
    topic = rta.publish(rta.user_events(spark, rows=2_000), "waited-for", partitions=1)
    [(first, end)] = rta.kafka.offsets("waited-for").values()
    assert (first, end) == (0, 2_000), topic
    read, whole = [0], client.until

    def counted(*asked: Any) -> Iterator[Any]:
        for record in whole(*asked):
            read[0] += 1
            yield record

    monkeypatch.setattr(client, "until", counted)
    target: Any = SimpleNamespace(source=SimpleNamespace(name="waited-for"), start={0: 0})
    filled = Materializer(target)
    for done in (0, 500, 1_000):
        filled.counts = {0: {"next": done}}
        for _ in range(5):
            assert not filled.reached({0: end})
    assert read == [1]
    filled.counts = {0: {"next": 1_950}}  # behind the record that was known
    assert not filled.reached({0: end})
    assert read == [2]
