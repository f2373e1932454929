"""keep="90 days": rows of a table that are older than its watermark by more than that are deleted, in the transaction of a micro-batch."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rta.durations import duration
from rta.errors import InputError
from rta.store.catalog import relation

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from rta.store.serving_tables import Table


@dataclass(frozen=True)
class Expiry:
    """Until when a row is kept.

    Args:
        column: The moment of a row.
        age: By how much it may be behind the watermark.
    """

    column: str
    age: dt.timedelta

    @staticmethod
    def of(table: Table, keep: str) -> Expiry:
        """Choose the moment of a table's rows: the end of their window, or the first TIMESTAMP of the key, or of the other columns.

        Raises:
            InputError: The table has none, or `keep` is no duration.

        >>> from pyspark.sql.types import StructType
        >>> from rta.store.serving_tables import Table
        >>> window = StructType().add("start", "timestamp").add("end", "timestamp")
        >>> Expiry.of(Table("t", StructType().add("window", window), ("window_start", "window_end")), "90 days")
        Expiry(column='window_end', age=datetime.timedelta(days=90))
        """
        age = duration("keep", keep)
        moments = [c.name for c in table.columns if c.dataType.typeName() == "timestamp"]
        ends = [name for name in moments if name.endswith("window_end")]
        chosen = [*ends, *(name for name in moments if name in table.key), *moments]
        if not chosen:
            raise InputError(
                f"the rows of table {table.name!r} have no moment by which they could grow old", found=f"columns {', '.join(table.columns.names)}",
                fix="add a TIMESTAMP to the result, or leave keep= out",
            )  # fmt: skip
        return Expiry(chosen[0], age)

    def apply(self, connection: Connection, table: Table, watermark: dt.datetime | None) -> int:
        """Delete the rows that are too old at a watermark; return how many."""
        if watermark is None:
            return 0
        rows = relation(table, connection.dialect.name)
        old = rows.c[self.column] < watermark - self.age
        return connection.execute(rows.delete().where(old)).rowcount
