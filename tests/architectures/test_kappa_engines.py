"""Kappa on the engines beside Spark's micro-batches: each version is the batch's, while events come; Flink has a test of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pyspark.sql import SparkSession

import rta
from rta.transforms import totals
from tests.engines.contract.queries import PORTABLE
from tests.engines.contract.truths import kept, of_batch
from tests.support.truth import KEY

pytestmark = pytest.mark.kafka


def test_kafka_streams_replays_switches_and_rolls_back(
    spark: SparkSession, topic: Callable[..., str]
) -> None:
    """Both versions are the batch's while events come, and each event of each is accounted for; the next start goes on where it was."""
    name, view, (filtered, _) = topic(partitions=2), "kappa_on_streams", PORTABLE["filtered"]
    how: dict[str, Any] = {"table": view, "key": KEY, "event": rta.USER_EVENTS, "engine": "kafka-streams"}  # fmt: skip
    rta.publish(rta.user_events(spark, rows=200, seed=1, late_share=0), name, key="user_id")
    with rta.kappa(name, totals, **how) as wired:
        wired.catch_up()
        assert kept(view) == of_batch(totals(rta.read_batch(name, event=rta.USER_EVENTS)))
        replay = wired.replay(filtered)
        rta.publish(rta.user_events(spark, rows=100, seed=2, late_share=0), name, key="user_id")
        assert replay.wait().behind == 0
        assert wired.switch().served == 2
        events = rta.read_batch(name, event=rta.USER_EVENTS)
        assert kept(view) == of_batch(filtered(events))
        assert wired.roll_back().served == 1
        wired.catch_up()
        assert kept(view) == of_batch(totals(events))
        assert (wired.accounting().balanced, wired.accounting().used) == (True, 300)
        running = wired.queries
    assert [query.isActive for query in running] == [False, False]
    with rta.kappa(name, totals, **how) as again:
        again.catch_up()
        assert again.accounting().used == 300
        again.retire(2)


def test_sparks_real_time_mode_goes_on_where_it_was(
    spark: SparkSession, topic: Callable[..., str]
) -> None:
    """The batch's answer by the engine's name, and after a stop the next start takes what is new."""
    name, view = topic(partitions=1), "kappa_in_time"
    how: dict[str, Any] = {"table": view, "key": KEY, "event": rta.USER_EVENTS, "engine": "spark-realtime"}  # fmt: skip
    for seed in (1, 2):
        rta.publish(rta.user_events(spark, rows=100, seed=seed, late_share=0), name, key="user_id")
        with rta.kappa(name, totals, **how) as wired:
            wired.catch_up()
            assert kept(view) == of_batch(totals(rta.read_batch(name, event=rta.USER_EVENTS)))
    told = rta.accounting(f"{view}_v1")
    assert (told.consumed, told.used, told.balanced) == (200, 200, True)
