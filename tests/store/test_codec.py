"""Values of every type: exactly what was written is read, on both databases."""

import datetime as dt
import json
import math
import time
from decimal import Decimal
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyspark.sql.types import (
    ArrayType,
    CalendarIntervalType,
    DayTimeIntervalType,
    GeometryType,
    MapType,
    NullType,
    StringType,
    StructType,
    TimeType,
    VariantType,
    YearMonthIntervalType,
)
from sqlalchemy import Engine

from rta.errors import InputError, TableError
from rta.store import serving, serving_tables, upserts
from tests.support.databases import NOON, TOTALS, VALUES, create, total

TYPES = (
    StructType()
    .add("id", "integer")
    .add("tiny", "byte")
    .add("small", "short")
    .add("number", "integer")
    .add("big", "long")
    .add("single", "float")
    .add("double", "double")
    .add("money", "decimal(38,18)")
    .add("whole", "decimal(38,0)")
    .add("text", "string")
    .add("flag", "boolean")
    .add("day", "date")
    .add("moment", "timestamp")
    .add("raw", "binary")
    .add("clock", TimeType())
    .add("span", DayTimeIntervalType())
    .add("age", YearMonthIntervalType())
    .add("loose", VariantType())
)


def _decimals(digits: int, scale: int) -> st.SearchStrategy[Decimal]:
    limit = 10**digits - 1
    edges = st.sampled_from([limit, -limit, 1, -1, 0])
    return (st.integers(-limit, limit) | edges).map(
        lambda number: Decimal((int(number < 0), tuple(map(int, str(abs(number)))), -scale))
    )


def _ints(bits: int) -> st.SearchStrategy[int]:
    return st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
SPAN_EDGES = [dt.timedelta(microseconds=edge) for edge in (-(2**63), 2**63 - 1)]
SPANS = st.timedeltas(*SPAN_EDGES) | st.sampled_from(SPAN_EDGES)
ROWS = st.tuples(
    st.none() | _ints(8),
    st.none() | _ints(16),
    st.none() | _ints(32),
    st.none() | _ints(64),
    st.none() | st.floats(width=32),
    st.none() | st.floats(),
    st.none() | _decimals(38, 18),
    st.none() | _decimals(38, 0),
    st.none() | TEXTS,
    st.none() | st.booleans(),
    st.none() | st.dates(),
    st.none() | st.datetimes(timezones=st.just(dt.UTC)),
    st.none() | st.binary(),
    st.none() | st.times(),
    st.none() | SPANS,
    st.none() | _ints(32),
    st.none() | JSON.map(json.dumps),
)  # fmt: skip


def _same(wanted: Any, got: Any) -> bool:
    if wanted is None or got is None or got is pd.NA or got is pd.NaT:
        return wanted is None and bool(pd.isna(got))
    if isinstance(wanted, float):
        return wanted == got or (math.isnan(wanted) and math.isnan(got))
    if isinstance(wanted, dt.datetime | dt.timedelta):
        return bool(wanted == got)
    return type(got) in {type(wanted), *_NUMPY} and bool(wanted == got)


def _same_json(wanted: str | None, got: Any) -> bool:
    return bool(got == (None if wanted is None else json.loads(wanted, parse_float=Decimal)))


_NUMPY = {type(pd.Series([1], dtype=each)[0]) for each in ("int8", "int16", "int32", "int64")} | {
    type(pd.Series([True])[0])
}


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(rows=st.lists(ROWS, min_size=1, max_size=6))
def test_each_type_comes_back_exactly(engine: Engine, rows: list[tuple[Any, ...]]) -> None:
    """Every value of every type, null and NaN apart, is read as it was written."""
    table = create("types", TYPES, ["id"], on=engine)
    with engine.begin() as connection:
        connection.exec_driver_sql('DELETE FROM "types"')
        upserts.upsert(connection, table, [(number, *row) for number, row in enumerate(rows)])
    frame = serving.read("types", on=engine)
    assert len(frame) == len(rows)
    for name, column in zip(TYPES.names[1:], zip(*rows, strict=True), strict=True):
        same = _same_json if name == "loose" else _same
        wrong = [p for p in zip(column, frame[name], strict=True) if not same(*p)]
        assert not wrong, (name, wrong)


def test_dtypes_are_those_of_spark(engine: Engine) -> None:
    """An empty table has the types of a full one; integers that may be null are nullable."""
    table = create("types", TYPES, ["id"], on=engine)
    empty = serving.read("types", on=engine)
    with engine.begin() as connection:
        upserts.upsert(connection, table, [(1, *[None] * 17)])
    full = serving.read("types", on=engine)
    assert empty.dtypes.to_dict() == full.dtypes.to_dict()
    assert {name: str(full[name].dtype) for name in ("id", "tiny", "big", "moment")} == {
        "id": "int32",
        "tiny": "Int8",
        "big": "Int64",
        "moment": "datetime64[us, UTC]",
    }


def test_a_window_is_flattened_and_found_again(engine: Engine) -> None:
    """A struct becomes two columns, is a key by its own name, and the catalog restores it all."""
    table = create("totals", TOTALS, ["window", "user_id"], topic="events", on=engine)
    assert table.key == ("window_start", "window_end", "user_id")
    assert serving_tables.table("totals", on=engine) == table
    rows = [total(5, "b", "0.10", 1), total(0, "a", "12.30", 2)]
    with engine.begin() as connection:
        assert upserts.upsert(connection, table, rows) == 2
    frame = serving.read("totals", on=engine)
    assert frame.to_numpy().tolist() == [
        [NOON, NOON + dt.timedelta(minutes=5), "a", Decimal("12.30"), 2],
        [*(NOON + dt.timedelta(minutes=m) for m in (5, 10)), "b", Decimal("0.10"), 1],
    ]


def test_tuples_and_arrow_are_the_same(engine: Engine) -> None:
    """The form of the rows does not matter."""
    table = create("totals", TOTALS, ["window", "user_id"], on=engine)
    window = {"start": NOON, "end": NOON + dt.timedelta(minutes=5)}
    row = {"window": window, "user_id": "a", "total_amount": Decimal("1.50"), "event_count": 1}
    moment = pa.timestamp("us", tz="UTC")
    schema = pa.schema(
        [
            ("window", pa.struct([("start", moment), ("end", moment)])),
            ("user_id", pa.string()),
            ("total_amount", pa.decimal128(22, 2)),
            ("event_count", pa.int64()),
        ]
    )
    frames = []
    for rows in ([total(0, "a", "1.50", 1)], pa.Table.from_pylist([row], schema)):
        with engine.begin() as connection:
            upserts.upsert(connection, table, rows)
        frames.append(serving.read("totals", on=engine))
        serving_tables.drop("totals", on=engine)
        create("totals", TOTALS, ["window", "user_id"], on=engine)
    assert frames[0].equals(frames[1])


def test_naive_datetimes_are_local_as_in_pyspark_rows(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both hours of the night when a clock is set back stay apart."""
    table = create("t", StructType().add("at", "timestamp"), ["at"], on=engine)
    moments = [dt.datetime(2024, 10, 27, hour, 30, tzinfo=dt.UTC) for hour in (0, 1)]
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Europe/Berlin")
        time.tzset()
        local = [dt.datetime.fromtimestamp(at.timestamp()) for at in moments]  # noqa: DTZ006
        with engine.begin() as connection:
            upserts.upsert(connection, table, [(at,) for at in local])
    time.tzset()
    assert serving.read("t", on=engine)["at"].tolist() == moments


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        (
            StructType().add("id", "long").add("x", CalendarIntervalType()),
            r"column 'x'; found: interval; fix: make it make_ym_interval\(\) or",
        ),
        (
            StructType().add("id", "long").add("x", MapType(StringType(), GeometryType(4326))),
            r"column 'x'; found: GEOMETRY\(4326\); fix: take ST_AsBinary\(\)",
        ),
        (StructType().add("id", "long").add("w_a", "long").add("w", VALUES), None),
        (StructType().add("id", "long").add("ID", "string"), "two columns"),
        (StructType().add("id", "long").add("a; drop", "string"), "legal column"),
        (
            StructType().add("id", "long").add("w", StructType().add("v", ArrayType(NullType()))),
            "'w_v'",
        ),
    ],
)
def test_columns_no_table_can_hold(engine: Engine, schema: StructType, words: str | None) -> None:
    """A type or a name that does not fit is refused by the column's name, before anything."""
    if words is None:
        assert create("t", schema, ["id"], on=engine).columns.names[-1] == "w_value"
        return
    with pytest.raises(InputError, match=words):
        create("t", schema, ["id"], on=engine)
    assert serving_tables.tables(on=engine) == []


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("decimal(12,2)", Decimal("0.001")),
        ("decimal(12,2)", Decimal(10000000000)),
        ("decimal(12,2)", Decimal("NaN")),
        ("decimal(12,2)", 1.5),
        ("integer", 2**31),
        ("long", -(2**63) - 1),
        ("long", True),
        ("string", 7),
        ("date", NOON),
        ("timestamp", pd.NaT),
        ("interval year to month", 2**31),
        ("interval year to month", dt.timedelta(days=30)),
        ("variant", "{"),
        ("variant", {"a": 1}),
    ],
)
def test_nothing_is_rounded_cut_or_converted(engine: Engine, kind: str, value: Any) -> None:
    """A value that a column cannot hold exactly is an error that names it; nothing is written."""
    table = create("t", StructType().add("id", "long").add("x", kind), ["id"], on=engine)
    with pytest.raises(TableError, match="column 'x' is "), engine.begin() as connection:
        upserts.upsert(connection, table, [(1, None), (2, value)])
    assert serving.read("t", on=engine).empty


def test_odd_names(engine: Engine) -> None:
    """Reserved words and capitals are names like others."""
    names = ["user", "order", "timestamp", "Select", "group", "table", "values"]
    schema = StructType()
    for name in names:
        schema = schema.add(name, "string")
    table = create("Order", schema, ["user", "order", "Select"], on=engine)
    for _ in range(2):
        with engine.begin() as connection:
            upserts.upsert(connection, table, [tuple(names)])
    frame = serving.read("Order", where={"user": "user"}, order_by=["-group"], on=engine)
    assert frame.to_numpy().tolist() == [names]
    assert list(serving.sql('SELECT "user" FROM "Order"', on=engine)["user"]) == ["user"]
    with pytest.raises(TableError, match="another name"):
        create("order", schema, ["user"], on=engine)
    for name in ("rta_batches", "sqlite_x", "pg_class", "a b", 'a"b'):
        with pytest.raises(InputError):
            create(name, schema, ["user"], on=engine)
