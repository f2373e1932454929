"""The tables of the serving database as SQLAlchemy Core knows them: rta's own, and a user's.

Whatever the command line needs imports it inside functions: it loads SQLAlchemy, half a second.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa
from sqlalchemy.types import UserDefinedType

from rta.store.columns import encode, sql_type, timestamp_text

if TYPE_CHECKING:
    from pyspark.sql.types import StructField

    from rta.store.serving_tables import Table


class Declared(UserDefinedType[Any]):
    """A column type written as it is into the DDL; `encode` prepares a bound value."""

    cache_ok = False  # `encode` is no key for a cache

    def __init__(self, spec: str, encode: Callable[[Any], Any] | None = None) -> None:
        self.spec, self.encode = spec, encode

    def get_col_spec(self, **_: Any) -> str:
        """Return the type's name in SQL."""
        return self.spec

    def bind_processor(self, dialect: sa.Dialect) -> Callable[[Any], Any] | None:  # noqa: ARG002
        """Return the function that prepares a value for the driver."""
        encode = self.encode
        if encode is None:
            return None
        return lambda value: None if value is None else encode(value)


UTC: Final = sa.DateTime(timezone=True).with_variant(
    Declared("TIMESTAMP_TEXT", timestamp_text), "sqlite"
)
METADATA: Final = sa.MetaData()

TABLES: Final = sa.Table(
    "rta_tables",
    METADATA,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("key", sa.JSON, nullable=False),
    sa.Column("schema", sa.JSON, nullable=False),
    sa.Column("topic", sa.Text),
    sa.Column("created_at", UTC, nullable=False),
)

VIEWS: Final = sa.Table(
    "rta_views",
    METADATA,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("key", sa.JSON, nullable=False),
    sa.Column("schema", sa.JSON, nullable=False),
    sa.Column("topic", sa.Text, nullable=False),
    sa.Column("served", sa.Integer, nullable=False),
    sa.Column("versions", sa.JSON, nullable=False),
    sa.Column("switched_at", UTC, nullable=False),
)

BATCHES: Final = sa.Table(
    "rta_batches",
    METADATA,
    sa.Column("query_id", sa.Text, primary_key=True),
    sa.Column("batch_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("table_name", sa.Text, nullable=False),
    sa.Column("topic", sa.Text, primary_key=True),
    sa.Column("run_id", sa.Text),
    sa.Column("start_offsets", sa.JSON, nullable=False),
    sa.Column("end_offsets", sa.JSON, nullable=False),
    sa.Column("watermark", UTC),
    *(
        sa.Column(count, sa.BigInteger, nullable=False)
        for count in ("consumed", "used", "duplicate", "late", "quarantined", "rows")
    ),
    sa.Column("lost", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("difference", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("doubt", sa.Text),
    sa.Column("flaw", sa.Text),
    sa.Column("committed_at", UTC, nullable=False),
    sa.Index("rta_batches_by_table", "table_name", "query_id", "batch_id"),
)

LATE: Final = sa.Table(
    "rta_late",
    METADATA,
    sa.Column("query_id", sa.Text, primary_key=True),
    sa.Column("batch_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("table_name", sa.Text, nullable=False),
    sa.Column("topic", sa.Text, nullable=False),
    sa.Column("partition", sa.Integer),
    sa.Column("offset", sa.BigInteger),
    sa.Column("event_time", UTC),
    sa.Column("ended", UTC, nullable=False),
    sa.Column("watermark", UTC, nullable=False),
    sa.Column("late_seconds", sa.Float, nullable=False),
    sa.Column("kept_at", UTC, nullable=False),
    sa.Column("view_name", sa.Text, index=True),
    sa.Column("corrected_by", sa.Text),
    sa.Column("corrected_at", UTC),
    sa.Index("rta_late_places", "table_name", "partition", "offset"),
)

RESULTS: Final = sa.Table(
    "rta_results",
    METADATA,
    sa.Column("table_name", sa.Text, primary_key=True),
    sa.Column("topic", sa.Text, nullable=False),
    sa.Column("position", sa.BigInteger),
)

SENT: Final = sa.Table(
    "rta_dead_letters",
    METADATA,
    sa.Column("topic_id", sa.Text, primary_key=True),
    sa.Column("queue_id", sa.Text, primary_key=True),
    sa.Column("partition", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("first", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("end", sa.BigInteger, nullable=False),
    sa.Column("topic", sa.Text, nullable=False, index=True),
    sa.Column("queue_end", sa.BigInteger, nullable=False),
)

JOBS: Final = sa.Table(
    "rta_jobs",
    METADATA,
    sa.Column("run_id", sa.Text, primary_key=True),
    sa.Column("job", sa.Text, nullable=False, index=True),
    sa.Column("notebook", sa.Text, nullable=False),
    sa.Column("parameters", sa.JSON, nullable=False),
    sa.Column("started_at", UTC, nullable=False),
    sa.Column("ended_at", UTC),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("message", sa.Text),
    sa.Column("folder", sa.Text),
    sa.Column("receipt", sa.JSON),
)

SCHEDULES: Final = sa.Table(
    "rta_schedules",
    METADATA,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("notebook", sa.Text, nullable=False),
    sa.Column("parameters", sa.JSON, nullable=False),
    sa.Column("cron", sa.Text),
    sa.Column("zone", sa.Text),
    sa.Column("every", sa.Float),
    sa.Column("on_new", sa.Text),
    sa.Column("events", sa.BigInteger),
    sa.Column("missed", sa.Text, nullable=False),
    sa.Column("staleness", sa.Float),
    sa.Column("overlap", sa.Text, nullable=False),
    sa.Column("retries", sa.Integer, nullable=False),
    sa.Column("backoff", sa.Float, nullable=False),
    sa.Column("timeout", sa.Float),
    sa.Column("deadline", sa.Float),
    sa.Column("keep_runs", sa.Integer),
    sa.Column("keep_days", sa.Float),
    sa.Column("paused", sa.Boolean, nullable=False),
    sa.Column("created_at", UTC, nullable=False),
    sa.Column("planned_to", UTC, nullable=False),
)

SLOTS: Final = sa.Table(
    "rta_slots",
    METADATA,
    sa.Column("schedule", sa.Text, primary_key=True),
    sa.Column("scheduled_for", UTC, primary_key=True),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False, index=True),
    sa.Column("due_at", UTC, nullable=False),
    sa.Column("not_before", UTC, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("run_ids", sa.JSON, nullable=False),
    sa.Column("claimed_by", sa.Text),
    sa.Column("started_at", UTC),
    sa.Column("ended_at", UTC),
    sa.Column("message", sa.Text),
    sa.Column("offsets", sa.JSON),
)

ALERTS: Final = sa.Table(
    "rta_alerts",
    METADATA,
    sa.Column("watch", sa.Text, primary_key=True),
    sa.Column("rule", sa.Text, primary_key=True),
    sa.Column("subject", sa.Text, primary_key=True),
    sa.Column("starts_at", UTC, primary_key=True),
    sa.Column("state", sa.Text, nullable=False, index=True),
    sa.Column("severity", sa.Text, nullable=False),
    sa.Column("says", sa.Text, nullable=False),
    sa.Column("fired_at", UTC),
    sa.Column("ended_at", UTC),
)

NOTICES: Final = sa.Table(
    "rta_notices",
    METADATA,
    sa.Column("watch", sa.Text, primary_key=True),
    sa.Column("rule", sa.Text, primary_key=True),
    sa.Column("subject", sa.Text, primary_key=True),
    sa.Column("starts_at", UTC, primary_key=True),
    sa.Column("state", sa.Text, primary_key=True),
    sa.Column("channel", sa.Text, primary_key=True),
    sa.Column("made_at", UTC, primary_key=True),
    sa.Column("says", sa.Text, nullable=False),
    sa.Column("severity", sa.Text, nullable=False),
    sa.Column("said_at", UTC),
)


def relation(table: Table, dialect: str) -> sa.Table:
    """Return a serving table as SQLAlchemy knows it, in a database's own types; names are always quoted."""
    return sa.Table(
        sa.sql.quoted_name(table.name, quote=True),
        sa.MetaData(),
        *(_column(column, dialect) for column in table.columns),
        *([sa.PrimaryKeyConstraint(*table.key)] if table.key else []),
        sqlite_with_rowid=not table.key,
    )


def _column(column: StructField, dialect: str) -> sa.Column[Any]:
    spec = sql_type(column.dataType, dialect)
    if spec.startswith("DECIMAL_TEXT"):
        spec += " COLLATE decimal"
    return sa.Column(
        sa.sql.quoted_name(column.name, quote=True),
        Declared(spec, lambda value: encode(column, [value], dialect)[0]),
        nullable=column.nullable,
        autoincrement=False,
    )
