"""The oracle itself: strict where it must be, and able to say no."""

import sys
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal

import pandas as pd
import pyarrow as pa
import pytest
from pyspark.sql import SparkSession
from pyspark.sql.types import StructType

import rta
from rta.errors import SetupError
from rta.store import database, serving
from rta.store.ledger import Batch
from rta.testing import oracle
from rta.testing.reference_parser import strict
from tests.support.databases import create

GOOD = '{"event_id": "a", "user_id": 1, "action": "view", "amount": 0.10, "timestamp": "2024-11-15T10:30:00Z"}'


def test_strict_reads_exactly() -> None:
    """Digits and instants come as their types have them; an unknown field is no fault."""
    text = GOOD.replace("0.10", '"12.5"').replace("Z", "+02:00").replace("}", ', "more": [1]}')
    assert strict(text.encode(), rta.USER_EVENTS) == {
        "event_id": "a", "user_id": 1, "action": "view", "amount": Decimal("12.50"),
        "timestamp": datetime(2024, 11, 15, 8, 30), "reported_at": None,  # noqa: DTZ001 - UTC without a zone
    }  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("{", "\ufeff{"), ("{", "[{"), ("}", ""), ("}", "} {}"), ("}", ', "amount": 1}'), ('"a"', "null"),
        ("0.10", "NaN"), ("0.10", "Infinity"), ("0.10", "1e400"), ("0.10", "0.001"), ("0.10", "true"),
        ("0.10", '"ten"'), ("0.10", "10000000000.00"), ("1,", "9223372036854775808,"), ("1,", "1.0,"),
        ("1,", '"1",'), ('"view"', '"\\u0000"'), ('"view"', '"\\ud800"'), ("Z", ""), ("10:30:00", "10:30"),
        ("10:30:00", "10:30:00.1234567"), ("2024-11-15", "2024-02-30"), ('"timestamp"', '"time"'), (GOOD, ""),
    ],
)  # fmt: skip
def test_strict_refuses(old: str, new: str) -> None:
    """Whatever is not wholly a good event."""
    assert GOOD.replace(old, new) != GOOD
    assert strict(GOOD.replace(old, new).encode("utf-8", "surrogatepass"), rta.USER_EVENTS) is None


def test_strict_refuses_bytes() -> None:
    """No bytes, bytes that are no text, nesting without end."""
    for value in (
        None,
        b"",
        b"\xff",
        GOOD.replace("view", "v\xff").encode("latin-1"),
        b"[" * 100_000,
    ):
        assert strict(value, rta.USER_EVENTS) is None


@pytest.mark.kafka
def test_a_topic_is_read_as_it_is(spark: SparkSession, topic: Callable[..., str]) -> None:
    """Any bytes, null keys and values, headers; events() keeps the good ones that are not ahead."""
    name = topic(partitions=1)
    ahead = GOOD.replace("2024", "2099")
    rows = [(None, GOOD.encode()), (b"k\xff", None), (b"k", b"\xff"), (b"k", ahead.encode())]
    frame = spark.createDataFrame(rows, "key BINARY, value BINARY").coalesce(1)
    rta.publish(frame, name, headers={"from": "test"})
    found = oracle.read_topic(name)
    assert [(raw.key, raw.value) for raw in found] == rows
    assert [raw.offset for raw in found] == [0, 1, 2, 3]
    assert [[*raw.headers] for raw in found] == [[("from", b"test")]] * 4
    assert oracle.events(name, rta.USER_EVENTS).column("offset").to_pylist() == [0]
    assert oracle.read_topic(topic(partitions=1)) == []


def test_differences_go_both_ways() -> None:
    """Repeated rows count, nulls are equal, decimals compare by value, zones by moment."""
    left = pa.table({"id": [1, 1, None], "amount": [Decimal("1.50")] * 3})
    same = pd.DataFrame({"amount": [Decimal("1.5")] * 3, "id": pd.array([None, 1, 1], "Int64")})
    assert oracle.differences(left, same) == []
    assert oracle.differences(left, left.slice(1)) == [
        "only left: {'amount': Decimal('1.50'), 'id': 1}"
    ]
    assert len(oracle.differences(left, pa.table({"id": [2], "amount": [Decimal("1.50")]}))) == 4
    assert oracle.differences(left, left.drop_columns("id")) == [
        "columns: left amount, id; right amount"
    ]
    moment = pd.Series(pd.to_datetime(["2024-11-15T10:30:00Z"]))
    in_berlin = pd.DataFrame({"at": moment.dt.tz_convert("Europe/Berlin")})
    assert oracle.differences(pa.table({"at": [datetime(2024, 11, 15, 10, 30)]}), in_berlin) == []  # noqa: DTZ001


def test_without_duckdb_there_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says what to install."""
    monkeypatch.setitem(sys.modules, "duckdb", None)
    with pytest.raises(SetupError, match="pip install duckdb"):
        oracle.run("SELECT 1")


@pytest.mark.kafka
@pytest.mark.parametrize(
    ("spans", "fault"),
    [
        ([(0, 2), (2, 3)], "not taken .partition, offset.: .(0, 3)."),
        ([(0, 3), (2, 4)], "taken too often .partition, offset.: .(0, 2)."),
        ([(0, 4), (4, 5)], "taken too often .partition, offset.: .(0, 4)."),
    ],
    ids=["a gap", "an overlap", "beyond the end"],
)
def test_a_wrong_ledger_is_caught(
    spark: SparkSession, topic: Callable[..., str], spans: list[tuple[int, int]], fault: str
) -> None:
    """Each record once: not by its number alone, by its place."""
    name = topic(partitions=1)
    rta.publish(rta.user_events(spark, rows=4), name)
    table = name.replace("-", "_")[:40]
    made = create(table, StructType().add("id", "long"), ["id"])
    for number, (start, end) in enumerate(spans):
        batch = Batch(table, number, name, {0: start}, {0: end}, consumed=2, used=2)
        serving.commit_batch(database.engine(), made, batch, [])
    with pytest.raises(AssertionError, match=fault.replace("(", r"\(").replace(")", r"\)")):
        oracle.check_accounted(table, name)
    with pytest.raises(AssertionError, match="used is 4, not 3"):
        oracle.check_accounted(table, name, used=3)
