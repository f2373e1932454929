"""What SQLite lacks, added to each of our connections: exact decimals, moments, private files.

`COLLATE decimal` has its name from SQLite's own decimal extension, which the `sqlite3` shell has, so a table sorts there as it
does here; a program without the extension gets an error, not a wrong order.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import sqlite3
import time
from decimal import Context, Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Final

from rta.settings import private_folder
from rta.store.columns import MARK, unmarked

_WIDE: Final = Context(prec=200)
BUSY_SECONDS: Final = 30


def prepare(connection: sqlite3.Connection) -> None:
    """Set up a fresh connection; the engine's connect event calls it."""
    connection.isolation_level = None  # transactions are ours: see database.py
    _write_ahead(connection)
    # FULL, not NORMAL: after a power cut NORMAL may forget a batch whose checkpoint Spark kept,
    # and that batch would never come again. It costs one fsync a micro-batch.
    connection.execute("PRAGMA synchronous=FULL")
    connection.create_collation("decimal", _compare)
    connection.create_window_function("sum", 1, _Sum)


def register() -> None:
    """Register our declared types with the driver, so that the columns of a free query have their types."""
    sqlite3.register_converter("DECIMAL_TEXT", lambda raw: Decimal(raw.decode()))
    sqlite3.register_converter("BOOLEAN_INT", lambda raw: raw != b"0")
    sqlite3.register_converter("DATE_TEXT", lambda raw: dt.date.fromisoformat(raw.decode()))
    sqlite3.register_converter("MOMENT_TEXT", lambda raw: dt.datetime.fromisoformat(raw.decode()))
    sqlite3.register_converter("TIME_TEXT", lambda raw: dt.time.fromisoformat(raw.decode()))
    sqlite3.register_converter("INTERVAL_US", lambda raw: dt.timedelta(microseconds=int(raw)))
    sqlite3.register_converter("JSON_TEXT", json.loads)
    sqlite3.register_converter(
        "TIMESTAMP_TEXT", lambda raw: dt.datetime.fromisoformat(raw.decode())
    )


def private_file(path: Path) -> None:
    """Make the database file before SQLite does, readable by its owner only; its WAL gets the same rights."""
    private_folder(path.parent)
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Switch to WAL, again until it succeeds: SQLite refuses the second of two processes at once, whatever the busy timeout."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return


def _compare(left: str, right: str) -> int:
    try:
        a, b = Decimal(left), Decimal(right)
        return (a > b) - (a < b)
    except InvalidOperation:
        return (left > right) - (left < right)


class _Sum:
    """SUM that is exact over decimals; integers and reals as SQLite has them."""

    def __init__(self) -> None:
        self.count, self.decimals, self.exact, self.real = 0, 0, Decimal(0), 0.0
        self.reals = 0

    def step(self, value: Any) -> None:
        self._add(value, 1)

    def inverse(self, value: Any) -> None:
        self._add(value, -1)

    def _add(self, value: Any, sign: int) -> None:
        if value is None:
            return
        self.count += sign
        number = Decimal(value) if isinstance(value, str) and MARK not in value else unmarked(value)
        if isinstance(number, float):
            self.reals += sign
            self.real += sign * number
        else:
            self.decimals += sign * isinstance(number, Decimal)
            self.exact = _WIDE.add(self.exact, sign * Decimal(number))

    def value(self) -> int | float | str | None:
        if not self.count:
            return None
        if self.reals:
            total = self.real + float(self.exact)
            return total if total == total else MARK + "NaN"  # noqa: PLR0124
        return f"{MARK}{self.exact:f}" if self.decimals else int(self.exact)

    finalize = value
