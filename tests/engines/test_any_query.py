"""Queries of several topics and of each kind that Spark has: the stream equals the batch, and each topic's events are accounted for."""

import sqlite3
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import polars as pl
import pyarrow.parquet as pq
import pytest
from confluent_kafka import Producer
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

import rta
from rta.engines import ParquetSink
from rta.errors import InputError, QueryError, TableError
from rta.settings import settings
from rta.store import database, serving_tables
from rta.store.stored_types import storable
from rta.store.upserts import upsert
from tests.support.truth import checkpoint_of
from tests.support.two_topics import (
    DELAY,
    GAP,
    NEVER,
    START,
    VIEWS,
    WITHIN,
    Many,
    Pair,
    Transform,
    Truth,
    closed_by_timers,
    counted_by_hand,
    counted_in_pandas,
    joined,
    marked,
    merged,
    minutes,
    pairs,
    publish,
    require_accounted,
    rows,
    sessions,
    truth,
    without_partner,
)

pytestmark = pytest.mark.kafka


@pytest.fixture(scope="module")
def pair(spark: SparkSession) -> Pair:
    """Give two topics with a partition each, so that the cut into micro-batches is what the ledger says."""
    found = Pair("any-query-views", "any-query-buys")
    for seed, (topic, kind) in enumerate(((found.views, "view"), (found.buys, "buy"))):
        rta.kafka.create_topic(topic, partitions=1)
        publish(topic, kind, minutes(seed, 24), seed)
        rta.publish(spark.createDataFrame([("{broken",)], ["value"]), topic)
    return found


def test_what_stands_still_may_be_joined(pair: Pair, spark: SparkSession, tmp_path: Path, topic: Callable[..., str]) -> None:  # fmt: skip
    """Parquet, CSV, a pandas frame, a serving table and the newest value of each key of a compacted topic: no state, no late event."""
    users = pd.DataFrame({"user_id": [1, 2, 3], "country": ["de", "fr", "it"]})
    spark.createDataFrame(users).write.parquet(f"{tmp_path}/parquet")
    users.to_csv(tmp_path / "users.csv", index=False)
    serving_tables.make(serving_tables.planned("any_users", spark.createDataFrame(users).schema, ["user_id"]))  # fmt: skip
    with database.writing(database.engine()) as connection:
        upsert(connection, serving_tables.table("any_users"), users.itertuples(index=False, name=None))  # fmt: skip
    compacted = topic(partitions=1)
    named = rta.EventType("any-users", "view_id STRING NOT NULL, user_id BIGINT NOT NULL, seen_at TIMESTAMP NOT NULL", event_time="seen_at", key="user_id")  # fmt: skip
    people = [{"view_id": f"{country}{n}", "user_id": user, "seen_at": START} for n in range(2) for user, country in users.itertuples(index=False)]  # fmt: skip
    assert rta.kafka.publish_paced(people, compacted, key="user_id").ok == len(people)
    producer = Producer({"bootstrap.servers": rta.kafka.bootstrap()})
    producer.produce(compacted, key=b"3", value=None)
    assert producer.flush(60) == 0
    newest = rta.dataframes.latest(compacted, event=named)
    assert sorted(row.view_id for row in newest.collect()) == ["de1", "fr1"]
    frames = {
        "parquet": spark.read.parquet(f"{tmp_path}/parquet"),
        "csv": spark.read.schema("user_id BIGINT, country STRING").option("header", "true").csv(f"{tmp_path}/users.csv"),
        "pandas": spark.createDataFrame(users), "table": spark.createDataFrame(rta.read("any_users")),
        "topic": newest.select("user_id", F.col("view_id").alias("country")),
    }  # fmt: skip

    def looked_up(views: DataFrame) -> DataFrame:
        found = views.select("user_id", "offset")
        for name, frame in frames.items():
            found = found.join(frame.withColumnRenamed("country", name), "user_id", "left")
        return found.select("offset", *frames)

    drained = rta.drain(pair.views, looked_up, table="any_still", **pair.one)
    events = pair.events[pair.views]
    assert (drained.accounting.used, drained.accounting.late) == (len(events), 0)
    last = {1: "de1", 2: "fr1", 3: None}
    of = dict(zip(users["user_id"], users["country"], strict=True))
    assert rows("any_still", "offset", *frames) == [(e.offset, *[of[e.user]] * 4, last[e.user]) for e in events]  # fmt: skip


def test_a_replay_joins_with_the_version_of_a_table_that_was_noted(pair: Pair, spark: SparkSession) -> None:  # fmt: skip
    """What a table was is kept: a replay with its version gives the same; the query does not go on with another version unasked."""
    columns = spark.createDataFrame([], "user_id BIGINT, country STRING").schema
    serving_tables.make(serving_tables.planned("any_countries", columns, ["user_id"]))
    countries = serving_tables.table("any_countries")

    def written(*rows: tuple[int, str]) -> None:
        with database.writing(database.engine()) as connection:
            upsert(connection, countries, rows)

    def counted(version: str | None = None) -> Transform:
        users = rta.store.snapshot("any_countries", version).frame()
        return lambda views: views.join(users, "user_id").groupBy("country").agg(F.count("*").alias("n"))  # fmt: skip

    written((1, "de"), (2, "fr"))
    before = rta.store.snapshot("any_countries")
    how: dict[str, Any] = {"key": ["country"], **pair.one}
    rta.drain(pair.views, counted(), table="any_noted", **how)
    written((2, "de"), (3, "it"))
    assert rta.store.snapshot("any_countries").version != before.version
    assert [each.rows for each in rta.store.snapshots("any_countries")] == [3, 2]
    with pytest.raises(QueryError, match=before.version):
        rta.drain(pair.views, counted(), table="any_noted", **how)
    assert rta.drain(pair.views, counted(before.version), table="any_noted", **how).rows == 0
    rta.drain(pair.views, counted(before.version), table="any_replayed", **how)
    assert rows("any_replayed", "country", "n") == rows("any_noted", "country", "n")
    with pytest.raises(TableError, match="no such version"):
        counted("0" * 12)


@pytest.mark.parametrize("how", ["inner", "left", "full"])
def test_a_join_of_two_topics_is_exact(pair: Pair, how: str) -> None:
    """Each pair once; an outer join's unmatched rows once the watermark has passed their last partner, and not before."""
    table = f"any_{how}"
    drained = rta.drain(pair.topics, joined(how), table=table, key=["view", "buy"])
    found = truth(table, pair.events)
    assert all(found.late.values()), "the events of the test are late on both sides"
    require_accounted(table, found)
    assert {*drained.by_topic} == {pair.views, pair.buys}
    expected = pairs(found, pair)
    buys = {buy for _, buy, _ in expected}
    if how != "inner":
        expected |= without_partner(found, pair)
    if how == "full":
        expected |= {
            (-1, each.offset, each.user) for each in found.kept[pair.buys]
            if each.offset not in buys and each.at <= found.closed
        }  # fmt: skip
    assert rows(table, "view", "buy", "user_id") == sorted(expected)
    assert how == "inner" or any(-1 in row for row in expected)
    # A death between the sink and Spark's commit: the last micro-batch comes again, and is not written again.
    told, commits = rta.accounting(table), checkpoint_of(table) / "commits"
    newest = max(int(file.name) for file in commits.iterdir() if file.name.isdecimal())
    (commits / str(newest)).unlink()
    rta.drain(pair.topics, joined(how), table=table, key=["view", "buy"])
    assert (rta.accounting(table), len(rows(table))) == (told, len(expected))


def test_sessions_are_in_the_table_once_they_are_final(pair: Pair) -> None:
    """Late is by the end of an event's own session; what the last watermark has not passed is not there yet."""
    rta.drain(pair.views, sessions, table="any_sessions", key=["session", "user_id"], **pair.one)
    found = truth("any_sessions", {pair.views: pair.events[pair.views]}, lambda at: at + GAP)
    assert found.late[pair.views]
    require_accounted("any_sessions", found)
    whole = merged(found.kept[pair.views])
    final = [(user, start, end, many) for user, start, end, many in whole if end <= found.closed]
    assert 0 < len(final) < len(whole)
    assert rows("any_sessions", "user_id", "session_start", "session_end", "events") == final


def test_copies_are_dropped_within_the_watermark(pair: Pair) -> None:
    """A copy that comes in time is a duplicate; one that comes after the watermark has passed it is late. An aggregate follows."""

    def counted(views: DataFrame) -> DataFrame:
        once = marked(views).dropDuplicatesWithinWatermark(["view_id"])
        return once.groupBy(F.window("seen_at", "1 hour"), "user_id").agg(F.count("*").alias("events"))  # fmt: skip

    rta.drain(pair.views, counted, table="any_within", key=["window", "user_id"], **pair.one)
    found = truth("any_within", {pair.views: pair.events[pair.views]})
    kept = {event.name: event for event in found.kept[pair.views]}
    copies = len(found.kept[pair.views]) - len(kept)
    assert copies
    require_accounted("any_within", found, **{pair.views: copies})
    assert sum(row[0] for row in rows("any_within", "events")) == len(kept)


def test_an_aggregate_of_an_aggregate_is_final_when_it_is_written(pair: Pair) -> None:
    """Counts of ten minutes, and of these the largest of an hour: only hours that the watermark has closed."""

    def busiest(views: DataFrame) -> DataFrame:
        tens = marked(views).groupBy(F.window("seen_at", "10 minutes")).agg(F.count("*").alias("n"))
        return tens.groupBy(F.window(F.window_time("window"), "1 hour").alias("hour")).agg(F.max("n").alias("most"))  # fmt: skip

    def ten(at: datetime) -> datetime:
        return at.replace(minute=at.minute // 10 * 10, second=0, microsecond=0) + DELAY

    rta.drain(pair.views, busiest, table="any_busiest", key=["hour"], **pair.one)
    found = truth("any_busiest", {pair.views: pair.events[pair.views]}, ten)
    require_accounted("any_busiest", found)
    tens = Counter(ten(event.at) for event in found.kept[pair.views])
    hours: dict[datetime, int] = {}
    for end, many in tens.items():
        hour = (end - timedelta(microseconds=1)).replace(minute=0, second=0, microsecond=0)
        hours[hour] = max(hours.get(hour, 0), many)
    closed = {
        hour: many for hour, many in hours.items() if hour + timedelta(hours=1) <= found.closed
    }
    assert closed
    assert rows("any_busiest", "hour_start", "most") == sorted(closed.items())


def test_rows_of_an_event_and_events_without_a_row(pair: Pair) -> None:
    """A projection, a filter and explode need no state: every good event is used, however many rows it makes."""

    def exploded(views: DataFrame) -> DataFrame:
        both = F.explode(F.array(F.lit("a"), F.lit("b"))).alias("item")
        return views.where("user_id > 1").select("offset", both, "view_id")

    drained = rta.drain(
        pair.views, exploded, table="any_items", **pair.one
    )  # no key: rows are added
    events = pair.events[pair.views]
    assert (drained.accounting.used, drained.accounting.quarantined) == (len(events), 1)
    made = [(each.offset, item, each.name) for each in events if each.user > 1 for item in "ab"]
    assert rows("any_items", "offset", "item", "view_id") == made


def test_how_long_a_user_was_there_is_an_interval(pair: Pair) -> None:
    """The difference of two moments has a place in a table, alone and in a list; plain SQL reads microseconds."""

    def stays(views: DataFrame) -> DataFrame:
        long = (F.max("seen_at") - F.min("seen_at")).alias("long")
        into = F.sort_array(F.collect_set(F.col("seen_at") - F.date_trunc("hour", "seen_at")))
        return views.withWatermark("seen_at", "2 days").groupBy("user_id").agg(long, into.alias("into"))  # fmt: skip

    rta.drain(pair.views, stays, table="any_stays", key=["user_id"], **pair.one)
    times: dict[int, list[datetime]] = {}
    for event in pair.events[pair.views]:
        times.setdefault(event.user, []).append(event.at)
    expected = {user: max(at) - min(at) for user, at in times.items()}
    found = rta.read("any_stays")
    assert str(found["long"].dtype) == "timedelta64[us]"
    assert dict(zip(found["user_id"], found["long"], strict=True)) == expected
    into = {user: sorted({at - at.replace(minute=0, second=0, microsecond=0) for at in given}) for user, given in times.items()}  # fmt: skip
    assert dict(zip(found["user_id"], found["into"], strict=True)) == into
    with sqlite3.connect(f"file:{settings().home}/rta.db?mode=ro", uri=True) as plain:
        told = dict(plain.execute("SELECT user_id, long FROM any_stays"))
    plain.close()
    assert told == {user: span // timedelta(microseconds=1) for user, span in expected.items()}


def test_what_arrow_lacks_has_a_place(pair: Pair, tmp_path: Path) -> None:
    """A variant is its JSON, a year-month interval its months: typed for pandas, Polars, DuckDB, plain SQL and the sinks, and the batch's."""

    def loose(views: DataFrame) -> DataFrame:
        whole = F.parse_json(F.to_json(F.struct("view_id", "user_id")))
        age = F.make_ym_interval(F.lit(-1), F.col("user_id").cast("int"))
        return views.select("offset", whole.alias("whole"), F.array(whole, F.lit(None)).alias("all"), age.alias("age"))  # fmt: skip

    rta.drain(pair.views, loose, table="any_loose", key=["offset"], also=[ParquetSink(tmp_path)], **pair.one)  # fmt: skip
    events = pair.events[pair.views]
    whole = [{"user_id": each.user, "view_id": each.name} for each in events]
    found = rta.read("any_loose")
    assert found["whole"].tolist() == whole
    assert found["all"].tolist() == [[each, None] for each in whole]
    assert str(found["age"].dtype) == "Int32"
    assert found["age"].tolist() == [each.user - 12 for each in events]
    assert rta.read("any_loose", where={"age": -11})["offset"].tolist() == [each.offset for each in events if each.user == 1]  # fmt: skip
    typed = rta.store.read_arrow("any_loose")
    batch = storable(loose(rta.read_batch(pair.views, event=VIEWS))).toArrow().sort_by("offset")
    assert typed.to_pylist() == batch.to_pylist() == pq.read_table(tmp_path).sort_by("offset").to_pylist()  # fmt: skip
    asked = duckdb.sql("SELECT sum(age), max(whole ->> '$.view_id') FROM typed")
    assert asked is not None
    told = pl.DataFrame(typed).select(pl.col("age").sum(), pl.col("whole").str.json_path_match("$.view_id").max()).rows()  # fmt: skip
    with sqlite3.connect(f"file:{settings().home}/rta.db?mode=ro", uri=True) as opened:
        plain = opened.execute("SELECT sum(age), max(whole ->> 'view_id') FROM any_loose").fetchall()  # fmt: skip
    opened.close()
    summed = [(sum(each.user - 12 for each in events), max(each.name for each in events))]
    assert asked.fetchall() == told == plain == summed

    def oldest(views: DataFrame) -> DataFrame:
        return loose(views).groupBy("age").agg(F.count("*").alias("events"))

    rta.drain(pair.views, oldest, table="any_ages", key=["age"], **pair.one)  # months may be a key
    assert rows("any_ages", "age", "events") == sorted(Counter(each.user - 12 for each in events).items())  # fmt: skip


@pytest.mark.parametrize("counted", [counted_by_hand, counted_in_pandas])
def test_a_stateful_processor_is_accounted_for(pair: Pair, counted: Transform) -> None:
    """A processor in Python, in rows or in pandas: an event is late by its time, and the stream's last row of a key is that of the batch."""
    how: dict[str, Any] = {"table": f"any_{counted.__name__}", "key": ["user_id"], **pair.one}
    rta.drain(pair.views, counted, **how)
    found = truth(how["table"], {pair.views: pair.events[pair.views]})
    assert found.late[pair.views]
    require_accounted(how["table"], found)
    kept = Counter(event.user for event in found.kept[pair.views])
    assert rows(how["table"], "user_id", "events") == sorted(kept.items())
    whole = rta.read_batch(pair.views, event=VIEWS)
    batch = whole.where(~whole["offset"].isin([*found.late[pair.views]])).transform(counted)
    assert sorted(map(tuple, batch.collect())) == sorted(kept.items())
    again = rta.drain(pair.views, counted, **how)
    assert again.accounting.consumed == 0  # its fingerprint is the same at the next start


def test_a_timer_fires_once_the_watermark_is_there(topic: Callable[..., str]) -> None:
    """Event time: not a millisecond before the watermark is there, then it does, once; a batch has no watermark, and Spark fires none there."""
    name = topic(partitions=1)
    seen = []
    for at in ([1], [20 - 1 / 60_000], [20], [25]):  # the watermark is ten minutes behind
        publish(name, "view", at, 1)
        rta.drain(name, closed_by_timers, table="any_timer", key=["user_id", "closed"], event=VIEWS)
        seen.append([row[0] for row in rows("any_timer", "events")])
    assert seen == [[], [], [2], [2]]  # the event and its copy
    told = rta.accounting("any_timer")
    assert (told.used, told.late, told.balanced) == (8, 0, True)
    assert closed_by_timers(rta.read_batch(name, event=VIEWS)).collect() == []


def test_the_state_of_a_processor_may_expire(topic: Callable[..., str]) -> None:
    """Time to live: what a processor has kept for a millisecond is gone in the next drain, what it keeps for a day is not; and a drain ends."""

    def counted(views: DataFrame) -> DataFrame:
        kept = Many(lately=1, ever=86_400_000)
        return views.groupBy("user_id").transformWithState(kept, "user_id LONG, lately LONG, ever LONG", "Update", "ProcessingTime")  # fmt: skip

    name = topic(partitions=1)
    for _ in range(2):
        publish(name, "view", [0])  # and its copy
        rta.drain(name, counted, table="any_expires", key=["user_id"], event=VIEWS)
    assert [row[1:] for row in rows("any_expires", "user_id", "lately", "ever")] == [(2, 4)]
    told = rta.accounting("any_expires")
    assert (told.used, told.late, told.balanced) == (4, 0, True)


def test_batch_and_kappa_take_several_topics(pair: Pair) -> None:
    """The batch over the archives of both has every pair; Kappa has those of the events that were not late, after a replay, too."""
    how: dict[str, Any] = {"key": ["view", "buy"]}
    everything = Truth(pair.events, {}, NEVER)
    with rta.batch(pair.topics, joined("inner"), table="any_batch", **how) as batch:
        told = batch.recompute()
    assert (told.batches, told.quarantined, told.late, told.balanced) == (1, 2, 0, True)
    assert rows("any_batch", "view", "buy", "user_id") == sorted(pairs(everything, pair))
    with rta.kappa(pair.topics, joined("inner"), table="any_kappa", **how) as kappa:
        kappa.catch_up()
        lag = rta.health(kappa.queries[0]).lag
        assert {topic: sum(behind.values()) for topic, behind in lag.items()} == {pair.views: 0, pair.buys: 0}  # fmt: skip
        found = truth("any_kappa_v1", pair.events)
        assert rows("any_kappa", "view", "buy", "user_id") == sorted(pairs(found, pair))
        replay = kappa.replay(joined("left"))
        assert replay.wait().behind == 0
        assert kappa.switch().served == 2


def test_lambda_takes_several_topics_that_a_union_puts_together(pair: Pair) -> None:
    """Each topic has its cut-off: events of both count once, in the batch view or in the speed view, after a stop and a recompute, too."""

    def done(views: DataFrame, buys: DataFrame) -> DataFrame:
        bought = buys.withWatermark("bought_at", "2 days").select("user_id", F.col("bought_at").alias("at"))  # fmt: skip
        seen = views.withWatermark("seen_at", "2 days").select("user_id", F.col("seen_at").alias("at"))  # fmt: skip
        return seen.unionByName(bought).groupBy("user_id").agg(F.count("*").alias("events"), F.max("at").alias("last"))  # fmt: skip

    def require_all(wired: rta.architectures.Lambda) -> None:
        kept = [each for of in pair.events.values() for each in of]
        last = {each.user: max(e.at for e in kept if e.user == each.user) for each in kept}
        counts = Counter(each.user for each in kept)
        assert rows("any_both", "user_id", "events", "last") == [(user, counts[user], last[user]) for user in sorted(counts)]  # fmt: skip
        told = wired.accounting()
        assert (told.used, told.late, told.quarantined, told.balanced) == (len(kept), 0, 2, True)

    how: dict[str, Any] = {"table": "any_both", "key": ["user_id"]}
    with rta.lambda_(pair.topics, done, **how) as wired:
        require_all(wired)
        publish(pair.views, "view", [200, 201, 5], seed=1)
        wired.catch_up()
        require_all(wired)
    publish(pair.buys, "buy", [202, 7], seed=2)
    with rta.lambda_(pair.topics, done, **how) as wired:  # the speed view goes on where it was
        wired.catch_up()
        require_all(wired)
        publish(pair.views, "view", [203], seed=3)
        wired.recompute()
        require_all(wired)
        view = wired.view
        assert view is not None
        ends = {topic: {0: events[-1].offset + 1} for topic, events in pair.events.items()}
        assert view.versions[view.served].cut_off == ends


def test_lambda_refuses_what_cannot_be_merged_of_several_topics(pair: Pair) -> None:
    """Partners of a join, and copies, may be in two parts; nothing is made."""

    def counted(views: DataFrame, buys: DataFrame) -> DataFrame:
        return joined("inner")(views, buys).groupBy("user_id").agg(F.count("*").alias("pairs"))

    def once(views: DataFrame, buys: DataFrame) -> DataFrame:
        users = views.select("user_id").union(buys.select("user_id")).dropDuplicates()
        return users.groupBy("user_id").agg(F.count("*").alias("events"))

    refusals = {joined("inner"): "no aggregate", counted: "Join of several topics", once: "Deduplicate of several topics"}  # fmt: skip
    for transform, found in refusals.items():
        with pytest.raises(InputError, match=f"cannot be merged; found: {found}"):
            rta.lambda_(pair.topics, transform, table="any_lambda", key=["user_id"])
    with pytest.raises(InputError, match="real-time mode reads one topic"):
        rta.lambda_(pair.topics, counted, table="any_lambda", key=["user_id"], real_time="5 minutes")  # fmt: skip
    assert not [each.name for each in rta.store.tables() if "any_lambda" in each.name]


def test_what_cannot_run_is_said_before_anything_is_made(pair: Pair) -> None:
    """Each with the sentence that says what to write instead; no table, no checkpoint."""

    def itself(views: DataFrame) -> DataFrame:
        return marked(views).join(marked(views).select(F.col("user_id").alias("other")), F.expr("user_id = other"))  # fmt: skip

    def endless(views: DataFrame, buys: DataFrame) -> DataFrame:
        return views.join(buys.select("user_id", "buy_id"), "user_id", "left")

    def sessions(views: DataFrame) -> DataFrame:
        return marked(views).groupBy(F.session_window("seen_at", "9 minutes"), "user_id").count()

    def sessions_of_all(views: DataFrame) -> DataFrame:
        return marked(views).groupBy(F.session_window("seen_at", "9 minutes")).count()

    def per_user(views: DataFrame) -> DataFrame:
        return marked(views).groupBy("user_id").count()

    def older_state(views: DataFrame) -> DataFrame:
        def counted(key: Any, frames: Any, state: Any) -> Any:
            yield pd.DataFrame({"user_id": [key[0]]})

        users = marked(views).groupBy("user_id")
        return users.applyInPandasWithState(counted, "user_id LONG", "n LONG", "update", "NoTimeout")  # fmt: skip

    def distinct(views: DataFrame) -> DataFrame:
        return views.sparkSession.sql("SELECT DISTINCT user_id FROM {views}", views=views)

    how: dict[str, Any] = {"table": "any_refused", "key": ["user_id"]}
    one = {"event": VIEWS}
    for topics, transform, given, said in (
        (pair.views, itself, one, "2 branches of any-query-views .*second topic"),
        (pair.topics, endless, {}, r"cannot start.*withWatermark.* on both topics, and a range of time"),
        (pair.topics, lambda views, purchases: views.join(purchases, "user_id"), {}, "parameters of the transform are not the names"),
        (pair.topics, lambda views, **_: views, {}, "unused: any-query-buys"),
        (pair.topics, joined("inner"), one, "event is for one topic"),
        ({"views": pair.views, "buys": pair.views}, joined("inner"), {}, "any-query-views"),
        (pair.views, sessions, {**one, "mode": "update"}, "mode 'update'.*use 'append' or 'complete'"),
        (pair.views, sessions_of_all, one, "session windows over all events.*group by a key as well"),
        (pair.views, older_state, one, "FlatMapGroupsInPandasWithState.*write transformWithState or transformWithStateInPandas"),
        (pair.views, lambda views: views.limit(3), one, "GlobalLimit.*limit where it is read"),
        (pair.views, distinct, one, r"Distinct.*write dropDuplicates\(\)"),
        (pair.views, per_user, {**one, "mode": "final"}, "not an output mode"),
        (pair.views, per_user, {**one, "key": ()}, "no key, and rows of this result change"),
    ):  # fmt: skip
        with pytest.raises((InputError, QueryError), match=said):
            rta.drain(topics, transform, **{**how, **given})
    assert not checkpoint_of("any_refused").exists()
    assert "any_refused" not in [each.name for each in rta.store.tables()]


def test_each_topic_has_its_own_dead_letters(topic: Callable[..., str]) -> None:
    """What is bad on each of two topics lies in the queue of that topic, whole, with its own reason; a micro-batch that comes again adds none."""
    both = Pair(topic(partitions=1), topic(partitions=1))
    bad: dict[str, list[tuple[bytes | None, bytes | None, str]]] = {
        both.views: [(b"a", b"{broken", "broken JSON"), (None, b'{"view_id": "v"}', "missing: user_id")],
        both.buys: [
            (b"a", b"{broken", "broken JSON"), (b"b", None, "null value"),
            (None, b'{"buy_id": "b", "user_id": 1, "price": 0.001, "bought_at": "2024-11-15T10:00:00Z"}', "inexact: price"),
        ],
    }  # fmt: skip
    producer = Producer({"bootstrap.servers": rta.kafka.bootstrap()})
    for name, kind in ((both.views, "view"), (both.buys, "buy")):
        publish(name, kind, [0, 1, 2])
        for key, value, _ in bad[name]:
            producer.produce(name, value, key)
        assert producer.flush(60) == 0
    how: dict[str, Any] = {"table": "any_letters", "key": ["view", "buy"]}
    rta.drain(both.topics, joined("inner"), **how)
    commits = checkpoint_of("any_letters") / "commits"
    for _ in range(2):
        for name, expected in bad.items():
            found = rta.dlq.dead_letters(name)
            assert [(each.topic, each.offset, each.key, each.value, each.reason) for each in found] == [
                (name, 4 + n, *each) for n, each in enumerate(expected)
            ]  # fmt: skip
            assert rta.accounting("any_letters", topic=name).quarantined == len(expected)
        newest = max(int(file.name) for file in commits.iterdir() if file.name.isdecimal())
        (commits / str(newest)).unlink()  # so that the last micro-batch comes again
        rta.drain(both.topics, joined("inner"), **how)


def test_a_live_query_of_two_topics_goes_on_after_a_stop(topic: Callable[..., str]) -> None:
    """follow() of both topics as they grow, stopped and started again: each pair once, each view without a purchase once none can come."""
    both = Pair(topic(partitions=1), topic(partitions=1))
    waiting = iter([minutes(seed, 48)[cut : cut + 12] for cut in range(0, 48, 12) for seed in (3, 4)])  # fmt: skip

    def grown() -> None:
        for name, kind in ((both.views, "view"), (both.buys, "buy")):
            publish(name, kind, next(waiting), 5)

    how: dict[str, Any] = {"table": "any_live", "key": ["view", "buy"]}
    for start in range(2):
        query = rta.follow(both.topics, joined("left"), **how)
        try:
            for _ in range(2 - start):
                grown()
                query.processAllAvailable()
        finally:
            query.stop()
        grown() if start == 0 else None  # while no query is there
    assert next(waiting, None) is None
    found = truth("any_live", both.events, starts=True)
    assert found.late[both.views]
    require_accounted("any_live", found, bad=0)
    alone = without_partner(found, both)
    assert alone
    assert rows("any_live", "view", "buy", "user_id") == sorted(pairs(found, both) | alone)


def test_a_whole_result_replaces_the_table(pair: Pair) -> None:
    """In complete mode a row that the result no longer has is no longer in the table."""

    def few(views: DataFrame) -> DataFrame:
        counted = views.groupBy("user_id").agg(F.count("*").alias("events"))
        return counted.where("events < 8").orderBy("events")

    rta.drain(pair.views, few, table="any_few", key=["user_id"], mode="complete", **pair.one)
    counts = Counter(event.user for event in pair.events[pair.views])
    few_rows = [(user, many) for user, many in sorted(counts.items()) if many < 8]
    assert len(few_rows) < len(counts)
    assert rows("any_few", "user_id", "events") == few_rows


def test_a_result_that_may_lose_a_row_is_refused_in_update_mode(pair: Pair) -> None:
    """Spark does not say there which row is gone: the sentence has the condition, and what to write instead; nothing is made."""

    def per_user(views: DataFrame) -> DataFrame:
        return views.groupBy("user_id").count()

    def few(views: DataFrame) -> DataFrame:
        return per_user(views).where("count < 8")

    def having(views: DataFrame) -> DataFrame:
        return views.sparkSession.sql("SELECT user_id FROM {views} GROUP BY user_id HAVING max(view_id) < 'v2'", views=views)  # fmt: skip

    def each_of_many(views: DataFrame) -> DataFrame:
        many = F.explode(F.sequence(F.lit(1), F.col("count"))).alias("number")
        return per_user(views).select("user_id", many)

    for transform, key, said in (
        (few, ["user_id"], r"\(count < .*above the aggregate; fix: give mode=.complete"),
        (having, ["user_id"], r"max\(.*view_id"),
        (each_of_many, ["user_id", "number"], r"explode\(.*above the aggregate"),
        (per_user, ["user_id", "count"], "column 'count' of its key"),
    ):
        with pytest.raises(InputError, match=f"would stay in table 'any_lost'; found: .*{said}"):
            rta.drain(pair.views, transform, table="any_lost", key=key, **pair.one)
    assert not checkpoint_of("any_lost").exists()
    assert "any_lost" not in [each.name for each in rta.store.tables()]


def test_a_condition_that_lets_no_row_go_is_taken(pair: Pair) -> None:
    """One on the key, unasked; one on a count that only grows, if a person says so: both are the batch's."""

    def many(views: DataFrame) -> DataFrame:
        return views.groupBy((F.col("user_id") * 2).alias("twice")).agg(F.count("*").alias("events"))  # fmt: skip

    def of_some(views: DataFrame) -> DataFrame:
        each = F.explode(F.array(F.col("twice"), F.col("twice") + 1)).alias("each")
        return many(views).where("twice > 2").select(each, "events").where("each < 6")

    def enough(views: DataFrame) -> DataFrame:
        return many(views).where("events >= 8")

    for table, transform, key, mode in (
        ("any_of_some", of_some, "each", None),
        ("any_enough", enough, "twice", "update"),
    ):
        rta.drain(pair.views, transform, table=table, key=[key], mode=mode, **pair.one)
        batch = transform(rta.read_batch(pair.views, event=VIEWS))
        expected = sorted(tuple(row) for row in batch.select(key, "events").collect())
        assert rows(table, key, "events") == expected != []


def test_a_join_may_be_followed_by_an_aggregate(pair: Pair) -> None:
    """A pair is older than the watermark of its topics by as much as it may wait, and counts all the same (SPARK-42376)."""

    def counted(views: DataFrame, buys: DataFrame) -> DataFrame:
        bought = buys.withWatermark("bought_at", "10 minutes").alias("b")
        both = marked(views).alias("v").join(bought, F.expr(WITHIN)).select("seen_at")
        return both.groupBy(F.window("seen_at", "1 hour").alias("hour")).agg(F.count("*").alias("pairs"))  # fmt: skip

    rta.drain(pair.topics, counted, table="any_then", key=["hour"])
    found = truth("any_then", pair.events)
    require_accounted("any_then", found)
    at = {view.offset: view.at for view in found.kept[pair.views]}
    hours = Counter(at[view].replace(minute=0, second=0, microsecond=0) for view, *_ in pairs(found, pair))  # fmt: skip
    assert rows("any_then", "hour_start", "pairs") == sorted(hours.items())


def test_aggregates_of_two_topics_may_be_joined(pair: Pair) -> None:
    """Counts of each topic by the hour, side by side once the hour is closed (SPARK-45637: such a join put out nothing)."""
    hour = timedelta(hours=1)

    def full(at: datetime) -> datetime:
        return at.replace(minute=0, second=0, microsecond=0) + hour

    def side_by_side(views: DataFrame, buys: DataFrame) -> DataFrame:
        seen = marked(views).groupBy(F.window("seen_at", "1 hour").alias("hour")).agg(F.count("*").alias("seen"))  # fmt: skip
        bought = buys.withWatermark("bought_at", "10 minutes")
        counts = bought.groupBy(F.window("bought_at", "1 hour").alias("hour")).agg(F.count("*").alias("bought"))  # fmt: skip
        return seen.join(counts, "hour")

    rta.drain(pair.topics, side_by_side, table="any_sides", key=["hour"])
    found = truth("any_sides", pair.events, full)
    require_accounted("any_sides", found)
    seen, bought = (Counter(full(e.at) for e in found.kept[t]) for t in (pair.views, pair.buys))
    expected = [(end - hour, seen[end], bought[end]) for end in sorted({*seen} & {*bought}) if end <= found.closed]  # fmt: skip
    assert expected
    assert rows("any_sides", "hour_start", "seen", "bought") == expected


def test_a_topic_that_is_silent_holds_the_watermark(topic: Callable[..., str]) -> None:
    """One watermark for all: nothing is late and nothing final until each topic has spoken since the start (SPARK-24730); then it is."""
    both = Pair(topic(partitions=1), topic(partitions=1))
    publish(both.views, "view", [0, 60, 120])
    how: dict[str, Any] = {"table": "any_silent", "key": ["view", "buy"]}
    drained = rta.drain(both.topics, joined("left"), **how)
    assert (drained.rows, drained.accounting.used, drained.accounting.late) == (0, 4, 0)
    publish(both.buys, "buy", [500])
    assert (
        rta.drain(both.topics, joined("left"), **how).rows == 0
    )  # the views are silent since this start
    publish(both.buys, "buy", [501])
    publish(both.views, "view", [130])
    rta.drain(both.topics, joined("left"), **how)
    found = truth("any_silent", both.events)
    require_accounted("any_silent", found, bad=0)
    assert [row[0] for row in rows("any_silent", "view", "buy")] == [0, 1, 3]  # 3: the copy of 0


def test_an_event_older_than_the_watermark_may_begin_a_session_anew(topic: Callable[..., str]) -> None:  # fmt: skip
    """Its own session has not ended, so it is taken; that which it belonged to was closed: two sessions, where a batch makes one."""
    name = topic(partitions=1)

    def sessions(views: DataFrame) -> DataFrame:
        window = F.session_window("seen_at", "10 minutes").alias("session")
        return marked(views).groupBy(window, (F.col("user_id") > 0).alias("known")).agg(F.count("*").alias("events"))  # fmt: skip

    for at in ([0, 20], [9], [60]):
        publish(name, "view", at)
        rta.drain(name, sessions, table="any_anew", key=["session"], event=VIEWS)
    assert rta.accounting("any_anew").late == 0
    lengths = [(start.minute, (end - start).seconds // 60) for start, end in rows("any_anew", "session_start", "session_end")]  # fmt: skip
    assert lengths == [(0, 10), (9, 10), (20, 10)]
