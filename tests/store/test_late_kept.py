"""Late events are kept when they occur: exactly once, with how late; and corrected by the next version."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

import pandas as pd
import pyarrow as pa
import pytest
from pyspark.sql import DataFrame, SparkSession
from sqlalchemy import Engine

import rta
from rta.architectures import base
from rta.errors import QueryError, TableError
from rta.store import database, late_rows, serving_tables
from rta.store.ledger import Batch
from rta.testing import oracle
from tests.support.truth import KEY, checkpoint_of, true_totals

HOW: Final[dict[str, Any]] = {"key": KEY, "event": rta.USER_EVENTS}
START: Final = datetime(2024, 11, 15, 10, tzinfo=UTC)
FIVE: Final = timedelta(minutes=5)


def publish(name: str, *minutes: float) -> None:
    """Put events onto a topic, each at a minute of the hour."""
    first = len(oracle.read_topic(name))
    events = [
        {"event_id": f"e{first + n}", "user_id": 1, "action": "view", "amount": Decimal(1), "timestamp": START + timedelta(minutes=m)}
        for n, m in enumerate(minutes)
    ]  # fmt: skip
    assert rta.kafka.publish_paced(events, name, key="user_id").ok == len(minutes)


def places(kept: pd.DataFrame) -> list[tuple[int, int]]:
    """Return where the events are on their topic."""
    return sorted(zip(kept["partition"], kept["offset"], strict=True))


@pytest.mark.kafka
def test_late_events_are_kept_once_with_how_late(
    spark: SparkSession, topic: Callable[..., str]
) -> None:
    """Where they are, by how much they missed, and their payloads; the same after a batch that is run twice."""
    name, table = topic(partitions=1), "kept"
    for minutes in ((0, 40), (1, 33.5, 2, 41)):
        publish(name, *minutes)
        rta.drain(name, rta.transforms.totals, table=table, **HOW)
    kept = rta.late(table)
    assert places(kept) == [(0, 2), (0, 4)]
    assert len(kept) == rta.accounting(table).late
    assert kept["event_time"].tolist() == [START + timedelta(minutes=m) for m in (1, 2)]
    assert kept["ended"].tolist() == [START + FIVE] * 2
    assert kept["watermark"].tolist() == [START + timedelta(minutes=30)] * 2
    assert kept["late_seconds"].tolist() == [25 * 60] * 2
    payloads = rta.engines.late_events(name, table=table, event=rta.USER_EVENTS)
    assert payloads.columns[-1] == "late_seconds"
    assert sorted(row["event_id"] for row in payloads.collect()) == ["e2", "e4"]

    newest = max((checkpoint_of(table) / "commits").glob("[0-9]*"), key=lambda path: int(path.name))
    newest.unlink()  # as if it had died before Spark noted the batch
    rta.drain(name, rta.transforms.totals, table=table, **HOW)
    pd.testing.assert_frame_equal(rta.late(table), kept)
    rta.reset(table)
    with pytest.raises(TableError, match=table):
        rta.late(table)
    assert late_rows.kept([table]).empty


@pytest.mark.kafka
@pytest.mark.soak
def test_where_an_event_came_from_may_be_gone(
    spark: SparkSession, topic: Callable[..., str]
) -> None:
    """A transform that selects the origin away: counted and kept without it; the transform lists them."""

    def bare(events: DataFrame) -> DataFrame:
        return rta.transforms.totals(events.select("user_id", "amount", "timestamp"))

    name = topic(partitions=1)
    for minutes in ((0, 40), (1, 2)):
        publish(name, *minutes)
        rta.drain(name, bare, table="bare", **HOW)
    kept = rta.late("bare")
    assert len(kept) == rta.accounting("bare").late == 2
    assert kept["offset"].isna().all()
    assert kept["event_time"].dt.minute.tolist() == [1, 2]
    with pytest.raises(QueryError, match=r"give that transform to rta\.engines\.late_events"):
        rta.engines.late_events(name, table="bare", event=rta.USER_EVENTS)
    assert rta.engines.late_events(name, bare, table="bare", event=rta.USER_EVENTS).count() == 2


@pytest.mark.kafka
def test_lambda_corrects_by_its_next_batch_view_and_kappa_by_a_replay(
    spark: SparkSession, topic: Callable[..., str]
) -> None:
    """Late now; corrected by which version, and since when; late again after a roll back; gone with the view."""
    name = topic(partitions=1)
    publish(name, 0)
    with (
        rta.lambda_(name, rta.transforms.totals, table="late_lambda", **HOW) as lam,
        rta.kappa(name, rta.transforms.totals, table="late_kappa", **HOW) as kap,
    ):
        for minutes in ((40,), (1, 2, 41)):
            publish(name, *minutes)
            for wired in (lam, kap):
                wired.catch_up()
        for wired in (lam, kap):
            found = rta.late(wired.table)
            assert places(found) == [(0, 2), (0, 3)]
            assert found["corrected_at"].isna().all()
            assert wired.accounting().late == 2
        before = datetime.now(UTC)
        lam.recompute()
        kap.replay(rta.transforms.totals).wait()
        kap.switch()
        for wired in (lam, kap):
            found = rta.late(wired.table)
            assert places(found) == [(0, 2), (0, 3)]
            assert found["corrected_by"].tolist() == ["version 2"] * 2
            assert (found["corrected_at"] > before).all()
            assert wired.accounting().late == 0
            assert (
                rta.engines.late_events(name, table=wired.table, event=rta.USER_EVENTS).count() == 0
            )
            assert oracle.differences(true_totals(name), wired.table) == []
        compared = rta.compare(lam, kap)
        assert compared.equal
        assert compared.rows["late_corrected"].tolist() == ["2 by version 2"] * 2
        kap.roll_back()
        assert rta.late("late_kappa")["corrected_by"].isna().all()
        kap.switch(2)
        kap.retire(1)
        assert rta.late("late_kappa")["corrected_by"].tolist() == ["version 2"] * 2
    for wired in (lam, kap):
        base.drop(wired.table)
        assert late_rows.kept([], view=wired.table).empty


@pytest.mark.parametrize("database_url", ["sqlite", "postgresql"], indirect=True)
def test_what_is_late_in_one_version_may_be_late_in_the_next(engine: Engine) -> None:
    """In both databases: corrected is what the served version has read and not found late; its own are late."""
    mark = START + timedelta(minutes=30)

    def keep(table: str, *offsets: int | None) -> None:
        found = {
            "partition": [0] * len(offsets),
            "offset": offsets,
            "event_time": [START] * len(offsets),
            "ended": [START + FIVE] * len(offsets),
        }
        batch = Batch(f"query of {table}", 3, "clicks", watermark=mark)
        stamps = pa.timestamp("us", tz="UTC")
        kinds = [
            ("partition", pa.int32()),
            ("offset", pa.int64()),
            ("event_time", stamps),
            ("ended", stamps),
        ]
        with database.writing(engine) as connection:
            late_rows.keep(connection, table, batch, pa.table(found, pa.schema(kinds)))

    def serve(version: int, others: list[str], end: int) -> dict[int, str]:
        with database.writing(engine) as connection:
            late_rows.note_corrections(
                connection,
                "view",
                version,
                served=[f"v{version}"],
                others=others,
                ends={"clicks": {0: end}},
            )
        found = late_rows.kept([f"v{version}"], view="view", on=engine).dropna(subset=["offset"])
        return dict(zip(found["offset"].astype(int), found["corrected_by"].map(str), strict=True))

    keep("v1", 5, 6, 7, None)
    [first, *_] = late_rows.kept(["v1"], on=engine).itertuples()
    assert (first.late_seconds, first.watermark, first.ended) == (1500, mark, START + FIVE)
    assert serve(1, [], 10) == dict.fromkeys((5, 6, 7), "None")
    keep("v2", 6)
    assert serve(2, ["v1"], 7) == {5: "version 2", 6: "None"}  # it has not read 7 yet
    assert serve(2, ["v1"], 8) == {5: "version 2", 6: "None", 7: "version 2"}
    with database.writing(engine) as connection:
        serving_tables.forget(connection, "v1")  # dropped: its table is gone, what it lacked is not
    assert serve(3, ["v2"], 9) == {5: "version 2", 6: "version 3", 7: "version 2"}
    with database.writing(engine) as connection:
        late_rows.forget_view(connection, "view")
    assert serve(3, [], 9) == {}
