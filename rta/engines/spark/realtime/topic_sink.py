"""relay(): a topic → a topic, event by event in milliseconds (Spark's real-time mode), or in micro-batches.

Delivery is at least once in both modes: after a crash Spark sends the results since its last checkpoint again, in real-time mode
those of up to one `real_time` interval. A result is the whole value of its key (and window), so a reader keeps the newest one of
each key: for sums and counts, the one with the largest count. If a result must be exact, use a table: see rta.follow.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rta.dataframes import sources
from rta.engines.spark.checkpoint_lock import begun, none_left_behind
from rta.engines.spark.checkpoints import located
from rta.engines.spark.lateness import Transform, states, streamed
from rta.engines.spark.query_errors import failed
from rta.engines.spark.start_checks import require_shared
from rta.errors import QueryError
from rta.events.event_types import EventType, event_type
from rta.events.json_format import as_messages, message_columns
from rta.kafka import client, topics
from rta.settings import private_folder, settings

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.streaming.query import StreamingQuery

# Kafka's defaults cost milliseconds; `sink_options` overrides each of these.
SINK: Final[Mapping[str, str]] = {**client.WRITING, "kafka.linger.ms": "0", "kafka.acks": "all"}
IN_BATCHES: Final = (
    'change the transform, or run it in micro-batches with real_time=None, engine="spark"'
)
_taken: Final[dict[str, int]] = {}  # run id of a real-time query → its task slots
_LIMIT: Final = re.compile(r"\[\w*REAL_TIME_MODE[\w.]*\] (.*)")


def relay(
    topic: str,
    transform: Transform,
    *,
    into: str,
    key: str | None = None,
    event: EventType | None = None,
    real_time: str | None = "5 minutes",
    starting: str | Mapping[int, int] = "earliest",
    max_skew: str = "5 minutes",
    checkpoint: str | Path | None = None,
    options: Mapping[str, str] | None = None,
    sink_options: Mapping[str, str] | None = None,
) -> StreamingQuery:
    """Start a query that sends the results of a transform to the topic `into`. Real-time mode is experimental.

    A result with a STRING or BINARY column `value` is sent as it is, with its `key` and `headers`, as rta.publish() does; any other
    is sent as one JSON object.

    Args:
        topic: The topic to read.
        transform: The analysis, DataFrame to DataFrame.
        into: An existing topic.
        key: The column of the result that is the key of the message.
        event: The type of the topic's events; by default the one with the name of the topic.
        real_time: The time between two checkpoints, at least "5 seconds"; results do not wait for it. None: micro-batches.
        starting: Where a new checkpoint begins, see rta.read_batch().
        max_skew: See rta.read_batch().
        checkpoint: A folder; by default one for each `into` under RTA_HOME. A checkpoint belongs to one of the two modes.
        options: For Spark's Kafka source.
        sink_options: For Spark's Kafka sink.

    Returns:
        Spark's own StreamingQuery.

    Raises:
        TopicError: If one of the topics does not exist.
        InputError: If an argument is wrong.
        QueryError: If real-time mode cannot run this query: too few task slots (it holds one for each partition of the topic and each
            shuffle partition), a Python function, an operator that it does not support.

    Example:
        >>> _ = rta.publish(rta.user_events(spark, rows=100), "doc-relay", partitions=1)
        >>> _ = rta.kafka.create_topic("doc-relayed", partitions=1)
        >>> query = relay("doc-relay", rta.transforms.totals, into="doc-relayed", key="user_id", event=rta.USER_EVENTS, real_time=None)
        >>> query.processAllAvailable(); query.stop()
        >>> rta.kafka.list_topics()[[each.name for each in rta.kafka.list_topics()].index("doc-relayed")].events > 0
        True
    """
    topics.describe_topic(into)
    described = topics.description(topic)
    events = sources.good_stream(
        described,
        event or event_type(topic),
        starting=starting,
        max_skew=max_skew,
        options=options,
    )
    stream = streamed(events, transform)
    slots = require_slots(stream, described.partitions) if real_time else 0
    # A topic may be called like a table; its checkpoint has a name of its own.
    place = located(checkpoint or private_folder(settings().home / "checkpoints") / f"{into}.relay")
    require_shared(stream.sparkSession, place)
    messages = as_messages(stream, key)
    return relayed(messages, into, real_time, place, name=into, slots=slots, options=sink_options)


def relayed(
    messages: DataFrame,
    into: str,
    real_time: str | None,
    checkpoint: str,
    *,
    name: str,
    slots: int,
    options: Mapping[str, str] | None = None,
) -> StreamingQuery:
    """Start a query that sends messages (key, value, headers) to a topic; relay() has checked its arguments.

    Args:
        messages: The messages.
        into: The topic.
        real_time: As for relay().
        checkpoint: Its location.
        name: The name of the query.
        slots: The task slots that it takes, from require_slots().
        options: For Spark's Kafka sink.
    """
    from pyspark.errors import PySparkException

    writer = (
        messages.select(*message_columns(messages)).writeStream.queryName(name).format("kafka").outputMode("update")
        .options(**{**client.spark_options(), **SINK, **(options or {}), "topic": into})
        .option("checkpointLocation", checkpoint)
    )  # fmt: skip
    trigger = {"realTime": real_time} if real_time else {"processingTime": "0 seconds"}
    try:
        with none_left_behind():
            query = begun(writer.trigger(**trigger).start)
            if real_time:
                _taken[str(query.runId)] = slots
                _wait_until_planned(query, messages.sparkSession)
            return query
    except PySparkException as error:
        if limit := _LIMIT.search(str(error)):
            raise QueryError(
                "real-time mode cannot run this query",
                found=limit[1],
                fix=IN_BATCHES,
            ) from error
        raise failed(checkpoint, name, error) from error


def require_slots(stream: DataFrame, partitions: int, *, spare: int = 0) -> int:
    """Refuse a query that would wait forever: in real-time mode all of its tasks run at the same time.

    Args:
        stream: The query.
        partitions: Of its topic.
        spare: Task slots for what else has to run meanwhile.

    Returns:
        How many slots the query takes.

    Raises:
        QueryError: If there are too few.
    """
    session = stream.sparkSession
    shuffled = states(stream) * int(session.conf.get("spark.sql.shuffle.partitions") or 0)
    running = {str(query.runId) for query in session.streams.active}
    others = sum(slots for run, slots in _taken.items() if run in running)
    slots = session.sparkContext.defaultParallelism
    needed = partitions + shuffled + spare + others
    if slots < needed:
        raise QueryError(
            "real-time mode has too few task slots for this query, which would wait forever",
            found=f"{slots} slots; the topic has {partitions} partitions, the state {shuffled}"
            + (f", {spare} for the accounting" if spare else "")
            + (f", {others} for other queries" if others else ""),
            fix=f"start Spark with RTA_SPARK_MASTER=local[{needed}] or more (slots are threads), or use real_time=None",
        )  # fmt: skip
    return partitions + shuffled


def _wait_until_planned(query: StreamingQuery, session: SparkSession) -> None:
    """Wait until the query's tasks run: only then has Spark checked whether real-time mode can run its plan."""
    tracker = session.sparkContext.statusTracker()
    while query.isActive and not tracker.getJobIdsForGroup(str(query.runId)):
        time.sleep(0.02)
    if failure := query.exception():
        raise failure
