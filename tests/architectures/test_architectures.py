"""Batch, Lambda and Kappa: one function, three wirings, the same answer; readers see one version wholly."""

import os
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any, Final

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

import rta
from rta.architectures import batch_views
from rta.dataframes import task_metrics
from rta.engines.spark.internals import observed
from rta.errors import InputError, QueryError, TableError
from rta.store import serving_tables, views
from rta.store.merge_rules import merges
from rta.testing import oracle
from tests.support.truth import KEY, TOTALS, true_totals
from tests.support.waiting import terminated, until
from tests.support.watching import reader

pytestmark = pytest.mark.kafka
START: Final = datetime(2024, 11, 15, 10, tzinfo=UTC)
HOW: Final[dict[str, Any]] = {"key": KEY, "event": rta.USER_EVENTS}
DISTINCT: Final = "SELECT DISTINCT ON (event_id, timestamp) * FROM events"


def distinct_totals(events: DataFrame, lateness: str = "10 minutes") -> DataFrame:
    """Add up each event once."""
    return rta.transforms.totals(
        rta.transforms.deduplicate(events, lateness=lateness), lateness=None
    )


def everything(events: DataFrame) -> DataFrame:
    """Compute each aggregate that can be merged; the average as a pair."""
    pair = F.struct(F.sum("amount").alias("sum"), F.count("amount").alias("count"))
    marked = events.withWatermark("timestamp", "10 minutes")
    return marked.groupBy(F.window("timestamp", "5 minutes"), "user_id").agg(
        F.sum("amount").alias("total"), F.count("*").alias("events"), F.min("amount").alias("least"),
        F.max("amount").alias("most"), F.max("timestamp").alias("newest"), pair.alias("mean"),
    )  # fmt: skip


EVERYTHING: Final = """
    SELECT time_bucket(INTERVAL '5 minutes', "timestamp") AS window_start,
           time_bucket(INTERVAL '5 minutes', "timestamp") + INTERVAL '5 minutes' AS window_end, user_id,
           SUM(amount) AS total, COUNT(*) AS events, MIN(amount) AS least, MAX(amount) AS most,
           MAX("timestamp") AS newest, SUM(amount) AS mean_sum, COUNT(amount) AS mean_count
    FROM events GROUP BY ALL
"""


def event(number: int, minute: float, amount: int = 100) -> dict[str, Any]:
    """Make one event at a minute of the hour."""
    when = START + timedelta(minutes=minute)
    return {"event_id": f"e{number}", "user_id": number % 3, "action": "purchase",
            "amount": Decimal(amount) / 100, "timestamp": when}  # fmt: skip


def publish(name: str, events: list[dict[str, Any]]) -> None:
    """Put events onto a topic, in their order, all on partitions by user."""
    assert rta.kafka.publish_paced(iter(events), name, key="user_id", partitions=2).ok == len(
        events
    )


@pytest.mark.parametrize("database_url", ["sqlite", "postgresql"], indirect=True)
def test_every_mergeable_aggregate(
    spark: SparkSession, topic: Callable[..., str], database_url: str, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Windows that straddle the cut-off: sums, counts, extremes and the average's pair are those of the whole, typed."""
    monkeypatch.setenv("RTA_DATABASE_URL", database_url)
    name = topic(partitions=2)
    rta.publish(rta.user_events(spark, rows=150), name, key="user_id")
    with rta.lambda_(name, everything, table="merged", **HOW) as wired:
        rta.publish(rta.user_events(spark, rows=150, first_row=150), name, key="user_id")
        wired.catch_up()
    truth = oracle.run(EVERYTHING, events=oracle.events(name, rta.USER_EVENTS))
    assert oracle.differences(truth, "merged") == []
    assert wired.view
    parts = [rta.read(part) for part in wired.view.parts]
    rows = [set(zip(part["window_start"], part["user_id"], strict=True)) for part in parts]
    assert rows[0] & rows[1]  # some are merged from both
    plain = parts[0]
    assert rta.read("merged").dtypes.to_dict() == plain.dtypes.to_dict()
    one = rta.read(
        "merged", where={"user_id": int(plain["user_id"][0])}, order_by=["-window_start"]
    )
    assert len(one)
    assert one["window_start"].is_monotonic_decreasing


@pytest.mark.parametrize(
    ("sql", "do"),
    [
        ("avg(amount)", "keep it as a pair"),
        ("count(DISTINCT action)", "use sum, count, min or max"),
        ("sum(CAST(amount AS DOUBLE))", "cast it to DECIMAL"),
        ("collect_list(action)", "rta.kappa"),
        ("sum(amount) / count(1)", "the reader computes with them"),
        ("max(amount > 5)", "use sum, count, min or max"),
    ],
)
def test_what_cannot_be_merged_is_refused(spark: SparkSession, sql: str, do: str) -> None:
    """Each with its name and what to do instead."""
    events = spark.createDataFrame([], rta.USER_EVENTS.schema)
    with pytest.raises(
        InputError, match=r"two parts of this answer cannot be merged; found: .* AS x"
    ) as caught:
        merges(events.groupBy("user_id").agg(F.expr(sql).alias("x")))
    assert do in str(caught.value)


def test_shapes_that_cannot_be_merged(spark: SparkSession) -> None:
    """No aggregate, one of another, a filter behind it."""
    events = spark.createDataFrame([], rta.USER_EVENTS.schema)
    counts = events.groupBy("user_id", "action").agg(F.count("*").alias("n"))
    for answer, found in (
        (events.select("user_id"), "no aggregate"),
        (counts.groupBy("user_id").agg(F.sum("n").alias("n")), "an aggregate of an aggregate"),
        (counts.where("n > 1"), "Filter after the aggregate"),
        (counts.selectExpr("user_id", "action", "n * 2 AS n"), "AS n"),
    ):
        with pytest.raises(InputError, match=found):
            merges(answer)
    assert merges(counts.selectExpr("upper(action) AS what", "user_id", "n AS many")) == {
        "what": "key", "user_id": "key", "many": "count",
    }  # fmt: skip


@pytest.mark.parametrize("seed", [2])
def test_batch_equals_lambda_equals_kappa_equals_duckdb(
    spark: SparkSession, topic: Callable[..., str], seed: int
) -> None:
    """Random events, copies, disorder, cuts, lateness, bad ones and moment of the swap; the soak takes many seeds."""
    happen(topic(partitions=2), f"seed_{seed}", random.Random(seed), patient=seed % 2 == 0)  # noqa: S311 - dice


@pytest.mark.soak
def test_batch_equals_lambda_equals_kappa_for_many_seeds(
    spark: SparkSession, topic: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Thirty more of them, from SEED on, which is printed."""
    first = int(os.environ.get("SEED", random.SystemRandom().randrange(10**6)))
    for seed in range(first, first + 30):
        with capsys.disabled():
            print("seed", seed, flush=True)
        happen(topic(partitions=2), f"soak_{seed}", random.Random(seed), patient=seed % 2 == 0)  # noqa: S311 - dice


def happen(name: str, table: str, dice: random.Random, *, patient: bool) -> None:
    """Let random things happen; equal at each cut where nothing is late, and at the end, after the corrections, always."""
    lateness = "2 hours" if patient else f"{dice.randint(0, 20)} minutes"
    transform = partial(distinct_totals, lateness=lateness)
    chunks, bad = dice.randint(2, 3), 0
    swap, sent = dice.randrange(chunks), list[dict[str, Any]]()
    publish(name, [event(0, 0)])
    with (
        rta.lambda_(name, transform, table=f"{table}_lambda", **HOW) as lam,
        rta.kappa(name, transform, table=f"{table}_kappa", **HOW) as kap,
    ):
        for at in range(chunks):
            new = [
                event(len(sent) + n + 1, dice.randint(0, 59), dice.randint(-500, 999))
                for n in range(dice.randint(1, 30))
            ]
            sent += new
            publish(name, dice.sample(new + dice.choices(sent, k=dice.randint(0, 10)), k=len(new)))
            if dice.random() < 0.5:
                bad += 1
                rta.kafka.publish_paced([{"event_id": "bad"}], name)
            if at == swap:
                lam.recompute()
            lam.catch_up()
            kap.catch_up()
            assert lam.accounting().balanced
            assert kap.accounting().balanced
            if patient:
                truth = true_totals(name, DISTINCT)
                assert oracle.differences(truth, f"{table}_lambda") == []
                assert oracle.differences(truth, f"{table}_kappa") == []
        with rta.batch(name, transform, table=f"{table}_batch", **HOW) as bat:
            bat.catch_up()
        lam.recompute()
        kap.replay(transform).wait()
        kap.switch()
        truth = true_totals(name, DISTINCT)
        good = oracle.events(name, rta.USER_EVENTS)
        used = oracle.run(DISTINCT, events=good).num_rows
        for wired in (bat, lam, kap):
            assert oracle.differences(truth, wired.table) == [], wired.architecture
            found = wired.accounting()
            assert (found.used, found.duplicate) == (used, good.num_rows - used), wired.architecture
            assert (found.late, found.quarantined) == (0, bad), wired.architecture
            assert found.consumed == len(oracle.read_topic(name))
        assert rta.compare(bat, lam, kap).equal


def test_the_archive_has_each_offset_once(spark: SparkSession, topic: Callable[..., str]) -> None:
    """Good and bad, in two goes: the good ones as read_batch() has them, the bad ones with bytes and reason."""
    name = topic(partitions=2)
    assert rta.architectures.archived(name) == {}
    assert rta.architectures.read_archive(name, event=rta.USER_EVENTS).count() == 0
    for first in (0, 60):
        rta.publish(rta.user_events(spark, rows=60, first_row=first), name, key="user_id")
        rta.publish(spark.createDataFrame([("{}",)], ["value"]), name)
        terminated(rta.architectures.archive(name, event=rta.USER_EVENTS))
    assert sum(rta.architectures.archived(name).values()) == 122
    kept = rta.architectures.read_archive(name, event=rta.USER_EVENTS)
    straight = rta.read_batch(name, event=rta.USER_EVENTS)
    assert kept.columns == straight.columns
    assert kept.exceptAll(straight).count() == straight.exceptAll(kept).count() == 0
    assert kept.count() == 120
    from rta.architectures.archives import all_archived, archive_folder

    bad = all_archived(name, rta.USER_EVENTS).where("reason IS NOT NULL").collect()
    assert [(bytes(row.value), row.reason) for row in bad] == [(b"{}", "missing: event_id")] * 2
    assert any(path.name.startswith("event_date=2") for path in archive_folder(name).iterdir())
    assert rta.architectures.read_archive(name, event=rta.USER_EVENTS, before={0: 1}).count() == 1


def test_a_batch_view_whose_tasks_ran_again_counts_each_event_once(
    spark: SparkSession, topic: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """If Spark says so, its observations are not believed; believed, they break the law, and that is said."""
    name = topic(partitions=2)
    rta.publish(rta.user_events(spark, rows=200, duplicates=0.2), name, key="user_id")
    rta.publish(spark.createDataFrame([("{}",)], ["value"]), name)
    with rta.batch(name, distinct_totals, table="ran_again", **HOW) as wired:
        once = wired.recompute()
        assert once.balanced
        assert once.duplicate > 0
        counted = observed

        def doubled_counts(*given: Any) -> dict[str, dict[str, int]]:
            found = counted(*given).items()
            return {name: {key: 2 * each for key, each in row.items()} for name, row in found}

        monkeypatch.setattr(batch_views, "observed", doubled_counts)
        assert not wired.recompute().balanced
        monkeypatch.setattr(task_metrics, "note", lambda *_, **__: True)
        assert wired.recompute() == once


@pytest.mark.parametrize(
    "database_url", ["sqlite", pytest.param("postgresql", marks=pytest.mark.soak)], indirect=True
)
def test_f39_a_batch_view_is_swapped_while_the_speed_view_runs(
    spark: SparkSession, topic: Callable[..., str], database_url: str, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """1,000 looks during swaps and live events: every event once at any moment."""
    monkeypatch.setenv("RTA_DATABASE_URL", database_url)
    name = topic(partitions=2)
    rta.publish(rta.user_events(spark, rows=300), name, key="user_id")
    with rta.lambda_(name, rta.transforms.totals, table="f39", **HOW) as wired:
        wired.catch_up()
        with reader("f39") as looking:
            for turn in range(2):
                rta.publish(
                    rta.user_events(spark, rows=100, first_row=300 + 200 * turn),
                    name,
                    key="user_id",
                )
                wired.catch_up()
                wired.recompute()
                rta.publish(
                    rta.user_events(spark, rows=100, first_row=400 + 200 * turn),
                    name,
                    key="user_id",
                )
            wired.catch_up()
            until(lambda: len(looking.looks) >= 1_000)
        assert wired.view
        assert wired.view.served == 3
    counts = {n for _, n in looking.looks}
    assert max(counts) == 700
    assert counts & {400, 500, 600}  # it looked while it happened
    assert oracle.differences(true_totals(name), "f39") == []
    assert [each.name for each in serving_tables.tables() if each.name.startswith("f39")] == [
        "f39",
        "f39_batch_3",
        "f39_speed_3",
    ]


def doubled(events: DataFrame) -> DataFrame:
    """Compute the second version of the formula: amounts count twice."""
    return rta.transforms.totals(
        events.withColumn("amount", (F.col("amount") * 2).cast("decimal(12,2)"))
    )


def test_f40_version_2_replays_dies_goes_on_and_is_switched(
    spark: SparkSession, topic: Callable[..., str]
) -> None:
    """The replay is killed half way and while it is switched; readers see version 1 or 2 wholly; roll back is one call."""
    name = topic(partitions=2)
    rta.publish(rta.user_events(spark, rows=400), name, key="user_id")
    one = true_totals(name)
    two = oracle.run(
        TOTALS.replace("SUM(amount)", "SUM(amount * 2)"),
        events=oracle.events(name, rta.USER_EVENTS),
    )
    with rta.kappa(name, rta.transforms.totals, table="f40", **HOW) as wired:
        wired.catch_up()
        replay = wired.replay(doubled, max_events_per_batch=40)
        until(lambda: 0 < replay.progress().done < 400)
        assert oracle.differences(one, "f40") == []
        with pytest.raises(QueryError, match=r"'f40' see; found: .* events behind; fix: wait"):
            views.switch("f40", 2, views.Version(("f40_v2",)), patience=0)
    # All queries are gone, as after a kill; the same call goes on with version 1, then with the replay.
    with rta.kappa(name, rta.transforms.totals, table="f40", **HOW) as wired:
        replay = wired.replay(doubled, max_events_per_batch=200)
        assert replay.version == 2
        done = replay.wait()
        assert str(done).startswith("400 of 400 events (100 %)")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(views, "_note", killed)
            with pytest.raises(KeyboardInterrupt):
                wired.switch()
        assert oracle.differences(one, "f40") == []
        wired.switch()
        assert oracle.differences(two, "f40") == []
        wired.roll_back()
        assert oracle.differences(one, "f40") == []
        with pytest.raises(TableError, match="version 1 of 'f40' is served"):
            wired.retire(1)
        wired.switch(2)
        wired.retire(1)
        assert oracle.differences(two, "f40") == []
        with pytest.raises(QueryError, match="no older version"):
            wired.roll_back()
    assert [each.name for each in serving_tables.tables() if each.name.startswith("f40")] == [
        "f40",
        "f40_v2",
    ]


def killed(*_: object, **__: object) -> None:
    """Die in the middle of a transaction."""
    raise KeyboardInterrupt


def test_a_failed_recompute_leaves_readers_where_they_were(
    spark: SparkSession, topic: Callable[..., str]
) -> None:
    """It fails at the swap: the old version is served, its speed view goes on; the next one starts over what was left."""
    name = topic(partitions=2)
    rta.publish(rta.user_events(spark, rows=100), name, key="user_id")
    with rta.lambda_(name, rta.transforms.totals, table="failed_swap", **HOW) as wired:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(views, "switch", killed)
            with pytest.raises(KeyboardInterrupt):
                wired.recompute()
        assert wired.view
        assert wired.view.served == 1
        rta.publish(rta.user_events(spark, rows=100, first_row=100), name, key="user_id")
        wired.catch_up()
        assert oracle.differences(true_totals(name), "failed_swap") == []
        wired.recompute()
        assert wired.view.served == 2
        assert oracle.differences(true_totals(name), "failed_swap") == []


def test_nothing_is_written_to_a_view(spark: SparkSession, topic: Callable[..., str]) -> None:
    """A view is no table to fill, to drop or to take the name of; a table is none to become a view."""
    name = topic(partitions=1)
    rta.publish(rta.user_events(spark, rows=10), name)
    with rta.batch(name, rta.transforms.totals, table="only_view", **HOW) as wired:
        wired.catch_up()
    with pytest.raises(TableError, match="'only_view' is a view of other tables"):
        rta.drain(name, rta.transforms.totals, table="only_view", **HOW)
    with pytest.raises(TableError, match=r"rta.architectures.drop\('only_view'\)"):
        serving_tables.drop("only_view")
    with pytest.raises(TableError, match="there is a table 'only_view_batch_1'"):
        views.switch("only_view_batch_1", 1, views.Version(("only_view_batch_1",)))
    assert views.drop("only_view") == ["only_view_batch_1"]
    assert views.find("only_view") is None
    assert len(rta.read("only_view_batch_1"))
