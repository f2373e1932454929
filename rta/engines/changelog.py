"""The results topic of a table that is filled in real time: what lies on it, and how it gets into the table.

Spark sends each result, the whole value of its key, as one JSON object to a topic of one partition, `<table>.results.<8 hex>`.
A result is taken where it counts more events than what the table has: one that comes twice, or late, changes nothing.
Rows and the position in the results topic go into the database in one transaction.
"""

from __future__ import annotations

import base64
import datetime as dt
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from decimal import Decimal
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from rta.events.json_format import json_column
from rta.kafka import client, topics
from rta.names import checked
from rta.store import database
from rta.store.catalog import RESULTS
from rta.store.upserts import upsert

if TYPE_CHECKING:
    from kafka import KafkaConsumer
    from pyspark.sql import DataFrame
    from pyspark.sql.types import DataType, StructType
    from sqlalchemy import Engine

    from rta.store.serving_tables import Table

# By size alone, as all topics of rta: the results of a table that rests for a month must be there still.
_RETENTION: Final = {"retention.ms": "-1", "retention.bytes": str(2**30)}


@dataclass(frozen=True)
class Results:
    """The results topic of a table; position: the next offset to take, None before the first query in real-time mode."""

    table: str
    topic: str
    position: int | None = None


def find(table: str, *, on: Engine | None = None) -> Results | None:
    """Find the results topic of a table; None where it is not filled in real time.

    >>> find("no_such_table")
    """
    query = RESULTS.select().where(RESULTS.c.table_name == checked("table", table))
    with database.reading(on or database.engine()) as connection:
        found = connection.execute(query).one_or_none()
    return None if found is None else Results(*found)


def note(table: str, *, on: Engine | None = None) -> Results:
    """Note that a table is going to be filled in real time: its topic gets a name that nobody else uses."""
    name = checked("topic", f"{checked('table', table)}.results.{uuid4().hex[:8]}")
    with database.writing(on or database.engine()) as connection:
        connection.execute(RESULTS.insert().values(table_name=table, topic=name))
    return Results(table, name)


def opened(results: Results, *, on: Engine | None = None) -> Results:
    """Make the topic where it is not, and return the position to go on from, which is noted.

    What the topic has lost is in the table already: the micro-batch before the query brought it.
    """
    topics.create_topic(results.topic, partitions=1, config=_RETENTION)
    first, end = topics.offsets(results.topic)[0]
    position = min(max(results.position or 0, first), end)
    with database.writing(on or database.engine()) as connection:
        same = RESULTS.c.table_name == results.table
        connection.execute(RESULTS.update().where(same).values(position=position))
    return replace(results, position=position)


def forget(table: str, *, on: Engine | None = None) -> None:
    """Delete the results topic of a table, and forget it.

    >>> forget("no_such_table")
    """
    if found := find(table, on=on):
        topics.delete_topic(found.topic, missing_ok=True)
        with database.writing(on or database.engine()) as connection:
            connection.execute(RESULTS.delete().where(RESULTS.c.table_name == table))


def messages(stream: DataFrame) -> DataFrame:
    """Turn results into messages for Kafka: all columns, of whatever name, as one JSON object; no key."""
    from pyspark.sql import functions as F

    row = json_column([F.col(f"`{name}`") for name in stream.columns])
    nothing = F.lit(None).cast("binary")
    return stream.select(nothing.alias("key"), row.cast("binary").alias("value"))


def reading(found: Results) -> KafkaConsumer:
    """Open a consumer at the position; an offset that the topic has not is an error."""
    from kafka import TopicPartition

    consumer = client.consumer(auto_offset_reset="none", fetch_max_wait_ms=20)
    consumer.assign([TopicPartition(found.topic, 0)])
    consumer.seek(TopicPartition(found.topic, 0), found.position)
    return consumer


def take(engine: Engine, table: Table, counted: str, values: Iterable[bytes], position: int) -> int:
    """Write results into a table, with the position behind them, in one transaction; return how many keys they have.

    counted: the column that counts a key's events; of two results of a key the one that counts more is the newer.

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
    names = table.columns.names
    key = itemgetter(*map(names.index, table.key))
    count = itemgetter(names.index(counted))
    # Of a key's results the last one stays: the one that counts most.
    newest = {key(row): row for row in sorted(map(decoder(table.schema), values), key=count)}
    with database.writing(engine) as connection:
        same = RESULTS.c.table_name == table.name
        connection.execute(RESULTS.update().where(same).values(position=position))
        return upsert(connection, table, newest.values(), growing=counted)


def decoder(schema: StructType) -> Callable[[bytes], tuple[Any, ...]]:
    """Make the function that reads one result: the flat row of the table, each value as Spark had it.

    >>> from pyspark.sql.types import StructType
    >>> decoder(StructType().add("at", "timestamp").add("sum", "decimal(9,2)").add("n", "long"))(
    ...     b'{"at":"2024-11-15T10:00:00.000000Z","sum":1.10}')
    (datetime.datetime(2024, 11, 15, 10, 0, tzinfo=datetime.timezone.utc), Decimal('1.10'), None)
    """
    from pyspark.sql.types import StructType

    parts: list[tuple[str, str | None, Callable[[Any], Any]]] = []
    for field in schema:
        inner = field.dataType
        if isinstance(inner, StructType):
            parts += [(field.name, sub.name, _converter(sub.dataType)) for sub in inner]
        else:
            parts.append((field.name, None, _converter(inner)))

    def decoded(value: bytes) -> tuple[Any, ...]:
        row = json.loads(value, parse_float=Decimal)
        found = []
        for name, sub, convert in parts:
            here = row.get(name)
            if sub is not None and here is not None:
                here = here.get(sub)
            found.append(None if here is None else convert(here))
        return tuple(found)

    return decoded


def _converter(kind: DataType) -> Callable[[Any], Any]:
    """Turn one value of Spark's JSON back into what the table takes."""
    known: dict[str, Callable[[Any], Any]] = {
        "timestamp": dt.datetime.fromisoformat, "date": dt.date.fromisoformat,
        "float": float, "double": float, "binary": base64.b64decode,
    }  # fmt: skip
    return known.get(kind.typeName(), lambda value: value)
