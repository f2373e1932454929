"""The serving layer, on SQLite and on a real PostgreSQL, also from other processes."""

import datetime as dt
import json
import math
import os
import signal
import stat
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyspark.sql import Row
from pyspark.sql.types import StructType
from sqlalchemy import Engine

from rta import serving
from rta.catalog import JOBS
from rta.errors import InputError, TableError
from rta.serving import Batch
from tests.databases import database_url, postgresql

__all__ = ["database_url", "postgresql"]

TOTALS = (
    StructType()
    .add("window", StructType().add("start", "timestamp").add("end", "timestamp"), nullable=False)
    .add("user_id", "string")
    .add("total_amount", "decimal(22,2)")
    .add("event_count", "long", nullable=False)
)
NOON = dt.datetime(2024, 1, 1, 12, tzinfo=dt.UTC)
VALUES = StructType().add("id", "integer").add("value", "long")


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """Give the engine of an empty serving database."""
    engine = serving.engine(database_url)
    yield engine
    engine.dispose()


def _total(minute: int, user: str, amount: str, count: int) -> Row:
    start = NOON + dt.timedelta(minutes=minute)
    row: Any = Row  # of values, which its stub does not know
    window = row(start, start + dt.timedelta(minutes=5))
    return cast(Row, row(window, user, Decimal(amount), count))


def _child(url: str, code: str, *arguments: str) -> subprocess.Popen[str]:
    """Run code in another process that knows `serving` and the engine `on`, once it is told to."""
    start = (
        "import json, os, sys; from rta import serving; from rta.serving import Batch\n"
        "from pyspark.sql.types import StructType; import sqlalchemy\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        "on = serving.engine(os.environ['CHILD_URL'])\n"
    )
    return subprocess.Popen(
        [sys.executable, "-c", start + code, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"CHILD_URL": url, "PYTHONPATH": str(Path(__file__).parent.parent)},
        text=True,
    )


def _go(*children: subprocess.Popen[str]) -> None:
    """Let children go that wait at their start, all at the same moment."""
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
    for child in children:
        assert child.stdin is not None
        print(file=child.stdin, flush=True)


def _ended(child: subprocess.Popen[str], *, code: int = 0) -> str:
    out, err = child.communicate(timeout=60)
    assert child.returncode == code, err
    return out


# --- types ---------------------------------------------------------------------------------------

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
)


def _decimals(digits: int, scale: int) -> st.SearchStrategy[Decimal]:
    limit = 10**digits - 1
    edges = st.sampled_from([limit, -limit, 1, -1, 0])
    return (st.integers(-limit, limit) | edges).map(
        lambda number: Decimal((int(number < 0), tuple(map(int, str(abs(number)))), -scale))
    )


def _ints(bits: int) -> st.SearchStrategy[int]:
    return st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


ROWS = st.tuples(
    st.none() | _ints(8),
    st.none() | _ints(16),
    st.none() | _ints(32),
    st.none() | _ints(64),
    st.none() | st.floats(width=32),
    st.none() | st.floats(),
    st.none() | _decimals(38, 18),
    st.none() | _decimals(38, 0),
    st.none() | st.text(st.characters(codec="utf-8", exclude_characters="\0")),
    st.none() | st.booleans(),
    st.none() | st.dates(),
    st.none() | st.datetimes(timezones=st.just(dt.UTC)),
    st.none() | st.binary(),
)


def _same(wanted: Any, got: Any) -> bool:
    if wanted is None or got is None or got is pd.NA or got is pd.NaT:
        return wanted is None and bool(pd.isna(got))
    if isinstance(wanted, float):
        return wanted == got or (math.isnan(wanted) and math.isnan(got))
    if isinstance(wanted, dt.datetime):
        return bool(wanted == got)
    return type(got) in {type(wanted), *_NUMPY} and bool(wanted == got)


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
    table = serving.create("types", TYPES, ["id"], on=engine)
    with engine.begin() as connection:
        connection.exec_driver_sql('DELETE FROM "types"')
        serving.upsert(connection, table, [(number, *row) for number, row in enumerate(rows)])
    frame = serving.read("types", on=engine)
    assert len(frame) == len(rows)
    for name, column in zip(TYPES.names[1:], zip(*rows, strict=True), strict=True):
        wrong = [p for p in zip(column, frame[name], strict=True) if not _same(*p)]
        assert not wrong, (name, wrong)


def test_dtypes_are_those_of_spark(engine: Engine) -> None:
    """An empty table has the types of a full one; integers that may be null are nullable."""
    table = serving.create("types", TYPES, ["id"], on=engine)
    empty = serving.read("types", on=engine)
    with engine.begin() as connection:
        serving.upsert(connection, table, [(1, *[None] * 13)])
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
    table = serving.create("totals", TOTALS, ["window", "user_id"], topic="events", on=engine)
    assert table.key == ("window_start", "window_end", "user_id")
    assert serving.table("totals", on=engine) == table
    rows = [_total(5, "b", "0.10", 1), _total(0, "a", "12.30", 2)]
    with engine.begin() as connection:
        assert serving.upsert(connection, table, rows) == 2
    frame = serving.read("totals", on=engine)
    assert frame.to_numpy().tolist() == [
        [NOON, NOON + dt.timedelta(minutes=5), "a", Decimal("12.30"), 2],
        [*(NOON + dt.timedelta(minutes=m) for m in (5, 10)), "b", Decimal("0.10"), 1],
    ]


def test_rows_tuples_mappings_and_arrow_are_the_same(engine: Engine) -> None:
    """The form of the rows does not matter."""
    table = serving.create("totals", TOTALS, ["window", "user_id"], on=engine)
    window = {"start": NOON, "end": NOON + dt.timedelta(minutes=5)}
    mapping = {"window": window, "user_id": "a", "total_amount": Decimal("1.50"), "event_count": 1}
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
    for rows in ([_total(0, "a", "1.50", 1)], [mapping], pa.Table.from_pylist([mapping], schema)):
        with engine.begin() as connection:
            serving.upsert(connection, table, rows)
        frames.append(serving.read("totals", on=engine))
        serving.drop("totals", on=engine)
        serving.create("totals", TOTALS, ["window", "user_id"], on=engine)
    assert frames[0].equals(frames[1])
    assert frames[0].equals(frames[2])


def test_naive_datetimes_are_local_as_in_pyspark_rows(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both hours of the night when a clock is set back stay apart."""
    table = serving.create("t", StructType().add("at", "timestamp"), ["at"], on=engine)
    moments = [dt.datetime(2024, 10, 27, hour, 30, tzinfo=dt.UTC) for hour in (0, 1)]
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Europe/Berlin")
        time.tzset()
        local = [dt.datetime.fromtimestamp(at.timestamp()) for at in moments]  # noqa: DTZ006
        with engine.begin() as connection:
            serving.upsert(connection, table, [(at,) for at in local])
    time.tzset()
    assert serving.read("t", on=engine)["at"].tolist() == moments


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        (StructType().add("id", "long").add("tags", "string").add("x", "timestamp_ntz"), "'x'"),
        (StructType().add("id", "long").add("w_a", "long").add("w", VALUES), None),
        (StructType().add("id", "long").add("ID", "string"), "two columns"),
        (StructType().add("id", "long").add("a; drop", "string"), "legal column"),
        (StructType().add("id", "long").add("w", StructType().add("v", VALUES)), "'w_v'"),
    ],
)
def test_columns_no_table_can_hold(engine: Engine, schema: StructType, words: str | None) -> None:
    """A type or a name that does not fit is refused by the column's name, before anything."""
    if words is None:
        assert serving.create("t", schema, ["id"], on=engine).columns.names[-1] == "w_value"
        return
    with pytest.raises(InputError, match=words):
        serving.create("t", schema, ["id"], on=engine)
    assert serving.tables(on=engine) == []


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
    ],
)
def test_nothing_is_rounded_cut_or_converted(engine: Engine, kind: str, value: Any) -> None:
    """A value that a column cannot hold exactly is an error that names it; nothing is written."""
    table = serving.create("t", StructType().add("id", "long").add("x", kind), ["id"], on=engine)
    with pytest.raises(TableError, match="column 'x' is "), engine.begin() as connection:
        serving.upsert(connection, table, [(1, None), (2, value)])
    assert serving.read("t", on=engine).empty


def test_odd_names(engine: Engine) -> None:
    """Reserved words and capitals are names like others."""
    names = ["user", "order", "timestamp", "Select", "group", "table", "values"]
    schema = StructType()
    for name in names:
        schema = schema.add(name, "string")
    table = serving.create("Order", schema, ["user", "order", "Select"], on=engine)
    for _ in range(2):
        with engine.begin() as connection:
            serving.upsert(connection, table, [tuple(names)])
    frame = serving.read("Order", where={"user": "user"}, order_by=["-group"], on=engine)
    assert frame.to_numpy().tolist() == [names]
    assert list(serving.sql('SELECT "user" FROM "Order"', on=engine)["user"]) == ["user"]
    with pytest.raises(TableError, match="another name"):
        serving.create("order", schema, ["user"], on=engine)
    for name in ("rta_batches", "sqlite_x", "pg_class", "a b", 'a"b'):
        with pytest.raises(InputError):
            serving.create(name, schema, ["user"], on=engine)


# --- tables and keys -----------------------------------------------------------------------------


def test_an_existing_table_must_fit(engine: Engine) -> None:
    """Creating again is free; another type or key is refused with both and the mend."""
    table = serving.create("totals", TOTALS, ["window", "user_id"], on=engine)
    looser = StructType.fromJson(TOTALS.jsonValue())
    looser["event_count"].nullable = True
    looser["user_id"].metadata = {"spark.watermarkDelayMs": 1}
    assert serving.create("totals", looser, ["window", "user_id"], on=engine) == table
    other = StructType([*TOTALS.fields[:3], VALUES["id"]])
    with pytest.raises(TableError, match=r"event_count BIGINT there.*id INT wanted.*drop\('totals"):
        serving.create("totals", other, ["window", "user_id"], on=engine)
    with pytest.raises(TableError, match="another key"):
        serving.create("totals", TOTALS, ["window"], on=engine)
    with pytest.raises(TableError, match="no serving table 'total'; found: totals"):
        serving.read("total", on=engine)


def test_a_table_of_someone_else_is_left_alone(engine: Engine) -> None:
    """A table that rta did not make is neither used nor dropped."""
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE theirs (id INTEGER)")
    with pytest.raises(TableError, match="not rta's"):
        serving.create("theirs", VALUES, ["id"], on=engine)
    with pytest.raises(TableError, match="no serving table"):
        serving.drop("theirs", on=engine)


@pytest.mark.parametrize("key", [[], ["nothing"], ["id", "id"], ["x"]])
def test_keys_that_name_no_row(engine: Engine, key: list[str]) -> None:
    """A key is one or more columns of the table, each once, and no float."""
    schema = StructType().add("id", "long").add("x", "double")
    with pytest.raises(InputError, match="key"):
        serving.create("t", schema, key, on=engine)


def test_null_in_a_key_and_two_rows_of_one_key(engine: Engine) -> None:
    """Both are refused with advice, and nothing of the batch is written."""
    table = serving.create("t", VALUES, ["id"], on=engine)
    for rows, words in (
        ([(1, 1), (None, 1)], "column 'id' must have a value.*coalesce"),
        ([(1, 1), (2, 2), (1, 3)], r"same key in table 't'; found: {'id': 1}"),
        ([(n, 1) for n in range(10_001)] + [(5, 2)], r"found: {'id': 5}"),
        ([(1, 1, 1)], "3 values"),
    ):
        with pytest.raises(TableError, match=words):
            serving.commit_batch(engine, table, Batch("q", 0, "events"), rows)
        assert serving.read("t", on=engine).empty
        assert serving.batches("t", on=engine) == []


def test_two_processes_create_the_same_table_at_once(database_url: str) -> None:
    """Of two that are first, in an empty database, neither fails."""
    code = (
        "schema = StructType().add('id', 'integer').add('value', 'long')\n"
        "print(serving.create('t', schema, ['id'], on=on))\n"
    )
    children = [_child(database_url, code) for _ in range(2)]
    _go(*children)
    assert {_ended(child) for child in children} == {"Table(t: id INT, value BIGINT; key id)\n"}


def test_threads_create_the_same_table_at_once(engine: Engine) -> None:
    """One engine serves many threads."""
    made: list[serving.Table] = []
    threads = [
        threading.Thread(target=lambda: made.append(serving.create("t", VALUES, ["id"], on=engine)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(made) == 8


# --- exactly once --------------------------------------------------------------------------------


def test_f6_a_batch_seen_twice_is_written_once(engine: Engine) -> None:
    """The ledger knows the batch of this query; the same number of another query is another."""
    table = serving.create("t", VALUES, ["id"], on=engine)
    first = Batch("q", 0, "events", {0: 0}, {0: 5, 1: 2}, NOON, 7, 4, 1, 1, 1, run_id="r")
    assert serving.commit_batch(engine, table, first, [(1, 1), (2, 1)])
    assert not serving.commit_batch(engine, table, first, [(1, 99)])
    assert serving.commit_batch(engine, table, Batch("other", 0, "events", {}, {0: 3}), [(3, 1)])
    assert serving.read("t", on=engine).to_numpy().tolist() == [[1, 1], [2, 1], [3, 1]]
    entry = serving.batches("t", run_id="r", on=engine)[0]
    assert (entry.table, entry.rows, entry.watermark) == ("t", 2, NOON)
    assert entry.committed_at is not None
    assert (entry.start_offsets, entry.end_offsets) == ({0: 0}, {0: 5, 1: 2})
    assert serving.offsets("t", on=engine) == {"events": {0: 5, 1: 2}}
    sums = serving.accounting("t", run_id="r", on=engine)
    assert sums == serving.Accounting(7, 4, 1, 1, 1, 2, 1)
    assert sums.balanced
    serving.drop("t", on=engine)
    assert (serving.tables(on=engine), serving.batches(on=engine)) == ([], [])


def test_two_processes_commit_the_same_batch(database_url: str, engine: Engine) -> None:
    """Of two that have the same batch, exactly one writes it."""
    serving.create("t", VALUES, ["id"], on=engine)
    code = (
        "table = serving.table('t', on=on)\n"
        "rows = [(n, os.getpid()) for n in range(5000)]\n"
        "done = [serving.commit_batch(on, table, Batch('q', b, 'e'), rows) for b in range(5)]\n"
        "print(json.dumps(done))\n"
    )
    children = [_child(database_url, code) for _ in range(2)]
    _go(*children)
    for one, other in zip(*(json.loads(_ended(child)) for child in children), strict=True):
        assert one != other
    assert serving.read("t", on=engine)["value"].nunique() == 1


def test_f7_killed_in_the_middle_of_a_write(database_url: str, engine: Engine) -> None:
    """After SIGKILL between two rows nothing of the batch is there, and it can be written again."""
    table = serving.create("t", VALUES, ["id"], on=engine)
    serving.commit_batch(engine, table, Batch("q", 0, "e"), [(n, 0) for n in range(100)])
    code = (
        "def rows():\n"
        "    yield from ((n, 1) for n in range(25_000))\n"
        "    print('half is written', flush=True)\n"
        "    sys.stdin.readline()\n"
        "serving.commit_batch(on, serving.table('t', on=on), Batch('q', 1, 'e'), rows())\n"
    )
    child = _child(database_url, code)
    _go(child)
    assert child.stdout is not None
    assert child.stdout.readline() == "half is written\n"
    assert len(serving.read("t", on=engine)) == 100
    os.kill(child.pid, signal.SIGKILL)
    _ended(child, code=-signal.SIGKILL)
    frame = serving.read("t", on=engine)
    assert (len(frame), set(frame["value"])) == (100, {0})
    assert [entry.batch_id for entry in serving.batches("t", on=engine)] == [0]
    assert serving.commit_batch(engine, table, Batch("q", 1, "e"), [(n, 1) for n in range(100)])
    assert set(serving.read("t", on=engine)["value"]) == {1}


def test_a_reader_in_another_process_never_sees_half_a_batch(
    database_url: str, engine: Engine
) -> None:
    """Each batch gives all rows its number: whoever reads finds one number, and never goes back."""
    table = serving.create("t", VALUES, ["id"], on=engine)
    serving.commit_batch(engine, table, Batch("q", 0, "e"), [(n, 0) for n in range(2_000)])
    code = (
        "last, seen = 0, set()\n"
        "while len(seen) < 10:\n"
        "    frame = serving.read('t', on=on)\n"
        "    (value,) = set(frame['value'])\n"
        "    assert len(frame) == 2_000 and value >= last, (len(frame), value, last)\n"
        "    last = value; seen.add(value)\n"
    )
    child = _child(database_url, code)
    _go(child)
    deadline, number = time.monotonic() + 30, 0
    while child.poll() is None and time.monotonic() < deadline:
        number += 1
        rows = ((n, number) for n in range(2_000))
        assert serving.commit_batch(engine, table, Batch("q", number, "e"), rows)
    _ended(child)


# --- reading -------------------------------------------------------------------------------------


def test_read_sorts_filters_and_limits(engine: Engine) -> None:
    """Decimals sort and compare as numbers, in each database."""
    schema = StructType().add("id", "long").add("amount", "decimal(12,2)").add("at", "timestamp")
    table = serving.create("t", schema, ["id"], on=engine)
    amounts = [Decimal(text) for text in ("9.00", "10.00", "-1.00", "-10.00")]
    with engine.begin() as connection:
        serving.upsert(connection, table, [(n, each, NOON) for n, each in enumerate(amounts)])
    by_amount = serving.read("t", order_by=["amount"], on=engine)
    assert list(by_amount["amount"]) == sorted(amounts)
    top = serving.read("t", order_by=["-amount"], limit=1, on=engine)
    assert list(top["amount"]) == [Decimal("10.00")]
    same = serving.read("t", where={"amount": Decimal(9), "at": NOON}, on=engine)
    assert list(same["id"]) == [0]
    over = serving.sql("SELECT id FROM t WHERE amount > 5 ORDER BY id", on=engine)
    assert list(over["id"]) == [0, 1]
    with pytest.raises(InputError, match="no column 'x'"):
        serving.read("t", order_by=["x"], on=engine)


def test_sql_sums_decimals_exactly(engine: Engine) -> None:
    """SUM over a DECIMAL has all its digits, also as a running sum; moments come as moments."""
    schema = StructType().add("id", "long").add("amount", "decimal(38,2)").add("at", "timestamp")
    table = serving.create("t", schema, ["id"], on=engine)
    big = Decimal(10**35) + Decimal("0.01")
    with engine.begin() as connection:
        serving.upsert(connection, table, [(n, big, NOON) for n in range(10)])
    found = serving.sql(
        "SELECT SUM(amount) AS total, MAX(at) AS last, COUNT(*) AS rows, SUM(NULL * id) AS missing "
        "FROM t WHERE amount = :amount AND at <= :at",
        {"amount": big, "at": NOON},
        on=engine,
    )
    assert found["total"].tolist() == [big * 10]
    assert (found["last"].tolist(), found["rows"].tolist()) == ([NOON], [10])
    assert found["missing"].isna().all()
    running = serving.sql(
        "SELECT SUM(amount) OVER (ORDER BY id ROWS 1 PRECEDING) AS two FROM t ORDER BY id",
        on=engine,
    )
    assert running["two"].tolist() == [big] + [big * 2] * 9
    assert serving.sql("SELECT amount FROM t LIMIT 1", on=engine)["amount"].tolist() == [big]


def test_sums_of_other_numbers_stay_what_they_are(engine: Engine) -> None:
    """Integers add up to integers, floats to floats, NaN to NaN."""
    table = serving.create(
        "t", StructType().add("id", "long").add("x", "double"), ["id"], on=engine
    )
    with engine.begin() as connection:
        serving.upsert(connection, table, [(1, 0.5), (2, 0.25), (3, None)])
    found = serving.sql("SELECT SUM(id) AS ids, SUM(x) AS x FROM t", on=engine)
    assert (int(found["ids"][0]), float(found["x"][0])) == (6, 0.75)
    with engine.begin() as connection:
        serving.upsert(connection, table, [(3, math.nan)])
    assert math.isnan(serving.sql("SELECT SUM(x) AS x FROM t", on=engine)["x"][0])


@pytest.mark.parametrize(
    "query",
    [
        "DELETE FROM t",
        "DROP TABLE t",
        "INSERT INTO t VALUES (2, 2)",
        "COMMIT; DELETE FROM t",
        "SELECT 1; DELETE FROM t",
        "CREATE TABLE other (id INTEGER)",
        "SELEC 1",
    ],
)
def test_sql_refuses_to_write(engine: Engine, query: str) -> None:
    """No statement that writes gets through, and writing goes on afterwards."""
    table = serving.create("t", VALUES, ["id"], on=engine)
    with engine.begin() as connection:
        serving.upsert(connection, table, [(1, 1)])
    with pytest.raises(TableError):
        serving.sql(query, on=engine)
    assert len(serving.read("t", on=engine)) == 1
    assert serving.commit_batch(engine, table, Batch("q", 0, "e"), [(1, 2)])


def test_the_job_history_has_its_table(engine: Engine) -> None:
    """A job's entry can be written and read back with its moments and its receipt."""
    entry = {
        "run_id": "r",
        "job": "j",
        "notebook": "n.ipynb",
        "parameters": {"a": 1},
        "started_at": NOON,
        "outcome": "running",
        "receipt": {"rows": 1},
    }
    with engine.begin() as connection:
        connection.execute(JOBS.insert().values(entry))
        found = connection.execute(JOBS.select()).mappings().one()
    assert {name: found[name] for name in entry} == entry


# --- the database --------------------------------------------------------------------------------


def test_the_default_is_a_private_file_in_the_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite in RTA_HOME: write-ahead, fully synchronous, for the owner's eyes only."""
    monkeypatch.setenv("RTA_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("RTA_DATABASE_URL", raising=False)
    engine = serving.engine()
    assert engine is serving.engine()
    with engine.begin() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
    modes = {
        path.name: stat.S_IMODE(path.stat().st_mode)
        for path in [tmp_path / "home", *(tmp_path / "home").iterdir()]
    }
    assert modes.pop("home") == 0o700
    assert modes.pop("rta.db") == 0o600
    assert set(modes.values()) <= {0o600}
    engine.dispose()


def test_secrets_are_shown_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that is away is told in one sentence, retriable, with the password masked."""
    for url in (
        "postgresql://me:s3cret@127.0.0.1:9/db",
        "postgresql://me@127.0.0.1:9/db?password=s3cret",
    ):
        monkeypatch.setenv("RTA_DATABASE_URL", url)
        with pytest.raises(serving.DatabaseAwayError, match="is away") as raised:
            serving.engine()
        assert raised.value.retriable
        assert "s3cret" not in str(raised.value)
        assert raised.value.__cause__ is None
    for url in ("mysql://me:s3cret@host/db", "s3cret", "sqlite://", "postgresql+x://a:s3cret@h/d"):
        with pytest.raises(InputError) as refused:
            serving.engine(url)
        assert "s3cret" not in str(refused.value)


def test_an_engine_never_shows_its_password(postgresql: str) -> None:
    """Neither the engine nor its URL has the secret in a repr."""
    for url in (
        postgresql.replace("postgres:@", "postgres:s3cret@"),
        postgresql + "&password=s3cret",
    ):
        engine = serving.engine(url)
        assert "s3cret" not in repr(engine) + str(engine.url) + repr(engine.url)
        engine.dispose()


def test_a_forked_child_uses_connections_of_its_own(engine: Engine, database_url: str) -> None:
    """After a fork the child gets another engine, and the parent's goes on."""
    import multiprocessing as mp

    table = serving.create("t", VALUES, ["id"], on=engine)
    child = mp.get_context("fork").Process(target=_write_once, args=(database_url, table))
    child.start()
    child.join(30)
    assert child.exitcode == 0
    assert serving.commit_batch(engine, table, Batch("q", 1, "e"), [(2, 2)])
    assert len(serving.read("t", on=engine)) == 2


def _write_once(url: str, table: serving.Table) -> None:
    assert serving.commit_batch(serving.engine(url), table, Batch("q", 0, "e"), [(1, 1)])


def test_float_columns_keep_single_precision(engine: Engine) -> None:
    """A FLOAT has the bits that Spark's four bytes have."""
    table = serving.create("t", StructType().add("id", "long").add("x", "float"), ["id"], on=engine)
    (tenth,) = struct.unpack("f", struct.pack("f", 0.1))
    with engine.begin() as connection:
        serving.upsert(connection, table, [(1, tenth)])
    assert float(serving.read("t", on=engine)["x"][0]) == tenth
