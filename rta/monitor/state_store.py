"""The state of a streaming query: read as a table, what was evicted from it, how it grows, and warnings.

In rta the watermark evicts state: a window that has closed, an id of which no copy can come any more. A row with `expires` is evicted
by the first micro-batch whose watermark is at or after that time. A row without it stays forever: the transform has no watermark, or
its key has no event time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rta.engines.spark import checkpoints
from rta.engines.spark.lateness import WATERMARK, endless
from rta.errors import QueryError, TableError
from rta.monitor.internals import heap_bytes, in_session, last_plan
from rta.names import checked
from rta.settings import settings
from rta.store import views

if TYPE_CHECKING:
    import pandas as pd
    from pyspark.sql import Column, DataFrame, SparkSession
    from pyspark.sql.streaming.query import StreamingQuery
    from pyspark.sql.types import StructType

_ENDS: Final = "expiresAtMicros"  # written by dropDuplicatesWithinWatermark
SHARE: Final = 0.5
"""The share of the available memory above which state causes a warning."""

MANY: Final = 10_000
"""The number of rows, kept forever and growing, from which on state causes a warning."""

_BATCHES: Final = 8  # with fewer a start cannot be told from growth
_ROCKSDB: Final = "rocksdb"
# Column of state_history() → Spark's name for it.
_FACTS: Final = {
    "name": "operatorName", "rows": "numRowsTotal", "updated": "numRowsUpdated", "evicted": "numRowsRemoved",
    "bytes": "memoryUsedBytes", "commit_ms": "commitTimeMs", "dropped_late": "numRowsDroppedByWatermark",
}  # fmt: skip


def state(
    table: str, *, operator: int = 0, batch: int | None = None, checkpoint: str | Path | None = None
) -> DataFrame:
    """Read the state of the query that fills a table, as of a finished micro-batch, as a static DataFrame.

    Args:
        table: The table.
        operator: The number of an operator that keeps state, from the result down: 0 is the one nearest to the table.
        batch: The micro-batch; by default the newest. Spark keeps the last hundred.
        checkpoint: The checkpoint of a query without a table, such as rta.engines.relay().

    Returns:
        The columns of the key and of the value (the buffer of an aggregate has Spark's names, not those of the result), structs
        flattened as in the table; expires: see rta.monitor.state_store; partition_id: the shuffle partition.

    Raises:
        TableError: If the name is that of a view.
        QueryError: If there is no checkpoint, no finished micro-batch, no state, or no such operator.

    Example:
        >>> _ = rta.publish(rta.user_events(spark, rows=50), "doc-state", partitions=1)
        >>> _ = rta.drain("doc-state", rta.transforms.totals, table="doc_state", key=["window", "user_id"], event=rta.USER_EVENTS)
        >>> state("doc_state").columns
        ['window_start', 'window_end', 'user_id', 'sum', 'isEmpty', 'count', 'expires', 'partition_id']
    """
    source = _source(table, checkpoint, operator)
    newest = source.newest if batch is None else batch
    if not source.oldest <= newest <= source.newest:
        raise QueryError(
            f"the state after micro-batch {newest} is not there",
            found=f"micro-batches {source.oldest} to {source.newest}",
            fix="choose one of these; Spark keeps as many as spark.sql.streaming.minBatchesToRetain",
        )
    read = _read(source, {"batchId": str(newest)})
    return read.select(*_flat(read, "key", "value"), _expires(read), "partition_id")


def evicted(table: str, *, operator: int = 0, checkpoint: str | Path | None = None) -> DataFrame:
    """List what the watermark has evicted from the state of the query that fills a table, as a static DataFrame.

    The arguments and errors are those of state(). Spark keeps the changes of the last hundred micro-batches.

    Returns:
        batch_id: the micro-batch that evicted the row; the columns of the key; expires.

    Example:
        >>> evicted("doc_state").columns  # see state()
        ['batch_id', 'window_start', 'window_end', 'user_id', 'expires']
    """
    source = _source(table, checkpoint, operator)
    changes = _read(source, {"readChangeFeed": "true", "changeStartBatchId": str(source.oldest)})
    gone = changes.where("change_type = 'delete'")
    return gone.select("batch_id", *_flat(gone, "key"), _expires(gone))


@dataclass(frozen=True)
class _Source:
    """The location of the state of one operator, and the first and last micro-batch for which it can be read."""

    session: SparkSession
    checkpoint: str
    operator: int
    oldest: int
    newest: int


def _source(table: str, checkpoint: str | Path | None, operator: int) -> _Source:
    """Find the state; the errors are those of state()."""
    from rta.dataframes.session import spark

    place = str(checkpoint or settings().home / "checkpoints" / checked("table", table))
    if checkpoint is None and (view := views.find(table)):
        raise TableError(
            f"{table!r} is a view: its tables have state, it has none",
            found=", ".join(view.parts), fix="give one of these; a batch view has none",
        )  # fmt: skip
    session = spark()
    if checkpoints.query_id(session, place) is None:
        raise QueryError(
            f"there is no checkpoint of {table!r}, so no state", found=place,
            fix="fill the table with rta.follow() or rta.drain() first, or give checkpoint=",
        )  # fmt: skip
    newest = checkpoints.newest(session, place, "commits")
    if newest < 0:
        raise QueryError(
            f"no micro-batch of {table!r} is done yet", found=place,
            fix="wait for the first; in real-time mode state is written once in each checkpoint interval",
        )  # fmt: skip
    found = session.read.format("state-metadata").load(place).orderBy("operatorId").collect()
    if not found:
        raise QueryError(
            f"the query that fills {table!r} keeps no state", found="no stateful operator",
            fix="read its table; groupBy and dropDuplicates keep state, a filter or a select does not",
        )  # fmt: skip
    known = {row["operatorId"]: row for row in found}
    if operator not in known:
        names = ", ".join(f"{number} ({row['operatorName']})" for number, row in known.items())
        raise QueryError(
            f"the query that fills {table!r} has no operator {operator!r} that keeps state",
            found=names, fix="choose one of these",
        )  # fmt: skip
    return _Source(session, place, operator, max(known[operator]["minBatchId"], 0), newest)


def _read(source: _Source, options: Mapping[str, str]) -> DataFrame:
    """Read with Spark's own state reader."""
    session, form = source.session, source.session
    commit = checkpoints.read(session, f"{source.checkpoint}/commits/{source.newest}") or ""
    if commit.startswith("v2"):  # the format of real-time mode: set for this reader alone
        form = session.newSession()
        form.conf.set("spark.sql.streaming.stateStore.checkpointFormatVersion", "2")
    reader = form.read.format("statestore").option("operatorId", source.operator)
    return in_session(session, reader.options(**options).load(source.checkpoint))


def _flat(frame: DataFrame, *structs: str) -> list[Column]:
    """Flatten key and value as a serving table does; a name that is in both gets a prefix in the value."""
    from pyspark.sql import functions as F
    from pyspark.sql.types import StructType

    columns: dict[str, Column] = {}
    for struct in structs:
        for field in _fields(frame, struct):
            path, inner = F.col(f"{struct}.`{field.name}`"), field.dataType
            found = {field.name: path}
            if isinstance(inner, StructType):
                found = {f"{field.name}_{part}": path[part] for part in inner.names}
            for name, column in found.items():
                columns[f"{struct}_{name}" if name in columns else name] = column
    hidden = {_ENDS, "__dummy__"}
    return [column.alias(name) for name, column in columns.items() if name not in hidden]


def _expires(frame: DataFrame) -> Column:
    """Return when each row is evicted: the state's schema marks the column of the key that has the watermark."""
    from pyspark.sql import functions as F

    if _ENDS in [field.name for field in _fields(frame, "value")]:
        return F.timestamp_micros(f"value.{_ENDS}").alias("expires")
    for field in _fields(frame, "key"):
        if WATERMARK in field.metadata:
            end = ".end" if field.dataType.typeName() == "struct" else ""
            return F.col(f"key.`{field.name}`{end}").alias("expires")
    return F.lit(None).cast("timestamp").alias("expires")


def _fields(frame: DataFrame, struct: str) -> Sequence[Any]:
    inner: StructType = frame.schema[struct].dataType  # type: ignore[assignment]
    return inner.fields


def state_history(query: StreamingQuery) -> pd.DataFrame:
    """Return the size of a query's state for each micro-batch and operator, as far back as Spark's progress goes.

    That is 100 micro-batches of this run of the query, or spark.sql.streaming.numRecentProgressUpdates. `rta.charts.state()` draws it.

    Returns:
        query, batch_id, at; operator (as for rta.state), name; rows, updated, evicted (by the watermark), bytes, commit_ms,
        dropped_late (rows after partial aggregation, not events), watermark.

    Example:
        >>> _ = rta.publish(rta.user_events(spark, rows=50), "doc-history", partitions=1)
        >>> query = rta.follow("doc-history", rta.transforms.totals, table="doc_history", key=["window", "user_id"], event=rta.USER_EVENTS)
        >>> query.processAllAvailable(); query.stop()
        >>> state_history(query)[["operator", "name", "evicted"]].head(1)
           operator            name  evicted
        0         0  stateStoreSave        0
    """
    import pandas as pd

    rows = [
        (query.name or str(query.id), progress["batchId"], progress["timestamp"], number,
         *(operator[name] for name in _FACTS.values()), _watermark(progress))
        for progress in _done(query)
        for number, operator in enumerate(progress["stateOperators"])
    ]  # fmt: skip
    names = ["query", "batch_id", "at", "operator", *_FACTS, "watermark"]
    history = pd.DataFrame(rows, columns=names)
    for name in ("at", "watermark"):
        history[name] = pd.to_datetime(history[name], utc=True)
    return history


def state_warnings(query: StreamingQuery) -> list[str]:
    """Return warnings if the state of a query takes much of its memory, or grows without end."""
    from rta.dataframes.session import spark

    recent = _done(query)
    if not (recent and recent[-1]["stateOperators"]):
        return []
    session = spark()
    plan = last_plan(query)
    kept = [] if plan is None else endless(plan)
    return warnings(recent, kept, *_memory(session))


def warnings(
    recent: Sequence[Mapping[str, Any]], kept: Sequence[bool], memory: float | None, provider: str
) -> list[str]:
    """Return warnings about the state that a query's progress shows.

    Args:
        recent: Spark's progress of the last micro-batches.
        kept: For each operator whether nothing is ever evicted from it.
        memory: The bytes that state may take; None if not known.
        provider: The class of the state store.
    """
    last = recent[-1]["stateOperators"]
    said = []
    used = sum(operator["memoryUsedBytes"] for operator in last)
    if memory and used > SHARE * memory:
        on_disk = "" if _ROCKSDB in provider.lower() else "keep it on disk with the RocksDB provider, which is rta's default; "  # fmt: skip
        said.append(
            f"state takes {used / 1e6:,.0f} MB, {100 * used / memory:.0f} % of the memory that it may have; "
            f"fix: {on_disk}a shorter lateness or window, a smaller key, or more memory"
        )
    for number, operator in enumerate(last):
        rows = [
            progress["stateOperators"][number]["numRowsTotal"]
            for progress in recent
            if len(progress["stateOperators"]) == len(last)
        ]
        if len(kept) == len(last) and kept[number] and grows(rows):
            marked = _watermark(recent[-1])
            fix = (
                "put the event time that has the watermark, or its window, into its key"
                if marked
                else "withWatermark() before it, and the event time or its window in its key"
            )
            said.append(
                f"{operator['operatorName']} keeps {rows[-1]:,} rows for ever, {rows[-1] - rows[0]:,} more than {len(rows)} "
                f"micro-batches ago, and nothing is evicted; fix: {fix}"
            )
    return said


def grows(rows: Sequence[int]) -> bool:
    """Tell whether a number of rows is large and still growing: in the newer half by at least half as much as in the older.

    >>> grows([5_000 * n for n in range(10)]), grows([40_000] * 10), grows([5 * n for n in range(10)])
    (True, False, False)
    """
    if len(rows) < _BATCHES or rows[-1] < MANY:
        return False
    middle = rows[len(rows) // 2]
    older, newer = middle - rows[0], rows[-1] - middle
    return newer >= max(0.5 * older, 0.05 * rows[-1])


def _done(query: StreamingQuery) -> list[Any]:
    """List the progress of the micro-batches that ran; Spark also reports progress when there is nothing to do."""
    return [each for each in query.recentProgress if "addBatch" in each["durationMs"]]


def _watermark(progress: Mapping[str, Any]) -> str | None:
    mark = str((progress.get("eventTime") or {}).get("watermark") or "1970-01-01")
    return None if mark.startswith("1970-01-01") else mark


def _memory(session: SparkSession) -> tuple[float | None, str]:
    """Return how many bytes state may take, and the class of the state store.

    State in the JVM may take the heap; RocksDB may take the rest of the machine's memory. On a cluster the memory of the executors'
    machines is not known: None.
    """
    import psutil

    provider = str(session.conf.get("spark.sql.streaming.stateStore.providerClass"))
    if not str(session.sparkContext.master).startswith("local"):
        return None, provider
    heap = heap_bytes(session)
    beside = float(psutil.virtual_memory().total) - heap
    return (beside if _ROCKSDB in provider.lower() else heap), provider
