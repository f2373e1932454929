"""The analyses of the contract on a real Flink: the answer of Spark's batch, every event in a term, nothing lost over a stop."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import CliRunner
from pyspark.sql import SparkSession

import rta
from rta.cli.app import main
from rta.display.live_view import LiveView
from rta.display.subjects import feed_of
from rta.engines import EngineQuery, engine_query, flink
from rta.engines.contract import described
from rta.engines.flink.cluster import opened
from rta.engines.flink.job import speed
from rta.engines.flink.statements import Wiring, statements
from rta.errors import InputError, QueryError
from rta.events.strict_json import event_json
from rta.kafka import client
from rta.monitor import verdicts
from rta.transforms import totals
from tests.engines.contract.answers import BROKEN, KEY, kept, rows
from tests.engines.contract.queries import PORTABLE, SESSIONS, SPARK_ALONE
from tests.metrics.test_families import values
from tests.support.waiting import until

STOP_IT = """import rta, sys
query = rta.queries()[sys.argv[1]]
print(query.state, query.engine, query.process)
query.stop()
print(rta.queries()[sys.argv[1]].state)"""


@pytest.fixture(scope="module")
def events(spark: SparkSession) -> str:
    """Publish user events, some late, and broken ones between them."""
    rta.publish(rta.user_events(spark, rows=1500, seed=3), "flink-events", partitions=2)
    producer = client.producer()
    for value in BROKEN:
        client.send(producer, "flink-events", value, partition=0)
    producer.close()
    return "flink-events"


def drained(topic: str, name: str, table: str) -> Any:
    """Drain an analysis of the contract on Flink."""
    transform, key = PORTABLE[name]
    return rta.drain(topic, transform, table=table, key=key, event=rta.USER_EVENTS, engine="flink")


def test_it_goes_on_where_it_was(
    cluster: flink.Cluster, spark: SparkSession, topic: Callable[..., str]
) -> None:
    """A second drain takes what is new: the groups of the first go on counting, from a savepoint."""
    name = topic(partitions=2)
    for seed in (1, 2):
        rta.publish(rta.user_events(spark, rows=300, seed=seed), name)
        taken = rta.drain(name, totals, table="flink_goes_on", key=KEY, event=rta.USER_EVENTS, engine="flink")  # fmt: skip
        assert taken.accounting.consumed == 300
        assert taken.rows > 0
    assert kept("flink_goes_on") == rows(totals(rta.read_batch(name, event=rta.USER_EVENTS)))
    assert rta.accounting("flink_goes_on").used == 600
    rta.reset("flink_goes_on")
    rta.drain(name, totals, table="flink_goes_on", key=KEY, event=rta.USER_EVENTS, engine="flink")
    assert kept("flink_goes_on") == rows(totals(rta.read_batch(name, event=rta.USER_EVENTS)))


def test_the_words_of_a_query(
    cluster: flink.Cluster, spark: SparkSession, topic: Callable[..., str]
) -> None:
    """A query on Flink has the words of Spark's: what is written for one runs with the other."""
    name = topic(partitions=1)
    rta.publish(rta.user_events(spark, rows=100, seed=1), name)
    query: Any = rta.follow(name, totals, table="flink_words", key=KEY, event=rta.USER_EVENTS, engine="flink")  # fmt: skip
    assert isinstance(query, EngineQuery)
    query.processAllAvailable()
    assert (query.name, query.isActive, query.exception()) == ("flink_words", True, None)
    assert query.lag() == {0: 0}
    assert query.lastProgress["numInputRows"] == 100
    assert query.native.startswith(cluster.rest)
    assert not query.awaitTermination(timeout=0)
    # A cell that is run again, or a kernel that was started again, finds the job that runs.
    native = query.native
    again: Any = rta.follow(name, totals, table="flink_words", key=KEY, event=rta.USER_EVENTS, engine="flink")  # fmt: skip
    assert again.native == native
    again.stop()
    assert not again.isActive
    assert again.awaitTermination()


def test_a_query_is_listed_and_stopped_from_anywhere(
    cluster: flink.Cluster, spark: SparkSession, topic: Callable[..., str]
) -> None:
    """Here with its figures; from another process, which can stop it; and a job that goes on without its kernel, which anyone can."""
    name, table = topic(partitions=1), "flink_listed"
    rta.publish(rta.user_events(spark, rows=100, seed=1), name)

    def follow() -> Any:
        return rta.follow(name, totals, table=table, key=KEY, event=rta.USER_EVENTS, engine="flink")

    query = follow()
    query.processAllAvailable()
    here = rta.queries()[table]
    assert (here.topic, here.engine, here.state, here.behind, here.process) == (name, "flink", "running", 0, os.getpid())  # fmt: skip
    assert id(here.query) == id(query)
    assert str(here.native).startswith(cluster.rest)
    assert here.verdict.level in ("good", "idle")
    assert "flink" in repr(rta.queries())
    now = rta.monitor.vitals_of(table)
    assert (now.used, now.quarantined, now.behind) == (100, 0, 0)
    until(lambda: rta.monitor.vitals_of(query).out_rate == 0)  # nothing more comes
    told = json.loads(CliRunner().invoke(main, ["status", "--json"]).stdout)
    [of_it] = [each for each in told["queries"] if each["table"] == table]
    assert (of_it["engine"], of_it["process"], of_it["progress"]["state"]) == ("flink", os.getpid(), "RUNNING")  # fmt: skip
    unread = "kafka_consumergroup_lag", (("consumergroup", table), ("partition", "0"), ("topic", name))  # fmt: skip

    of_query = (("engine", "flink"), ("query_name", table))

    def scraped() -> dict[Any, float] | None:
        """Look until a busy Kafka has answered, and Flink was asked after its first checkpoint."""
        found = values(rta.metrics.exposition())
        return found if unread in found and found["rta_query_checkpoints_total", of_query] else None

    figures = until(scraped)
    assert figures["rta_query_running", of_query] == 1
    assert figures["rta_query_checkpoints_total", of_query] >= 1
    assert figures["rta_query_state_bytes", of_query] > 0
    assert figures["rta_query_restarts_total", of_query] == 0
    assert figures["rta_query_events_per_second", of_query] >= 0
    assert figures[unread] == 0
    assert figures["rta_up", (("part", "engines"),)] == 1
    child = subprocess.run(
        [sys.executable, "-c", STOP_IT, table], env=os.environ, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert child.stdout.splitlines() == [f"running flink {os.getpid()}", "stopped"], child.stderr
    assert not query.isActive
    assert rta.queries()[table].state == "stopped"
    follow().let_go()  # as if its kernel had ended
    left = rta.queries()[table]
    assert (left.state, left.process, left.verdict.level) == ("running", None, "warn")
    assert values(rta.metrics.exposition())["rta_query_running", of_query] == 1
    assert f"{table}: on flink, goes on without the process" in CliRunner().invoke(main, ["status"]).stdout  # fmt: skip
    left.stop()
    assert rta.queries()[table].state == "stopped"
    assert kept(table) == rows(totals(rta.read_batch(name, event=rta.USER_EVENTS)))


def test_it_is_seen_alive(
    cluster: flink.Cluster, spark: SparkSession, topic: Callable[..., str]
) -> None:
    """The live view of a query has its figures and buttons, its health is told, and who sees it go on without a kernel is told."""
    name, table = topic(partitions=1), "flink_alive"
    rta.publish(rta.user_events(spark, rows=100, seed=1), name)
    query: Any = rta.follow(name, totals, table=table, key=KEY, event=rta.USER_EVENTS, engine="flink")  # fmt: skip
    query.processAllAvailable()
    view = LiveView(feed_of(query, mode=None, key=(), every=0.25, event=None))
    view.look()
    assert (view.state, view.history[-1].used, len(view.snapshot().frame)) == ("running", 100, len(kept(table)))  # fmt: skip
    assert rta.health(query).lag == {name: {0: 0}}
    assert "flink: RUNNING" in repr(rta.health(table))
    view.told({"do": "stop"})
    assert (view.state, query.isActive) == ("stopped", False)
    view.told({"do": "restart"})
    assert view.state == "running"
    engine_query.running[table].let_go()  # as if its kernel had ended
    assert (view.state, view.verdict) == ("running", verdicts.WITHOUT_ITS_KERNEL)
    view.stop()
    rta.reset(table)


def test_kappa_replays_switches_and_rolls_back(
    cluster: flink.Cluster, spark: SparkSession, topic: Callable[..., str]
) -> None:
    """Both versions are the batch's while events come, each event of each is accounted for; what only Spark has is refused."""
    name, how = topic(partitions=2), {"table": "flink_kappa", "key": KEY, "event": rta.USER_EVENTS, "engine": "flink"}  # fmt: skip
    filtered, _ = PORTABLE["filtered"]
    kappa: Any = rta.kappa
    for refused, said in (
        ({"real_time": "5 minutes"}, "has no real_time"),
        ({"engine": "storm"}, "no such engine"),
    ):
        with pytest.raises(InputError, match=said):
            kappa(name, totals, **how | refused)
    with pytest.raises(InputError, match="reads one topic"):
        kappa({"a": name, "b": name}, totals, **how)
    assert "flink_kappa" not in [each.name for each in rta.store.tables()]
    rta.publish(rta.user_events(spark, rows=300, seed=1), name)
    with kappa(name, totals, **how) as wired:
        wired.catch_up()
        first = rows(totals(rta.read_batch(name, event=rta.USER_EVENTS)))
        assert kept("flink_kappa") == first
        with pytest.raises(InputError, match="has no max_events_per_batch"):
            wired.replay(filtered, max_events_per_batch=10)
        replay = wired.replay(filtered)
        assert kept("flink_kappa") == first
        rta.publish(rta.user_events(spark, rows=100, seed=2), name)
        assert replay.wait().behind == 0
        assert wired.switch().served == 2
        events = rta.read_batch(name, event=rta.USER_EVENTS)
        assert kept("flink_kappa") == rows(filtered(events))
        assert (wired.accounting().consumed, wired.accounting().used) == (400, 400)
        assert wired.roll_back().served == 1
        wired.catch_up()
        assert kept("flink_kappa") == rows(totals(events))
        assert (wired.accounting().balanced, wired.accounting().used) == (True, 400)
        assert "on flink" in repr(wired)
        running = wired.queries
    assert [query.isActive for query in running] == [False, False]
    with kappa(name, totals, **how) as again:  # the job of version 1 goes on where it was
        again.catch_up()
        assert again.accounting().used == 400
        again.retire(2)
    names = {each.name for each in rta.store.tables() if each.name.startswith("flink_kappa")}
    assert names == {"flink_kappa", "flink_kappa_v1"}


def test_what_does_not_fit_is_said_before_anything_is_made(
    cluster: flink.Cluster, events: str
) -> None:
    """Each refusal names what is amiss; no table is left behind."""
    copies, _ = SPARK_ALONE["copies"]
    follow: Any = rta.follow
    ways: list[tuple[type[Exception], str, dict[str, Any]]] = [
        (QueryError, "runs on Spark only", {"transform": copies}),
        (InputError, "no such engine", {"engine": "storm"}),
        (InputError, "has no keep", {"keep": "90 days"}),
        (InputError, "the key of the table", {"key": ["user_id"]}),
    ]
    for kind, said, changed in ways:
        asked = {"topic": events, "transform": totals, "table": "flink_refused", "key": KEY, "event": rta.USER_EVENTS, "engine": "flink"}  # fmt: skip
        with pytest.raises(kind, match=said):
            follow(**asked | changed)
    assert "flink_refused" not in [each.name for each in rta.store.tables()]


def test_another_analysis_does_not_take_the_state(cluster: flink.Cluster, events: str) -> None:
    """The state of totals is not that of a filter of it."""
    filtered, _ = PORTABLE["filtered"]
    drained(events, "totals", "flink_state")
    with pytest.raises(QueryError, match="the state of 'flink_state' is that of another query"):
        rta.drain(events, filtered, table="flink_state", key=KEY, event=rta.USER_EVENTS, engine="flink")  # fmt: skip
    with pytest.raises(QueryError, match="filled by flink"):
        rta.drain(events, totals, table="flink_state", key=KEY, event=rta.USER_EVENTS)


@pytest.mark.parametrize("name", [*PORTABLE, *SESSIONS])
def test_flink_keeps_groups_and_no_events(
    cluster: flink.Cluster, spark: SparkSession, name: str
) -> None:
    """Flink's own plan joins nothing, gives no work to one task alone, and sends rows to the topic as they are."""
    transform, _ = {**PORTABLE, **SESSIONS}[name]
    told = event_json(rta.USER_EVENTS, "5 minutes")
    wired = Wiring("nowhere", "nowhere.results", rta.USER_EVENTS, told, {"properties.bootstrap.servers": "127.0.0.1:1"}, 60_000)  # fmt: skip
    query = described(transform, rta.USER_EVENTS)
    *tables, job = statements(query, wired)
    with opened(cluster, speed(query)) as session:
        for each in tables:
            session.sql(each)
        [[plan]] = session.sql(f"EXPLAIN {job.removeprefix('EXECUTE ')}").rows
    assert "GroupAggregate(" in plan
    for amiss in ("Join(", "distribution=[single]", "upsertMaterialize"):
        assert amiss not in plan
    assert ("OverAggregate(" in plan) == (name in SESSIONS)


def test_flinks_own_words_are_in_the_error(cluster: flink.Cluster) -> None:
    """Of a whole Java trace the last cause is shown."""
    with flink.Session(cluster.gateway) as session, pytest.raises(QueryError, match="no_such_table"):  # fmt: skip
        session.sql("SELECT * FROM no_such_table")
