"""The tables that rta itself keeps in the serving database, as SQLAlchemy Core knows them.

Imported inside functions only: it loads SQLAlchemy, and `import rta` stays light.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.types import UserDefinedType

from rta.codec import timestamp_text


class Declared(UserDefinedType[Any]):
    """A column type written as it is into the DDL; `encode` prepares a bound value."""

    cache_ok = False  # `encode` is no key for a cache

    def __init__(self, spec: str, encode: Callable[[Any], Any] | None = None) -> None:
        self.spec, self.encode = spec, encode

    def get_col_spec(self, **_: Any) -> str:
        """Return the type's name in SQL."""
        return self.spec

    def bind_processor(self, dialect: sa.Dialect) -> Callable[[Any], Any] | None:  # noqa: ARG002
        """Return what is done to a value on its way to the driver."""
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

BATCHES: Final = sa.Table(
    "rta_batches",
    METADATA,
    sa.Column("query_id", sa.Text, primary_key=True),
    sa.Column("batch_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("table_name", sa.Text, nullable=False, index=True),
    sa.Column("topic", sa.Text, nullable=False),
    sa.Column("run_id", sa.Text),
    sa.Column("start_offsets", sa.JSON, nullable=False),
    sa.Column("end_offsets", sa.JSON, nullable=False),
    sa.Column("watermark", UTC),
    *(
        sa.Column(count, sa.BigInteger, nullable=False)
        for count in ("consumed", "used", "duplicate", "late", "quarantined", "rows")
    ),
    sa.Column("committed_at", UTC, nullable=False),
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
    sa.Column("outcome", sa.Text, nullable=False),
    sa.Column("message", sa.Text),
    sa.Column("folder", sa.Text),
    sa.Column("receipt", sa.JSON),
    sa.CheckConstraint(
        "outcome IN ('running', 'succeeded', 'failed', 'died')", name="rta_jobs_outcome"
    ),
)
