"""Starts: what is refused leaves nothing behind, what is not there yet says what to call, and the next start works."""

from collections.abc import Callable
from typing import Any

import pytest
from pyspark.sql import SparkSession
from pyspark.sql.types import StructType

import rta
from rta import serving
from rta.errors import InputError, QueryError, TableError
from tests.truth import KEY

pytestmark = pytest.mark.kafka
HOW: dict[str, Any] = {"key": KEY, "event": rta.USER_EVENTS}


def test_the_accounting_of_a_name_that_is_none_lists_the_tables(
    spark: SparkSession, topic: Callable[..., str]
) -> None:
    """A typo is no table with nothing in it; a view counts what it shows, and a table without a batch is zeros."""
    name = topic(partitions=1)
    rta.publish(rta.user_events(spark, rows=30), name)
    with rta.batch(name, rta.totals, table="counted", **HOW) as wired:
        wired.catch_up()
    assert rta.accounting("counted") == rta.accounting("counted_batch_1") == wired.accounting()
    assert rta.accounting("counted").consumed == 30
    with pytest.raises(TableError, match=r"no serving table 'count'; found: .*counted, counted_b"):
        rta.accounting("count")
    assert serving.summed("counted_batch_1", "count") == rta.accounting("counted")
    serving.create("nobody", StructType().add("page", "string"), ["page"])
    assert rta.accounting("nobody").consumed == 0
    serving.drop("nobody")


def test_before_its_first_answer_a_wiring_says_what_to_call(
    spark: SparkSession, topic: Callable[..., str]
) -> None:
    """read(), accounting() and compare() of a batch that was never recomputed; switch() of a Kappa without a replay."""
    name = topic(partitions=1)
    rta.publish(rta.user_events(spark, rows=10), name)
    wired = rta.batch(name, rta.totals, table="unasked", **HOW)
    asks: list[Callable[[], object]] = [wired.read, wired.accounting, lambda: rta.compare(wired)]
    for ask in asks:
        with pytest.raises(TableError, match=r"'unasked' yet; do: call recompute\(\) or catch_up"):
            ask()
    with rta.kappa(name, rta.totals, table="unswitched", **HOW) as wired_too:
        wired_too.catch_up()
        wired_too.stop()
        with pytest.raises(QueryError, match=r"to switch to; .*; do: call replay\(transform\)"):
            wired_too.switch()
        assert wired_too.read()["event_count"].sum() == 10


def test_a_transform_without_its_return_is_said_before_anything_starts(
    spark: SparkSession, topic: Callable[..., str]
) -> None:
    """In each way to run one: no table, no query."""
    name = topic(partitions=1)
    rta.publish(rta.user_events(spark, rows=10), name)

    def forgot(events: Any) -> Any:
        rta.totals(events)

    into = topic(partitions=1)
    ways: list[Callable[[], object]] = [
        lambda: rta.follow(name, forgot, table="forgot", **HOW),
        lambda: rta.drain(name, forgot, table="forgot", **HOW),
        lambda: rta.relay(name, forgot, into=into, event=rta.USER_EVENTS),
        lambda: rta.batch(name, forgot, table="forgot", **HOW).recompute(),
        lambda: rta.lambda_(name, forgot, table="forgot", **HOW),
        lambda: rta.kappa(name, forgot, table="forgot", **HOW),
    ]
    for way in ways:
        with pytest.raises(InputError, match="the transform returned None: it needs a return"):
            way()
    with pytest.raises(InputError, match="no DataFrame; found: int"):
        rta.drain(name, lambda _: 3, table="forgot", **HOW)  # type: ignore[arg-type,return-value]
    assert [each.name for each in serving.tables() if each.name.startswith("forgot")] == []
    assert spark.streams.active == []
