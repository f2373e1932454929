"""Arrays, maps and structs in a table, and tables without a key, on both databases."""

import datetime as dt
import json
import math
from decimal import Decimal
from typing import Any

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from pyspark.sql.types import (
    ArrayType,
    DecimalType,
    IntegerType,
    LongType,
    MapType,
    StringType,
    StructType,
    TimestampType,
)
from sqlalchemy import Engine

from rta.errors import InputError, TableError
from rta.store import ledger, serving, serving_tables, upserts
from rta.store.ledger import Batch
from tests.support.databases import NOON, create

TEXTS = ArrayType(StringType())
DEVICE = StructType().add("os", "string").add("versions", ArrayType(IntegerType()))
ODD = StructType().add("a", "double").add("b", "binary").add("c", "date").add("d", "timestamp_ntz").add("e", "boolean")  # fmt: skip
NESTED = (
    StructType()
    .add("id", "integer")
    .add("device", StructType().add("name", "string").add("inner", DEVICE))
    .add("prices", ArrayType(DecimalType(12, 2)))
    .add("seen", MapType(LongType(), TimestampType()))
    .add("odd", StructType().add("x", ODD))
    .add("local", "timestamp_ntz")
    .add("Select", TEXTS)
)
LOCAL = dt.datetime(2024, 11, 15, 10, 30, 0, 5)  # noqa: DTZ001 - it has no zone
ROWS: list[tuple[Any, ...]] = [
    (
        1, "phone", {"os": 'i"OS', "versions": [17, None]}, [Decimal("1.50"), Decimal("-0.01"), None], {7: NOON, -8: None},
        {"a": math.inf, "b": b"\x00\xff", "c": LOCAL.date(), "d": LOCAL, "e": False}, LOCAL, ["é\u2028", ""],
    ),
    (2, None, None, [], {}, None, None, None),
]  # fmt: skip


def test_nested_values_come_back_in_their_types(engine: Engine) -> None:
    """All of them exact, as tuples and as Arrow; NaN and infinity have a place, and SQL reaches into them."""
    table = create("nested", NESTED, ["id"], on=engine)
    columns = table.columns
    assert columns.names == ["id", "device_name", "device_inner", "prices", "seen", "odd_x", "local", "Select"]  # fmt: skip
    with engine.begin() as connection:
        assert upserts.upsert(connection, table, ROWS) == len(ROWS)
    found = serving.read("nested", on=engine)
    assert [tuple(None if v is pd.NaT else v for v in row) for row in found.astype(object).to_numpy()] == ROWS  # fmt: skip
    reach = (
        "SELECT id, device_inner ->> 'os' AS os FROM nested WHERE prices IS NOT NULL ORDER BY id"
    )
    assert serving.sql(reach, on=engine)["os"].tolist() == ['i"OS', None]
    with pytest.raises(InputError, match="SQL"):
        serving.read("nested", where={"prices": Decimal(1)}, on=engine)
    # As Arrow, which is how Spark gives them; other libraries read what pandas has.
    arrow = pa.table(
        {
            "id": pa.array([3], pa.int32()),
            "device": pa.array([{"name": "p", "inner": {"os": "a", "versions": [1]}}]),
            "prices": pa.array([[Decimal("2.00")]], pa.list_(pa.decimal128(12, 2))),
            "seen": pa.array([[(1, NOON)]], pa.map_(pa.int64(), pa.timestamp("us", "UTC"))),
            "odd": pa.array([{"x": {"a": math.nan, "b": b"", "c": None, "d": LOCAL, "e": True}}]),
            "local": pa.array([LOCAL], pa.timestamp("us")),
            "Select": pa.array([["x"]]),
        }
    )
    with engine.begin() as connection:
        upserts.upsert(connection, table, arrow)
    row = serving.read("nested", where={"id": 3}, on=engine).iloc[0]
    assert row["seen"] == {1: NOON}
    assert math.isnan(row["odd_x"]["a"])
    assert row["local"] == pd.Timestamp(LOCAL)
    typed = serving.read_arrow("nested", on=engine)
    assert typed.schema.field("prices").type == pa.list_(pa.decimal128(12, 2))
    assert typed.schema.field("seen").type == pa.map_(pa.int64(), pa.timestamp("us", "UTC"))
    assert typed.slice(0, 1).to_pylist()[0]["odd_x"]["b"] == b"\x00\xff"
    asked = 'SELECT sum(list_sum(prices)), max(device_inner.os), max(len("Select")) FROM typed'
    counted = duckdb.sql(asked)
    assert counted is not None
    assert counted.fetchall() == [(Decimal("3.49"), 'i"OS', 2)]
    frame = pl.DataFrame(typed)
    assert frame.schema["prices"] == pl.List(pl.Decimal(12, 2))
    assert frame.schema["local"] == pl.Datetime("us")
    reached = frame.select(pl.col("device_inner").struct.field("os"), pl.col("prices").list.first())
    assert reached.rows() == [('i"OS', Decimal("1.50")), (None, None), ("a", Decimal("2.00"))]


@pytest.mark.parametrize("value", [{"os": "a"}, {"os": "a", "versions": [object()]}, "text"])
def test_a_value_of_another_shape_is_refused(engine: Engine, value: Any) -> None:
    """Nothing is written."""
    table = create("shape", StructType().add("id", "integer").add("device", StructType().add("inner", DEVICE)), ["id"], on=engine)  # fmt: skip
    with pytest.raises(TableError, match="device_inner"), engine.begin() as connection:
        upserts.upsert(connection, table, [(1, value)])
    assert serving.read("shape", on=engine).empty


def test_a_table_without_a_key_keeps_each_row_once(engine: Engine) -> None:
    """Equal rows are rows of their own; a batch that comes again adds none."""
    table = create("added", StructType().add("page", "string").add("tags", TEXTS), [], on=engine)  # fmt: skip
    assert repr(table).endswith("no key)")
    rows = [("b", ["x"]), ("a", None), ("a", None)]
    batch = Batch("q", 0, "events", {0: 0}, {0: 3}, NOON, 3, 3)
    assert serving.commit_batch(engine, table, batch, rows)
    assert not serving.commit_batch(engine, table, batch, rows)
    assert serving.commit_batch(engine, table, Batch("q", 1, "events", {0: 3}, {0: 4}, NOON, 1, 1), rows[:1])  # fmt: skip
    found = serving.read("added", on=engine)
    assert json.loads(found.to_json(orient="values")) == [["a", None], ["a", None], ["b", ["x"]], ["b", ["x"]]]  # fmt: skip
    assert [each.rows for each in ledger.batches("added", on=engine)] == [3, 1]
    with pytest.raises(InputError, match="array"):
        serving_tables.planned("keyed", StructType().add("tags", TEXTS), ["tags"], on=engine)  # fmt: skip
