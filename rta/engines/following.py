"""Keep a table up to date with a topic or several, exactly once: follow() continues, drain() takes what is new and ends; on any engine."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from rta.engines import portable
from rta.engines.engine_tables import refuse_elsewhere
from rta.engines.portable import SPARK
from rta.engines.sinks import Sink
from rta.engines.spark import following as spark
from rta.engines.spark.drained import Drained
from rta.engines.spark.lateness import Transform
from rta.engines.spark.query_sources import Topics
from rta.engines.spark.realtime import following as realtime
from rta.engines.spark.realtime.following import SPARK_REALTIME
from rta.events.event_types import EventType
from rta.kafka.positions import Position
from rta.names import checked

if TYPE_CHECKING:
    from pyspark.sql.streaming.query import StreamingQuery


def follow(
    topic: Topics,
    transform: Transform,
    *,
    table: str,
    key: Sequence[str] = (),
    event: EventType | None = None,
    starting: Position = "earliest",
    max_skew: str = "5 minutes",
    max_events_per_batch: int | None = None,
    mode: str | None = None,
    trigger: Mapping[str, Any] | None = None,
    keep: str | None = None,
    also: Sequence[Sink] = (),
    checkpoint: str | Path | None = None,
    options: Mapping[str, str] | None = None,
    engine: str = SPARK,
) -> StreamingQuery:
    """Start the query that keeps a table up to date with a topic, or with several.

    If it is called again with the same arguments, as by a cell that is run again, it stops the running query and starts it where it was.
    Nothing is created before Spark has accepted the query.

    Args:
        topic: The topic to read; or several by the names of the transform's parameters, each a topic, an event type (its name is the
            topic) or an rta.engines.Source, which has its own options: {"views": VIEWS, "purchases": PURCHASES}. A query that began with
            topics by name may get or lose one, see rta.explain_change().
        transform: The analysis, DataFrame to DataFrame; of several topics it takes several: def transform(views, purchases).
        table: Takes the schema of the transform's result; a struct such as `window` becomes window_start and window_end.
        key: The columns of the result that identify a row, `window` included; a later row of a key replaces the earlier one. Without a key
            rows are only added, each once: for results that never change, such as those of a filter, of explode or in append mode.
        event: The type of the topic's events; by default the one with the name of the topic.
        starting: Where a new checkpoint begins, see rta.read_batch(); an existing one continues where it was.
        max_skew: How far an event's own time may be ahead of Kafka's before it counts as bad, such as "5 minutes".
        max_events_per_batch: The most events of all partitions in one micro-batch; by default all available ones.
        mode: Spark's output mode: "update", the default where Spark allows it, writes a row whenever it changes, and deletes none: what
            may lose rows, such as a condition on a count, is refused unless you ask for it; "append" only once it is
            final, when the watermark has passed it; "complete" replaces the whole table, so the result must be small.
        trigger: Spark's own, such as {"processingTime": "5 seconds"}; by default the next micro-batch starts at once. In real-time mode
            {"realTime": "5 minutes"}, the time between two checkpoints and entries in the ledger; by default ten seconds.
        keep: How long rows are kept, such as "90 days": older ones are deleted, by the end of their window or their first TIMESTAMP,
            measured from the watermark. By default for ever.
        also: Where the rows of each micro-batch go beside the table: rta.engines.TopicSink, ParquetSink, DeltaSink, or a function of
            (rows: pyarrow.Table, batch: rta.engines.BatchId), which may get the same micro-batch again after a crash.
        checkpoint: A folder; by default one for each table under RTA_HOME.
        options: For Spark's Kafka source.
        engine: "spark"; "spark-realtime", Spark's real-time mode (experimental), whose rows are there in milliseconds, and whose result needs a
            COUNT(*); or "flink" or "kafka-streams", which run filters, withColumn and one groupBy(window, keys).agg(…) of one topic: see
            rta.explain(). What an engine has not is refused.

    Returns:
        Spark's own StreamingQuery, with the name of the table; of another engine an rta.engines.EngineQuery, and in real-time mode an
        rta.engines.Materialized, which have the same words.

    Raises:
        TopicError: If there is no such topic.
        InputError: If an argument is not what it should be, or Spark has no such output mode for this transform.
        TableError: If the table exists with another key or other columns.
        QueryError: If table and checkpoint do not belong together (after a lost checkpoint nothing starts over silently), or another
            query fills the table.

    Example:
        >>> from rta.transforms import totals
        >>> _ = rta.publish(rta.user_events(spark, rows=100), "doc-follow", partitions=1)
        >>> query = follow("doc-follow", totals, table="doc_follow", key=["window", "user_id"], event=rta.USER_EVENTS)
        >>> query.processAllAvailable(); query.stop()
        >>> rta.accounting("doc_follow").consumed
        100
    """
    only_spark: dict[str, Any] = {"max_events_per_batch": max_events_per_batch, "mode": mode, "trigger": trigger, "keep": keep, "also": also, "checkpoint": checkpoint, "options": options}  # fmt: skip
    common: dict[str, Any] = {"table": table, "key": key, "event": event, "starting": starting, "max_skew": max_skew}  # fmt: skip
    if engine == SPARK:
        portable.require_sparks(table)
        realtime.forget(table)
        return spark.follow(topic, transform, **common, **only_spark)
    if engine == SPARK_REALTIME:
        portable.require_sparks(table)
        started = realtime.followed(topic, transform, **common, only_batches=only_spark)
        return cast("StreamingQuery", started)  # in duck typing, as the next one
    return cast("StreamingQuery", portable.followed(engine, topic, transform, **common, only_spark=only_spark))  # fmt: skip


def restart(table: str) -> StreamingQuery:
    """Start the query again that follow() has started last for a table in this session; it continues where it was.

    A query that still runs is stopped first.

    Args:
        table: The table that it keeps up to date.

    Raises:
        QueryError: If this session has started none.

    Example:
        >>> restart("doc_never_followed")
        Traceback (most recent call last):
        rta.errors.QueryError: this session has started no query for 'doc_never_followed'; fix: call rta.follow(...)
    """
    other = portable.restart(table) or realtime.restart(table)
    return cast("StreamingQuery", other) if other else spark.restart(table)


def drain(
    topic: Topics,
    transform: Transform,
    *,
    table: str,
    key: Sequence[str] = (),
    event: EventType | None = None,
    starting: Position = "earliest",
    max_skew: str = "5 minutes",
    max_events_per_batch: int | None = None,
    mode: str | None = None,
    keep: str | None = None,
    also: Sequence[Sink] = (),
    checkpoint: str | Path | None = None,
    options: Mapping[str, str] | None = None,
    engine: str = SPARK,
) -> Drained:
    """Add to a table what is new in a topic, or in several, since the last call.

    The arguments and errors are those of follow(), without the trigger. At the first call all of the topic is new; if that call fails
    or is interrupted, there is no table.

    Returns:
        What was taken, with its accounting.

    Example:
        >>> from rta.transforms import totals
        >>> _ = rta.publish(rta.user_events(spark, rows=100), "doc-drain", partitions=1)
        >>> drained = drain("doc-drain", totals, table="doc_drain", key=["window", "user_id"], event=rta.USER_EVENTS)
        >>> drained.accounting.consumed
        100
        >>> print(drain("doc-drain", totals, table="doc_drain", key=["window", "user_id"], event=rta.USER_EVENTS))
        doc_drain: nothing new in doc-drain (... s)
    """
    began = time.monotonic()
    only_spark: dict[str, Any] = {"max_events_per_batch": max_events_per_batch, "mode": mode, "keep": keep, "also": also, "checkpoint": checkpoint, "options": options}  # fmt: skip
    common: dict[str, Any] = {"table": table, "key": key, "event": event, "starting": starting, "max_skew": max_skew}  # fmt: skip
    if engine == SPARK:
        portable.require_sparks(table)
        return spark.drain(topic, transform, **common, **only_spark)
    if engine == SPARK_REALTIME:
        portable.require_sparks(table)
        return realtime.drained(topic, transform, **common, only_batches=only_spark)
    taken = portable.drained(engine, topic, transform, **common, only_spark=only_spark)
    return Drained.of(table, str(topic), taken, time.monotonic() - began)


def reset(table: str, *, checkpoint: str | Path | None = None) -> None:
    """Drop a serving table with its ledger and its checkpoint, so that the next drain() starts over.

    Args:
        table: The table; nothing happens if it does not exist.
        checkpoint: The folder that was given to follow() or drain(), if any.

    Raises:
        QueryError: If a query fills the table, or the checkpoint cannot be deleted.

    Example:
        >>> reset("doc_never_made")
    """
    refuse_elsewhere(checked("table", table))
    realtime.forget(table)
    portable.reset(table)
    spark.reset(table, checkpoint=checkpoint)
