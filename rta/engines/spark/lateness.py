"""The second law: consumed = used + duplicate + late + quarantined, on every run, each term listable.

Spark alone does not say which events were late. Its rule is known, though: a stateful operator drops
a row whose event time (for a window: its end) is at or before the watermark of the batch before. So
the rows that reach the operator, computed again from the batch's own offsets by the same transform,
and filtered by that rule, are the late ones: exactly. Only batches in which Spark dropped something
are read again. An event that falls into several (sliding) windows is late if one of them had ended.
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
"""The metric of a transform that finds copies of its own accord: {"duplicate", "reached", "passed"}, three counts."""

WATERMARK: Final = "spark.watermarkDelayMs"
"""Where Spark notes, in a column's metadata, that it carries a watermark."""

_NAMED: Final = {"AttributeReference", "Alias"}
_BY_WATERMARK: Final = {"Aggregate", "Deduplicate", "DeduplicateWithinWatermark"}
_STATELESS: Final = {
    "CTERelationDef", "CTERelationRef", "CollectMetrics", "EventTimeWatermark", "Expand", "Filter", "Generate", "MapInArrow", "MapInPandas",
    "Project", "PythonMapInArrow", "RebalancePartitions", "Repartition", "RepartitionByExpression", "ResolvedHint", "Sample", "SubqueryAlias",
    "StreamingRelation", "StreamingRelationV2", "Union", "UpdateEventTimeWatermarkColumn", "View", "WithCTE",
}  # fmt: skip
"""Operators of a stream that keep no state, and so drop nothing as late; a join does if both of its sides stream."""
# Spark refuses these at the start, and query_errors says of each what to do instead.
_REFUSED_BY_SPARK: Final = {"Sort", "Window"}
_KNOWN: Final = _STATELESS | _BY_WATERMARK | _REFUSED_BY_SPARK


@dataclass(frozen=True)
class LateRule:
    """Where a transform drops late rows: the event-time column its first stateful operator keeps."""

    column: str  # of the rows that reach the operator; for a window its end
    place: int = -1  # among the plan's operators that may keep state, from the result down

    @staticmethod
    def of(stream: DataFrame) -> LateRule | None:
        """Read the rule from a streaming DataFrame; None where nothing is ever dropped as late.

        Raises:
            QueryError: if the transform keeps state in a way that cannot be accounted for.
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
    """Apply a transform to a stream. Raises InputError if it returns a frame that is not made from it."""
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

    events: the batch's good events as a static frame; watermark: that of the batch before.
    Returns: the columns that reach the operator; topic, partition and offset are among them unless
    the transform selected them away.
    """
    from pyspark.sql import functions as F

    operator = reached(events, transform, rule)
    return framed(events.sparkSession, operator.child()).where(
        F.col(rule.column) <= F.lit(watermark)
    )


def reached(events: DataFrame, transform: Transform, rule: LateRule) -> Any:
    """Return the operator of a rule in the plan of a static frame: what reaches it is its child."""
    return _stateful(analyzed(transform(events)))[rule.place]


def _stateful(plan: Any) -> list[Any]:
    """List the operators that keep state where their input streams, from the result down."""
    return [node for node in walk(plan) if node.nodeName() in _BY_WATERMARK]


def endless(plan: Any) -> list[bool]:
    """Tell for each operator that keeps state, from the result down, whether no watermark ever evicts from it."""
    kept = []
    for node in _stateful(plan):
        if node.isStreaming():
            grouped = node.nodeName() == "Aggregate"
            within = node.nodeName() == "DeduplicateWithinWatermark"
            key = node.groupingExpressions() if grouped else node.keys()
            kept.append(not within and next(_event_times(key), None) is None)
    return kept


def _event_times(columns: Any) -> Iterator[Any]:
    """Yield the columns that carry a watermark: the event time, or a window of it."""
    for column in each(columns):
        # An expression without a name is no such column, and has no metadata to ask for.
        named = column.nodeName() in _NAMED
        if named and column.metadata().contains(WATERMARK):
            yield column


def states(stream: DataFrame) -> int:
    """Count the steps of a streaming frame that aggregate or deduplicate: for each its query shuffles, and has state stores."""
    return sum(node.isStreaming() for node in _stateful(analyzed(stream)))


def _refuse_unknown(plan: Any) -> None:
    """Refuse each operator of the stream whose late rows cannot be told from outside: all but those that are known."""
    for node in walk(plan):
        name = node.nodeName()
        static = name == "Join" and not (node.left().isStreaming() and node.right().isStreaming())
        if node.isStreaming() and not static and name not in _KNOWN:
            raise _unaccountable(name)


def _unaccountable(found: str) -> QueryError:
    """Build the error for state whose late rows cannot be told."""
    return QueryError(
        "this transform keeps state in a way that rta cannot account for", found=found,
        fix="use groupBy, dropDuplicates or a join with a static frame; or write it with Spark's own writeStream",
    )  # fmt: skip
