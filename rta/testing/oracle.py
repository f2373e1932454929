"""The oracle: it computes the same answers in another way, so that the check does not share a fault with the engine.

    topic ── read_topic (kafka-python) ── events (Python's json, Decimal) ── run (DuckDB) ──┐
    serving table ── rta.read (pandas) ─────────────────────────────────────────────────────┴─ differences

Nothing here uses Spark, or the code of rta that does. It needs DuckDB: `pip install duckdb`.
"""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from rta.errors import InputError, SetupError
from rta.events.event_types import EventType, event_type
from rta.kafka import client, topics
from rta.store import ledger, serving
from rta.store.ledger import Accounting
from rta.testing.reference_parser import strict

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from kafka.consumer.fetcher import ConsumerRecord

_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001 - UTC, as all instants here


def read_topic(topic: str) -> list[ConsumerRecord]:
    """Read a whole topic with kafka-python, from its beginning to its end at the time of the call.

    Returns:
        Its records by partition and offset, their bytes untouched; `timestamp` in milliseconds since the epoch.

    Raises:
        TopicError: If there is no such topic.

    >>> _ = rta.publish(rta.user_events(spark, rows=3), "doc-oracle", partitions=1)
    >>> [raw.offset for raw in read_topic("doc-oracle")]
    [0, 1, 2]
    """
    from kafka import TopicPartition

    with closing(client.consumer()) as consumer:
        return [
            record
            for number, (first, end) in sorted(topics.offsets(topic).items())
            for record in client.until(consumer, TopicPartition(topic, number), first, end)
        ]


def events(
    topic: str, event: EventType | None = None, *, max_skew: timedelta = timedelta(minutes=5)
) -> pa.Table:
    """Return the good events of a topic as an Arrow table for `run`: the event's columns, partition, offset.

    Decimals are exact. Times are in UTC without a zone, since zones in DuckDB need an extension.

    >>> _ = rta.publish(rta.user_events(spark, rows=3), "doc-oracle-events", partitions=1)
    >>> events("doc-oracle-events", rta.USER_EVENTS).num_rows
    3
    """
    import pyarrow as pa

    event = event or event_type(topic)
    rows = []
    for raw in read_topic(topic):
        good = strict(raw.value, event)
        latest = _EPOCH + timedelta(milliseconds=raw.timestamp) + max_skew
        if good is not None and good[event.event_time] <= latest:
            rows.append({**good, "partition": raw.partition, "offset": raw.offset})
    fields = [pa.field(field.name, _arrow_type(field.dataType)) for field in event.schema]
    return pa.Table.from_pylist(
        rows, schema=pa.schema([*fields, ("partition", pa.int32()), ("offset", pa.int64())])
    )


def _arrow_type(kind: Any) -> pa.DataType:
    import pyarrow as pa

    text, instant = pa.string(), pa.timestamp("us")
    plain = {"string": text, "integer": pa.int32(), "long": pa.int64(), "timestamp": instant}
    if kind.typeName() == "decimal":
        return pa.decimal128(kind.precision, kind.scale)
    if kind.typeName() not in plain:
        raise InputError(
            "the oracle does not support this type",
            found=kind.simpleString(),
            fix="cast the column",
        )
    return plain[kind.typeName()]


def run(sql: str, **tables: pa.Table | pd.DataFrame) -> pa.Table:
    """Run one statement in DuckDB over tables given by name.

    Raises:
        SetupError: If DuckDB is not installed.

    >>> import pyarrow as pa
    >>> run("SELECT SUM(amount) AS total FROM events", events=pa.table({"amount": [1, 2]})).to_pylist()
    [{'total': Decimal('3')}]
    """
    try:
        import duckdb
    except ImportError:
        raise SetupError(
            "the oracle needs DuckDB, which is not installed", fix="pip install duckdb"
        ) from None
    with duckdb.connect() as connection:
        for name, table in tables.items():
            connection.register(name, table)
        return connection.sql(sql).to_arrow_table()


def differences(left: pa.Table | str, right: pa.Table | pd.DataFrame | str) -> list[str]:
    """Return a line for each row that is on only one side (EXCEPT ALL both ways); none if the sides are equal.

    A str is the name of a serving table. Columns are compared by name, in any order.

    >>> import pyarrow as pa
    >>> differences(pa.table({"n": [1, 1, 2]}), pa.table({"n": [1, 2, 3]}))
    ["only left: {'n': 1}", "only right: {'n': 3}"]
    """
    sides = {"left": _comparable(left), "right": _comparable(right)}
    names = [sorted(side.column_names) for side in sides.values()]
    if names[0] != names[1]:
        return [f"columns: left {', '.join(names[0])}; right {', '.join(names[1])}"]
    columns = ", ".join(f'"{name}"' for name in names[0])
    lines = []
    for this, other in (("left", "right"), ("right", "left")):
        sql = f"SELECT {columns} FROM {this}_rows EXCEPT ALL SELECT {columns} FROM {other}_rows ORDER BY ALL"  # noqa: S608
        rows = run(sql, left_rows=sides["left"], right_rows=sides["right"]).to_pylist()
        lines += [f"only {this}: {row}" for row in rows]
    return lines


def _comparable(side: Any) -> pa.Table:
    """Return a side as an Arrow table, with times in UTC without a zone."""
    import pyarrow as pa

    frame = serving.read(side) if isinstance(side, str) else side
    table = (
        frame if isinstance(frame, pa.Table) else pa.Table.from_pandas(frame, preserve_index=False)
    )
    for place, field in enumerate(table.schema):
        if pa.types.is_timestamp(field.type):
            table = table.set_column(place, field.name, table[field.name].cast(pa.timestamp("us")))
    return table


def check_accounted(table: str, topic: str, **counts: int) -> Accounting:
    """Assert that a table has consumed each record of a topic once, and that the sums of the ledger are right.

    Args:
        table: The table.
        topic: The topic from which it was filled.
        counts: Counts that are known from elsewhere: used=, duplicate=, late=, quarantined=.

    Raises:
        AssertionError: It lists what is wrong.

    >>> _ = rta.publish(rta.user_events(spark, rows=3), "doc-accounted", partitions=1)
    >>> _ = rta.drain("doc-accounted", rta.transforms.totals, table="doc_accounted", key=["window", "user_id"], event=rta.USER_EVENTS)
    >>> check_accounted("doc_accounted", "doc-accounted", used=3)
    consumed 3 = used 3 + duplicate 0 + late 0 + quarantined 0 (... batches)
    """
    found = serving.accounting(table, topic=topic)
    there = Counter((raw.partition, raw.offset) for raw in read_topic(topic))
    taken = Counter(
        (partition, offset)
        for batch in ledger.batches(table)
        if batch.topic == topic
        for partition, end in batch.end_offsets.items()
        for offset in range(batch.start_offsets.get(partition, 0), end)
    )
    faults = [] if found.balanced else [f"not balanced: {found}"]
    for what, rest in (("not taken", there - taken), ("taken too often", taken - there)):
        faults += [f"{what} (partition, offset): {sorted(rest)[:5]}"] if rest else []
    for name, count in {"consumed": there.total(), **counts}.items():
        if getattr(found, name) != count:
            faults.append(f"{name} is {getattr(found, name)}, not {count}")
    if faults:
        raise AssertionError(f"{table} and {topic}: " + "; ".join(faults))
    return found
