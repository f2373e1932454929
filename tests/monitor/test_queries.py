"""rta.queries(): what runs here and elsewhere, how it does, and how it is stopped."""

import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from IPython.lib.pretty import pretty
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

import rta
from rta.engines import running
from rta.engines.spark.checkpoint_lock import failures_left, progress_left, stop_elsewhere
from rta.errors import QueryError
from rta.monitor.running_queries import of_summary
from tests.support.waiting import finished, joined, until

pytestmark = pytest.mark.kafka
HOW: dict[str, Any] = {"key": ["window", "user_id"], "event": rta.USER_EVENTS}
ROOT = Path(__file__).parents[2]


def test_queries_here_are_listed_with_a_verdict(
    spark: SparkSession, topic: Callable[..., str]
) -> None:
    """One that fills a table, one that fails with a sentence, which others are told, too, and one without a table; stopped, then found in the ledger."""
    name = topic(partitions=1)
    rta.publish(rta.user_events(spark, rows=50), name)
    assert "rta.follow" in repr(rta.monitor.Queries([]))
    query = rta.follow(name, rta.transforms.totals, table="listed", **HOW)
    rate = spark.readStream.format("rate").load()
    other = rate.writeStream.format("noop").queryName("listed_rate").start()
    query.processAllAvailable()
    found = rta.queries()
    listed = found["listed"]
    assert (listed.topic, listed.state, listed.process, listed.behind) == (name, "running", os.getpid(), 0)  # fmt: skip
    assert listed.since is not None
    assert listed.query is not None
    assert found["listed_rate"].topic is None
    assert repr(found).splitlines()[0].startswith("query")
    assert "rta.queries()[name].stop()" in found._repr_html_()
    assert "<code>.stop()</code>" in listed._repr_html_()
    assert pretty(listed).splitlines()[0].split() == ["query", "listed"]  # type: ignore[no-untyped-call]
    assert "listed" in [each.name for each in rta.store.tables()]
    with pytest.raises(QueryError, match=r"no query 'nobody'; found: .*listed"):
        found["nobody"]
    found["listed"].stop()
    found["listed_rate"].stop()
    assert not other.isActive
    assert rta.queries()["listed"].verdict.text == "stopped"
    assert rta.queries()["listed"].batch is not None

    def failing(rows: Any) -> Any:
        return rta.transforms.totals(rows.where(F.raise_error(F.lit("<b>no</b>")).isNull()))

    failed = rta.follow(name, failing, table="listed_failed", **HOW)
    until(lambda: not failed.isActive)
    seen = rta.queries()["listed_failed"]
    assert (seen.state, seen.verdict.level) == ("failed", "bad")
    assert "no" in seen.verdict.text
    assert "<b>" not in rta.queries()._repr_html_() + seen._repr_html_()
    until(lambda: "listed_failed" in failures_left())  # from then on each process knows it
    [summary] = [each for each in running.queries() if each.table == "listed_failed"]
    assert (summary.active, of_summary(summary).state) == (False, "failed")
    assert of_summary(summary).verdict == seen.verdict
    with pytest.raises(QueryError):  # who waits for it is told
        rta.drain(name, failing, table="listed_drained", **HOW)
    forgotten = rta.follow(name, failing, table="listed_reset", **HOW)
    until(lambda: "listed_reset" in failures_left(), progress=lambda: forgotten.isActive)
    rta.reset("listed_reset")
    again = rta.follow(name, rta.transforms.totals, table="listed_failed", **HOW)
    assert {"listed_failed", "listed_drained", "listed_reset"}.isdisjoint(failures_left())
    again.stop()


def test_a_query_of_another_process_is_stopped_at_our_request(topic: Callable[..., str]) -> None:
    """It is listed with its process and verdict, ends in order, and its lock is free."""
    name = topic(partitions=1)
    other = subprocess.Popen(
        [sys.executable, "-m", "tests.children.follow_once", name, "listed_elsewhere"], cwd=ROOT,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert other.stdout is not None
    assert other.stdout.readline() == "following\n"
    [there] = [each for each in rta.queries() if each.name == "listed_elsewhere"]
    assert (there.state, there.process, there.query) == ("running", other.pid, None)
    assert there.verdict.level in ("idle", "good")
    with closing(rta.metrics.Observer()) as observer:  # Spark's own figures come from there, too
        until(lambda: "listed_elsewhere" in progress_left(), other)
        [seen] = [each for each in observer.look().queries if each.name == "listed_elsewhere"]
    assert (seen.state, seen.process, seen.behind) == ("running", other.pid, 0)
    assert seen.application.startswith("local-")
    assert seen.vitals.in_rate == 0
    there.stop()
    _, err = finished(other)
    assert other.returncode == 0, err
    assert "listed_elsewhere" not in progress_left()
    assert [each for each in rta.queries() if each.name == "listed_elsewhere" and each.state == "running"] == []  # fmt: skip
    there.stop()  # of one that has ended: nothing


def test_a_drain_that_was_stopped_from_elsewhere_says_so(
    spark: SparkSession, topic: Callable[..., str]
) -> None:
    """It does not look as if it had drained the topic; the next one takes the rest. A request for an earlier query has no effect."""
    name = topic(partitions=1)
    rta.publish(rta.user_events(spark, rows=60), name)
    errors: list[Exception] = []

    def drain(**most: Any) -> None:
        try:
            rta.drain(name, rta.transforms.totals, table="cut_short", **HOW, **most)
        except QueryError as error:
            errors.append(error)

    thread = Thread(target=drain, kwargs={"max_events_per_batch": 1})
    thread.start()
    until(lambda: rta.accounting("cut_short").batches if "cut_short" in _tables() else 0)
    assert stop_elsewhere("cut_short")
    joined(thread)
    assert "was stopped before its end" in str(errors)
    assert 0 < rta.accounting("cut_short").consumed < 60
    assert not stop_elsewhere("cut_short")
    drain()
    assert len(errors) == 1
    assert rta.accounting("cut_short").consumed == 60


def _tables() -> list[str]:
    return [each.name for each in rta.store.tables()]
