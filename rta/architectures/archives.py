"""The archive of a topic: all its events as Parquet, written exactly once by a stream, read with Spark.

It is the master data of a batch layer: immutable, typed, partitioned by event date. It also has the bad events, with their bytes and
their reason, so the archive alone accounts for each offset. Spark's file sink writes it. A file counts once the sink has written its
micro-batch to the folder `_spark_metadata`, an event once that micro-batch is committed in the checkpoint. So programs that read the
files alone may see those of a batch that failed.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from rta.architectures.internals import parquet_sink
from rta.dataframes.parsing import HEADERS
from rta.dataframes.sources import parsed_stream
from rta.engines.spark import checkpoints, topic_identity
from rta.engines.spark.checkpoint_lock import begun, locked, refuse_locked
from rta.engines.spark.checkpoints import taken_back
from rta.engines.spark.query_errors import failures_said
from rta.engines.spark.start_checks import require_shared
from rta.errors import InputError
from rta.events.event_types import EventType, event_type
from rta.events.type_checks import ORIGIN, RAW
from rta.kafka.topics import description
from rta.names import checked
from rta.settings import private_folder, settings

if TYPE_CHECKING:
    from pyspark.sql import DataFrame
    from pyspark.sql.streaming.query import StreamingQuery
    from pyspark.sql.types import StructType

DATE: Final = "event_date"
# Archive and checkpoint are deleted together: both have the numbers of the micro-batches.
_DISCARD: Final = "rta.architectures.discard({topic!r}) deletes the archive, and the next run fills it from the topic that is there"
_REST: Final = f"""partition INT, offset BIGINT, kafka_timestamp TIMESTAMP, reason STRING, key BINARY, value BINARY, headers {HEADERS}, {DATE} DATE"""


def archive(
    topic: str,
    *,
    event: EventType | None = None,
    max_skew: str = "5 minutes",
    trigger: Mapping[str, Any] | None = None,
) -> StreamingQuery:
    """Start the query that writes the archive of a topic.

    Args:
        topic: The topic.
        event: The type of its events; by default the one with the name of the topic.
        max_skew: See rta.read_batch().
        trigger: Spark's own; by default {"availableNow": True}, with which the query takes what is new and ends.

    Returns:
        Spark's own StreamingQuery.

    Raises:
        TopicError: If there is no such topic.
        InputError: If the event type cannot be archived.
        QueryError: If the topic was created again since.

    Example:
        >>> _ = rta.publish(rta.user_events(spark, rows=5), "doc-archive", partitions=1)
        >>> archive("doc-archive", event=rta.USER_EVENTS).awaitTermination()
        >>> archived("doc-archive"), read_archive("doc-archive", event=rta.USER_EVENTS).count()
        ({0: 5}, 5)
    """
    from pyspark.sql import functions as F

    event = event or event_type(topic)
    if DATE in event.columns:
        raise InputError(
            f"event type {event.name!r} cannot be archived", found=f"a column {DATE!r}, by which the archive is partitioned",
            fix="rename the column",
        )  # fmt: skip
    place, name = _checkpoint(topic), f"archive of {topic}"
    described = description(topic)
    parsed = parsed_stream(described, event, max_skew)
    session = parsed.sparkSession
    bad = F.col("reason").isNotNull()
    rows = parsed.select(
        *event.columns, *ORIGIN[1:], "reason", *[F.when(bad, F.col(c)).alias(c) for c in RAW],
        F.to_date(F.when(~bad, F.col(event.event_time))).alias(DATE),
    )  # fmt: skip

    again = _DISCARD.format(topic=topic)

    with failures_said(place, name):
        require_shared(session, place)
        with locked(session, place, name):
            topic_identity.require_same_topic(session, place, described, fix=again)
            write = parquet_sink(session, str(archive_folder(topic)), DATE)

            def written(frame: DataFrame, batch_id: int) -> None:
                write(frame, batch_id)
                # Commit only if all that was read is of the topic that the archive began with.
                topic_identity.require_topic(topic, described.id, fix=again)

            with taken_back(session, place, lambda: [*archive_folder(topic).glob("_spark_metadata/[0-9]*")]):  # fmt: skip
                topic_identity.note(session, place, {topic: described.id})
                writer = rows.writeStream.queryName(name).option("checkpointLocation", place)
                chosen = writer.foreachBatch(written).trigger(**(trigger or {"availableNow": True}))
                return begun(chosen.start)


def archived(topic: str) -> dict[int, int]:
    """Return where the archive of a topic ends.

    Returns:
        partition → the first offset that is not in it; empty if there is none.

    Example:
        >>> archived("doc-never-archived")
        {}
    """
    from rta.dataframes.session import spark

    committed = checkpoints.newest(spark(), _checkpoint(topic), "commits")
    return {} if committed < 0 else checkpoints.ends(spark(), _checkpoint(topic), committed)[topic]


def archived_from(topic: str) -> dict[int, int]:
    """Return where the archive begins: partition → its first offset."""
    from rta.dataframes.session import spark

    return checkpoints.span(spark(), _checkpoint(topic), 0).start


def read_archive(
    topic: str, *, event: EventType | None = None, before: Mapping[int, int] | None = None
) -> DataFrame:
    """Read the good events of an archive: the columns of rta.read_batch().

    Args:
        topic: The topic.
        event: The type of its events; by default the one with the name of the topic.
        before: The cut-off, partition → offset; other partitions are left out. By default `archived(topic)`.

    Example:
        >>> read_archive("doc-never-archived", event=rta.USER_EVENTS).count()
        0
    """
    event = event or event_type(topic)
    return good_events(all_archived(topic, event, before), topic, event)


def good_events(archived: DataFrame, topic: str, event: EventType) -> DataFrame:
    """Take the good events out of all that an archive has, with the columns of rta.read_batch()."""
    from pyspark.sql import functions as F

    origin = [F.lit(topic).alias("topic"), *ORIGIN[1:]]
    return archived.where("reason IS NULL").select(*event.columns, *origin)


def all_archived(
    topic: str, event: EventType, before: Mapping[int, int] | None = None
) -> DataFrame:
    """Read an archive, bad events included: event columns, partition, offset, kafka_timestamp, reason, key, value, headers."""
    from rta.dataframes.session import spark

    cut = archived(topic) if before is None else before
    if not cut:
        return spark().createDataFrame([], _schema(event))
    rows = spark().read.schema(_schema(event)).parquet(str(archive_folder(topic)))
    ends = " ".join(f"WHEN {partition:d} THEN {end:d}" for partition, end in sorted(cut.items()))
    return rows.where(f"offset < CASE partition {ends} END")


def discard(topic: str) -> None:
    """Delete the archive of a topic. Events that the topic no longer has are lost.

    Raises:
        QueryError: If the query that writes it is running.

    Example:
        >>> discard("doc-never-archived")
    """
    import shutil

    refuse_locked(_checkpoint(topic), f"archive of {topic}")
    for place in (archive_folder(topic), _checkpoint(topic)):
        shutil.rmtree(place, ignore_errors=True)


def archive_folder(topic: str) -> Path:
    """Return the folder of a topic's archive.

    >>> archive_folder("user-events").name
    'user-events'
    """
    return private_folder(settings().home / "archive") / checked("topic", topic)


def _checkpoint(topic: str) -> str:
    """Return the folder of the archive's checkpoint; no table can have its name."""
    name = f"archive.{checked('topic', topic)}"
    return str(private_folder(settings().home / "checkpoints") / name)


def _schema(event: EventType) -> StructType:
    """Return the schema of the archive; in Parquet every column is nullable."""
    from pyspark.sql.types import StructField, StructType

    rest = StructType.fromDDL(_REST)
    columns = [StructField(field.name, field.dataType) for field in event.schema]
    return StructType([*columns, *cast("StructType", rest)])
