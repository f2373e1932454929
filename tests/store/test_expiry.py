"""keep="90 days" on both databases: what is too old at the watermark goes, in the transaction of the micro-batch that moves it."""

import datetime as dt
from typing import Any

import pytest
from pyspark.sql.types import StructType
from sqlalchemy import Engine

from rta.errors import InputError, TableError
from rta.store import ledger, serving, serving_tables
from rta.store.expiry import Expiry
from rta.store.ledger import Batch
from tests.support.databases import NOON, TOTALS, create, total

HOUR = dt.timedelta(hours=1)


def batch(number: int, hours: int | None) -> Batch:
    """Give the entry of a micro-batch whose watermark is so many hours after noon; None: there is none."""
    watermark = None if hours is None else NOON + hours * HOUR
    return Batch("q", number, "events", {0: number}, {0: number + 1}, watermark, 1, 1)


def test_rows_go_by_the_end_of_their_window(engine: Engine) -> None:
    """Not a row whose window ends at the very moment; none without a watermark; a batch that comes again, or dies, deletes none."""
    table = create("totals", TOTALS, ["window", "user_id"], on=engine)
    expiry = Expiry.of(table, "2 hours")
    first = [total(0, "a", "1.00", 1), total(1, "b", "2.00", 1), total(180, "c", "3.00", 1)]
    assert serving.commit_batch(engine, table, batch(0, None), first, expiry=expiry)
    assert len(serving.read("totals", on=engine)) == 3
    end = NOON + dt.timedelta(minutes=6)  # of the second window
    moved = Batch("q", 1, "events", {0: 1}, {0: 2}, end + 2 * HOUR, 1, 1)
    with pytest.raises(TableError):
        serving.commit_batch(engine, table, moved, [("no", "row")], expiry=expiry)
    assert len(serving.read("totals", on=engine)) == 3
    assert serving.commit_batch(engine, table, moved, [], expiry=expiry)
    assert serving.read("totals", on=engine)["user_id"].tolist() == ["b", "c"]
    assert not serving.commit_batch(engine, table, moved, [total(0, "a", "1.00", 1)], expiry=expiry)
    assert serving.commit_batch(engine, table, batch(2, 9), [total(300, "d", "4.00", 1)], expiry=expiry)  # fmt: skip
    assert serving.read("totals", on=engine).empty  # what it has brought is too old, too
    assert [each.rows for each in ledger.batches("totals", on=engine)] == [3, 0, 1]


def test_rows_without_a_key_go_by_their_first_moment(engine: Engine) -> None:
    """Rows that were only added; one without a moment stays."""
    schema = StructType().add("page", "string").add("seen_at", "timestamp").add("sent_at", "timestamp")  # fmt: skip
    table = create("added", schema, [], on=engine)
    rows: list[tuple[Any, ...]] = [(page, at, NOON) for page, at in (("old", NOON - HOUR), ("new", NOON), ("new", NOON), ("none", None))]  # fmt: skip
    expiry = Expiry.of(table, "1 hour")
    assert expiry == Expiry("seen_at", HOUR)
    serving.commit_batch(engine, table, batch(0, None), rows, expiry=expiry)
    serving.commit_batch(engine, table, batch(1, 1), [], expiry=expiry)
    assert sorted(serving.read("added", on=engine)["page"]) == ["new", "new", "none"]


def test_which_moment_counts(engine: Engine) -> None:
    """The end of a window before a TIMESTAMP of the key, that before another one; without any it is refused, as is what is no duration."""
    window = StructType().add("start", "timestamp").add("end", "timestamp")
    schema = StructType().add("at", "timestamp").add("seen", "timestamp").add("local", "timestamp_ntz").add("day", "date")  # fmt: skip
    of = {
        "window_end": (StructType([*schema]).add("window", window), ["window", "seen"]),
        "seen": (schema, ["seen"]),
        "at": (schema, ["day"]),
    }
    for column, (columns, key) in of.items():
        table = serving_tables.planned("moments", columns, key, on=engine)
        assert Expiry.of(table, "90 days") == Expiry(column, dt.timedelta(days=90))
    timeless = serving_tables.planned("timeless", StructType().add("local", "timestamp_ntz").add("day", "date"), ["day"], on=engine)  # fmt: skip
    with pytest.raises(InputError, match="'timeless' have no moment by which they could grow old; found: columns local, day; fix: add a TIMESTAMP"):  # fmt: skip
        Expiry.of(timeless, "90 days")
    with pytest.raises(InputError, match="not a duration"):
        Expiry.of(table, "for ever")
