"""Late events, noted in `rta_late`: where each is on its topic, by how much it was late, and which version has corrected it.

An entry comes in the transaction of its micro-batch, so there is exactly one for each late event of a table. The payload
stays on the topic: an entry takes some 300 bytes, however large the event.

A view (Lambda, Kappa) may serve another version later, for which the event was not late: whoever switches a view's version
notes here, in the same transaction, which late events of the others are now in the answer. So the entries outlive the table
of a version that is dropped.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from rta.store import database
from rta.store.catalog import LATE
from rta.store.columns import series

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from sqlalchemy import ColumnElement, Connection, Engine

    from rta.store.ledger import Batch

_SHOWN: Final = {
    "table_name": "string", "batch_id": "long", "topic": "string", "partition": "integer", "offset": "long",
    "event_time": "timestamp", "ended": "timestamp", "watermark": "timestamp", "late_seconds": "double",
    "kept_at": "timestamp", "corrected_by": "string", "corrected_at": "timestamp",
}  # fmt: skip


def keep(
    connection: Connection, table: str, batch: Batch, places: pa.Table, *, first: int = 0
) -> None:
    """Note the late events of a micro-batch, inside its transaction.

    Args:
        connection: The transaction.
        table: The table that lacks them.
        batch: The micro-batch.
        places: partition, offset, event_time, ended, as rta.engines.spark.late_reading.read_again() gives them.
        first: The number of the first of them in the micro-batch, which may have late events of another topic, too.
    """
    mark: Any = batch.watermark
    same = {
        "query_id": batch.query_id, "batch_id": batch.batch_id, "table_name": table, "topic": batch.topic, "watermark": mark,
        "kept_at": dt.datetime.now(dt.UTC),
    }  # fmt: skip
    entries = [
        same | place | {"number": number, "late_seconds": (mark - place["ended"]).total_seconds()}
        for number, place in enumerate(places.to_pylist(), first)
    ]
    connection.execute(LATE.insert(), entries)


def forget_view(connection: Connection, view: str) -> None:
    """Delete the entries of all versions of a view."""
    connection.execute(LATE.delete().where(LATE.c.view_name == view))


def note_corrections(
    connection: Connection, view: str, version: int, *, served: Sequence[str], others: Sequence[str], ends: Mapping[str, Mapping[int, int]],
) -> None:  # fmt: skip
    """Note which late events are in the answer, now that a view serves another version.

    An event is corrected if another version lacks it, and this one has read it and not found it late; a copy may be among its
    duplicates. If the transform selects an event's origin away, that cannot be known, so nothing is noted.

    Args:
        connection: The transaction of the switch.
        view: The view.
        version: The version that it serves now.
        served: The tables of that version.
        others: The tables of its other versions.
        ends: topic → partition → the first offset that the served tables do not contain.
    """
    mine = LATE.c.view_name == view
    now_served = LATE.c.table_name.in_(served)
    again = LATE.alias("again")
    late_again = sa.exists().where(
        again.c.table_name.in_(served),
        again.c.topic == LATE.c.topic,
        again.c.partition == LATE.c.partition,
        again.c.offset == LATE.c.offset,
    )
    read = [
        (LATE.c.topic == topic) & (LATE.c.partition == p) & (LATE.c.offset < end)
        for topic, offsets in ends.items() for p, end in offsets.items()
    ]  # fmt: skip
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
    """List the entries of tables, and those that are corrected in a view, the oldest first."""
    import pandas as pd

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
