"""Lambda and Kappa in real-time mode: rows at once, accounting by the interval, exact after a death in the middle of one."""

import datetime as dt
import json
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, timedelta
from decimal import Decimal
from typing import Any, Final

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from sqlalchemy import Engine

import rta
from rta.architectures.base import Architecture
from rta.engines import changelog
from rta.engines.spark.realtime import materializer
from rta.errors import InputError, QueryError, TableError
from rta.kafka import broker
from rta.store import database, serving, serving_tables, upserts
from rta.store.merge_rules import counted
from rta.testing import oracle
from tests.support.databases import TOTALS, create
from tests.support.schedule import killed, once
from tests.support.truth import KEY, child, late_places, setting, true_totals
from tests.support.waiting import joined, until

pytestmark = pytest.mark.kafka
HOW: Final[dict[str, Any]] = {"key": KEY, "event": rta.USER_EVENTS, "real_time": "5 seconds"}
DISTINCT: Final = "SELECT DISTINCT ON (event_id, timestamp) * FROM events"


@pytest.fixture
def narrow(spark: SparkSession) -> Iterator[SparkSession]:
    """Give a session in which a stateful query in real-time mode takes few of the four slots."""
    with setting(spark, "spark.sql.shuffle.partitions", "1"):
        yield spark


def publish(spark: SparkSession, name: str, first: int, rows: int, **how: Any) -> None:
    """Publish events of which some are copies and some are bad; a hundred seconds of event time each ten."""
    events = rta.user_events(spark, rows=rows, first_row=first, rate=0.1, users=20, **how)
    rta.publish(rta.events.poisoned(events, share=0.1), name, order_by="reported_at")


class Reader(threading.Thread):
    """Somebody who looks at every row again and again: no count goes back, and no row is gone."""

    def __init__(self, view: str) -> None:
        super().__init__(daemon=True)
        self.query = f'SELECT window_start, user_id, event_count FROM "{view}"'
        self.ended, self.looks, self.back = threading.Event(), 0, list[Any]()
        self.counts: dict[Any, int] = {}
        self.failure: Exception | None = None

    def run(self) -> None:
        """Look until told to end."""
        try:
            while not self.ended.wait(0.05):
                rows = serving.sql(self.query).itertuples(index=False, name=None)
                now = {(start, user): int(count) for start, user, count in rows}
                self.back += [(key, n, now.get(key)) for key, n in self.counts.items() if now.get(key, 0) < n]  # fmt: skip
                self.counts = now
                self.looks += 1
        except Exception as error:  # noqa: BLE001 - told by the thread that waits
            self.failure = error


@contextmanager
def reader(view: str) -> Iterator[Reader]:
    """Read a view meanwhile."""
    looking = Reader(view)
    looking.start()
    try:
        yield looking
    finally:
        looking.ended.set()
        joined(looking)
    assert looking.failure is None
    assert looking.looks
    assert looking.back == []


def shown(view: str) -> int:
    """Count the events in a view."""
    return int(rta.read(view)["event_count"].sum())


def require_exact(wired: Architecture, name: str) -> None:
    """Hold rows and accounting to the oracle: all events are there, none was late."""
    assert oracle.differences(true_totals(name, DISTINCT), wired.table) == []
    found, good = wired.accounting(), oracle.events(name, rta.USER_EVENTS)
    used = oracle.run(DISTINCT, events=good).num_rows
    there = len(oracle.read_topic(name))
    assert (found.consumed, found.late) == (there, 0)
    assert (found.used, found.duplicate) == (used, good.num_rows - used)
    assert found.quarantined == there - good.num_rows


def test_f10_kappa_stopped_in_the_middle_of_an_interval(
    narrow: SparkSession, topic: Callable[..., str]
) -> None:
    """Results are seen at once, late and bad events counted at the end; what had no end yet is brought again: no count goes back."""
    name, view, part = topic(partitions=1), "f10", "f10_v1"
    publish(narrow, name, 400, 60)
    with rta.kappa(name, rta.transforms.totals, table=view, **HOW) as wired, reader(view):
        publish(narrow, name, 0, 10)  # their windows have ended
        publish(narrow, name, 460, 40)
        everything = len(oracle.read_topic(name))
        until(lambda: wired.accounting().consumed == everything)
        before = shown(view)
        publish(narrow, name, 500, 40)
        until(lambda: shown(view) > before)
    assert rta.accounting(part).consumed < len(oracle.read_topic(name))
    with reader(view), rta.kappa(name, rta.transforms.totals, table=view, **HOW) as wired:
        found = wired.accounting()
    late = late_places(name, part, delay=timedelta(minutes=10), window=timedelta(minutes=5))
    places = ", ".join(map(str, late))
    assert len(late) >= 9
    good = f'SELECT * FROM events WHERE (partition, "offset") NOT IN ({places})'
    assert oracle.differences(true_totals(name, good), view) == []
    oracle.check_accounted(part, name, late=len(late), duplicate=0)
    assert found.quarantined == rta.dlq.read_dead_letters(name).count() > 0
    rta.architectures.drop(view)
    assert not [each for each in rta.kafka.list_topics() if each.name.startswith(part)]


def test_lambda_counts_each_event_once(narrow: SparkSession, topic: Callable[..., str]) -> None:
    """Copies of archived events, of events in the same interval, and bad ones: the view is the oracle's after a swap, too."""
    name = topic(partitions=1)
    publish(narrow, name, 0, 40, duplicates=0.2)
    with rta.lambda_(name, once, table="lambda_now", **HOW) as wired, reader("lambda_now"):
        publish(narrow, name, 0, 60, duplicates=0.2)
        truth = true_totals(name, DISTINCT)
        until(lambda: oracle.differences(truth, "lambda_now") == [])
        wired.catch_up()
        require_exact(wired, name)
        assert (
            rta.accounting("lambda_now_speed_1").quarantined
            == rta.dlq.read_dead_letters(name).count()
            > 0
        )
        wired.recompute()
        require_exact(wired, name)
        assert wired.read().equals(rta.read("lambda_now"))


@pytest.mark.soak
@pytest.mark.parametrize("database_url", ["sqlite", "postgresql"], indirect=True)
def test_f10_kappa_is_switched_in_real_time(
    narrow: SparkSession, topic: Callable[..., str], database_url: str, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """A replay, a switch, a way back: no count goes back, and each version is the oracle's."""
    monkeypatch.setenv("RTA_DATABASE_URL", database_url)
    monkeypatch.setattr(materializer, "SPARE", 0)  # two queries take all four slots
    name, view = topic(partitions=1), f"switched_{database_url[:6]}"
    publish(narrow, name, 0, 40)
    with rta.kappa(name, rta.transforms.totals, table=view, **HOW) as wired, reader(view):
        publish(narrow, name, 40, 40)
        replay = wired.replay(rta.transforms.totals)
        assert str(replay.wait()).startswith(str(len(oracle.read_topic(name))))
        publish(narrow, name, 80, 40)
        wired.switch()
        require_exact(wired, name)
        publish(narrow, name, 120, 40)
        truth = true_totals(name)
        until(lambda: oracle.differences(truth, f"{view}_v1") == [])
        until(lambda: oracle.differences(truth, f"{view}_v2") == [])
        wired.roll_back()
        wired.catch_up()
        require_exact(wired, name)
        wired.retire(2)
        assert rta.compare(wired, wired).rows["freshness_p50_s"].isna().all()


@pytest.mark.soak
def test_f10_a_driver_is_killed_in_the_middle_of_intervals(
    narrow: SparkSession, topic: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Four times, with results in the table that no interval accounts for yet; some events late or doubled."""
    seed = int(os.environ.get("SEED", random.SystemRandom().randrange(10**6)))
    with capsys.disabled():
        print("seed", seed)
    name, dice, driver = topic(partitions=1), random.Random(seed), None  # noqa: S311 - dice
    how = {"duplicates": 0.2, "lateness": "30 minutes", "late_share": 0.3, "duplicate_delay": "20 minutes"}  # fmt: skip
    publish(narrow, name, 0, 50, **how)
    with rta.kappa(name, once, table="f10_killed", **HOW):
        pass
    with reader("f10_killed"):
        for turn in range(1, 5):
            driver = child("kappa_in_real_time", name, "f10_killed")
            assert driver.stdout is not None
            assert driver.stdout.readline() == "wired\n", driver.communicate()
            for part in range(dice.randint(1, 3)):
                publish(narrow, name, 1000 * turn + 50 * part, 50, **how)
                before = shown("f10_killed")
                until(lambda before=before: shown("f10_killed") > before, driver)  # type: ignore[misc]
                time.sleep(dice.random() * 7)
            killed(driver)
        with rta.kappa(name, once, table="f10_killed", **HOW) as wired:
            found = wired.accounting()
    late = late_places(name, "f10_killed_v1", delay=timedelta(minutes=10), window=None)
    places = ", ".join(map(str, late))
    good = f'SELECT DISTINCT ON (event_id, timestamp) * FROM events WHERE (partition, "offset") NOT IN ({places})'
    assert oracle.differences(true_totals(name, good), "f10_killed") == []
    oracle.check_accounted("f10_killed_v1", name, late=len(late))
    assert found.quarantined == rta.dlq.read_dead_letters(name).count() > 0


@pytest.mark.soak
def test_f2_the_broker_is_killed_under_a_real_time_table(
    narrow: SparkSession, topic: Callable[..., str]
) -> None:
    """The query, the reader of its results and the accounting go on by themselves when it is back."""
    name = topic(partitions=1)
    publish(narrow, name, 0, 40)
    with rta.kappa(name, rta.transforms.totals, table="f2_now", **HOW) as wired, reader("f2_now"):
        running = broker.status()
        assert running is not None
        os.kill(running.pid, signal.SIGKILL)
        until(lambda: broker.status() is None)
        broker.up()
        publish(narrow, name, 40, 40)
        everything = len(oracle.read_topic(name))
        until(lambda: wired.accounting().consumed == everything)
        require_exact(wired, name)


@pytest.mark.parametrize("database_url", ["sqlite", "postgresql"], indirect=True)
def test_death_before_the_position_leaves_neither(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows and position come in one transaction; what comes twice, late or out of order changes nothing."""
    table = create("totals", TOTALS, KEY, on=engine)
    noted = changelog.note("totals", on=engine)
    values = [result("a", 2), result("a", 1), result("b", 1)]

    def dies(*_: Any, **__: Any) -> int:
        upsert(*_, **__)
        raise KeyboardInterrupt

    upsert = upserts.upsert
    with monkeypatch.context() as patch:
        patch.setattr(changelog, "upsert", dies)
        with pytest.raises(KeyboardInterrupt):
            changelog.take(engine, table, "event_count", values, 3)
    assert changelog.find("totals", on=engine) == noted
    assert rows(engine) == {}
    changelog.take(engine, table, "event_count", values, 3)
    changelog.take(engine, table, "event_count", values[1:], 3)
    changelog.take(
        engine, table, "event_count", [result("a", 1), result("b", 4), result("b", 3)], 6
    )
    assert rows(engine) == {"a": (2, Decimal("1.00")), "b": (4, Decimal("2.00"))}
    equals = [result("a", 3, "9.00"), result("a", 3)]  # the first is in the table
    changelog.take(engine, table, "event_count", equals, 6)
    assert rows(engine)["a"] == (3, Decimal("9.00"))
    found = changelog.find("totals", on=engine)
    assert found
    assert found.position == 6
    serving_tables.drop("totals", on=engine)
    assert changelog.find("totals", on=engine) is None


@pytest.mark.parametrize("database_url", ["sqlite", "postgresql"], indirect=True)
def test_a_result_that_is_gone_is_no_row(engine: Engine) -> None:
    """What is told last of a key holds: a row that was there, one of the same records, one that comes again, one never there."""
    table = create("totals", TOTALS, KEY, on=engine)
    changelog.note("totals", on=engine)
    start = 1_704_110_400_000_000  # 2024-01-01 12:00

    def gone(user: str, minutes: int = 5) -> changelog.Gone:
        told = {"rta_start": start, "rta_end": start + minutes * 60_000_000, "user_id": user}
        return changelog.Gone(json.dumps(told).encode())

    changelog.take(engine, table, None, [result("a", 2), result("b", 1)], 2)
    taken = changelog.take(
        engine, table, None,
        [gone("a"), gone("b"), result("b", 5), result("c", 1), gone("c"), gone("d"), gone("b", minutes=6)], 9,
    )  # fmt: skip
    assert rows(engine) == {"b": (5, Decimal("2.50"))}
    assert taken == 5  # keys, of which one is another window of b


def result(user: str, count: int, amount: str | None = None) -> bytes:
    """Write one result as Spark does; an event is worth 0.50 by default."""
    window = {"start": "2024-01-01T12:00:00.000000Z", "end": "2024-01-01T12:05:00.000000Z"}
    total = float(amount or count / 2)
    return json.dumps(
        {"window": window, "user_id": user, "total_amount": total, "event_count": count}
    ).encode()


def rows(engine: Engine) -> dict[str, tuple[int, Decimal]]:
    """Read what is in the table."""
    found = serving.read("totals", on=engine)
    columns = found["user_id"], found["event_count"], found["total_amount"]
    return {user: (int(n), amount) for user, n, amount in zip(*columns, strict=True)}


def test_a_result_comes_back_as_it_was(spark: SparkSession) -> None:
    """Each type that a table can hold, and null, through Spark's JSON."""
    frame = spark.sql(
        "SELECT struct(timestamp'2024-11-15 10:30:00.123456' AS start, date'1899-12-31' AS day) AS window, 'ä\"\\\\' AS value, "
        "9007199254740993L AS big, -1Y AS byte, 12345678901234567890.123456789012345678BD AS exact, 0.000000001BD AS tiny, "
        "0.1D AS double, CAST('NaN' AS DOUBLE) AS nan, CAST('-Infinity' AS FLOAT) AS infinite, true AS flag, X'00FF' AS bytes, "
        "CAST(NULL AS INT) AS nothing, CAST(NULL AS STRUCT<a: INT, b: INT>) AS neither"
    )
    [message] = materializer._messages(frame).collect()
    assert message.key is None
    decoded = changelog.decoder(frame.schema)(bytes(message.value))
    [row] = frame.collect()
    expected = [*row.window, *list(row)[1:-1], None, None]
    expected[0] = expected[0].astimezone(UTC)
    expected[expected.index(row.bytes)] = bytes(row.bytes)
    assert [repr(each) for each in decoded] == [repr(each) for each in expected]


def test_what_json_lacks_comes_back_typed(spark: SparkSession) -> None:
    """Times of day, moments without a zone, intervals and variants, alone and inside of others, through Spark's JSON into a table."""
    with setting(spark, "spark.sql.timeType.enabled", "true"):
        frame = spark.sql(
            "SELECT 1 AS id, CAST('09:00:00.000005' AS TIME) AS clock, timestamp_ntz'2024-11-15 10:30:00.000001' AS local, "
            "INTERVAL '-106751991 04:00:54.775808' DAY TO SECOND AS span, INTERVAL '-1-2' YEAR TO MONTH AS age, parse_json('{\"a\": [1.5]}') AS loose, "
            "array(INTERVAL '1' HOUR, NULL) AS spans, map(INTERVAL '5' MONTH, timestamp_ntz'2024-11-15 10:30:00') AS at, "
            "struct(array(parse_json('null'), parse_json('\"x\"')) AS all) AS deep"
        )
        [message] = materializer._messages(frame).collect()
        decoded = changelog.decoder(frame.schema)(bytes(message.value))
    table = create("what_json_lacks", frame.schema, ["id"])
    with database.writing(database.engine()) as connection:
        upserts.upsert(connection, table, [decoded])
    [row] = rta.read("what_json_lacks").to_dict("records")
    shortest = timedelta(microseconds=-(2**63))  # which NumPy does not have
    assert row == {
        "id": 1, "clock": dt.time(9, 0, 0, 5), "local": dt.datetime(2024, 11, 15, 10, 30, 0, 1), "span": shortest, "age": -14,  # noqa: DTZ001
        "loose": {"a": [Decimal("1.5")]}, "spans": [timedelta(hours=1), None], "at": {5: dt.datetime(2024, 11, 15, 10, 30)},  # noqa: DTZ001
        "deep_all": [None, "x"],
    }  # fmt: skip


def test_what_counts_all_events_of_a_key(spark: SparkSession) -> None:
    """COUNT(*), whatever its name, and a count of what is never null; no other."""
    events = spark.createDataFrame([], "user_id INT, amount INT, id INT NOT NULL")
    grouped = events.groupBy("user_id")
    assert counted(grouped.agg(F.sum("amount").alias("s"), F.count("*").alias("n"))) == "n"
    assert counted(grouped.agg(F.count("id").alias("n")).selectExpr("n AS many", "user_id")) == "many"  # fmt: skip
    for other in ("count(amount)", "count(DISTINCT id)", "count(*) FILTER (WHERE id > 1)", "sum(1)", "count(*) + 1"):  # fmt: skip
        assert counted(grouped.agg(F.expr(other).alias("n"))) is None, other
    assert counted(events) is None


def test_what_real_time_mode_cannot_keep_is_refused(
    narrow: SparkSession, topic: Callable[..., str]
) -> None:
    """No count, no slots, a table of micro-batches, a Python function: a sentence, and nothing is left in the way."""
    name = topic(partitions=1)
    rta.publish(rta.user_events(narrow, rows=10), name)

    def averages(events: DataFrame) -> DataFrame:
        return events.groupBy("user_id").agg(F.avg("amount").alias("mean"))

    def shouted(events: DataFrame) -> DataFrame:
        shout = F.udf(lambda text: text.upper())
        return events.groupBy(shout("action").alias("user_id")).agg(F.count("*").alias("n"))

    how = HOW | {"key": ["user_id"]}
    with pytest.raises(
        QueryError, match=r"no count of all rows among user_id, mean; fix: add F.count"
    ):
        rta.kappa(name, averages, table="refused", **how)
    with pytest.raises(QueryError, match=r"real-time mode cannot run this query.*micro-batches"):
        rta.kappa(name, shouted, table="refused", **how)
    with pytest.raises(QueryError, match=r"the topic has 4 partitions, the state 1, 1 for the"):
        rta.kappa(topic(partitions=4), rta.transforms.totals, table="refused", **HOW)
    assert "refused_v1" not in {each.name for each in serving_tables.tables()}
    rta.drain(name, rta.transforms.totals, table="refused_v1", key=KEY, event=rta.USER_EVENTS)
    with pytest.raises(QueryError, match="'refused_v1' is filled in micro-batches"):
        rta.kappa(name, rta.transforms.totals, table="refused", **HOW)


def test_the_engine_spark_realtime(narrow: SparkSession, topic: Callable[..., str]) -> None:
    """The same words as every engine: drained, followed, listed, started anew; what real-time mode has not is refused with a sentence."""
    name, totals = topic(partitions=1), rta.transforms.totals
    how: dict[str, Any] = {"table": "in_time", "key": KEY, "event": rta.USER_EVENTS, "engine": "spark-realtime"}  # fmt: skip

    def averages(events: DataFrame) -> DataFrame:
        return events.groupBy(F.window("timestamp", "5 minutes"), "user_id").agg(F.avg("amount").alias("mean"))  # fmt: skip

    refused: list[tuple[Any, dict[str, Any], type[Exception], str]] = [
        (name, {"mode": "append"}, InputError, "has no mode"),
        (name, {"trigger": {"processingTime": "1 second"}}, InputError, "a trigger of its own"),
        (name, {"key": []}, InputError, "needs a key"),
        ({"a": name, "b": name}, {}, InputError, "reads one topic"),
    ]
    for given, changed, kind, said in refused:
        with pytest.raises(kind, match=said):
            rta.follow(given, totals, **how | changed)
    with pytest.raises(QueryError, match="needs a count of all rows"):
        rta.drain(name, averages, **how)
    *_, plan = rta.explain(averages, rta.USER_EVENTS)
    assert (plan.engine, plan.why_not) == ("spark-realtime", "no count of all rows")
    *_, plan = rta.explain(
        lambda e: totals(e.withColumn("user_id", F.udf(lambda user: user, "int")("user_id"))),
        rta.USER_EVENTS,
    )
    assert plan.why_not == "a Python function"
    *_, plan = rta.explain(totals, rta.USER_EVENTS)
    assert (plan.runs, plan.traits.latency) == (True, "an event: milliseconds")
    assert "in_time" not in {each.name for each in serving_tables.tables()}
    rta.publish(rta.user_events(narrow, rows=50, late_share=0), name)
    assert rta.drain(name, totals, **how).accounting.used == 50
    query: Any = rta.follow(name, totals, trigger={"realTime": "5 seconds"}, **how)
    rta.publish(rta.user_events(narrow, rows=20, first_row=50, late_share=0), name)
    until(lambda: rta.read("in_time")["event_count"].sum() == 70)
    query.processAllAvailable()
    assert (rta.accounting("in_time").used, rta.accounting("in_time").balanced) == (70, True)
    assert oracle.differences(true_totals(name), "in_time") == []
    assert (query.name, query.isActive, query.exception()) == ("in_time", True, None)
    assert rta.queries()["in_time"].behind == 0
    assert rta.health(query).active
    again: Any = rta.follow(name, totals, **how)  # a cell that is run again
    assert (query.isActive, again.isActive) == (False, True)
    again.stop()
    assert again.awaitTermination()
    rta.publish(rta.user_events(narrow, rows=5, first_row=70, late_share=0), name)
    with pytest.raises(QueryError, match="was stopped before its end"):
        again.processAllAvailable()


def test_a_failure_beside_the_query_reaches_the_person(
    narrow: SparkSession, topic: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database refuses results: the query ends, accounting() and stop() say why; micro-batches go on, and bring what is missing."""
    name = topic(partitions=1)
    publish(narrow, name, 0, 20)
    wired = rta.kappa(name, rta.transforms.totals, table="thread", **HOW)

    def refused(*_: object) -> int:
        raise TableError("the serving database refused a statement")

    with monkeypatch.context() as patch:
        patch.setattr(changelog, "take", refused)
        publish(narrow, name, 20, 20)
        until(lambda: not wired.queries[0].isActive)
        with pytest.raises(TableError, match="refused a statement"):
            wired.accounting()
        with pytest.raises(TableError, match="refused a statement"):
            wired.stop()
    how = HOW | {"real_time": None}
    with pytest.raises(QueryError, match="one micro-batch must take everything"):
        rta.drain(name, rta.transforms.totals, table="thread_v1", key=KEY, event=rta.USER_EVENTS, max_events_per_batch=5)  # fmt: skip
    with rta.kappa(name, rta.transforms.totals, table="thread", **how) as wired:
        wired.catch_up()
        require_exact(wired, name)
