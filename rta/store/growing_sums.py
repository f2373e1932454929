"""The accounting of a query, read on from where it was read: a look costs what is new, however long the ledger is.

For figures that are looked at each second. Entries are only added to a ledger, and a query's are deleted all at once; whoever doubts that
asks `rta.store.ledger.summed()`, which adds up all of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from rta.store import database
from rta.store.catalog import BATCHES
from rta.store.ledger import Accounting, sums

if TYPE_CHECKING:
    import datetime as dt

    from sqlalchemy import Connection, Engine

_MOST: Final = 1_000  # queries that are remembered


@dataclass(frozen=True)
class _Read:
    """What was read of a query: up to which micro-batch, when that was committed, and the sums."""

    last: int
    committed_at: dt.datetime
    accounting: Accounting


_read: dict[tuple[str, str], _Read] = {}


def summed_on(*query_ids: str, on: Engine | None = None) -> Accounting:
    """Sum the ledger over some queries; one that it does not have counts nothing.

    >>> summed_on("no-such-query")
    consumed 0 = used 0 + duplicate 0 + late 0 + quarantined 0 (0 batches)
    """
    engine = on or database.engine()
    with database.reading(engine) as connection:
        return Accounting.added(_of(connection, str(engine.url), each) for each in query_ids)


def _of(connection: Connection, url: str, query_id: str) -> Accounting:
    import sqlalchemy as sa

    mine, number = BATCHES.c.query_id == query_id, BATCHES.c.batch_id
    known = _read.get((url, query_id))
    if known and _committed_at(connection, mine, known.last) != known.committed_at:
        known = None  # it was dropped, and began again
    last = sa.select(*sums(connection), sa.func.max(number).label("last"))
    since = mine if known is None else mine & (number > known.last)
    row: dict[str, Any] = dict(connection.execute(last.where(since)).mappings().one())
    if (newest := row.pop("last")) is None:
        return known.accounting if known else Accounting()
    new = Accounting(**{name: int(total) for name, total in row.items()})
    whole = Accounting.added([known.accounting, new]) if known else new
    if len(_read) >= _MOST:
        _read.clear()
    _read[url, query_id] = _Read(newest, _committed_at(connection, mine, newest), whole)
    return whole


def _committed_at(connection: Connection, mine: Any, batch_id: int) -> Any:
    """Return when a micro-batch was committed; of several topics each has an entry of its own."""
    import sqlalchemy as sa

    entries = sa.select(sa.func.max(BATCHES.c.committed_at)).where(mine, BATCHES.c.batch_id == batch_id)  # fmt: skip
    return connection.execute(entries).scalar_one()
