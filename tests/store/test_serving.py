"""Exactly once, and reading meanwhile, on SQLite and on a real PostgreSQL."""

import datetime as dt
import json
import math
import os
import signal
from decimal import Decimal
from itertools import count
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pyspark.sql.types import (
    DayTimeIntervalType,
    StructType,
    TimeType,
    VariantType,
    YearMonthIntervalType,
)
from sqlalchemy import Engine

from rta.errors import InputError, TableError
from rta.store import database, ledger, serving, serving_tables, upserts
from rta.store.catalog import JOBS
from rta.store.ledger import Batch
from tests.support.databases import NOON, VALUES, create, ended, go, started
from tests.support.waiting import until


def test_f6_a_batch_seen_twice_is_written_once(engine: Engine) -> None:
    """The ledger knows the batch of this query; the same number of another query is another."""
    table = create("t", VALUES, ["id"], on=engine)
    first = Batch("q", 0, "events", {0: 0}, {0: 5, 1: 2}, NOON, 7, 4, 1, 1, 1, run_id="r")
    assert serving.commit_batch(engine, table, first, [(1, 1), (2, 1)])
    assert not serving.commit_batch(engine, table, first, [(1, 99)])
    assert serving.commit_batch(engine, table, Batch("other", 0, "events", {}, {0: 3}), [(3, 1)])
    assert serving.read("t", on=engine).to_numpy().tolist() == [[1, 1], [2, 1], [3, 1]]
    entry = ledger.batches("t", run_id="r", on=engine)[0]
    assert (entry.table, entry.rows, entry.watermark) == ("t", 2, NOON)
    assert entry.committed_at is not None
    assert (entry.start_offsets, entry.end_offsets) == ({0: 0}, {0: 5, 1: 2})
    assert ledger.offsets("t", on=engine) == {"events": {0: 5, 1: 2}}
    sums = serving.accounting("t", run_id="r", on=engine)
    assert sums == ledger.Accounting(7, 4, 1, 1, 1, 2, 1)
    assert sums.balanced
    serving_tables.drop("t", on=engine)
    assert (serving_tables.tables(on=engine), ledger.batches(on=engine)) == ([], [])


def test_two_processes_commit_the_same_batch(database_url: str, engine: Engine) -> None:
    """Of two that have the same batch, exactly one writes it."""
    create("t", VALUES, ["id"], on=engine)
    code = (
        "table = serving_tables.table('t', on=on)\n"
        "rows = [(n, os.getpid()) for n in range(5000)]\n"
        "done = [serving.commit_batch(on, table, Batch('q', b, 'e'), rows) for b in range(5)]\n"
        "print(json.dumps(done))\n"
    )
    children = [started(database_url, code) for _ in range(2)]
    go(*children)
    for one, other in zip(*(json.loads(ended(child)) for child in children), strict=True):
        assert one != other
    assert serving.read("t", on=engine)["value"].nunique() == 1


def test_f7_killed_in_the_middle_of_a_write(database_url: str, engine: Engine) -> None:
    """After SIGKILL between two rows nothing of the batch is there, and it can be written again."""
    table = create("t", VALUES, ["id"], on=engine)
    serving.commit_batch(engine, table, Batch("q", 0, "e"), [(n, 0) for n in range(100)])
    code = (
        "def rows():\n"
        "    yield from ((n, 1) for n in range(25_000))\n"
        "    print('half is written', flush=True)\n"
        "    sys.stdin.readline()\n"
        "serving.commit_batch(on, serving_tables.table('t', on=on), Batch('q', 1, 'e'), rows())\n"
    )
    child = started(database_url, code)
    go(child)
    assert child.stdout is not None
    assert child.stdout.readline() == "half is written\n"
    assert len(serving.read("t", on=engine)) == 100
    os.kill(child.pid, signal.SIGKILL)
    ended(child, code=-signal.SIGKILL)
    frame = serving.read("t", on=engine)
    assert (len(frame), set(frame["value"])) == (100, {0})
    assert [entry.batch_id for entry in ledger.batches("t", on=engine)] == [0]
    assert serving.commit_batch(engine, table, Batch("q", 1, "e"), [(n, 1) for n in range(100)])
    assert set(serving.read("t", on=engine)["value"]) == {1}


def test_a_reader_in_another_process_never_sees_half_a_batch(
    database_url: str, engine: Engine
) -> None:
    """Each batch gives all rows its number: whoever reads finds one number, and never goes back."""
    table = create("t", VALUES, ["id"], on=engine)
    serving.commit_batch(engine, table, Batch("q", 0, "e"), [(n, 0) for n in range(2_000)])
    code = (
        "last, seen = 0, set()\n"
        "while len(seen) < 10:\n"
        "    frame = serving.read('t', on=on)\n"
        "    (value,) = set(frame['value'])\n"
        "    assert len(frame) == 2_000 and value >= last, (len(frame), value, last)\n"
        "    last = value; seen.add(value)\n"
    )
    child = started(database_url, code)
    go(child)
    numbers = count(1)

    def written_till_it_ended() -> bool:
        number = next(numbers)
        rows = ((n, number) for n in range(2_000))
        assert serving.commit_batch(engine, table, Batch("q", number, "e"), rows)
        return child.poll() is not None

    until(written_till_it_ended)
    ended(child)


def test_read_sorts_filters_and_limits(engine: Engine) -> None:
    """Decimals sort and compare as numbers, in each database."""
    schema = StructType().add("id", "long").add("amount", "decimal(12,2)").add("at", "timestamp")
    table = create("t", schema, ["id"], on=engine)
    amounts = [Decimal(text) for text in ("9.00", "10.00", "-1.00", "-10.00")]
    with engine.begin() as connection:
        upserts.upsert(connection, table, [(n, each, NOON) for n, each in enumerate(amounts)])
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
    table = create("t", schema, ["id"], on=engine)
    big = Decimal(10**35) + Decimal("0.01")
    with engine.begin() as connection:
        upserts.upsert(connection, table, [(n, big, NOON) for n in range(10)])
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
    table = create("t", StructType().add("id", "long").add("x", "double"), ["id"], on=engine)
    with engine.begin() as connection:
        upserts.upsert(connection, table, [(1, 0.5), (2, 0.25), (3, None)])
    found = serving.sql("SELECT SUM(id) AS ids, SUM(x) AS x FROM t", on=engine)
    assert (int(found["ids"][0]), float(found["x"][0])) == (6, 0.75)
    with engine.begin() as connection:
        upserts.upsert(connection, table, [(3, math.nan)])
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
    table = create("t", VALUES, ["id"], on=engine)
    with engine.begin() as connection:
        upserts.upsert(connection, table, [(1, 1)])
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
        "state": "running",
        "receipt": {"rows": 1},
    }
    with engine.begin() as connection:
        connection.execute(JOBS.insert().values(entry))
        found = connection.execute(JOBS.select()).mappings().one()
    assert {name: found[name] for name in entry} == entry


ALL = (
    StructType().add("id", "long").add("small", "short").add("x", "double").add("price", "decimal(5,2)")
    .add("text", "string").add("ok", "boolean").add("day", "date").add("at", "timestamp").add("raw", "binary")
    .add("clock", TimeType()).add("span", DayTimeIntervalType()).add("age", YearMonthIntervalType()).add("loose", VariantType())
)  # fmt: skip
HALF = NOON.replace(microsecond=500_000)
ROWS = [
    (1, 1, 0.5, Decimal("1.50"), "a:b", True, NOON.date(), NOON, b"\x00", dt.time(9), dt.timedelta(hours=-1), 14, '{"a":1}'),
    (2, -7, math.nan, Decimal("2.50"), "it's", False, dt.date(2023, 5, 6), HALF, b"k", HALF.time(), dt.timedelta(microseconds=5), -1, "[]"),
    (3, None, None, None, None, None, None, None, None, None, None, None, None),
]  # fmt: skip


@pytest.fixture
def values(engine: Engine) -> Engine:
    """Lend a database with a table of each type of column."""
    table = create("t", ALL, ["id"], on=engine)
    with engine.begin() as connection:
        upserts.upsert(connection, table, ROWS)
    return engine


WHERE: list[tuple[dict[str, Any], list[int]]] = [
    ({"id": np.int64(2)}, [2]),
    ({"id": np.uint8(2), "small": np.float64(-7.0)}, [2]),
    ({"small": Decimal(1)}, [1]),
    ({"x": np.float32(0.5)}, [1]),
    ({"x": math.nan}, [2]),
    ({"price": Decimal("1.5")}, [1]),
    ({"text": "it's"}, [2]),
    ({"text": np.str_("a:b")}, [1]),
    ({"ok": np.bool_(True)}, [1]),  # noqa: FBT003
    ({"day": dt.date(2023, 5, 6)}, [2]),
    ({"at": pd.Timestamp(HALF)}, [2]),
    ({"at": pd.Timestamp(HALF).tz_convert("Asia/Tokyo")}, [2]),
    ({"raw": bytearray(b"k")}, [2]),
    ({"clock": dt.time(9)}, [1]),
    ({"span": pd.Timedelta(hours=-1)}, [1]),
    ({"span": [np.timedelta64(5, "us"), pd.NaT]}, [2, 3]),
    ({"age": np.int32(14)}, [1]),
    ({"at": pd.NaT}, [3]),
    ({"small": pd.NA, "text": None}, [3]),
    ({"id": [1, 3, 99]}, [1, 3]),
    ({"id": np.array([2, 3])}, [2, 3]),
    ({"text": pd.Series(["it's", None])}, [2, 3]),
    ({"id": range(3)}, [1, 2]),
    ({"id": []}, []),
]


def test_where_takes_what_a_person_has(values: Engine) -> None:
    """NumPy scalars, pandas moments, missing values and lists find the rows that the same Python values find."""
    for where, ids in WHERE:
        assert list(serving.read("t", where=where, on=values)["id"]) == ids, where


REFUSED: list[tuple[Any, str]] = [
    ({"id": "2"}, r"'id' is BIGINT and cannot hold.*'2' \(str\); fix: give an int"),
    ({"small": 40_000}, "'small' is SMALLINT"),
    ({"small": 1.5}, "'small' is SMALLINT"),
    ({"id": 2**70}, "'id' is BIGINT"),
    ({"price": 1.5}, "'price' is DECIMAL.*give a Decimal"),
    ({"price": Decimal("1.555")}, "'price' is DECIMAL"),
    ({"at": NOON.date()}, "'at' is TIMESTAMP.*datetime with its zone"),
    ({"at": "2024-01-01"}, "'at' is TIMESTAMP"),
    ({"at": dt.datetime(2024, 1, 1)}, "'at' is a moment without a zone"),  # noqa: DTZ001
    ({"at": pd.Timestamp("2024-01-01")}, "'at' is a moment without a zone"),
    ({"at": pd.Timestamp(1, unit="ns", tz="UTC")}, "'at' has nanoseconds"),
    ({"day": NOON}, "'day' is DATE"),
    ({"ok": 1}, "'ok' is BOOLEAN"),
    ({"text": {"a": 1}}, "'text' has a type that no database takes.*dict"),
    ({"text": dt.timedelta(1)}, "'text' is STRING and cannot hold the value in `where`"),
    ({"clock": "09:00"}, r"'clock' is TIME\(6\).*give a datetime.time"),
    ({"span": 5}, "'span' is INTERVAL DAY TO SECOND.*give a datetime.timedelta"),
    ({"span": pd.Timedelta(1, "ns")}, "'span' has nanoseconds"),
    ({"age": 1.5}, "'age' is INTERVAL YEAR TO MONTH.*give an int"),
    ({"loose": "[]"}, "column 'loose' is JSON, which is not compared.*->> 'name'"),
    ({"nobody": 1}, "no column 'nobody'"),
    (["id", 1], "where is a mapping"),
]


def test_where_refuses_what_a_column_cannot_hold(values: Engine) -> None:
    """The error names the column, the value and what to give; the database never sees it."""
    for where, message in REFUSED:
        with pytest.raises(InputError, match=message):
            serving.read("t", where=where, on=values)
    with pytest.raises(InputError, match="column 'loose' is JSON, which is not compared"):
        serving.read("t", order_by="-loose", on=values)


def test_parameters_take_what_a_person_has(values: Engine) -> None:
    """A value out of read() finds its own row again, whatever its type; a list stands for IN."""
    for row in serving.read("t", where={"id": [1, 2]}, on=values).to_dict("records"):
        for column in ("id", "small", "price", "text", "ok", "day", "at", "raw", "clock", "span", "age"):  # fmt: skip
            found = serving.sql(
                f"SELECT id FROM t WHERE {column} = :v", {"v": row[column]}, on=values
            )
            assert list(found["id"]) == [row["id"]], column
    first = serving.read("t", on=values)["id"].to_numpy()[:2]
    assert type(first[0]) is not int
    assert len(serving.sql("SELECT id FROM t WHERE id = :u", {"u": first[0]}, on=values)) == 1
    several = "SELECT id FROM t WHERE id IN :ids AND id < :top ORDER BY id"
    assert list(serving.sql(several, {"ids": first, "top": 2}, on=values)["id"]) == [1]
    missing = serving.sql("SELECT id FROM t WHERE id = :u", {"u": pd.NA}, on=values)
    assert missing.empty


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("SELECT 'a :b' AS x", "a :b"),
        ("""SELECT '{"ok":true}' AS x""", '{"ok":true}'),
        ("SELECT 'it''s :b' AS x -- a :comment, it's one", "it's :b"),
        ("SELECT /* a :b 'c */ 'é%s%%' AS x", "é%s%%"),
        ('SELECT x AS x FROM (SELECT :v AS x, 1 AS ":y") t', "v"),
        ("SELECT CASE WHEN 'q' LIKE '%q' THEN :v END AS x", "v"),
        ("SELECT :v AS x -- no end", "v"),
    ],
)
def test_a_colon_in_a_text_or_comment_is_no_parameter(
    engine: Engine, query: str, expected: str
) -> None:
    """What stands in quotes or comments goes to the database as it is."""
    given = {"v": "v"} if ":v" in query else None
    assert serving.sql(query, given, on=engine)["x"].tolist() == [expected]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("SELECT '7'::int::text || :v::text AS x", "7v"),
        (r"SELECT E'\' :a' || :v AS x", "' :av"),
        ("SELECT $$a :b 'c$$ || $t$ :d $$ $t$ || :v AS x", "a :b 'c :d $$ v"),
        ("SELECT /* /* :a */ :b */ :v || '' AS x", "v"),
        ("SELECT (ARRAY['a','b'])[1:2]::text || :v AS x", "{a,b}v"),
    ],
)
def test_postgresqls_own_quotes_and_casts_are_known(
    postgresql: str, query: str, expected: str
) -> None:
    """Casts, E'' texts, dollar quotes and comments in comments hold no parameters."""
    on = database.engine(postgresql)
    assert serving.sql(query, {"v": "v"}, on=on)["x"].tolist() == [expected]


@pytest.mark.parametrize(
    ("query", "params", "message"),
    [
        ("SELECT :u", None, "parameter :u without a value.*values for none"),
        ("SELECT :u", {"v": 1}, "parameter :u without a value.*'v'"),
        ("SELECT ':u'", {"u": 1}, "has no parameter :u.*without quotes"),
        ("SELECT :u", [7], "are a mapping.*list"),
        ("SELECT :u", {"u": {}}, "'u' has a type that no database takes"),
        ("SELECT :u", {"u": dt.datetime(2024, 1, 1)}, "'u' is a moment without a zone"),  # noqa: DTZ001
        ("SELECT 1 WHERE 1 IN :u", {"u": []}, "'u' is an empty list"),
    ],
    ids=str,
)
def test_wrong_parameters_are_named(engine: Engine, query: str, params: Any, message: str) -> None:
    """The error says which parameter, what was found and what to do."""
    with pytest.raises(InputError, match=message):
        serving.sql(query, params, on=engine)


def test_an_integer_too_large_for_sqlite_is_named() -> None:
    """SQLite's driver would raise an OverflowError."""
    with pytest.raises(InputError, match="'u' is larger than an INTEGER of SQLite"):
        serving.sql("SELECT :u", {"u": 2**63})
