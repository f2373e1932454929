"""The tables of an older rta brought to the form of this one, where a database has them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from rta.store.catalog import BATCHES, JOBS, METADATA

if TYPE_CHECKING:
    from sqlalchemy import Connection


def _has_outcomes(connection: Connection) -> bool:
    """Return whether runs have the words of an older rta."""
    return any(each["name"] == "outcome" for each in sa.inspect(connection).get_columns(JOBS.name))


def _name_states(connection: Connection) -> None:
    names = [each["name"] for each in sa.inspect(connection).get_columns(JOBS.name)]
    for index in JOBS.indexes:
        index.drop(connection, checkfirst=True)
    connection.exec_driver_sql(f"ALTER TABLE {JOBS.name} RENAME TO {JOBS.name}_before")
    JOBS.create(connection)
    before = sa.table(f"{JOBS.name}_before", *(sa.column(name) for name in names))
    of = before.c
    state = sa.case((of.outcome == "died", "lost"), else_=of.outcome)
    kept = [name for name in names if name != "outcome"]
    rows = sa.select(*(of[name] for name in kept), state)
    connection.execute(JOBS.insert().from_select([*kept, "state"], rows))
    connection.exec_driver_sql(f"DROP TABLE {JOBS.name}_before")


def _absent(connection: Connection) -> list[sa.Column[Any]]:
    """Return the columns that tables lack; each of them may be null, or has a default."""
    look = sa.inspect(connection)
    there = {(t, each["name"]) for t in METADATA.tables for each in look.get_columns(t)}
    columns = [c for table in METADATA.sorted_tables for c in table.columns]
    return [c for c in columns if (c.table.name, c.name) not in there]


def _add_columns(connection: Connection) -> None:
    for column in _absent(connection):
        spec = sa.schema.CreateColumn(column).compile(dialect=connection.dialect)
        connection.exec_driver_sql(f'ALTER TABLE "{column.table.name}" ADD COLUMN {spec}')


def _has_old_key(connection: Connection) -> bool:
    """Return whether a micro-batch can have only one entry, not one for each of its topics."""
    key = sa.inspect(connection).get_pk_constraint(BATCHES.name)
    return {*key["constrained_columns"]} != {column.name for column in BATCHES.primary_key}


def _add_to_key(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        key = sa.inspect(connection).get_pk_constraint(BATCHES.name)
        columns = ", ".join(f'"{column.name}"' for column in BATCHES.primary_key)
        connection.exec_driver_sql(f'ALTER TABLE {BATCHES.name} DROP CONSTRAINT "{key["name"]}", ADD PRIMARY KEY ({columns})')  # fmt: skip
        return
    # SQLite has no other way than a new table.
    keyed = BATCHES.to_metadata(sa.MetaData(), name=f"{BATCHES.name}_keyed")
    connection.execute(sa.schema.CreateTable(keyed))
    names = [column.name for column in BATCHES.columns]
    connection.execute(keyed.insert().from_select(names, BATCHES.select()))
    BATCHES.drop(connection)
    connection.exec_driver_sql(f"ALTER TABLE {keyed.name} RENAME TO {BATCHES.name}")
    for index in BATCHES.indexes:
        index.create(connection)


def _unindexed(connection: Connection) -> list[sa.Index]:
    """Return the indexes that tables lack."""
    look = sa.inspect(connection)
    there = {each["name"] for table in METADATA.tables for each in look.get_indexes(table)}
    return [
        each for table in METADATA.sorted_tables for each in table.indexes if each.name not in there
    ]


def _add_indexes(connection: Connection) -> None:
    for index in _unindexed(connection):
        index.create(connection)


UPGRADES: Final[tuple[tuple[Callable[[Connection], object], Callable[[Connection], None]], ...]] = (
    (_has_outcomes, _name_states), (_absent, _add_columns), (_has_old_key, _add_to_key), (_unindexed, _add_indexes),
)  # fmt: skip
"""In their order: whether a database needs a change, and the change."""
