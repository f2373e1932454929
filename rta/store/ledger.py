"""The ledger: which micro-batch of which query a table contains, and where each event went.

A micro-batch has an entry for each topic that it has read, with the terms of that topic.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any

from rta.html import table
from rta.store import database

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

COUNTS = ("consumed", "used", "duplicate", "late", "quarantined", "lost", "rows")


class _Terms:
    """The terms of the law, of a batch or of many."""

    consumed: int
    used: int
    duplicate: int
    late: int
    quarantined: int

    @property
    def difference(self) -> int:
        """The events that are in none of the terms; below 0 if some are in two."""
        return self.consumed - self.used - self.duplicate - self.late - self.quarantined


@dataclass(frozen=True)
class Accounting(_Terms):
    """Where the events went: consumed = used + duplicate + late + quarantined, each counted on its own.

    lost: deleted by Kafka's retention before they were read, so none of the consumed.
    flawed: batches with terms that do not add up, or cannot be true; the ledger says which, and by how much.

    >>> Accounting(consumed=10, used=7, late=3, batches=1)
    consumed 10 = used 7 + duplicate 0 + late 3 + quarantined 0 (1 batch)
    >>> Accounting(consumed=10, used=7, late=1, batches=2, flawed=1)
    consumed 10 ≠ used 7 + duplicate 0 + late 1 + quarantined 0 (2 batches, 1 of them flawed; 2 events unaccounted for)
    """

    consumed: int = 0
    used: int = 0
    duplicate: int = 0
    late: int = 0
    quarantined: int = 0
    rows: int = 0
    batches: int = 0
    lost: int = 0
    flawed: int = 0

    @staticmethod
    def of(taken: Sequence[Batch]) -> Accounting:
        """Sum over some batches.

        >>> Accounting.of([Batch("a-query", 0, "clicks", consumed=2, used=1, late=1)])
        consumed 2 = used 1 + duplicate 0 + late 1 + quarantined 0 (1 batch)
        """
        sums = {count: sum(getattr(batch, count) for batch in taken) for count in COUNTS}
        flawed = {batch.number for batch in taken if batch.flaw is not None}
        return Accounting(
            **sums, batches=len({batch.number for batch in taken}), flawed=len(flawed)
        )

    @staticmethod
    def added(each: Iterable[Accounting]) -> Accounting:
        """Add up the accounting of several tables or queries.

        >>> Accounting.added([Accounting(consumed=1, used=1), Accounting(consumed=2, late=2)])
        consumed 3 = used 1 + duplicate 0 + late 2 + quarantined 0 (0 batches)
        """
        several = list(each)
        names = (*COUNTS, "batches", "flawed")
        return Accounting(**{name: sum(getattr(one, name) for one in several) for name in names})

    @property
    def balanced(self) -> bool:
        """Whether the law holds: every consumed event is in exactly one of the terms, in each batch."""
        return not (self.difference or self.flawed)

    def __repr__(self) -> str:
        flawed = f", {self.flawed:,} of them flawed" if self.flawed else ""
        off = f"; {self.difference:,} events unaccounted for" if self.difference else ""
        return (
            f"consumed {self.consumed:,} {'=' if self.balanced else '≠'} used {self.used:,}"
            f" + duplicate {self.duplicate:,} + late {self.late:,}"
            f" + quarantined {self.quarantined:,}"
            f" ({self.batches:,} {'batch' if self.batches == 1 else 'batches'}{flawed}{off})"
            + (f"; lost {self.lost:,}" if self.lost else "")
        )

    def _repr_html_(self) -> str:
        equals = "=" if self.balanced else "≠"
        terms = {
            "consumed": self.consumed, f"{equals} used": self.used, "+ duplicate": self.duplicate, "+ late": self.late,
            "+ quarantined": self.quarantined, "batches": self.batches,
        }  # fmt: skip
        amiss = {
            "flawed batches": self.flawed,
            "unaccounted for": self.difference,
            "lost": self.lost,
        }
        terms |= {name: count for name, count in amiss.items() if count}
        return table([list(terms.values())], list(terms))


@dataclass(frozen=True)
class Batch(_Terms):
    """What one micro-batch in a table has read of a topic. Offsets: partition → offset; an end offset is the next one to read.

    `table`, `rows` and `committed_at` are filled in by commit_batch. The rows of a micro-batch that has read several topics are in
    the entry of the first.
    """

    query_id: str
    batch_id: int
    topic: str
    start_offsets: Mapping[int, int] = field(default_factory=dict)
    end_offsets: Mapping[int, int] = field(default_factory=dict)
    watermark: dt.datetime | None = None
    consumed: int = 0
    used: int = 0
    duplicate: int = 0
    late: int = 0
    quarantined: int = 0
    run_id: str | None = None
    table: str = ""
    rows: int = 0
    committed_at: dt.datetime | None = None
    lost: int = 0
    doubt: str | None = None  # what else cannot be true, in words

    @property
    def number(self) -> tuple[str, int]:
        """What identifies the micro-batch: the query and its number; its entries for several topics have it in common."""
        return self.query_id, self.batch_id

    @property
    def flaw(self) -> str | None:
        """Say why the terms cannot be true, or by how much their sum is off; None if the law holds.

        >>> Batch("a-query", 0, "clicks", {0: 0}, {0: 5}, consumed=5, used=2, duplicate=6).flaw
        'duplicate 6 is more than consumed 5; consumed 5 ≠ 8, the sum: -3'
        """
        terms = {name: getattr(self, name) for name in ("used", "duplicate", "late", "quarantined")}
        read = sum(end - self.start_offsets.get(p, 0) for p, end in self.end_offsets.items())
        said = [f"{name} {count:,} is below 0" for name, count in terms.items() if count < 0]
        said += [
            f"{name} {count:,} is more than consumed {self.consumed:,}"
            for name, count in terms.items()
            if count > self.consumed
        ]
        if self.end_offsets and self.consumed > read:
            said.append(f"consumed {self.consumed:,} is more than the {read:,} offsets read")
        if self.difference:
            said.append(f"consumed {self.consumed:,} ≠ {sum(terms.values()):,}, the sum: {self.difference:+,}")  # fmt: skip
        return "; ".join([*said, *([self.doubt] if self.doubt else [])]) or None


def flaws_said(table: str, flawed: Sequence[Batch]) -> str:
    """Say which batches of a table do not add up, the first of them whole.

    >>> flaws_said("clicks", [Batch("a-query", 3, "clicks", consumed=2, used=1)])
    "the events of table 'clicks' do not add up: batch 3: consumed 2 ≠ 1, the sum: +1"
    """
    more = f"; and {len(flawed) - 1:,} more: select flaw in rta_batches" if flawed[1:] else ""
    return f"the events of table {table!r} do not add up: batch {flawed[0].batch_id}: {flawed[0].flaw}{more}"


def by_topic(taken: Sequence[Batch]) -> dict[str, Accounting]:
    """Return topic → where its events went.

    >>> by_topic([Batch("q", 0, "views", consumed=2, used=2), Batch("q", 0, "buys", consumed=1, used=1)])["buys"]
    consumed 1 = used 1 + duplicate 0 + late 0 + quarantined 0 (1 batch)
    """
    named = dict.fromkeys(batch.topic for batch in taken)
    return {
        topic: Accounting.of([batch for batch in taken if batch.topic == topic]) for topic in named
    }


def enter(connection: Connection, table: str, batch: Batch) -> bool:
    """Enter a batch before its rows; return False if it is there already.

    A second process with the same batch waits here until the first has committed or died.
    """
    if connection.dialect.name == "sqlite":
        from sqlalchemy.dialects.sqlite import insert
    else:
        from sqlalchemy.dialects.postgresql import insert  # type: ignore[assignment]
    from rta.store.catalog import BATCHES

    entry: dict[str, Any] = asdict(batch) | {"committed_at": dt.datetime.now(dt.UTC)}
    entry |= {"table_name": table, "difference": batch.difference, "flaw": batch.flaw}
    del entry["table"]
    statement = insert(BATCHES).values(entry).on_conflict_do_nothing()
    return connection.execute(statement.returning(BATCHES.c.batch_id)).first() is not None


def count_rows(connection: Connection, batch: Batch, rows: int) -> None:
    """Note how many rows the batch has written."""
    from rta.store.catalog import BATCHES

    same = [BATCHES.c[name] == getattr(batch, name) for name in ("query_id", "batch_id", "topic")]
    connection.execute(BATCHES.update().where(*same).values(rows=rows))


def batches(
    name: str | None = None,
    *,
    query_id: str | None = None,
    run_id: str | None = None,
    after: int = -1,
    on: Engine | None = None,
) -> list[Batch]:
    """List the micro-batches of a table, a query or a run: by query, the oldest first, each with its batches in order.

    Args:
        name: The table.
        query_id: Spark's id of a query.
        run_id: The run of a job.
        after: Only batches with a greater number.
        on: The database; by default the one of the settings.

    >>> batches("no_such_table")
    []
    """
    import sqlalchemy as sa

    from rta.store.catalog import BATCHES

    found = BATCHES.select().where(*_which(name, query_id, run_id), BATCHES.c.batch_id > after)
    # Not by committed_at alone: after a clock was set back, the batches would be in the wrong order.
    oldest = sa.func.min(BATCHES.c.committed_at).over(partition_by=BATCHES.c.query_id)
    ordered = found.order_by(oldest, BATCHES.c.query_id, BATCHES.c.batch_id, BATCHES.c.topic)
    with database.reading(on or database.engine()) as connection:
        return [_from_row(dict(row)) for row in connection.execute(ordered).mappings()]


def newest(name: str, *, on: Engine | None = None) -> list[Batch]:
    """Return the newest batch of each query that has filled a table; empty if none has.

    >>> newest("no_such_table")
    []
    """
    with database.reading(on or database.engine()) as connection:
        return newest_in(connection, name)


def newest_in(connection: Connection, name: str) -> list[Batch]:
    """Return the same as newest(), inside a transaction."""
    import sqlalchemy as sa

    from rta.store.catalog import BATCHES

    # From one query to the next by the index: a table has few queries, and one of them a million batches.
    of_table = BATCHES.c.table_name == name
    queries = sa.select(sa.func.min(BATCHES.c.query_id).label("query_id")).where(of_table).cte("queries", recursive=True)  # fmt: skip
    following = sa.select(sa.func.min(BATCHES.c.query_id)).where(of_table, BATCHES.c.query_id > queries.c.query_id)  # fmt: skip
    queries = queries.union_all(sa.select(following.correlate(queries).scalar_subquery()).where(queries.c.query_id.is_not(None)))  # fmt: skip
    own = BATCHES.alias()
    last = sa.select(sa.func.max(own.c.batch_id)).where(own.c.table_name == name, own.c.query_id == queries.c.query_id)  # fmt: skip
    same = (BATCHES.c.query_id == queries.c.query_id) & (BATCHES.c.batch_id == last.correlate(queries).scalar_subquery())  # fmt: skip
    found = connection.execute(BATCHES.select().join(queries, same)).mappings()
    return [_from_row(dict(row)) for row in found]


def offsets(name: str, *, on: Engine | None = None) -> dict[str, dict[int, int]]:
    """Return what a table contains: topic → partition → the first offset that is not in it.

    >>> offsets("no_such_table")
    {}
    """
    with database.reading(on or database.engine()) as connection:
        return offsets_in(connection, name)


def offsets_in(connection: Connection, name: str) -> dict[str, dict[int, int]]:
    """Return what a table contains, inside a transaction: see offsets()."""
    return reached(newest_in(connection, name))


def reached(newest: Iterable[Batch]) -> dict[str, dict[int, int]]:
    """Return what the newest batch of each query says of all before it: topic → partition → the first offset that is not in them.

    >>> reached([Batch("q", 7, "views", end_offsets={0: 5}), Batch("of before", 9, "views", end_offsets={0: 3, 1: 2})])
    {'views': {0: 5, 1: 2}}
    """
    # A query's offsets only grow.
    contained: dict[str, dict[int, int]] = {}
    for batch in newest:
        here = contained.setdefault(batch.topic, {})
        for partition, end in batch.end_offsets.items():
            here[partition] = max(end, here.get(partition, end))
    return {topic: dict(sorted(ends.items())) for topic, ends in sorted(contained.items())}


def summed(
    *tables: str,
    query_id: str | None = None,
    run_id: str | None = None,
    topic: str | None = None,
    on: Engine | None = None,
) -> Accounting:
    """Sum the ledger over some tables, a query, a run, a topic, or all of it; a name that it does not have counts nothing.

    >>> summed("no_such_table")
    consumed 0 = used 0 + duplicate 0 + late 0 + quarantined 0 (0 batches)
    """
    import sqlalchemy as sa

    from rta.store.catalog import BATCHES

    named = [BATCHES.c.table_name.in_(tables)] if tables else []
    which = [*named, *_which(None, query_id, run_id, topic)]
    with database.reading(on or database.engine()) as connection:
        found = connection.execute(sa.select(*sums(connection)).where(*which)).mappings().one()
    return Accounting(**{count: int(total) for count, total in found.items()})


def sums(connection: Connection) -> list[Any]:
    """Return what is selected from the entries of an Accounting: its fields by their names."""
    import sqlalchemy as sa

    from rta.store.catalog import BATCHES

    # SQLite's SUM is ours, exact over decimals, and fifty times slower.
    add = sa.func.total if connection.dialect.name == "sqlite" else sa.func.sum
    terms = [sa.func.coalesce(add(BATCHES.c[count]), 0).label(count) for count in COUNTS]
    # A micro-batch has an entry for each of its topics.
    number = BATCHES.c.query_id + " " + sa.cast(BATCHES.c.batch_id, sa.Text)
    flawed = sa.case((BATCHES.c.flaw.is_not(None), number))
    return [
        *terms,
        sa.func.count(number.distinct()).label("batches"),
        sa.func.count(flawed.distinct()).label("flawed"),
    ]


def _which(
    name: str | None, query_id: str | None, run_id: str | None, topic: str | None = None
) -> list[Any]:
    from rta.store.catalog import BATCHES

    wanted = {"table_name": name, "query_id": query_id, "run_id": run_id, "topic": topic}
    return [BATCHES.c[column] == value for column, value in wanted.items() if value is not None]


def _numbered(stored: Mapping[str, int]) -> dict[int, int]:
    return {int(partition): offset for partition, offset in stored.items()}


def _from_row(row: Mapping[str, Any]) -> Batch:
    facts = {each.name: row[each.name] for each in fields(Batch) if each.name != "table"}
    facts |= {name: _numbered(facts[name]) for name in ("start_offsets", "end_offsets")}
    return Batch(**facts, table=row["table_name"])
