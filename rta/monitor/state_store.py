"""What a streaming query remembers, read back as a table: its state now, and what the watermark has evicted from it.

In rta the watermark is what ends state: a window that has closed, an id that no copy can have any more. A row with
`expires` goes with the first micro-batch whose watermark is at or behind that time; one without it stays for ever: the
transform has no watermark, or its key has no event time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rta.engines.spark import checkpoints
from rta.engines.spark.lateness import WATERMARK
from rta.errors import QueryError, TableError
from rta.names import checked
from rta.settings import settings
from rta.store import views

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession
    from pyspark.sql.types import StructType

_ENDS: Final = "expiresAtMicros"  # what dropDuplicatesWithinWatermark notes itself


def state(
    table: str, *, operator: int = 0, batch: int | None = None, checkpoint: str | Path | None = None
) -> DataFrame:
    """Read the state of the query that fills a table, as of a finished micro-batch, as a static DataFrame.

    Args:
        table: The table.
        operator: Which of the query's operators that keep state, counted from the result down: 0 is the one nearest to the table.
        batch: The micro-batch; by default the newest. Spark keeps the last hundred.
        checkpoint: Of a query without a table, such as that of `rta.engines.relay`.

    Returns:
        The columns of the key and of the value, structs flattened as in the table (an aggregate's own buffer has Spark's names, not those
        of the result); expires: the event time at which the row is evicted; partition_id: of the shuffle.

    Raises:
        TableError: It is a view.
        QueryError: There is no checkpoint, no finished micro-batch, no state, or no such operator.

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

    The arguments and errors are those of `rta.state`. It goes back as far as Spark keeps the changes: the last hundred micro-batches.

    Returns:
        batch_id of the micro-batch that evicted it, the columns of the key, and expires.

    >>> evicted("doc_state").columns  # see state()
    ['batch_id', 'window_start', 'window_end', 'user_id', 'expires']
    """
    source = _source(table, checkpoint, operator)
    changes = _read(source, {"readChangeFeed": "true", "changeStartBatchId": str(source.oldest)})
    gone = changes.where("change_type = 'delete'")
    return gone.select("batch_id", *_flat(gone, "key"), _expires(gone))


@dataclass(frozen=True)
class _Source:
    """Where the state of one operator lies, and from which micro-batch to which it can be read."""

    session: SparkSession
    checkpoint: str
    operator: int
    oldest: int
    newest: int


def _source(table: str, checkpoint: str | Path | None, operator: int) -> _Source:
    """Find the state. Raises what state() raises."""
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
    from pyspark.sql import DataFrame

    session, form = source.session, source.session
    commit = checkpoints.read(session, f"{source.checkpoint}/commits/{source.newest}") or ""
    if commit.startswith("v2"):  # real-time mode's: the reader must be told, but no other query
        form = session.newSession()
        form.conf.set("spark.sql.streaming.stateStore.checkpointFormatVersion", "2")
    reader = form.read.format("statestore").option("operatorId", source.operator)
    plan = reader.options(**options).load(source.checkpoint)._jdf.logicalPlan()
    dataset: Any = session._jvm.org.apache.spark.sql.classic.Dataset  # type: ignore[union-attr]
    return DataFrame(dataset.ofRows(session._jsparkSession, plan), session)


def _flat(frame: DataFrame, *structs: str) -> list[Column]:
    """Flatten key and value as a serving table would; a value's name that the key has, too, gets a prefix."""
    from pyspark.sql import functions as F
    from pyspark.sql.types import StructType

    columns: dict[str, Column] = {}
    for struct in structs:
        for field in _fields(frame, struct):
            inner = field.dataType
            parts = inner.names if isinstance(inner, StructType) else [""]
            for part in parts:
                name = f"{field.name}_{part}" if part else field.name
                path = f"{struct}.`{field.name}`" + (f".`{part}`" if part else "")
                columns[f"{struct}_{name}" if name in columns else name] = F.col(path)
    hidden = {_ENDS, "__dummy__"}
    return [column.alias(name) for name, column in columns.items() if name not in hidden]


def _expires(frame: DataFrame) -> Column:
    """Tell when each row goes: Spark has noted in the state's schema which column of the key carries the watermark."""
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
