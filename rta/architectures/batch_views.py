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
from rta.engines.spark.lateness import Transform, applied
from rta.engines.spark.plans import OBSERVED_COPIES
from rta.engines.spark.query_sources import Sources, require_parameters, titled
from rta.errors import InputError
from rta.settings import settings
from rta.store import database, serving, serving_tables
from rta.store.ledger import Batch
from rta.store.stored_types import storable

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


def batch_view(
    sources: Sources,
    transform: Transform,
    *,
    table: str,
    key: Sequence[str],
    before: Mapping[str, Mapping[int, int]],
) -> None:
    """Compute a transform over the archives before a cut-off into a new table.

    No event is late, since all of them are there. Rows and accounting are written in one transaction, so a table without accounting
    was not finished.

    Args:
        sources: The topics, by the names of the transform's parameters.
        transform: The analysis.
        table: The new table.
        key: The columns of the result that identify a row.
        before: The cut-off, topic → partition → offset: that of `rta.architectures.archived(topic)` or earlier.
    """
    from pyspark.sql import functions as F

    require_parameters(transform, sources)
    good = F.count(F.when(F.col("reason").isNull(), 1)).alias("good")
    terms = F.count("*").alias("consumed"), F.count("reason").alias("quarantined"), good
    topics = {name: source.topic for name, source in sources.items()}
    whole = {source.topic: all_archived(source.topic, source.event, before[source.topic]) for source in sources.values()}  # fmt: skip
    plain = applied(
        transform,
        {
            name: good_events(whole[topic].observe(f"{OBSERVED}:{topic}", *terms), topic, sources[name].event)
            for name, topic in topics.items()
        },
    )  # fmt: skip
    answer, operators = storable(observed_around(plain)), deduplicates(plain)
    target = serving_tables.planned(table, plain.schema, key, topic=titled(sources))
    with task_metrics.noted(answer.sparkSession, table) as ran_again:
        rows = answer.toArrow()
        all_counted, again = observed(execution(answer), OBSERVED, ROWS), ran_again()
        batches = []
        for topic in topics.values():
            own = [each for each in operators if each.copies_of == topic]
            counted = about(all_counted, topic)
            if again:  # then Spark may have counted rows twice
                counted = [
                    whole[topic].agg(*terms).collect()[0].asDict(),
                    *map(_reached_and_passed, own),
                ]
            metrics = BatchMetrics.of(counted, duplicate=sum(map(_copies, own)), dropped_late=0)
            batches.append(
                Batch(
                    f"batch view {table}", 0, topic, start_offsets=archived_from(topic), end_offsets=before[topic], run_id=settings().run_id,
                    consumed=metrics.consumed, quarantined=metrics.quarantined, duplicate=metrics.duplicate, used=metrics.used,
                )
            )  # fmt: skip
    serving.commit_batch(database.engine(), target, batches, rows)


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
