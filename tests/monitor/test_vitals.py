"""The vitals of a stream: of a query of this process, and of a table by its ledger; the verdict's sentences are doctests."""

import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest
from pyspark.sql import SparkSession

import rta
from rta.errors import TopicError
from rta.monitor.verdicts import verdict
from rta.monitor.vitals import Vitals, history_of, local_query, state_of, vitals_of

pytestmark = pytest.mark.kafka
HOW: dict[str, Any] = {"key": ["window", "user_id"], "event": rta.USER_EVENTS}


def test_a_view_is_looked_at_where_it_is_filled_and_later_in_the_ledger(
    spark: SparkSession, topic: Callable[..., str]
) -> None:
    """Running: progress, state, lag 0. Stopped: the ledger of the served version, and as many records behind as came since."""
    name = topic(partitions=2)
    rta.publish(rta.user_events(spark, rows=200), name, key="user_id")
    with rta.kappa(name, rta.transforms.totals, table="vital", **HOW) as wired:
        wired.catch_up()
        [query] = wired.queries
        assert local_query("vital") is not None
        assert state_of(query) == ("running", None)
        here = vitals_of("vital")
        assert (here.behind, here.lag) == (0, {name: [0, 0]})
        assert here.batch_ms is None or here.batch_ms > 0
        assert (here.used, here.late, here.duplicate, here.quarantined) == (200, 0, 0, 0)
        assert here.state_rows == len(rta.read("vital"))
        assert here.event_time is not None
        assert here.event_time.year == 2024
        for shown in (repr(wired), wired._repr_html_()):
            for told in (
                f"{name} → vital",
                "version 1: vital_v1",
                "vital_v1: running",
                "consumed 200 = used 200",
                ".replay(transform)",
            ):
                assert told in shown
        first = history_of(query)[0]
        assert (first.in_rate, first.behind) == (None, 0)
        assert (first.out_rate or 0) > 0
        assert verdict(history_of("vital"), "running").level in ("good", "idle")
    assert local_query("vital") is None
    assert state_of(query) == ("stopped", None)
    rta.publish(rta.user_events(spark, rows=100, first_row=200), name, key="user_id")
    there = vitals_of("vital")
    assert (there.behind, there.used, there.state_rows) == (100, 200, None)
    assert [len(each) for each in (there.lag or {}).values()] == [2]
    assert str(verdict(history_of("vital"), "stopped")) == "stopped: 100 records wait"
    rta.kafka.delete_topic(name)
    with pytest.raises(TopicError):
        history_of("vital")
    gone = vitals_of("vital")  # a page of all tables shows this one, too
    assert (gone.behind, gone.lag, gone.used) == (None, None, 200)


def test_growth_is_told_from_the_noise_of_batches() -> None:
    """What is unread swings by a batch each second: that is no growth; a slow rise is one, also within the swings."""

    def seen(behind: list[int], every: float = 1) -> list[Vitals]:
        start = dt.datetime(2024, 11, 15, tzinfo=dt.UTC)
        return [
            Vitals(start + dt.timedelta(seconds=n * every), 1000.0, 1000.0, behind=each, batch_ms=2000)
            for n, each in enumerate(behind)
        ]  # fmt: skip

    swings = [6000 + 1500 * (n % 2) for n in range(60)]
    assert verdict(seen(swings), "running").text == "behind: 8 s, and not growing"
    rising = [each + 200 * n for n, each in enumerate(swings)]
    assert verdict(seen(rising), "running").text == "falling behind: 19 s and growing"
    assert verdict(seen(rising[::-1]), "running").text.startswith("catching up: 6 s behind")
    # Of two moments that are close together nobody can tell.
    assert verdict(seen([9000, 19000]), "running").text == "behind: 19 s"
    assert verdict([Vitals(dt.datetime.now(dt.UTC), 5.0, 90.0)], "running").text == "running: 5 events/s"  # fmt: skip
