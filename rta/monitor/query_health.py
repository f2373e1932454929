"""The health of a streaming query: rates, phases, lag, watermark, state and accounting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from rta.engines.engine_query import EngineQuery
from rta.engines.spark.query_errors import failure_of
from rta.errors import QueryError, TopicError
from rta.html import Marked, card, text
from rta.kafka import topics
from rta.monitor.active import active_here, label
from rta.monitor.state_store import state_warnings
from rta.store import growing_sums, ledger, serving_tables
from rta.store.ledger import Accounting, Batch

if TYPE_CHECKING:
    from pyspark.sql.streaming.query import StreamingQuery


@dataclass(frozen=True)
class Health:
    """A query at one moment. Rates are in rows per second, durations in milliseconds, state in bytes."""

    name: str
    active: bool
    message: str  # Spark's own words for what it is doing
    batch_id: int | None
    input_rate: float
    processing_rate: float
    phases: Mapping[str, int]  # duration of the last batch by phase, triggerExecution first
    lag: Mapping[str, Mapping[int, int]]  # topic → partition → records not yet read
    watermark: str | None
    state_rows: (
        int | None
    )  # None: not known before the first batch of this run of the query has ended
    state_bytes: int | None
    accounting: Accounting  # over all batches of this query
    error: str | None = None
    warnings: Sequence[str] = ()  # about state that may outgrow the memory
    engine: str = "spark"

    def rows(self) -> list[tuple[str, str]]:
        """Return a label and a text for each fact."""
        behind = sum(records for partitions in self.lag.values() for records in partitions.values())
        detail = "; ".join(
            f"{topic} " + " ".join(f"{p}:{records:,}" for p, records in partitions.items())
            for topic, partitions in self.lag.items()
        )
        facts = {
            # If it has failed, Spark's words are a whole trace.
            "query": f"{self.name}, {'active' if self.active else 'stopped'}: {self.message if not self.error else 'it has failed'}",
            "batch": "none yet" if self.batch_id is None else f"{self.batch_id:,}",
            "rates": f"{self.input_rate:,.0f} rows/s in, {self.processing_rate:,.0f} rows/s processed",
            "duration": ", ".join(f"{phase} {ms:,} ms" for phase, ms in self.phases.items())
            or "none yet",
            "lag": f"{behind:,} records" + (f" ({detail})" if behind else ""),
            "watermark": text(datetime.fromisoformat(self.watermark)) if self.watermark else "none",
            "state": self._state(),
            "events": repr(self.accounting),
        }
        warned = [("warning", warning) for warning in self.warnings]
        return [*facts.items(), *warned, *([("error", self.error)] if self.error else [])]

    def _state(self) -> str:
        if self.state_bytes is None:
            return "known after the next batch" if self.engine == "spark" else f"{self.engine} does not tell"  # fmt: skip
        rows = "" if self.state_rows is None else f"{self.state_rows:,} rows, "
        return f"{rows}{self.state_bytes / 1e6:,.1f} MB"

    def __repr__(self) -> str:
        return "\n".join(f"{label:<10} {said}" for label, said in self.rows())

    def _repr_html_(self) -> str:
        level = "bad" if self.error else "warn" if self.warnings else "good" if self.active else "idle"  # fmt: skip
        (label, said), *rest = self.rows()
        then = "`rta.live(query)` shows it move" + (", `rta.state(table)` what it keeps" if self.state_rows else "")  # fmt: skip
        return card([(label, Marked(said, level)), *rest], then)


def health(query: StreamingQuery | EngineQuery | str | None = None) -> Health:
    """Return the health of a query now; the lag is measured against the broker.

    If a query was started again and no batch has ended since, its last batch and watermark come from the ledger. The command
    `rta queries` also lists the queries of other processes.

    Args:
        query: A query, or the name of one that runs in this kernel, such as its table; by default the one that runs.

    Raises:
        QueryError: If none of this name runs; or none is given, and none or several run; it names them.

    Example:
        >>> stream = spark.readStream.format("rate").load()
        >>> query = stream.writeStream.format("noop").queryName("doc_health").start()
        >>> health(query).name
        'doc_health'
        >>> query.stop()
    """
    if query is None or isinstance(query, str):
        query = _running(query)
    if isinstance(query, EngineQuery):
        return _of_engine(query)
    query = getattr(query, "query", query)  # in real-time mode, of rta.follow()
    progress: dict[str, Any] = dict(query.lastProgress or {})
    operators = progress.get("stateOperators", [])
    durations = progress.get("durationMs", {})
    # A query that waits for its first events reports progress, too: of a batch that has not begun, and without state.
    ran = bool(operators) or any("addBatch" in each["durationMs"] for each in query.recentProgress)
    last = None if ran else _in_ledger(query)
    watermark = progress.get("eventTime", {}).get("watermark")
    if last and last.watermark:
        watermark = f"{last.watermark:%Y-%m-%dT%H:%M:%S}.{last.watermark.microsecond // 1000:03}Z"
    error = failure_of(query)
    try:
        lag = lag_of(read_until(progress) or in_table(query.name))
    except TopicError as gone:  # deleted while it was read
        lag, error = {}, f"{error or 'the query goes on'}; {gone}"
    return Health(
        name=query.name or str(query.id),
        active=query.isActive,
        message=query.status["message"],
        batch_id=last.batch_id if last else progress.get("batchId"),
        input_rate=float(progress.get("inputRowsPerSecond") or 0),
        processing_rate=float(progress.get("processedRowsPerSecond") or 0),
        phases=dict(sorted(durations.items(), key=lambda item: -item[1])),
        lag=lag,
        watermark=None if not watermark or watermark.startswith("1970-01-01") else watermark,
        state_rows=sum(op["numRowsTotal"] for op in operators) if ran else None,
        state_bytes=sum(op["memoryUsedBytes"] for op in operators) if ran else None,
        accounting=growing_sums.summed_on(str(query.id)),
        error=error,
        warnings=state_warnings(query),
    )


def _of_engine(query: EngineQuery) -> Health:
    """Return the health of a query on an engine beside Spark."""
    topic, failed, entries = query.materializer.target.source.name, query.exception(), ledger.newest(query.name)  # fmt: skip
    progress = query.lastProgress
    rate = float(progress["processedRowsPerSecond"])
    return Health(
        query.name, query.isActive, f"{query.job.engine}: {progress.get('state', 'it has ended')}, {query.restarts} restarts",
        entries[0].batch_id if entries else None, rate, rate, {}, {topic: query.lag()}, None, None, progress.get("stateBytes"),
        query.accounting, str(failed) if failed else None, engine=query.job.engine,
    )  # fmt: skip


def _running(name: str | None) -> StreamingQuery | EngineQuery:
    """Return the query of this name that runs in this process, or the only one."""
    running = active_here()
    asked = [each for each in running if name in (None, each.name)]
    if len(asked) == 1:
        return asked[0]
    names = ", ".join(sorted(label(query) for query in running))
    if name is not None:
        what = f"no query {name!r} runs"
    else:
        what = "several queries run" if running else "no query runs"
    raise QueryError(
        f"{what} in this kernel",
        found=names or None,
        fix="give the query that rta.follow() returned; `rta queries` lists those of other processes",
    )


def _in_ledger(query: StreamingQuery) -> Batch | None:
    """Return the last batch of a query that is in its table."""
    known = ledger.newest(query.name) if query.name else []
    return next((batch for batch in known if batch.query_id == str(query.id)), None)


def read_until(progress: Mapping[str, Any]) -> dict[str, dict[int, int]]:
    """Return topic → partition → the next offset that the query reads; empty before its first micro-batch."""
    import json

    read: dict[str, dict[int, int]] = {}
    for source in progress.get("sources", []):
        end = source["endOffset"]
        if end and str(source["description"]).startswith("KafkaV2"):
            for topic, ends in (json.loads(end) if isinstance(end, str) else end).items():
                read[topic] = {int(partition): int(offset) for partition, offset in ends.items()}
    return read


def in_table(name: str | None) -> dict[str, dict[int, int]]:
    """Return what the table of a query contains, in the same form; for use before its first micro-batch has ended."""
    topics = next((table.topics for table in serving_tables.tables() if table.name == name), [])
    contained = ledger.offsets(str(name)) if topics else {}
    return {topic: contained.get(topic, {}) for topic in topics}


def lag_of(read: Mapping[str, Mapping[int, int]]) -> dict[str, dict[int, int]]:
    """Subtract the offsets that were read from the topics' latest."""
    return {
        topic: {
            partition: latest - max(ends.get(partition, 0), earliest)
            for partition, (earliest, latest) in topics.offsets(topic).items()
        }
        for topic, ends in read.items()
    }
