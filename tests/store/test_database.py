"""The serving database: private, retriable, silent about secrets."""

import stat
import struct
from pathlib import Path

import pytest
import sqlalchemy as sa
from pyspark.sql.types import StructType
from sqlalchemy import Engine

from rta.errors import InputError
from rta.store import database, serving, serving_tables, upserts
from rta.store.catalog import BATCHES
from rta.store.ledger import Batch
from tests.support.databases import VALUES, create, ended, go, started
from tests.support.waiting import HANG


def test_the_default_is_a_private_file_in_the_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite in RTA_HOME: write-ahead, fully synchronous, for the owner's eyes only."""
    monkeypatch.setenv("RTA_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("RTA_DATABASE_URL", raising=False)
    engine = database.engine()
    assert engine is database.engine()
    with engine.begin() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
    home = tmp_path / "home"
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in [home, *home.iterdir()]}
    assert home / "rta.db" in modes
    # A thread of another test may have made a folder, which is as private.
    assert modes == {path: 0o700 if path.is_dir() else 0o600 for path in modes}
    engine.dispose()


def test_secrets_are_shown_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that is away is told in one sentence, retriable, with the password masked."""
    for url in (
        "postgresql://me:s3cret@127.0.0.1:9/db",
        "postgresql://me@127.0.0.1:9/db?password=s3cret",
    ):
        monkeypatch.setenv("RTA_DATABASE_URL", url)
        with pytest.raises(database.DatabaseAwayError, match="is away") as raised:
            database.engine()
        assert raised.value.retriable
        assert "s3cret" not in str(raised.value)
        assert raised.value.__cause__ is None
    for url in ("mysql://me:s3cret@host/db", "s3cret", "sqlite://", "postgresql+x://a:s3cret@h/d"):
        with pytest.raises(InputError) as refused:
            database.engine(url)
        assert "s3cret" not in str(refused.value)


def test_an_engine_never_shows_its_password(postgresql: str) -> None:
    """Neither the engine nor its URL has the secret in a repr."""
    for url in (
        postgresql.replace("postgres:@", "postgres:s3cret@"),
        postgresql + "&password=s3cret",
    ):
        engine = database.engine(url)
        assert "s3cret" not in repr(engine) + str(engine.url) + repr(engine.url)
        engine.dispose()


def test_a_forked_child_uses_connections_of_its_own(engine: Engine, database_url: str) -> None:
    """After a fork the child gets another engine, and the parent's goes on."""
    import multiprocessing as mp

    table = create("t", VALUES, ["id"], on=engine)
    child = mp.get_context("fork").Process(target=_write_once, args=(database_url, table))
    child.start()
    child.join(HANG)
    assert child.exitcode == 0
    assert serving.commit_batch(engine, table, Batch("q", 1, "e"), [(2, 2)])
    assert len(serving.read("t", on=engine)) == 2


def _write_once(url: str, table: serving_tables.Table) -> None:
    assert serving.commit_batch(database.engine(url), table, Batch("q", 0, "e"), [(1, 1)])


def test_float_columns_keep_single_precision(engine: Engine) -> None:
    """A FLOAT has the bits that Spark's four bytes have."""
    table = create("t", StructType().add("id", "long").add("x", "float"), ["id"], on=engine)
    (tenth,) = struct.unpack("f", struct.pack("f", 0.1))
    with engine.begin() as connection:
        upserts.upsert(connection, table, [(1, tenth)])
    assert float(serving.read("t", on=engine)["x"][0]) == tenth


def test_a_database_of_an_older_rta_gets_the_columns_that_came_since(database_url: str) -> None:
    """Its batches stay, and have the default there."""
    older = database.engine(database_url)
    table = create("t", VALUES, ["id"], on=older)
    serving.commit_batch(older, table, Batch("q", 0, "events", {0: 0}, {0: 5}), [(1, 1)])
    with older.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE rta_batches DROP COLUMN lost")
    older.dispose()
    code = "print(serving.accounting('t', on=on).lost, ledger.batches('t', on=on)[0].end_offsets)"
    child = started(database_url, code)
    go(child)
    assert ended(child) == "0 {0: 5}\n"


def test_a_database_of_an_older_rta_gets_the_indexes_that_came_since(database_url: str) -> None:
    """Without them the newest micro-batch is looked for in all of the ledger."""
    older = database.engine(database_url)
    with older.begin() as connection:
        connection.exec_driver_sql("DROP INDEX rta_batches_by_table")
    older.dispose()
    code = "import sqlalchemy as sa\nprint([each['name'] for each in sa.inspect(on).get_indexes('rta_batches')])"
    child = started(database_url, code)
    go(child)
    assert ended(child) == "['rta_batches_by_table']\n"


def test_a_database_of_an_older_rta_takes_batches_of_several_topics(database_url: str) -> None:
    """Its ledger had one entry for a micro-batch: the entries stay, and the key gets the topic."""
    older = database.engine(database_url)
    table = create("t", VALUES, ["id"], on=older)
    serving.commit_batch(older, table, Batch("q", 0, "events", {0: 0}, {0: 5}, consumed=5, used=5), [(1, 1)])  # fmt: skip
    now = str(sa.schema.CreateTable(BATCHES).compile(dialect=older.dialect))
    before = now.replace(
        "PRIMARY KEY (query_id, batch_id, topic)", "PRIMARY KEY (query_id, batch_id)"
    )
    assert before != now
    with older.begin() as connection:
        for statement in (
            "CREATE TABLE kept AS SELECT * FROM rta_batches", "DROP TABLE rta_batches", before,
            "INSERT INTO rta_batches SELECT * FROM kept", "DROP TABLE kept",
        ):  # fmt: skip
            connection.exec_driver_sql(statement)
    older.dispose()
    code = (
        "two = [Batch('q', 1, name, {0: 0}, {0: 2}, consumed=2, used=2) for name in ('views', 'buys')]\n"
        "serving.commit_batch(on, serving_tables.table('t', on=on), two, [(2, 2)])\n"
        "print(serving.accounting('t', on=on), sorted(ledger.offsets('t', on=on)))"
    )
    child = started(database_url, code)
    go(child)
    said = (
        "consumed 9 = used 9 + duplicate 0 + late 0 + quarantined 0 (2 batches) ['buys', 'views']"
    )
    assert ended(child) == f"{said}\n"
