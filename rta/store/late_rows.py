"""Late events kept beside the tables, in `rta_late`: where each is on its topic, by how much it missed, who has corrected it.

An entry comes in the transaction of its micro-batch, so there is exactly one for each late event of a table. The payload
stays where it is, on the topic: an entry takes some 300 bytes, however large the event.

A view (Lambda, Kappa) may serve another version later, for which the event was not late: whoever switches a view's version
notes here, in the same transaction, which late events of the others are now in the answer. So the entries outlive the table
of a version that is dropped.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from rta.store import database
from rta.store.columns import series
from rta.store.upserts import upsert

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from pyspark.sql.types import StructType
    from sqlalchemy import ColumnElement, Connection, Engine

    from rta.store.ledger import Batch

_KEY: Final = ("query_id", "batch_id", "number")
_KEPT: Final = {
    "query_id": "string", "batch_id": "long", "number": "long", "table_name": "string", "topic": "string", "partition": "integer",
    "offset": "long", "event_time": "timestamp", "ended": "timestamp", "watermark": "timestamp", "late_seconds": "double",
    "kept_at": "timestamp",
}  # fmt: skip
_SHOWN: Final = {
    "table_name": "string", **{name: kind for name, kind in _KEPT.items() if name not in ("query_id", "number", "table_name")},
    "corrected_by": "string", "corrected_at": "timestamp",
}  # fmt: skip


def keep(connection: Connection, table: str, batch: Batch, places: pa.Table) -> int:
    """Keep the late events of a micro-batch, inside its transaction; return how many.

    places: partition, offset, event_time, ended, as rta.engines.spark.late_reading.late_places() gives them.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    from rta.store.serving_tables import Table

    def same(value: Any) -> pa.Array:
        return pa.array([value] * len(places))

    behind = pc.subtract(pa.scalar(batch.watermark), places["ended"])
    entries = {
        "query_id": same(batch.query_id), "batch_id": same(batch.batch_id), "number": pa.array(range(len(places))),
        "table_name": same(table), "topic": same(batch.topic), "partition": places["partition"], "offset": places["offset"],
        "event_time": places["event_time"], "ended": places["ended"], "watermark": same(batch.watermark),
        "late_seconds": pc.divide(pc.cast(behind, pa.int64()), 1e6), "kept_at": same(dt.datetime.now(dt.UTC)),
    }  # fmt: skip
    return upsert(connection, Table("rta_late", _schema(), _KEY), pa.table(entries))


def forget_view(connection: Connection, view: str) -> None:
    """Delete what was kept for all versions of a view."""
    from rta.store.catalog import LATE

    connection.execute(LATE.delete().where(LATE.c.view_name == view))


def judge_anew(
    connection: Connection, view: str, version: int, *, served: Sequence[str], others: Sequence[str], ends: Mapping[int, int],
) -> None:  # fmt: skip
    """Note which late events are in the answer, now that a view serves another version.

    served, others: the tables of that version, and of the view's other ones; ends: how far the served ones go.
    Corrected is what another version lacks, and this one has read and not found late; a copy may be among its duplicates.
    Of an event whose transform selects its origin away that cannot be told, so it is not said.
    """
    import sqlalchemy as sa

    from rta.store.catalog import LATE

    mine = LATE.c.view_name == view
    now_served = LATE.c.table_name.in_(served)
    again = LATE.alias("again")
    late_again = sa.exists().where(
        again.c.table_name.in_(served),
        again.c.partition == LATE.c.partition,
        again.c.offset == LATE.c.offset,
    )
    read = [(LATE.c.partition == p) & (LATE.c.offset < end) for p, end in ends.items()]
    there = sa.or_(sa.false(), *read) & ~late_again & ~now_served

    def note(where: ColumnElement[bool], **values: Any) -> None:
        connection.execute(LATE.update().where(where).values(**values))

    note(LATE.c.table_name.in_([*served, *others]), view_name=view)
    note(mine & ~sa.func.coalesce(there, sa.false()), corrected_by=None, corrected_at=None)
    by = {"corrected_by": f"version {version}", "corrected_at": dt.datetime.now(dt.UTC)}
    note(mine & there & LATE.c.corrected_at.is_(None), **by)


def kept(
    tables: Sequence[str], *, view: str | None = None, on: Engine | None = None
) -> pd.DataFrame:
    """List what is kept for tables, and what is corrected in a view; the first that came first."""
    import pandas as pd

    from rta.store.catalog import LATE

    corrected = (LATE.c.view_name == view) & LATE.c.corrected_at.is_not(None)
    wanted = LATE.c.table_name.in_(tables) | corrected
    found = LATE.select().with_only_columns(*[LATE.c[name] for name in _SHOWN]).where(wanted)
    ordered = found.order_by(LATE.c.kept_at, LATE.c.query_id, LATE.c.batch_id, LATE.c.number)
    with database.reading(on or database.engine()) as connection:
        rows = connection.execute(ordered).all()
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(_SHOWN)
    return pd.DataFrame(
        {
            name: series(values, kind, nullable=name in ("partition", "offset"))
            for (name, kind), values in zip(_SHOWN.items(), columns, strict=True)
        }
    )


def _schema() -> StructType:
    from pyspark.sql.types import StructType

    schema = StructType()
    for name, kind in _KEPT.items():
        schema.add(name, kind)
    return schema
