"""The second law: consumed = used + duplicate + late + quarantined, on every run, and each term can be listed.

Spark does not tell which events were late. Its rule is known: a stateful operator drops a row whose event time (for a window: its
end) is at or before the watermark of the batch before. So the late rows are exactly those that reach the operator, computed again
from the batch's own offsets by the same transform, and that this rule drops. Only batches in which Spark dropped something are read
again. An event in several (sliding) windows is late if one of them had ended.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from rta.dataframes.internals import analyzed, each, framed, walk
from rta.errors import InputError, QueryError

if TYPE_CHECKING:
    from datetime import datetime

    from pyspark.sql import DataFrame

Transform = Callable[["DataFrame"], "DataFrame"]
ORIGIN: Final = ("topic", "partition", "offset")

OBSERVED_COPIES: Final = "rta_source:copies"
"""The metric of a transform that removes copies by itself: the counts {"duplicate", "reached", "passed"}."""

WATERMARK: Final = "spark.watermarkDelayMs"
"""The key in a column's metadata by which Spark marks that the column has a watermark."""

_NAMED: Final = {"AttributeReference", "Alias"}
_BY_WATERMARK: Final = {"Aggregate", "Deduplicate", "DeduplicateWithinWatermark"}
_STATELESS: Final = {
    "CTERelationDef", "CTERelationRef", "CollectMetrics", "EventTimeWatermark", "Expand", "Filter", "Generate", "MapInArrow", "MapInPandas",
    "Project", "PythonMapInArrow", "RebalancePartitions", "Repartition", "RepartitionByExpression", "ResolvedHint", "Sample", "SubqueryAlias",
    "StreamingRelation", "StreamingRelationV2", "Union", "UpdateEventTimeWatermarkColumn", "View", "WithCTE",
}  # fmt: skip
"""Operators of a stream that keep no state, so they drop nothing as late. A join keeps state if both of its sides are streams."""
# Spark refuses these at the start; query_errors says for each what to do instead.
_REFUSED_BY_SPARK: Final = {"Sort", "Window"}
_KNOWN: Final = _STATELESS | _BY_WATERMARK | _REFUSED_BY_SPARK


@dataclass(frozen=True)
class LateRule:
    """Where a transform drops late rows: the event-time column of its first stateful operator."""

    column: str  # of the rows that reach the operator; for a window its end
    place: int = -1  # among the plan's operators that may keep state, from the result down

    @staticmethod
    def of(stream: DataFrame) -> LateRule | None:
        """Derive the rule from a streaming DataFrame; None if nothing is ever dropped as late.

        Raises:
            QueryError: If the transform keeps state in a way that cannot be accounted for.
        """
        plan = analyzed(stream)
        _refuse_unknown(plan)
        stateful = _stateful(plan)
        first = [  # an aggregate of a static frame beside the stream keeps no state
            place
            for place, node in enumerate(stateful)
            if node.isStreaming() and not any(n.isStreaming() for n in _stateful(node)[1:])
        ]
        if len(first) > 1:
            raise _unaccountable(f"{len(first)} branches that keep state")
        if not first:
            return None
        operator = stateful[first[0]]
        grouped = operator.nodeName() == "Aggregate"
        for column in _event_times(
            operator.groupingExpressions() if grouped else operator.child().output()
        ):
            end = ".end" if column.dataType().typeName() == "struct" else ""
            return LateRule(f"`{column.name()}`{end}", first[0])
        return None


def streamed(events: DataFrame, transform: Transform) -> DataFrame:
    """Apply a transform to a stream. Raises InputError if it returns a static frame."""
    stream = applied(transform, events)
    if not stream.isStreaming:
        raise InputError(
            "the transform returned a static frame", fix="return a frame made from its argument"
        )
    return stream


def applied(transform: Transform, events: DataFrame) -> DataFrame:
    """Apply a transform to events.

    Raises:
        InputError: If it does not return a DataFrame.

    >>> applied(lambda events: None, spark.range(1))
    Traceback (most recent call last):
    rta.errors.InputError: the transform must return a DataFrame; found: NoneType; fix: end it with `return` and a DataFrame made from its argument
    """
    from pyspark.sql import DataFrame

    answer: Any = transform(events)
    if not isinstance(answer, DataFrame):
        raise InputError(
            "the transform must return a DataFrame", found=type(answer).__name__,
            fix="end it with `return` and a DataFrame made from its argument",
        )  # fmt: skip
    return answer


def late_rows(
    events: DataFrame, transform: Transform, rule: LateRule, watermark: datetime
) -> DataFrame:
    """Return the rows of one micro-batch that its first stateful operator dropped as late.

    Args:
        events: The good events of the batch, as a static frame.
        transform: The transform of the query.
        rule: Its rule.
        watermark: That of the batch before.

    Returns:
        The columns that reach the operator, with topic, partition and offset unless the transform drops them.
    """
    from pyspark.sql import functions as F

    operator = reached(events, transform, rule)
    return framed(events.sparkSession, operator.child()).where(
        F.col(rule.column) <= F.lit(watermark)
    )


def reached(events: DataFrame, transform: Transform, rule: LateRule) -> Any:
    """Return the operator of a rule in the plan of a static frame; its child is what reaches it."""
    return _stateful(analyzed(transform(events)))[rule.place]


def _stateful(plan: Any) -> list[Any]:
    """List the operators that keep state if their input is a stream, from the result down."""
    return [node for node in walk(plan) if node.nodeName() in _BY_WATERMARK]


def endless(plan: Any) -> list[bool]:
    """Tell for each operator that keeps state, from the result down, whether its state is never evicted."""
    kept = []
    for node in _stateful(plan):
        if node.isStreaming():
            grouped = node.nodeName() == "Aggregate"
            within = node.nodeName() == "DeduplicateWithinWatermark"
            key = node.groupingExpressions() if grouped else node.keys()
            kept.append(not within and next(_event_times(key), None) is None)
    return kept


def _event_times(columns: Any) -> Iterator[Any]:
    """Yield the columns that have a watermark: the event time, or a window of it."""
    for column in each(columns):
        # An expression without a name is no such column, and has no metadata.
        named = column.nodeName() in _NAMED
        if named and column.metadata().contains(WATERMARK):
            yield column


def states(stream: DataFrame) -> int:
    """Count the steps of a streaming frame that aggregate or deduplicate; for each its query shuffles and has state stores."""
    return sum(node.isStreaming() for node in _stateful(analyzed(stream)))


def _refuse_unknown(plan: Any) -> None:
    """Refuse every operator of the stream that is not known: its late rows could not be found."""
    for node in walk(plan):
        name = node.nodeName()
        static = name == "Join" and not (node.left().isStreaming() and node.right().isStreaming())
        if node.isStreaming() and not static and name not in _KNOWN:
            raise _unaccountable(name)


def _unaccountable(found: str) -> QueryError:
    """Return the error for state whose late rows cannot be found."""
    return QueryError(
        "this transform keeps state in a way that rta cannot account for", found=found,
        fix="use groupBy, dropDuplicates or a join with a static frame; or use Spark's own writeStream",
    )  # fmt: skip
