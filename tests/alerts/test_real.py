"""Rules over a real stream: its sink hangs, events go on to come, and then it goes on."""

from collections.abc import Callable
from itertools import count
from threading import Event
from typing import Any

import pytest
from pyspark.sql import SparkSession

import rta
from rta.alerts import Notice, Watch
from tests.support.waiting import HANG, until


@pytest.mark.kafka
def test_a_stream_that_hangs_is_said_and_that_it_goes_on(
    spark: SparkSession, topic: Callable[..., str]
) -> None:
    """Lag in seconds over its target and growing; no progress: each once, and resolved once the sink takes rows again."""
    name, first = topic(partitions=1), count(0, 50)
    hangs, goes_on = Event(), Event()

    def sink(_rows: Any, _batch: Any) -> None:
        if hangs.is_set():
            goes_on.wait(HANG)

    def more() -> None:
        rta.publish(rta.user_events(spark, rows=50, first_row=next(first)), name)

    said: list[Notice] = []
    rules = [rta.alerts.lag(over=2, for_=0), rta.alerts.no_progress(after=2)]
    more()
    query = rta.follow(
        name, rta.transforms.totals, table="hanging", key=["window", "user_id"], event=rta.USER_EVENTS, also=[sink]
    )  # fmt: skip
    watching = Watch(rules, [said.append], every=1, name="hanging")

    def told(word: str) -> set[str]:
        watching.look()
        return {each.alert.rule for each in said if (each.alert.state, each.alert.subject) == (word, "hanging")}  # fmt: skip

    def both_fire() -> bool:
        more()
        return told("firing") == {"lag", "no progress"}

    try:
        query.processAllAvailable()
        assert told("firing") == set()
        hangs.set()
        until(both_fire)
        hangs.clear()
        goes_on.set()
        query.processAllAvailable()
        until(lambda: told("resolved") == {"lag", "no progress"})
    finally:
        goes_on.set()
        query.stop()
        watching.stop()
    assert sorted((each.alert.rule, each.alert.state) for each in said if each.alert.subject == "hanging") == [
        ("lag", "firing"), ("lag", "resolved"), ("no progress", "firing"), ("no progress", "resolved"),
    ]  # fmt: skip
