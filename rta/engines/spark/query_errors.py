"""Turn the errors of a query into one sentence that says why it failed and what to do; Spark's own error is kept as the cause."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rta.dataframes.session import ended
from rta.engines.spark.checkpoints import START_OVER
from rta.engines.spark.start_checks import damaged_state
from rta.errors import QueryError, RtaError
from rta.kafka.auth_errors import refusal
from rta.setup.causes import cause

if TYPE_CHECKING:
    from pyspark.sql.streaming.query import StreamingQuery

_AGAIN: Final = "run it again: it goes on where it was"
_START: Final = "start it again"
_MORE_MEMORY: Final = (
    "start Spark with more, rta.spark(conf={'spark.driver.memory': '4g'}) after a restart of the kernel,"
    f" or take smaller batches (max_events_per_batch); then {_AGAIN}"
)
_DAMAGED: Final = "the state in its checkpoint is damaged"
# A pattern in the trace → why the query failed, what to do. The first match counts.
_SENTENCES: Final = (
    (r"OutOfMemory|GC overhead limit", "out of memory", _MORE_MEMORY),
    (r"No space left on device|quota exceeded", "the disk is full", f"free space, then {_AGAIN}"),
    (r"MISSING_STATE_DIRECTORY", "its checkpoint lacks the folder `state`", START_OVER),
    (r"CANNOT_LOAD_STATE_STORE|INVALID_CHANGE_LOG", _DAMAGED, START_OVER),
    (r"STATE_STORE_\w+_NOT_COMPATIBLE|NOT_MATCH_IN_STATE_METADATA", "its checkpoint holds the state of another transform",
     "use another table for this transform, or rta.reset(table) and fill this one again"),
    (r"kafka\.common\.errors\.TimeoutException|Cannot fetch record for offset", "Kafka does not answer", f"see `rta status`; then {_AGAIN}"),
    (r"CONCURRENT_STREAM_LOG_UPDATE", "another query works on its checkpoint", f"stop one of them, then {_AGAIN}"),
)  # fmt: skip
_ONCE: Final = "aggregate once in the transform, and further when the table is read: rta.sql(…)"
_WAITS: Final = (
    "change the transform: withWatermark(…) on both topics, and a range of time in the condition of the join, such as"
    ' F.expr("bought_at BETWEEN seen_at AND seen_at + INTERVAL 1 HOUR"): without them an event could wait for ever'
)
_NEVER_FINAL: Final = (
    "change the transform: events.withWatermark(…) before the groupBy, so that a result can be final;"
    ' or give mode="complete", which replaces a small table as a whole'
)
# What Spark does not run as a stream, in its words → what to change. The first match counts.
_DEFINITIONS: Final = (
    (r"UNRESOLVED_|FIELD_NOT_FOUND", "correct the name in the transform: events have their EventType's columns, and topic, partition, offset, kafka_timestamp"),
    (r"without a watermark in the join keys|on the nullable side", _WAITS),
    (r"session window|aggregations without watermark", _NEVER_FINAL),
    (r"Sorting is not supported", "leave orderBy out of the transform: rta.read(table, order_by=[…]) sorts"),
    (r"NON_TIME_WINDOW", "change the transform: group by F.window(…), F.max_by(…) finds the newest; or rank when the table is read: rta.sql(…)"),
    (r"Distinct aggregations", "change the transform: rta.transforms.deduplicate(…) before the groupBy, or F.approx_count_distinct(…)"),
    (r"'correctness' issue|[Mm]ultiple (streaming )?(stateful|aggregations)", _ONCE),
)  # fmt: skip
_AS_BATCH: Final = (
    "change the transform; rta.read_batch(topic).transform(…) shows what it does without a stream"
)
OURS: Final = re.compile(
    r"^rta\.[\w.]+Error: (.*?)(?:; found: (.*?))?(?:; fix: (.*))?$", re.MULTILINE
)


def failure_of(query: StreamingQuery) -> str | None:
    """Say why a query has failed: rta's own sentence if there is one; None if it has not.

    >>> query = spark.readStream.format("rate").load().writeStream.format("noop").start()
    >>> query.stop()
    >>> failure_of(query) is None
    True
    """
    failure = query.exception() if not query.isActive else None
    if failure is None:
        return None
    ours = [found[0] for found in OURS.finditer(str(failure))]
    return str(refusal(failure) or (ours[-1] if ours else cause(str(failure))))


def sentence_of(query: StreamingQuery) -> str | None:
    """Say the same without the name of the error.

    >>> query = spark.readStream.format("rate").load().writeStream.format("noop").start()
    >>> query.stop()
    >>> sentence_of(query) is None
    True
    """
    error = failure_of(query)
    return re.sub(r"^[\w.]+Error: ", "", error) if error else None


@contextmanager
def failures_said(checkpoint: str | Path, table: str) -> Iterator[None]:
    """Re-raise an error of Spark, or the end of its JVM, as a QueryError of the query that fills a table.

    >>> with failures_said("/tmp/doc", "totals"):
    ...     spark.range(1).select("ID", "amount")
    Traceback (most recent call last):
    rta.errors.QueryError: the query that fills 'totals' cannot start; found: [UNRESOLVED_COLUMN...`amount` cannot be resolved...
    """
    from py4j.protocol import Py4JError
    from pyspark.errors import PySparkException

    try:
        yield
    except (PySparkException, Py4JError, OSError) as error:
        raise failed(str(checkpoint), table, error) from error


def failed(checkpoint: str, table: str, error: Exception) -> RtaError:
    """Return the error that says why the query that fills a table failed, what was found, and what to do.

    >>> failed("/tmp/doc", "totals", RuntimeError("java.io.IOException: No space left on device"))
    QueryError("the query that fills 'totals' failed: the disk is full; found: IOException: No space left on device; ...")
    """
    from py4j.protocol import Py4JError, Py4JJavaError
    from pyspark.errors import AnalysisException, StreamingQueryException

    what = f"the query that fills {table!r} failed"
    silent = isinstance(error, (Py4JError, OSError)) and not isinstance(error, Py4JJavaError)
    if last_words := ended(patience=5 if silent else 0):
        full = "OutOfMemory" in last_words
        fix = _MORE_MEMORY if full else f"call rta.spark() for a new one, then {_AGAIN}"
        return QueryError(
            f"{what}: {'out of memory' if full else 'the JVM of Spark ended'}",
            found=last_words,
            fix=fix,
        )
    if refused := refusal(error):
        return refused
    text = str(error)
    if ours := OURS.findall(text):
        why, found, fix = ours[-1]
        return QueryError(
            f"{what}: {why}", found=found or None, fix=fix or f"correct it and {_AGAIN}"
        )
    for pattern, why, fix in _SENTENCES:
        if re.search(pattern, text):
            file = damaged_state(checkpoint) if why == _DAMAGED else None
            return QueryError(f"{what}: {why}", found=file or cause(text), fix=fix)
    if isinstance(error, AnalysisException) or "AnalysisException" in text:
        fix = next((fix for pattern, fix in _DEFINITIONS if re.search(pattern, text)), _AS_BATCH)
        return QueryError(
            f"the query that fills {table!r} cannot start", found=cause(text), fix=fix
        )
    ran = isinstance(error, StreamingQueryException)
    return QueryError(
        what, found=cause(text), fix=f"correct the cause and {_AGAIN if ran else _START}"
    )
