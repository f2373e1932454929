"""The changelog topic of a table that is filled in real time, and how its results are written to the table.

Spark sends each result, the whole value of its key, as one JSON object to a topic with one partition, `<table>.results.<8 hex>`.
A result replaces the row of its key only if it counts more events, so one that arrives twice, or late, changes nothing.
The rows and the position in the topic are written to the database in one transaction.
"""

from __future__ import annotations

import base64
import datetime as dt
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import partial
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from rta.engines.contract.outputs import END, START
from rta.errors import QueryError
from rta.kafka import client, topics
from rta.names import checked
from rta.retries import retried
from rta.store import database
from rta.store.catalog import RESULTS
from rta.store.upserts import remove, upsert

if TYPE_CHECKING:
    from kafka import KafkaConsumer
    from pyspark.sql.types import DataType, StructType
    from sqlalchemy import Engine

    from rta.store.serving_tables import Table

# By size alone, as for all topics of rta: the results of a table that was idle for a month must still be there.
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_RETENTION: Final = {"retention.ms": "-1", "retention.bytes": str(2**30)}


@dataclass(frozen=True)
class Results:
    """The changelog topic of a table.

    Args:
        table: The table.
        topic: Its changelog topic.
        position: The next offset to read; None before the first query in real-time mode.
    """

    table: str
    topic: str
    position: int | None = None


@dataclass(frozen=True)
class Gone:
    """A result that there is no longer: a record without a value.

    Args:
        key: The record's key, as rta.engines.contract.outputs says.
    """

    key: bytes


def find(table: str, *, on: Engine | None = None) -> Results | None:
    """Return the changelog topic of a table; None if the table is not filled in real time.

    >>> find("no_such_table")
    """
    query = RESULTS.select().where(RESULTS.c.table_name == checked("table", table))
    with database.reading(on or database.engine()) as connection:
        found = connection.execute(query).one_or_none()
    return None if found is None else Results(*found)


def note(table: str, *, on: Engine | None = None) -> Results:
    """Record that a table is filled in real time, and choose a unique name for its changelog topic."""
    name = checked("topic", f"{checked('table', table)}.results.{uuid4().hex[:8]}")
    with database.writing(on or database.engine()) as connection:
        connection.execute(RESULTS.insert().values(table_name=table, topic=name))
    return Results(table, name)


def opened(results: Results, *, on: Engine | None = None) -> Results:
    """Create the topic if it does not exist, and record the position to continue from.

    What the topic has lost to retention is already in the table: the micro-batch before the query has written it.
    """
    topics.create_topic(results.topic, partitions=1, config=_RETENTION)
    first, end = topics.offsets(results.topic)[0]
    position = min(max(results.position or 0, first), end)
    with database.writing(on or database.engine()) as connection:
        same = RESULTS.c.table_name == results.table
        connection.execute(RESULTS.update().where(same).values(position=position))
    return replace(results, position=position)


def forget(table: str, *, on: Engine | None = None) -> None:
    """Delete the changelog topic of a table, and the record of it.

    >>> forget("no_such_table")
    """
    if found := find(table, on=on):
        topics.delete_topic(found.topic, missing_ok=True)
        with database.writing(on or database.engine()) as connection:
            connection.execute(RESULTS.delete().where(RESULTS.c.table_name == table))


def reading(found: Results) -> KafkaConsumer:
    """Open a consumer at the position. It fails if the topic does not have that offset."""
    from kafka import TopicPartition

    consumer = client.consumer(auto_offset_reset="none", fetch_max_wait_ms=20)
    consumer.assign([TopicPartition(found.topic, 0)])
    consumer.seek(TopicPartition(found.topic, 0), found.position)
    return consumer


def materialize(
    results: Results, table: Table, counted: str, *, engine: Engine, ended: Callable[[], bool]
) -> Iterator[tuple[int, int]]:
    """Write what is on the changelog topic to the table, until the query has ended and everything is there.

    Args:
        results: The changelog topic, opened.
        table: The table.
        counted: The column that counts the events of a key.
        engine: The database.
        ended: Tells whether the query that fills the topic has ended.

    Yields:
        After each transaction the position in the topic, and the number of keys that were written.
    """
    with closing(reading(results)) as consumer:
        [where] = consumer.assignment()
        while True:
            over = ended()
            records = consumer.poll(timeout_ms=100).get(where, [])
            if records:
                values, position = [each.value for each in records], records[-1].offset + 1
                write = partial(take, engine, table, counted, values, position)
                yield position, retried(write, patience=database.PATIENCE)
            elif over and consumer.position(where) >= consumer.end_offsets([where])[where]:
                return


def take(
    engine: Engine,
    table: Table,
    counted: str | None,
    values: Iterable[bytes | Gone],
    position: int,
    *,
    since: int | None = None,
) -> int:
    """Write results and the position after them to a table, in one transaction.

    Args:
        engine: The database.
        table: The table.
        counted: The column that counts the events of a key; of two results of a key the one that counts more is the newer. None: the
            later one is, as on a topic that is written in transactions.
        values: The results, as they are on the topic, and those that there are no longer.
        position: The offset after the last of them.
        since: The position before them, if another process may write to the table, too.

    Raises:
        QueryError: Another process has written results after `since`.

    Returns:
        The number of keys.

    >>> from pyspark.sql.types import StructType
    >>> from rta.store import serving_tables
    >>> schema = StructType().add("page", "string").add("n", "long")
    >>> pages = serving_tables.make(serving_tables.planned("doc_results", schema, ["page"]))
    >>> found = note("doc_results")
    >>> take(database.engine(), pages, "n", [b'{"page":"home","n":2}', b'{"page":"home","n":1}'], 2)
    1
    >>> take(database.engine(), pages, "n", [b'{"page":"home","n":1}'], 3)
    1
    >>> rta.read("doc_results")["n"].to_list(), find("doc_results").position
    ([2], 3)
    """
    newest = _newest(table, counted, values)
    rows = [row for row in newest.values() if row is not None]
    gone = [key for key, row in newest.items() if row is None]
    with database.writing(engine) as connection:
        same = RESULTS.c.table_name == table.name
        if since is not None:
            same &= RESULTS.c.position == since
        if not connection.execute(RESULTS.update().where(same).values(position=position)).rowcount:
            raise QueryError(
                f"another process fills table {table.name!r}", found=f"results after {since:,} are there already",
                fix="stop it there, or read the table: it is kept up to date",
            )  # fmt: skip
        return remove(connection, table, gone) + upsert(connection, table, rows, growing=counted)


def _newest(
    table: Table, counted: str | None, values: Iterable[bytes | Gone]
) -> dict[tuple[Any, ...], tuple[Any, ...] | None]:
    """Return key → the newest of its rows; None if it is gone."""
    names = table.columns.names
    places = [names.index(name) for name in table.key]
    decode, flatten = decoder(table.schema), _flattener(table.schema)

    def key(row: Sequence[Any]) -> tuple[Any, ...]:
        return tuple(row[place] for place in places)

    if counted is not None:  # of equals the one that came first is the last here, and stays
        rows = [decode(each) for each in values if not isinstance(each, Gone)]
        rows = sorted(rows, key=itemgetter(names.index(counted)), reverse=True)[::-1]
        return {key(row): row for row in rows}
    found: dict[tuple[Any, ...], tuple[Any, ...] | None] = {}
    for each in values:
        if isinstance(each, Gone):
            found[key(flatten(_of_key(table, each)))] = None
        else:
            row = decode(each)
            found[key(row)] = row
    return found


def _of_key(table: Table, gone: Gone) -> Mapping[str, Any]:
    """Return what a record's key says of a row, in the form of a result."""
    from pyspark.sql.types import StructType

    told: dict[str, Any] = json.loads(gone.key, parse_float=Decimal)
    window = {"start": told[START], "end": told[END]}
    return told | {each.name: window for each in table.schema if isinstance(each.dataType, StructType)}  # fmt: skip


def decoder(schema: StructType) -> Callable[[bytes], tuple[Any, ...]]:
    """Return the function that decodes one result to a flat row of the table, each value as Spark had it.

    >>> from pyspark.sql.types import StructType
    >>> decoder(StructType().add("at", "timestamp").add("sum", "decimal(9,2)").add("n", "long"))(
    ...     b'{"at":"2024-11-15T10:00:00.000000Z","sum":1.10}')
    (datetime.datetime(2024, 11, 15, 10, 0, tzinfo=datetime.timezone.utc), Decimal('1.10'), None)
    """
    flatten = _flattener(schema)
    return lambda value: flatten(json.loads(value, parse_float=Decimal))


def _flattener(schema: StructType) -> Callable[[Mapping[str, Any]], tuple[Any, ...]]:
    """Return the function that turns a result into a flat row of the table."""
    from pyspark.sql.types import StructType

    parts: list[tuple[str, str | None, Callable[[Any], Any]]] = []
    for field in schema:
        inner = field.dataType
        if isinstance(inner, StructType):
            parts += [(field.name, sub.name, _converter(sub.dataType)) for sub in inner]
        else:
            parts.append((field.name, None, _converter(inner)))

    def flattened(row: Mapping[str, Any]) -> tuple[Any, ...]:
        found = []
        for name, sub, convert in parts:
            here = row.get(name)
            if sub is not None and here is not None:
                here = here.get(sub)
            found.append(None if here is None else convert(here))
        return tuple(found)

    return flattened


def _converter(kind: DataType) -> Callable[[Any], Any]:
    """Return the function that turns one value of Spark's JSON into what the table takes."""
    known: dict[str, Callable[[Any], Any]] = {
        "timestamp": _instant, "date": dt.date.fromisoformat,
        "float": float, "double": float, "binary": base64.b64decode, "timestamp_ntz": dt.datetime.fromisoformat,
        "time": dt.time.fromisoformat, "daytimeinterval": _interval,
    }  # fmt: skip
    return known.get(kind.typeName(), lambda value: value)


def _interval(microseconds: int) -> dt.timedelta:
    return dt.timedelta(microseconds=microseconds)


def _instant(told: str | int) -> dt.datetime:
    """Return a moment of a text with its zone, or of microseconds since the epoch.

    >>> _instant(1) - _instant("1970-01-01T00:00:00Z")
    datetime.timedelta(microseconds=1)
    """
    if isinstance(told, str):
        return dt.datetime.fromisoformat(told)
    return _EPOCH + dt.timedelta(microseconds=told)
