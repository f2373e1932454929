"""Serving tables: made once, found again, refused where they do not fit."""

import threading

import pytest
from pyspark.sql.types import StructType
from sqlalchemy import Engine

from rta.errors import InputError, TableError
from rta.store import ledger, serving, serving_tables, upserts
from rta.store.ledger import Batch
from tests.support.databases import TOTALS, VALUES, create, ended, go, started
from tests.support.waiting import joined


def test_an_existing_table_must_fit(engine: Engine) -> None:
    """Creating again is free; another type or key is refused with both and the fix."""
    table = create("totals", TOTALS, ["window", "user_id"], on=engine)
    looser = StructType.fromJson(TOTALS.jsonValue())
    looser["event_count"].nullable = True
    looser["user_id"].metadata = {"spark.watermarkDelayMs": 1}
    assert create("totals", looser, ["window", "user_id"], on=engine) == table
    other = StructType([*TOTALS.fields[:3], VALUES["id"]])
    with pytest.raises(
        TableError, match=r"event_count BIGINT there.*id INT wanted.*reset\('totals"
    ):
        create("totals", other, ["window", "user_id"], on=engine)
    with pytest.raises(TableError, match="another key"):
        create("totals", TOTALS, ["window"], on=engine)
    with pytest.raises(TableError, match="no serving table 'total'; found: totals"):
        serving.read("total", on=engine)


def test_a_table_of_someone_else_is_left_alone(engine: Engine) -> None:
    """A table that rta did not make is neither used nor dropped."""
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE theirs (id INTEGER)")
    with pytest.raises(TableError, match="not rta's"):
        create("theirs", VALUES, ["id"], on=engine)
    with pytest.raises(TableError, match="no serving table"):
        serving_tables.drop("theirs", on=engine)


@pytest.mark.parametrize("key", [["nothing"], ["id", "id"], ["x"]])
def test_keys_that_name_no_row(engine: Engine, key: list[str]) -> None:
    """A key is one or more columns of the table, each once, and no float."""
    schema = StructType().add("id", "long").add("x", "double")
    with pytest.raises(InputError, match="key"):
        create("t", schema, key, on=engine)


def test_null_in_a_key_and_two_rows_of_one_key(engine: Engine) -> None:
    """Both are refused with advice, and nothing of the batch is written."""
    table = create("t", VALUES, ["id"], on=engine)
    for rows, words in (
        ([(1, 1), (None, 1)], "column 'id' must have a value.*coalesce"),
        ([(1, 1), (2, 2), (1, 3)], r"same key in table 't'; found: {'id': 1}"),
        ([(n, 1) for n in range(10_001)] + [(5, 2), (20_000, 1)], r"found: {'id': 5}"),
    ):
        with pytest.raises(TableError, match=words):
            serving.commit_batch(engine, table, Batch("q", 0, "events"), rows)
        assert serving.read("t", on=engine).empty
        assert ledger.batches("t", on=engine) == []


def test_two_processes_create_the_same_table_at_once(database_url: str) -> None:
    """Of two that are first, in an empty database, neither fails."""
    code = (
        "schema = StructType().add('id', 'integer').add('value', 'long')\n"
        "print(serving_tables.make(serving_tables.planned('t', schema, ['id'], on=on), on=on))\n"
    )
    children = [started(database_url, code) for _ in range(2)]
    go(*children)
    assert {ended(child) for child in children} == {"Table(t: id INT, value BIGINT; key id)\n"}


def test_threads_create_the_same_table_at_once(engine: Engine) -> None:
    """One engine serves many threads."""
    made: list[serving_tables.Table] = []
    threads = [
        threading.Thread(target=lambda: made.append(create("t", VALUES, ["id"], on=engine)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        joined(thread)
    assert len(made) == 8


def test_names_are_at_most_as_long_as_both_databases_allow(engine: Engine) -> None:
    """63 characters are whole, also where two names differ in the last one; 64 are refused, with the rule, and nothing is made."""
    long = "n" * 62
    schema = StructType().add("id", "integer").add(long + "a", "long").add(long + "b", "long")
    for last, value in (("a", 1), ("b", 2)):
        table = create(long + last, schema, ["id"], on=engine)
        with engine.begin() as connection:
            assert upserts.upsert(connection, table, [(7, value, -value)]) == 1
            assert upserts.upsert(connection, table, [(7, value, -value)]) == 1
    for last, value in (("a", 1), ("b", 2)):
        found = serving.read(long + last, on=engine)
        assert found.to_dict("records") == [{"id": 7, long + "a": value, long + "b": -value}]
    assert [each.name for each in serving_tables.tables(on=engine)] == [long + "a", long + "b"]
    longer = StructType().add("id", "integer").add(long + "ab", "long")
    for name, columns in ((long + "ab", VALUES), ("t", longer)):
        with pytest.raises(InputError, match=r"not a legal (table|column) name.*nnab'.*at most 63"):
            create(name, columns, ["id"], on=engine)
    serving_tables.drop(long + "a", on=engine)
    assert [each.name for each in serving_tables.tables(on=engine)] == [long + "b"]
    assert len(serving.read(long + "b", on=engine)) == 1


def test_the_column_of_a_struct_may_have_no_longer_a_name(engine: Engine) -> None:
    """A struct's fields are columns with its name before theirs: together at most 63 characters; the error says both names and what to write."""
    device = StructType().add("n" * 56, "long").add("m" * 57, "long")
    with pytest.raises(InputError) as refused:
        create("t", StructType().add("id", "integer").add("device", device), ["id"], on=engine)
    said = str(refused.value)
    assert f"'device_{'m' * 57}'" in said
    assert "64 characters" in said
    assert "shorter name" in said
    assert serving_tables.tables(on=engine) == []
    fits = StructType().add("id", "integer").add("device", StructType([device.fields[0]]))
    assert create("t", fits, ["id"], on=engine).columns.names == ["id", "device_" + "n" * 56]
