"""Views: a name for readers, and behind it the tables of one version, switched in one transaction.

Behind it are a batch view and a speed view that merge (Lambda), or the table of one version of a function (Kappa). They are
SQL views in the serving database, so every reader sees one version as a whole, even one that knows nothing of rta.
Both databases change a view inside a transaction: a reader that has begun keeps the version it began with.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from rta.errors import QueryError, TableError
from rta.html import card
from rta.names import checked
from rta.store import database, late_rows, ledger, serving_tables
from rta.store.catalog import RESULTS, VIEWS
from rta.store.merge_rules import Merge, merged_select
from rta.store.serving_tables import Table

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine


@dataclass(frozen=True)
class Version:
    """The tables of one version. cut_off: topic → partition → the offset where its speed view begins, if it has one."""

    parts: tuple[str, ...]
    cut_off: Mapping[str, Mapping[int, int]] = field(default_factory=dict)


@dataclass(frozen=True)
class View:
    """What is behind a view's name: its versions by number, and the number of the one that is served."""

    name: str
    topic: str
    served: int
    versions: Mapping[int, Version]

    @property
    def parts(self) -> tuple[str, ...]:
        """The tables that readers see now."""
        return self.versions[self.served].parts

    def _repr_html_(self) -> str:
        served = f"version {self.served}: {' and '.join(self.parts)}"
        others = ", ".join(str(each) for each in sorted(self.versions) if each != self.served)
        facts = {"view": self.name, "topic": self.topic, "served": served, "other versions": others or "none"}  # fmt: skip
        return card(facts.items(), f"`rta.read({self.name!r})` reads it")


def find(name: str, *, on: Engine | None = None) -> View | None:
    """Find a view by its name; None if there is none.

    >>> find("no_such_view")
    """
    with database.reading(on or database.engine()) as connection:
        return _lookup(connection, name)


def written(shown: Table, *, on: Engine | None = None) -> object:
    """Return what is different after each write to a table, or to the tables of a view; asked four times a second and more.

    >>> from pyspark.sql.types import StructType
    >>> from rta.store.serving_tables import make, planned
    >>> table = make(planned("looked_at", StructType().add("page", "string"), ["page"]))
    >>> written(table) == written(table)
    True
    """
    with database.reading(on or database.engine()) as connection:
        view = _lookup(connection, shown.name) if shown.view else None
        parts = view.parts if view else (shown.name,)
        positions = RESULTS.select().where(RESULTS.c.table_name.in_(parts))
        in_real_time = {row.table_name: row.position for row in connection.execute(positions)}
        return [
            (part, ledger.newest_in(connection, part), in_real_time.get(part)) for part in parts
        ]


def switch(
    name: str,
    number: int,
    version: Version,
    *,
    merges: Mapping[str, Merge] | None = None,
    patience: float | None = 30,
    on: Engine | None = None,
) -> View:
    """Serve a version, in one transaction: make the view, or let it show other tables.

    Args:
        name: The view.
        number: The number of the version.
        version: Its tables.
        merges: How the rows of several tables become one, see rta.store.merge_rules; one table needs none.
        patience: Seconds to wait for a version that lacks events that readers see already; None serves it all the same.
        on: The database; by default the one of the settings.

    Raises:
        QueryError: The version still lacks such events.
        TableError: There is a table of this name.
    """
    deadline = time.monotonic() + (patience or 0)
    while True:
        try:
            return _switched(
                name, number, version, merges, on or database.engine(), level=patience is not None
            )
        except QueryError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def _switched(
    name: str, number: int, version: Version, merges: Mapping[str, Merge] | None, engine: Engine, *, level: bool,
) -> View:  # fmt: skip
    parts = [serving_tables.table(each, on=engine) for each in version.parts]
    with database.writing(engine, ddl=True) as connection:
        before = _lookup(connection, name)
        if before is None and serving_tables.lookup(connection, name) is not None:
            raise TableError(f"there is a table {name!r}", fix="use another name for the view")
        if before is not None and level:
            _require_level(connection, before, version)
        versions = {**(before.versions if before else {}), number: version}
        quoted = engine.dialect.identifier_preparer.quote_identifier(name)
        if before is not None:  # made anew: its columns may be others
            connection.exec_driver_sql(f"DROP VIEW {quoted}")
        select = merged_select(parts, merges or {}, engine.dialect)
        connection.exec_driver_sql(f"CREATE VIEW {quoted} AS {select}")
        after = View(name, parts[0].topic or "", number, versions)
        _note(connection, after, parts[0])
        others = [part for n, each in versions.items() if n != number for part in each.parts]
        ends = _reached(connection, version)
        late_rows.note_corrections(
            connection, name, number, served=version.parts, others=others, ends=ends
        )
    return after


def forget(name: str, numbers: Sequence[int], *, on: Engine | None = None) -> list[str]:
    """Forget versions that are not served; return the tables that no version of the view needs any more.

    Raises:
        TableError: One of the versions is served.
    """
    engine = on or database.engine()
    with database.writing(engine) as connection:
        view = _lookup(connection, name)
        if view is None:
            return []
        if view.served in numbers:
            raise TableError(
                f"version {view.served} of {name!r} is served", fix="switch to another one first"
            )
        kept = {n: each for n, each in view.versions.items() if n not in numbers}
        needed = {part for each in kept.values() for part in each.parts}
        _note(connection, View(name, view.topic, view.served, kept))
    gone = [part for n in numbers if n in view.versions for part in view.versions[n].parts]
    return [part for part in gone if part not in needed]


def drop(name: str, *, on: Engine | None = None) -> list[str]:
    """Drop a view; return the tables behind it, which stay."""
    engine = on or database.engine()
    quoted = engine.dialect.identifier_preparer.quote_identifier(checked("table", name))
    with database.writing(engine, ddl=True) as connection:
        view = _lookup(connection, name)
        connection.execute(VIEWS.delete().where(VIEWS.c.name == name))
        connection.exec_driver_sql(f"DROP VIEW IF EXISTS {quoted}")
        late_rows.forget_view(connection, name)
    return [] if view is None else [p for each in view.versions.values() for p in each.parts]


def _reached(connection: Connection, version: Version) -> dict[str, dict[int, int]]:
    """Return how far a version goes: topic → partition → the first offset that is in none of its tables."""
    ends = {topic: dict(offsets) for topic, offsets in version.cut_off.items()}
    for part in version.parts:
        for topic, offsets in ledger.offsets_in(connection, part).items():
            here = ends.setdefault(topic, {})
            here |= {p: max(end, here.get(p, 0)) for p, end in offsets.items()}
    return ends


def _require_level(connection: Connection, seen: View, version: Version) -> None:
    """Refuse a version that lacks events that readers see: values would go back."""
    if connection.dialect.name != "sqlite":  # there one writes at a time anyway
        connection.exec_driver_sql("LOCK TABLE rta_batches IN SHARE MODE")
    has = _reached(connection, version)
    now = _reached(connection, seen.versions[seen.served])
    behind = sum(
        max(end - has.get(topic, {}).get(partition, 0), 0)
        for topic, ends in now.items() for partition, end in ends.items()
    )  # fmt: skip
    if behind:
        raise QueryError(
            f"{', '.join(version.parts)} lacks events that readers of {seen.name!r} see", found=f"{behind:,} events behind",
            fix="wait until it has caught up: see progress() and wait() of a Replay",
        )  # fmt: skip


def _lookup(connection: Connection, name: str) -> View | None:
    found = (
        connection.execute(VIEWS.select().where(VIEWS.c.name == checked("table", name)))
        .mappings()
        .one_or_none()
    )
    if found is None:
        return None
    versions = {
        int(number): Version(tuple(each["parts"]), _cut_off(each["cut_off"], found["topic"]))
        for number, each in found["versions"].items()
    }
    return View(name, found["topic"], found["served"], versions)


def _cut_off(stored: Mapping[str, Any], topic: str) -> dict[str, dict[int, int]]:
    """Read a cut-off; that of an older rta names no topic: it had one."""
    by_topic = (
        stored if all(isinstance(each, dict) for each in stored.values()) else {topic: stored}
    )
    return {name: {int(p): offset for p, offset in ends.items()} for name, ends in by_topic.items()}


def _note(connection: Connection, view: View, part: Table | None = None) -> None:
    """Write down what is behind a view, and its columns, if `part` has new ones."""
    entry: dict[str, Any] = {
        "served": view.served, "topic": view.topic, "switched_at": dt.datetime.now(dt.UTC),
        "versions": {str(number): asdict(each) for number, each in view.versions.items()},
    }  # fmt: skip
    if part is not None:
        entry |= {"key": list(part.key), "schema": part.schema.jsonValue()}
    changed = connection.execute(VIEWS.update().where(VIEWS.c.name == view.name).values(entry))
    if not changed.rowcount:
        connection.execute(VIEWS.insert().values(entry | {"name": view.name}))
