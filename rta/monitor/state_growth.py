"""How the state of a query grows: by micro-batch and operator, and a warning before it outgrows memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from rta.engines.spark.lateness import endless

if TYPE_CHECKING:
    import pandas as pd
    from pyspark.sql import SparkSession
    from pyspark.sql.streaming.query import StreamingQuery

SHARE: Final = 0.5
"""Of the memory that state may have: more than that is warned of."""

MANY: Final = 10_000
"""Rows that are kept for ever and become more and more: from then on it is warned of."""

_BATCHES: Final = 8  # with fewer a growth and a beginning look the same
_ROCKSDB: Final = "rocksdb"


def state_history(query: StreamingQuery) -> pd.DataFrame:
    """Return what a query remembers, for each micro-batch and operator, as far back as Spark's progress goes.

    That is 100 micro-batches of this start of the query, or more with spark.sql.streaming.numRecentProgressUpdates.
    `rta.charts.state` draws it.

    Returns:
        query, batch_id, at; operator (as for rta.state), name; rows, updated, evicted (by the watermark), bytes, commit_ms, dropped_late
        (rows after partial aggregation, not events), watermark.

    >>> _ = rta.publish(rta.user_events(spark, rows=50), "doc-history", partitions=1)
    >>> query = rta.follow("doc-history", rta.transforms.totals, table="doc_history", key=["window", "user_id"], event=rta.USER_EVENTS)
    >>> query.processAllAvailable(); query.stop()
    >>> state_history(query)[["operator", "name", "evicted"]].head(1)
       operator            name  evicted
    0         0  stateStoreSave        0
    """
    import pandas as pd

    rows = [
        {
            "query": query.name or str(query.id), "batch_id": progress["batchId"], "at": progress["timestamp"], "operator": number,
            "name": operator["operatorName"], "rows": operator["numRowsTotal"], "updated": operator["numRowsUpdated"],
            "evicted": operator["numRowsRemoved"], "bytes": operator["memoryUsedBytes"], "commit_ms": operator["commitTimeMs"],
            "dropped_late": operator["numRowsDroppedByWatermark"], "watermark": _watermark(progress),
        }
        for progress in _done(query)
        for number, operator in enumerate(progress["stateOperators"])
    ]  # fmt: skip
    names = ["query", "batch_id", "at", "operator", "name", "rows", "updated", "evicted", "bytes", "commit_ms", "dropped_late", "watermark"]  # fmt: skip
    history = pd.DataFrame(rows, columns=names)
    for name in ("at", "watermark"):
        history[name] = pd.to_datetime(history[name], utc=True)
    return history


def state_warnings(query: StreamingQuery) -> list[str]:
    """Warn where the state of a query takes much of its memory, or grows without an end."""
    from rta.dataframes.session import spark

    recent = _done(query)
    if not (recent and recent[-1]["stateOperators"]):
        return []
    session = spark()
    execution = query._jsq.streamingQuery().lastExecution()
    kept = endless(execution.logical()) if execution is not None else []
    return warnings(recent, kept, *_memory(session))


def warnings(
    recent: Sequence[Mapping[str, Any]], kept: Sequence[bool], memory: float | None, provider: str
) -> list[str]:
    """Judge the progress of a query.

    kept: for each operator whether nothing is ever evicted from it; memory: bytes that state may take; provider: of the store.
    """
    last = recent[-1]["stateOperators"]
    said = []
    used = sum(operator["memoryUsedBytes"] for operator in last)
    if memory and used > SHARE * memory:
        rocks = _ROCKSDB in provider.lower()
        said.append(
            f"state takes {used / 1e6:,.0f} MB, {100 * used / memory:.0f} % of the memory that it may have; fix: "
            + (
                ""
                if rocks
                else "keep it on disk with the RocksDB provider, which is rta's default; "
            )
            + "a shorter lateness or window, a smaller key, or more memory"
        )
    for number, operator in enumerate(last):
        rows = [
            progress["stateOperators"][number]["numRowsTotal"]
            for progress in recent
            if len(progress["stateOperators"]) == len(last)
        ]
        if len(kept) == len(last) and kept[number] and grows(rows):
            marked = bool(_watermark(recent[-1]))
            said.append(
                f"{operator['operatorName']} keeps {rows[-1]:,} rows for ever, {rows[-1] - rows[0]:,} more than {len(rows)} "
                "micro-batches ago, and nothing is evicted; fix: "
                + ("put the event time that has the watermark, or its window, into its key" if marked
                   else "withWatermark() before it, and the event time or its window in its key")
            )  # fmt: skip
    return said


def grows(rows: Sequence[int]) -> bool:
    """Tell whether a number of rows is large and goes on growing: the newer half by at least half as much as the older.

    >>> grows([5_000 * n for n in range(10)]), grows([40_000] * 10), grows([5 * n for n in range(10)])
    (True, False, False)
    """
    if len(rows) < _BATCHES or rows[-1] < MANY:
        return False
    middle = rows[len(rows) // 2]
    older, newer = middle - rows[0], rows[-1] - middle
    return newer >= max(0.5 * older, 0.05 * rows[-1])


def _done(query: StreamingQuery) -> list[Any]:
    """List the progress of the micro-batches that ran; Spark also reports, now and then, that there is nothing to do."""
    return [each for each in query.recentProgress if "addBatch" in each["durationMs"]]


def _watermark(progress: Mapping[str, Any]) -> str | None:
    mark = str((progress.get("eventTime") or {}).get("watermark") or "1970-01-01")
    return None if mark.startswith("1970-01-01") else mark


def _memory(session: SparkSession) -> tuple[float | None, str]:
    """Tell how many bytes state may take, and which provider keeps it.

    In a JVM's heap that is the heap; RocksDB lies beside it, and may have the rest of the machine's. On a cluster nobody here
    knows the executors' machines: None.
    """
    import psutil

    provider = str(session.conf.get("spark.sql.streaming.stateStore.providerClass"))
    if not str(session.sparkContext.master).startswith("local"):
        return None, provider
    heap = float(session._jvm.java.lang.Runtime.getRuntime().maxMemory())  # type: ignore[union-attr]
    beside = float(psutil.virtual_memory().total) - heap
    return (beside if _ROCKSDB in provider.lower() else heap), provider
