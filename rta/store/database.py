"""One engine per serving database, and the two kinds of transaction: writing and reading.

SQLite (WAL) in RTA_HOME by default, PostgreSQL if RTA_DATABASE_URL says so; all other modules are the same for both.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

from rta.errors import InputError, TableError
from rta.settings import settings

if TYPE_CHECKING:
    from sqlalchemy import URL, Connection, Engine
    from sqlalchemy.exc import DBAPIError

PATIENCE: Final = 30.0
"""Seconds for which a query, or the reader of a changelog, outlives a database that is away."""

# A forked child must not use, nor close, its parent's connections: hence the process id.
_engines: Final[dict[tuple[int, str], Engine]] = {}
_lock = threading.RLock()
# Any fixed number: whoever creates or drops tables on PostgreSQL holds this advisory lock.
_DDL_LOCK: Final = 7_328_001
_UNKNOWN: Final = re.compile(
    r'no such table: (?:main\.)?([^\s;]+)|relation "([^"]+)" does not exist'
)


class DatabaseAwayError(TableError):
    """The serving database is away, full or busy; a later attempt may succeed."""

    retriable: ClassVar[bool] = True


def _fresh_lock() -> None:
    global _lock  # noqa: PLW0603 - the parent's may be held by a thread that the child lacks
    _lock = threading.RLock()


os.register_at_fork(after_in_child=_fresh_lock)


def engine(url: str | None = None) -> Engine:
    """Return the engine of the serving database, one for each URL; rta's own tables are there.

    `engine().begin()` takes SQLite's write lock at once (BEGIN IMMEDIATE).

    Raises:
        InputError: The URL is not that of an SQLite or a PostgreSQL database.
        DatabaseAwayError: The database does not answer.

    >>> engine() is engine()
    True
    """
    parsed, secrets = _parsed(_configured() if url is None else url)
    key = (os.getpid(), parsed.render_as_string(hide_password=False) + str(sorted(secrets.items())))
    with _lock:
        if key not in _engines:
            _engines[key] = _made(parsed, secrets)
        return _engines[key]


def _configured() -> str:
    """Return the URL that the settings have now."""
    now = settings()
    given = now.database_url
    return given.get_secret_value() if given else f"sqlite:///{(now.home / 'rta.db').absolute()}"


@lru_cache(maxsize=8)  # a live view asks for it a hundred times a second
def _parsed(given: str) -> tuple[URL, dict[str, Any]]:
    """Return a URL, and apart from it the parameters that its repr must not show."""
    import sqlalchemy as sa

    try:
        parsed = sa.make_url(given)
    except (sa.exc.ArgumentError, ValueError):
        raise InputError("the database URL cannot be read", fix="see RTA_DATABASE_URL") from None
    if parsed.drivername in ("postgresql", "postgres", "postgresql+psycopg"):
        secrets = {name: value for name, value in parsed.query.items() if "password" in name}
        named = parsed.set(drivername="postgresql+psycopg")
        return named.difference_update_query(secrets), secrets
    if parsed.drivername != "sqlite" or parsed.database in (None, "", ":memory:"):
        raise InputError(
            "no serving database of this kind",
            found=parsed.render_as_string(hide_password=True).partition("?")[0],
            fix="give sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME",
        )
    return parsed, {}


def _made(url: URL, secrets: dict[str, Any]) -> Engine:
    import sqlalchemy as sa

    made = _sqlite(url) if url.drivername == "sqlite" else _postgresql(url, secrets)
    from rta.store.catalog import METADATA
    from rta.store.upgrades import UPGRADES

    try:
        with reading(made) as connection:
            there = set(sa.inspect(connection).get_table_names())
        if not there.issuperset(METADATA.tables):
            with writing(made, ddl=True) as connection:
                METADATA.create_all(connection)
        for needed, change in UPGRADES:
            with reading(made) as connection:
                old = needed(connection)
            if old:
                with writing(made, ddl=True) as connection:
                    if needed(connection):  # looked at again under the lock
                        change(connection)
    except BaseException:
        made.dispose()
        raise
    return made


def _sqlite(url: URL) -> Engine:
    import sqlite3

    import sqlalchemy as sa

    from rta.store import sqlite

    path = Path(str(url.database))
    try:
        sqlite.private_file(path)
    except OSError as error:
        raise DatabaseAwayError(
            "the serving database cannot be opened", found=error, fix="check its folder"
        ) from None
    sqlite.register()
    arguments = {"detect_types": sqlite3.PARSE_DECLTYPES, "timeout": sqlite.BUSY_SECONDS}
    made = sa.create_engine(url, hide_parameters=True, connect_args=arguments)

    @sa.event.listens_for(made, "connect")
    def _connect(connection: sqlite3.Connection, _: object) -> None:
        sqlite.prepare(connection)

    @sa.event.listens_for(made, "begin")
    def _begin(connection: Connection) -> None:
        # A deferred transaction that starts to write later can fail whatever the busy timeout.
        read = connection.get_execution_options().get("rta_read", False)
        connection.exec_driver_sql("BEGIN" if read else "BEGIN IMMEDIATE")

    return made


def _postgresql(url: URL, secrets: dict[str, Any]) -> Engine:
    import sqlalchemy as sa

    # A free query compares moments with literals: both must mean UTC.
    options = f"{url.query.get('options', '')} -c timezone=UTC".strip()
    arguments = {"connect_timeout": 10, "options": options, **secrets}
    return sa.create_engine(url, hide_parameters=True, pool_pre_ping=True, connect_args=arguments)


@contextmanager
def writing(engine: Engine, *, ddl: bool = False) -> Iterator[Connection]:
    """Open a transaction that writes: all of it, or nothing. `ddl` waits for others that create or drop tables.

    Raises:
        TableError: The database refuses a statement; the message has its reason.
        DatabaseAwayError: The same, if a later attempt may succeed.

    >>> with writing(engine()) as connection:
    ...     connection.exec_driver_sql("SELECT 1").scalar()
    1
    """
    from sqlalchemy.exc import DBAPIError

    try:
        with engine.begin() as connection:
            if ddl:
                lock_names(connection)
            yield connection
    except DBAPIError as error:
        raise _told(engine, error) from None


def lock_names(connection: Connection) -> None:
    """Wait for others that create or drop tables, and keep them waiting until this transaction ends. SQLite has one writer anyway."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_DDL_LOCK})")


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """Open a transaction that sees the database as it is at one moment, and cannot write.

    >>> with reading(engine()) as connection:
    ...     connection.exec_driver_sql("SELECT 1").scalar()
    1
    """
    from sqlalchemy.exc import DBAPIError

    sqlite = engine.dialect.name == "sqlite"
    options: dict[str, Any] = {"rta_read": True}
    if not sqlite:
        options = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
    try:
        with engine.connect().execution_options(**options) as connection, connection.begin():
            if sqlite:
                connection.exec_driver_sql("PRAGMA query_only=ON")
            try:
                yield connection
            finally:
                if sqlite:
                    connection.exec_driver_sql("PRAGMA query_only=OFF")
    except DBAPIError as error:
        raise _told(engine, error) from None


def refused(
    reason: str, *, where: str, away: bool, names: Callable[[], Sequence[str]]
) -> TableError:
    """Return the error for a statement that the database refused; for an unknown table it lists those that there are.

    >>> refused("no such table: delay", where="here", away=False, names=lambda: ["delays"])
    TableError('there is no table delay; found: tables: delays; fix: correct the name')
    """
    if away:
        return DatabaseAwayError(
            f"the serving database {where} is away, full or busy",
            found=reason,
            fix="start it or free it, then run again: nothing of this was written",
        )
    unknown = _UNKNOWN.search(reason)
    name = unknown and (unknown[1] or unknown[2])
    if name and not name.startswith("rta_"):
        known = names()
        found = f"tables: {', '.join(known)}" if known else "no table at all"
        return TableError(f"there is no table {name}", found=found, fix="correct the name")
    return TableError(
        "the serving database refused a statement", found=reason, fix="correct the statement"
    )


def sqlite_is_away(reason: str) -> bool:
    """Return whether SQLite's operational error is about its file, and not about the statement."""
    return any(word in reason for word in ("locked", "unable to open", "full", "disk I/O"))


def _told(engine: Engine, error: DBAPIError) -> TableError:
    """Return the one-sentence error for SQLAlchemy's."""
    from sqlalchemy.exc import InterfaceError, OperationalError

    reason = " ".join(str(error.orig).split())
    if engine.url.password:
        reason = reason.replace(str(engine.url.password), "***")
    away = isinstance(error, (OperationalError, InterfaceError))
    if engine.dialect.name == "sqlite":
        away = away and sqlite_is_away(reason)
    where = engine.url.set(query={}).render_as_string(hide_password=True)
    return refused(reason, where=where, away=away, names=lambda: _names(engine))


def _names(engine: Engine) -> Sequence[str]:
    """List the names of the serving tables and views."""
    both = "SELECT name FROM rta_tables UNION SELECT name FROM rta_views ORDER BY name"
    with engine.connect() as connection:
        return [str(name) for name in connection.exec_driver_sql(both).scalars()]
