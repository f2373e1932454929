"""Rows of the serving database by its own driver, for the command line: SQLAlchemy and pandas load longer than most queries run.

The rules are those of database.reading(): one moment, no write.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rta.errors import InputError, TableError
from rta.settings import settings
from rta.store import database
from rta.store.columns import moments, unmarked

if TYPE_CHECKING:
    import sqlite3

    import psycopg

Row = dict[str, Any]
Answer = tuple[list[str], Sequence[Sequence[Any]]]


def select(statement: str, values: Sequence[Any] = ()) -> tuple[list[str], list[Row]]:
    """Run one SELECT, with a `?` for each of the values; return its columns' names and its rows.

    Decimals and moments are exact, as from rta.sql().

    Raises:
        TableError: The database refuses the statement; for an unknown table the message lists those that there are.

    >>> select("SELECT ? + 1 AS n", [41])
    (['n'], [{'n': 42}])
    """
    url = _url()
    if isinstance(url, Path):
        names, found = _sqlite(url, statement, values)
    else:
        names, found = _postgresql(url, statement, values)
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InputError("two columns have one name", found=", ".join(twice), fix="name them by AS")
    return names, [dict(zip(names, map(unmarked, row), strict=True)) for row in found]


def rows(statement: str, values: Sequence[Any] = ()) -> list[Row]:
    """Return the rows of one SELECT: see select().

    >>> rows("SELECT 42 AS n")
    [{'n': 42}]
    """
    return select(statement, values)[1]


def own_rows(statement: str, values: Sequence[Any] = ()) -> list[Row]:
    """Run one SELECT on rta's own tables; before anything is written it returns no rows.

    >>> own_rows("SELECT name FROM rta_tables WHERE name = ?", ["no_such_table"])
    []
    """
    url = _url()
    if isinstance(url, Path) and not url.exists():
        return []
    try:
        return rows(statement, values)
    except TableError as error:
        if error.retriable:
            raise
    database.engine()  # makes the tables, or the columns, of a newer rta
    return rows(statement, values)


def tables() -> list[str]:
    """List the names of the serving tables and views.

    >>> "rta_tables" in tables()
    False
    """
    both = "SELECT name FROM rta_tables UNION SELECT name FROM rta_views ORDER BY name"
    return [row["name"] for row in own_rows(both)]


def sum_of_integers() -> str:
    """Return the name of the database's own sum: SQLite's SUM is ours, exact over decimals, and fifty times slower.

    >>> rows(f"SELECT {sum_of_integers()}(n) AS n FROM (SELECT 41 AS n UNION SELECT 1)")[0]["n"] == 42
    True
    """
    return "TOTAL" if isinstance(_url(), Path) else "SUM"


def from_json(stored: Any) -> Any:
    """Read a JSON column: PostgreSQL's driver has parsed it, SQLite's has not.

    >>> from_json('["a"]'), from_json(["a"])
    (['a'], ['a'])
    """
    return json.loads(stored) if isinstance(stored, str) else stored


def _url() -> Path | str:
    """Return the file of SQLite, or the address of PostgreSQL."""
    secret = settings().database_url
    given = secret.get_secret_value() if secret else ""
    scheme, _, rest = given.partition("://")
    if not given:
        return settings().home / "rta.db"
    if scheme == "sqlite":
        return Path(rest.removeprefix("/"))
    if scheme in ("postgres", "postgresql", "postgresql+psycopg"):
        return f"postgresql://{rest}"
    raise InputError("no serving database of this kind", fix="see RTA_DATABASE_URL")


def _sqlite(path: Path, statement: str, values: Sequence[Any]) -> Answer:
    import sqlite3

    from rta.store import sqlite

    sqlite.register()
    try:
        with closing(_opened(path)) as connection:
            connection.execute("PRAGMA query_only=ON")
            cursor = connection.execute(statement, values)
            names, found = _names(cursor.description), cursor.fetchall()
    except sqlite3.Error as error:
        reason = str(error)
        away = isinstance(error, sqlite3.OperationalError) and database.sqlite_is_away(reason)
        raise database.refused(reason, where=f"sqlite:///{path}", away=away, names=tables) from None
    # SQLite gives MAX(time) without its type.
    columns = [moments(list(column)) for column in zip(*found, strict=True)]
    return names, list(zip(*columns, strict=True))


def _opened(path: Path) -> sqlite3.Connection:
    """Open the file; if there is none an empty database, so that a query makes no file."""
    import sqlite3

    from rta.store import sqlite

    connection = sqlite3.connect(
        path if path.exists() else ":memory:",
        detect_types=sqlite3.PARSE_DECLTYPES,
        timeout=sqlite.BUSY_SECONDS,
    )
    sqlite.prepare(connection)
    return connection


def _postgresql(url: str, statement: str, values: Sequence[Any]) -> Answer:
    import psycopg
    from psycopg.conninfo import conninfo_to_dict

    how: Any = conninfo_to_dict(url)
    how["options"] = f"{how.get('options', '')} -c timezone=UTC".strip()
    asked: Any = statement.replace("?", "%s") if values else statement
    try:
        with psycopg.connect(**{"connect_timeout": 10} | how) as connection:
            connection.read_only = True
            # A cursor of the server's takes one SELECT: "COMMIT; DELETE …" would leave the transaction.
            with connection.cursor("rta") as cursor:
                cursor.execute(asked, values or None)
                return _names(cursor.description), cursor.fetchall()
    except psycopg.Error as error:
        raise database.refused(
            " ".join(str(error).split()).replace(str(how.get("password") or "\0"), "***"),
            where=f"postgresql://{how.get('host')}/{how.get('dbname')}",
            away=_away(error), names=tables,
        ) from None  # fmt: skip


def _away(error: psycopg.Error) -> bool:
    import psycopg

    return isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError))


def _names(description: Any) -> list[str]:
    """Return the names of an answer's columns."""
    if description is None:
        raise TableError("the statement returned no rows", fix="give one SELECT")
    return [str(column[0]) for column in description]
