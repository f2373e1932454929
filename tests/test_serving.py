"""Exactly once, and reading meanwhile, on SQLite and on a real PostgreSQL."""

import json
import math
import os
import signal
import time
from decimal import Decimal

import pytest
from pyspark.sql.types import StructType
from sqlalchemy import Engine

from rta import serving
from rta.catalog import JOBS
from rta.errors import InputError, TableError
from rta.serving import Batch
from tests.databases import NOON, VALUES, ended, go, started


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
    children = [started(database_url, code) for _ in range(2)]
    go(*children)
    for one, other in zip(*(json.loads(ended(child)) for child in children), strict=True):
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
    child = started(database_url, code)
    go(child)
    assert child.stdout is not None
    assert child.stdout.readline() == "half is written\n"
    assert len(serving.read("t", on=engine)) == 100
    os.kill(child.pid, signal.SIGKILL)
    ended(child, code=-signal.SIGKILL)
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
    child = started(database_url, code)
    go(child)
    deadline, number = time.monotonic() + 30, 0
    while child.poll() is None and time.monotonic() < deadline:
        number += 1
        rows = ((n, number) for n in range(2_000))
        assert serving.commit_batch(engine, table, Batch("q", number, "e"), rows)
    ended(child)


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
