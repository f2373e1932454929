"""drain() and follow(): exactly what is new, once; wrong pairs of table and checkpoint refused."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import accumulate
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

import rta
from rta.errors import InputError, QueryError, TableError
from rta.settings import settings
from rta.store import database, ledger, serving_tables
from rta.testing import oracle
from tests.support.truth import KEY, true_totals
from tests.support.waiting import finished

pytestmark = pytest.mark.kafka
HOW: dict[str, Any] = {"key": KEY, "event": rta.USER_EVENTS}


def test_a_follow_whose_table_cannot_be_made_leaves_no_query_and_can_be_called_again(
    spark: SparkSession, topic: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database goes away when Spark has accepted the query."""
    name = topic()
    rta.publish(rta.user_events(spark, rows=30), name)

    def away(*_: object, **__: object) -> None:
        raise database.DatabaseAwayError("the database is away", fix="start it")

    with monkeypatch.context() as patch:
        patch.setattr(serving_tables, "make", away)
        with pytest.raises(database.DatabaseAwayError):
            rta.follow(name, rta.transforms.totals, table="not_made", **HOW)
    assert [query for query in spark.streams.active if query.name == "not_made"] == []
    query = rta.follow(name, rta.transforms.totals, table="not_made", **HOW)
    query.processAllAvailable()
    query.stop()
    oracle.check_accounted("not_made", name, used=30)


@pytest.mark.usefixtures("as_delivered")
def test_drain_takes_exactly_what_is_new(spark: SparkSession, topic: Callable[..., str]) -> None:
    """All, then nothing, then those that came in between; stop, reset: all again."""
    name = topic()
    rta.publish(rta.user_events(spark, rows=300), name, key="user_id")
    first = rta.drain(name, rta.transforms.totals, table="news", **HOW)
    assert (first.accounting.consumed, first.topic, first.table) == (300, name, "news")
    assert "consumed 300 = used 300" in str(first)
    assert oracle.differences(true_totals(name), "news") == []
    table = pa.Table.from_pandas(rta.read("news"))

    nothing = rta.drain(name, rta.transforms.totals, table="news", **HOW)
    assert (nothing.accounting.consumed, nothing.rows) == (0, 0)
    assert "nothing new" in str(nothing)
    assert oracle.differences(table, "news") == []

    published = rta.publish(rta.user_events(spark, rows=100, first_row=300), name, key="user_id")
    taken = rta.drain(name, rta.transforms.totals, table="news", **HOW)
    assert taken.accounting.consumed == 100
    spans = {p: (taken.start[p], taken.end[p]) for p in taken.end}
    assert spans == dict(published.offsets)
    assert oracle.differences(true_totals(name), "news") == []
    oracle.check_accounted("news", name, used=400)

    rta.reset("news")
    assert "news" not in [each.name for each in serving_tables.tables()]
    again = rta.drain(name, rta.transforms.totals, table="news", **HOW)
    assert again.accounting.consumed == 400
    assert oracle.differences(true_totals(name), "news") == []


READER = """
import rta
counts = []
while not counts or counts[-1] < 300:
    frame = rta.read("followed")
    counts.append(int(frame["event_count"].sum()))
    assert counts == sorted(counts), counts
    if counts[-1] != (counts[-2] if len(counts) > 1 else -1):
        print(counts[-1], flush=True)
"""


def test_follow_goes_on_while_another_process_reads(
    spark: SparkSession, topic: Callable[..., str]
) -> None:
    """Whole micro-batches only, and never back: what a dashboard in another process sees."""
    name = topic()
    rta.publish(rta.user_events(spark, rows=100), name, order_by="timestamp")
    query = rta.follow(name, rta.transforms.totals, table="followed", **HOW)
    try:
        query.processAllAvailable()
        reader = subprocess.Popen(
            [sys.executable, "-c", READER], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        )  # fmt: skip
        assert reader.stdout is not None
        assert reader.stdout.readline() == "100\n"
        for part in (1, 2):
            rta.publish(rta.user_events(spark, rows=100, first_row=100 * part), name)
            query.processAllAvailable()
        out, err = finished(reader)
    finally:
        query.stop()
    assert reader.returncode == 0, err
    whole = list(accumulate(batch.used for batch in ledger.batches("followed")))
    assert set(map(int, out.split())) <= set(whole)
    assert whole[-1] == 300
    assert query.name == "followed"
    oracle.check_accounted("followed", name, used=300)


def test_a_table_and_a_checkpoint_that_do_not_belong_together_are_refused(
    spark: SparkSession, topic: Callable[..., str]
) -> None:
    """A lost checkpoint would double the table, a dropped table would lack events: both said aloud."""
    name = topic()
    rta.publish(rta.user_events(spark, rows=50), name)
    rta.drain(name, rta.transforms.totals, table="pair", **HOW)
    before = pa.Table.from_pandas(rta.read("pair"))
    checkpoint = settings().home / "checkpoints" / "pair"
    aside = checkpoint.with_name("pair-aside")

    checkpoint.rename(aside)
    with pytest.raises(QueryError, match=r"missing.*restore the checkpoint"):
        rta.drain(name, rta.transforms.totals, table="pair", **HOW)
    rta.drain(name, rta.transforms.totals, table="other", checkpoint=checkpoint, **HOW)
    with pytest.raises(QueryError, match="belongs to another query"):
        rta.drain(name, rta.transforms.totals, table="pair", **HOW)
    assert oracle.differences(before, "pair") == []
    shutil.rmtree(checkpoint)

    aside.rename(checkpoint)
    assert rta.drain(name, rta.transforms.totals, table="pair", **HOW).accounting.consumed == 0
    serving_tables.drop("pair")
    with pytest.raises(QueryError, match=r"ahead of table 'pair'.*restore the table"):
        rta.drain(name, rta.transforms.totals, table="pair", **HOW)


def test_what_cannot_be_done_is_one_sentence(
    spark: SparkSession, topic: Callable[..., str]
) -> None:
    """A transform that fails, a static frame, a null in the key, a name that is a path."""
    name = topic()
    rta.publish(rta.user_events(spark, rows=20), name)

    def failing(events: DataFrame) -> DataFrame:
        return rta.transforms.totals(events).withColumn(
            "bad", F.raise_error("no such luck").cast("string")
        )

    with pytest.raises(QueryError, match=r"fills 'failing' failed.*correct the cause") as caught:
        rta.drain(name, failing, table="failing", **HOW)
    assert "no such luck" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert [query.name for query in spark.streams.active] == []
    corrected = rta.drain(
        name, rta.transforms.totals, table="failing", **HOW
    )  # nothing of the other was there
    assert corrected.accounting.consumed == 20

    def nameless(events: DataFrame) -> DataFrame:
        return events.select(F.nullif("action", F.lit("view")).alias("action"), "event_id")

    with pytest.raises(QueryError, match="null"):
        rta.drain(name, nameless, table="nameless", key=["action"], event=rta.USER_EVENTS)
    assert "nameless" not in [each.name for each in serving_tables.tables()]

    with pytest.raises(InputError, match="static frame"):
        rta.drain(
            name,
            lambda _: spark.range(1).toDF("user_id"),
            table="still",
            key=["user_id"],
            event=rta.USER_EVENTS,
        )
    with pytest.raises(InputError):
        rta.drain(name, rta.transforms.totals, table="../up", **HOW)
    rta.drain(name, rta.transforms.totals, table="twice", **HOW)
    with pytest.raises(TableError, match="another key"):
        rta.drain(
            name,
            rta.transforms.totals,
            table="twice",
            key=["window", "user_id", "event_count"],
            event=rta.USER_EVENTS,
        )


def test_a_stateless_transform_keyed_by_origin(
    spark: SparkSession, topic: Callable[..., str]
) -> None:
    """Filter and select: each event that passes is a row, named by topic, partition and offset."""
    name = topic()
    rta.publish(rta.user_events(spark, rows=200), name)

    def purchases(events: DataFrame) -> DataFrame:
        bought = events.where("action = 'purchase'")
        return bought.select("topic", "partition", "offset", "user_id", "amount", "timestamp")

    key = ["topic", "partition", "offset"]
    rta.drain(
        name, purchases, table="bought", key=key, event=rta.USER_EVENTS, max_events_per_batch=90
    )
    truth = oracle.run(
        f'SELECT \'{name}\' AS topic, partition, "offset", user_id, amount, "timestamp" '
        "FROM events WHERE action = 'purchase'",
        events=oracle.events(name, rta.USER_EVENTS),
    )
    assert truth.num_rows > 50
    assert oracle.differences(truth, "bought") == []
    assert oracle.check_accounted("bought", name, used=200).batches == 3


def distinct_totals(events: DataFrame) -> DataFrame:
    """Add up each event once."""
    return rta.transforms.totals(rta.transforms.deduplicate(events), lateness=None)


@pytest.mark.parametrize(
    ("transform", "window"),
    [(rta.transforms.totals, timedelta(minutes=5)), (distinct_totals, None)],
    ids=["totals", "deduplicated"],
)
@pytest.mark.usefixtures("as_delivered")
def test_every_event_is_accounted_for(
    spark: SparkSession,
    topic: Callable[..., str],
    transform: Callable[[DataFrame], DataFrame],
    window: timedelta | None,
) -> None:
    """Much disorder, copies, several batches: late and duplicate are what plain Python finds, exactly."""
    name = topic()
    events = rta.user_events(
        spark, rows=500, rate=0.2, lateness="50 minutes", late_share=0.4, duplicates=0.2, duplicate_delay="20 minutes",
    )  # fmt: skip
    rta.publish(events, name, order_by="reported_at")
    table = f"tardy_{transform.__name__}"
    rta.drain(name, transform, table=table, max_events_per_batch=100, **HOW)

    late = late_by_definition(name, table, window)
    assert len(late) > 20
    places = ", ".join(map(str, late))
    on_time = f'SELECT * FROM events WHERE (partition, "offset") NOT IN ({places})'
    once = on_time if window else f"SELECT DISTINCT ON (event_id) * FROM ({on_time})"
    used = oracle.run(once, events=oracle.events(name, rta.USER_EVENTS)).num_rows
    copies = events.count() - len(late) - used
    assert (copies > 20) == (window is None)
    oracle.check_accounted(table, name, late=len(late), duplicate=copies, used=used, quarantined=0)
    assert oracle.differences(true_totals(name, once), table) == []
    listed = rta.engines.late_events(name, transform, table=table, event=rta.USER_EVENTS).collect()
    assert sorted((row["partition"], row["offset"]) for row in listed) == sorted(late)


def late_by_definition(topic: str, table: str, window: timedelta | None) -> list[tuple[int, int]]:
    """Find the late events from the batches' offsets alone: they, or their windows, ended before."""
    rows = oracle.events(topic, rta.USER_EVENTS).to_pylist()
    times = {(row["partition"], row["offset"]): row["timestamp"] for row in rows}
    epoch = datetime(1970, 1, 1)  # noqa: DTZ001 - the oracle's instants are UTC without a zone

    def ends(when: datetime) -> datetime:
        return when if window is None else epoch + ((when - epoch) // window + 1) * window

    marks, late = [epoch, epoch], []
    for batch in ledger.batches(table):
        here = {
            (p, at): times[p, at]
            for p, end in batch.end_offsets.items()
            for at in range(batch.start_offsets[p], end)
        }
        assert batch.watermark is None or batch.watermark.replace(tzinfo=None) == marks[-2]
        late += [at for at, when in here.items() if ends(when) <= marks[-2]]
        newest = max(here.values(), default=epoch)
        newest -= timedelta(microseconds=newest.microsecond % 1000)  # Spark's has milliseconds
        marks.append(max(marks[-1], newest - timedelta(minutes=10)))
    return late


def test_postgresql_as_the_serving_database(
    spark: SparkSession, topic: Callable[..., str], postgresql: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By URL alone: the same table, ledger and accounting in a real PostgreSQL."""
    monkeypatch.setenv("RTA_DATABASE_URL", postgresql)
    name = topic()
    rta.publish(rta.user_events(spark, rows=200), name)
    rta.drain(name, rta.transforms.totals, table="elsewhere", **HOW)
    assert database.engine().dialect.name == "postgresql"
    assert oracle.differences(true_totals(name), "elsewhere") == []
    rta.publish(rta.user_events(spark, rows=50, first_row=200), name)
    assert (
        rta.drain(name, rta.transforms.totals, table="elsewhere", **HOW).accounting.consumed == 50
    )
    assert oracle.differences(true_totals(name), "elsewhere") == []
    oracle.check_accounted("elsewhere", name, used=250)
    rta.reset("elsewhere")
