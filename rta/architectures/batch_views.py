"""A batch view: the answer of a transform over an archive up to a cut-off, written in one transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rta.architectures.archives import all_archived, archived_from, good_events
from rta.dataframes import task_metrics
from rta.dataframes.internals import execution
from rta.dataframes.sources import OBSERVED
from rta.engines.spark.duplicates import ROWS, Deduplicate, deduplicates, observed_around
from rta.engines.spark.exactly_once import BatchMetrics, about
from rta.engines.spark.internals import observed
from rta.engines.spark.lateness import OBSERVED_COPIES, Transform, applied
from rta.errors import InputError
from rta.settings import settings
from rta.store import database, serving, serving_tables
from rta.store.ledger import Batch

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from rta.events.event_types import EventType


def batch_view(
    topic: str,
    transform: Transform,
    *,
    table: str,
    key: Sequence[str],
    event: EventType,
    before: Mapping[int, int],
) -> None:
    """Compute a transform over the archive before a cut-off into a new table.

    No event is late, since all of them are there. Rows and accounting are written in one transaction, so a table without accounting
    was not finished.

    Args:
        topic: The topic.
        transform: The analysis.
        table: The new table.
        key: The columns of the result that identify a row.
        event: The type of the topic's events.
        before: The cut-off, partition → offset: that of `rta.architectures.archived(topic)` or earlier.
    """
    from pyspark.sql import functions as F

    good = F.count(F.when(F.col("reason").isNull(), 1)).alias("good")
    terms = F.count("*").alias("consumed"), F.count("reason").alias("quarantined"), good
    whole = all_archived(topic, event, before)
    plain = applied(
        transform, good_events(whole.observe(f"{OBSERVED}:{topic}", *terms), topic, event)
    )
    answer, operators = (
        observed_around(plain),
        [each for each in deduplicates(plain) if each.copies_of == topic],
    )
    target = serving_tables.planned(table, answer.schema, key, topic=topic)
    with task_metrics.noted(answer.sparkSession, table) as ran_again:
        rows = answer.toArrow()
        counted = about(observed(execution(answer), OBSERVED, ROWS), topic)
        if ran_again():  # then Spark may have counted rows twice
            counted = [
                whole.agg(*terms).collect()[0].asDict(),
                *map(_reached_and_passed, operators),
            ]
        duplicate = sum(map(_copies, operators))
    metrics = BatchMetrics.of(counted, duplicate=duplicate, dropped_late=0)
    batch = Batch(
        f"batch view {table}", 0, topic, start_offsets=archived_from(topic), end_offsets=before, run_id=settings().run_id,
        consumed=metrics.consumed, quarantined=metrics.quarantined, duplicate=metrics.duplicate, used=metrics.used,
    )  # fmt: skip
    serving.commit_batch(database.engine(), target, batch, rows)


def without_copies_of(
    known: DataFrame, transform: Transform, events: DataFrame, *, everywhere: bool = False
) -> Transform:
    """Let a transform that removes duplicates also remove copies of events that another table contains.

    These copies are duplicates in the accounting of the query. A transform that keeps duplicates is returned unchanged.

    Args:
        known: The events in the other table.
        transform: The transform.
        events: A frame with the columns that the transform is going to get.
        everywhere: Whether to broadcast the ids to each task, the only join that real-time mode has.
    """
    from pyspark.sql import functions as F

    keys = _identity(transform, events)
    if not keys:
        return transform
    seen = known.select(*keys).distinct().withColumn("_copy", F.lit(1))
    seen = F.broadcast(seen) if everywhere else seen

    def anew(events: DataFrame) -> DataFrame:
        counts = {"duplicate": F.count("_copy"), "reached": F.count(F.lit(1)), "passed": F.count(F.when(F.col("_copy").isNull(), 1))}  # fmt: skip
        marked = events.join(seen, keys, "left").observe(
            OBSERVED_COPIES, *[count.alias(name) for name, count in counts.items()]
        )
        return transform(marked.where("_copy IS NULL").select(*events.columns))

    return anew


def _identity(transform: Transform, events: DataFrame) -> list[str]:
    """Return the columns by which a transform recognizes copies of an event; empty if it keeps them."""
    session: Any = events.sparkSession
    empty = session.createDataFrame(session.sparkContext.emptyRDD(), events.schema)
    names = [operator.keys for operator in deduplicates(transform(empty))]
    if not names:
        return []
    if len(names) > 1 or not set(names[0]) <= set(events.columns):
        raise InputError(
            "it is not clear which events the transform takes for copies", found=names,
            fix="remove duplicates once, by columns of the event, as rta.transforms.deduplicate() does",
        )  # fmt: skip
    return names[0]


def _copies(operator: Deduplicate) -> int:
    """Count the rows that an operator drops: by groups of equal keys, not as the difference of what reaches and what passes it."""
    from pyspark.sql import functions as F

    groups = operator.below.groupBy(*[F.col(f"`{name}`") for name in operator.keys]).count()
    return int(groups.agg(F.sum(F.col("count") - 1)).collect()[0][0] or 0)


def _reached_and_passed(operator: Deduplicate) -> dict[str, int]:
    """Count both by evaluating them once more."""
    passed = operator.below.dropDuplicates(operator.keys)
    return {"reached": operator.below.count(), "passed": passed.count()}
