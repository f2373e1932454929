"""The second law: consumed = used + duplicate + late + quarantined, on every run, and each term can be listed.

Spark does not tell which events were late. Its rule is known: an operator that keeps state drops a row whose event time (for a
window: its end; for a session window: the end of the event's own session) is at or before the watermark of the batch before. A join
of two streams does so on each of its sides. So the late rows of a topic are exactly those that reach the first such operator on
their way, computed again from the batch's own offsets by the same transform, and that this rule drops. Only batches in which that
operator dropped something are read again. An event in several (sliding) windows is late if one of them had ended.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from rta.dataframes.internals import analyzed, each, framed, walk
from rta.dataframes.sources import OBSERVED
from rta.engines.spark.query_sources import ONLY
from rta.errors import InputError, QueryError

if TYPE_CHECKING:
    from datetime import datetime

    from pyspark.sql import DataFrame

Transform = Callable[..., "DataFrame"]
Frames = Mapping[str, "DataFrame"]
ORIGIN: Final = ("topic", "partition", "offset")

OBSERVED_COPIES: Final = "rta_source:copies"
"""The metric of a transform that removes copies by itself: the counts {"duplicate", "reached", "passed"}."""

WATERMARK: Final = "spark.watermarkDelayMs"
"""The key in a column's metadata by which Spark marks that the column has a watermark."""

_SESSION: Final = "spark.sessionWindow"
"""The key in a column's metadata by which Spark marks a session window."""

_NAMED: Final = {"AttributeReference", "Alias"}
_PROCESSOR: Final = "TransformWithStateInPySpark"
_DROPS: Final = {"Deduplicate", "DeduplicateWithinWatermark"}
_BY_WATERMARK: Final = {"Aggregate", "Join", _PROCESSOR, *_DROPS}
_STATELESS: Final = {
    "CTERelationDef", "CTERelationRef", "CollectMetrics", "EventTimeWatermark", "Expand", "Filter", "Generate", "MapInArrow", "MapInPandas",
    "Project", "PythonMapInArrow", "RebalancePartitions", "Repartition", "RepartitionByExpression", "ResolvedHint", "Sample", "SubqueryAlias",
    "StreamingRelation", "StreamingRelationV2", "Union", "UpdateEventTimeWatermarkColumn", "View", "WithCTE",
}  # fmt: skip
"""Operators of a stream that keep no state, so they drop nothing as late."""
# Spark refuses these at the start; query_errors says for each what to do instead.
_REFUSED_BY_SPARK: Final = {"Sort", "Window"}
_KNOWN: Final = _STATELESS | _BY_WATERMARK | _REFUSED_BY_SPARK


@dataclass(frozen=True)
class LateRule:
    """Where the events of a topic are dropped as late: the event-time column of the first operator that keeps state."""

    column: str  # of the rows that reach the operator; for a window its end
    place: int = -1  # among the plan's operators that may keep state, from the result down
    side: int = 0  # which input of the operator: 1 is the right side of a join
    number: int = 0  # among those of them that do keep state, which is what Spark counts by

    @staticmethod
    def of(stream: DataFrame) -> LateRule | None:
        """Derive the rule of a frame that reads one topic; None if nothing is ever dropped as late.

        Raises:
            QueryError: If the transform keeps state in a way that cannot be accounted for.
        """
        return next(iter(late_rules(operators(stream)).values()), None)


@dataclass(frozen=True)
class Operator:
    """An operator of a stream that keeps state.

    Args:
        name: What Spark calls it.
        place: Among the operators that may keep state, from the result down.
        topics: Whose events are in its rows.
        firsts: For each of its inputs: the topics for which it is the first operator that keeps state.
        columns: For each of its inputs: the event time by which it drops late rows; None if there is none.
        copies_of: The topic of which it drops duplicate events; None if it drops none, or rows that are no events.
    """

    name: str
    place: int
    topics: frozenset[str]
    firsts: tuple[frozenset[str], ...]
    columns: tuple[str | None, ...]
    copies_of: str | None


def operators(stream: DataFrame) -> list[Operator]:
    """List the operators of a streaming frame that keep state, from the result down.

    Raises:
        QueryError: If one of them is not known, so that its late rows could not be found.
    """
    plan = analyzed(stream)
    _refuse_unknown(plan)
    return [
        Operator(
            node.nodeName(), place, topics_of(node),
            tuple(_arriving(child) for child in each(node.children())), tuple(_late_columns(node)), copies_of(node),
        )
        for place, node in enumerate(_stateful(plan)) if _keeps(node)
    ]  # fmt: skip


def late_rules(found: Sequence[Operator]) -> dict[str, LateRule]:
    """Return topic → rule, for each topic of which events can be late.

    Raises:
        QueryError: If the events of a topic reach several operators that keep state, so that one could drop what another takes.
    """
    rules: dict[str, LateRule | None] = {}
    for number, operator in enumerate(found):
        for side, (topics, column) in enumerate(
            zip(operator.firsts, operator.columns, strict=True)
        ):
            for topic in topics:
                if topic in rules:
                    raise _unaccountable(
                        f"2 branches of {topic or 'the topic'} that keep state, each with its own late events",
                        "let one branch keep state, and give the other the events on a second topic, see rta.engines.relay(…)",
                    )
                rules[topic] = LateRule(column, operator.place, side, number) if column else None
    return {topic: rule for topic, rule in rules.items() if rule}


def topics_of(plan: Any, *, streaming: bool = True) -> frozenset[str]:
    """Return the topics that are read below a node of a plan; a source that is not rta's own has no name.

    Args:
        plan: The node.
        streaming: Whether only streams count; the topics of static frames are then left out.
    """
    if streaming and not plan.isStreaming():
        return frozenset()
    if topic := _source(plan):
        return frozenset({topic})
    below = list(each(plan.children()))
    found = frozenset[str]().union(*(topics_of(child, streaming=streaming) for child in below))
    return (found - {ONLY} or found) if below else frozenset({ONLY})


def copies_of(node: Any, *, streaming: bool = True) -> str | None:
    """Return the topic of which an operator drops duplicate events; None if its rows are no events: those of a join, or of an aggregate."""
    if node.nodeName() not in _DROPS:
        return None
    topics = topics_of(node, streaming=streaming)
    like = all(below.nodeName() in _DROPS for below in _stateful(node) if _keeps(below))
    return next(iter(topics)) if like and len(topics) == 1 else None


def _source(node: Any) -> str | None:
    """Return the topic that a node reads: rta counts its events there, and what is below is not part of the transform."""
    if node.nodeName() != "CollectMetrics":
        return None
    kind, _, topic = str(node.name()).partition(":")
    return (
        topic.partition(":")[0]
        if kind == OBSERVED and str(node.name()) != OBSERVED_COPIES
        else None
    )


def _arriving(plan: Any) -> frozenset[str]:
    """Return the topics whose events are in a plan's rows without having passed an operator that keeps state."""
    if not plan.isStreaming() or _keeps(plan):
        return frozenset()
    if topic := _source(plan):
        return frozenset({topic})
    below = list(each(plan.children()))
    return frozenset[str]().union(*map(_arriving, below)) if below else frozenset({ONLY})


def _keeps(node: Any) -> bool:
    """Tell whether an operator that may keep state does: its input is a stream; both inputs, if it is a join."""
    both = node.nodeName() != "Join" or (node.left().isStreaming() and node.right().isStreaming())
    return bool(node.nodeName() in _BY_WATERMARK and node.isStreaming() and both)


def _late_columns(node: Any) -> Iterator[str | None]:
    """Yield for each input of an operator the column by which it drops late rows."""
    name = node.nodeName()
    timed = name != _PROCESSOR or str(node.timeMode()).startswith("EventTime")
    for child in each(node.children()):
        columns = node.groupingExpressions() if name == "Aggregate" else child.output()
        column = next(_event_times(columns), None) if timed else None
        if column is None:
            yield None
        else:
            end = ".end" if column.dataType().typeName() == "struct" else ""
            yield f"`{column.name()}`{end}"


def streamed(events: DataFrame | Frames, transform: Transform) -> DataFrame:
    """Apply a transform to streams. Raises InputError if it returns a static frame."""
    stream = applied(transform, events)
    if not stream.isStreaming:
        raise InputError(
            "the transform returned a static frame", fix="return a frame made from its argument"
        )
    return stream


def applied(transform: Transform, events: DataFrame | Frames) -> DataFrame:
    """Apply a transform to events: to a frame, or to several by the names of its parameters.

    Raises:
        InputError: If it does not return a DataFrame.

    >>> applied(lambda events: None, spark.range(1))
    Traceback (most recent call last):
    rta.errors.InputError: the transform must return a DataFrame; found: NoneType; fix: end it with `return` and a DataFrame made from its argument
    """
    from pyspark.sql import DataFrame

    frames = {ONLY: events} if isinstance(events, DataFrame) else events
    answer: Any = transform(frames[ONLY]) if ONLY in frames else transform(**frames)
    if not isinstance(answer, DataFrame):
        raise InputError(
            "the transform must return a DataFrame", found=type(answer).__name__,
            fix="end it with `return` and a DataFrame made from its argument",
        )  # fmt: skip
    return answer


def late_rows(
    events: DataFrame | Frames, transform: Transform, rule: LateRule, watermark: datetime
) -> DataFrame:
    """Return the rows of one micro-batch that its first stateful operator dropped as late.

    Args:
        events: The good events of the batch, as a static frame; of several topics the frames of the others are empty.
        transform: The transform of the query.
        rule: Its rule.
        watermark: That of the batch before.

    Returns:
        The columns that reach the operator, with topic, partition and offset unless the transform drops them.
    """
    from pyspark.sql import functions as F

    answer = applied(transform, events)
    rows = framed(answer.sparkSession, reaching(answer, rule))
    return rows.where(F.col(rule.column) <= F.lit(watermark))


def reaching(answer: DataFrame, rule: LateRule) -> Any:
    """Return the part of a static frame's plan whose rows reach the operator of a rule."""
    return _stateful(analyzed(answer))[rule.place].children().apply(rule.side)


def _stateful(plan: Any) -> list[Any]:
    """List the operators that keep state if their input is a stream, from the result down."""
    return [node for node in walk(plan) if node.nodeName() in _BY_WATERMARK]


def endless(plan: Any) -> list[bool]:
    """Tell for each operator that keeps state, from the result down, whether its state is never evicted."""
    kept = []
    for node in filter(_keeps, _stateful(plan)):
        if node.nodeName() == "Aggregate":
            columns = [node.groupingExpressions()]
        elif node.nodeName() == "Deduplicate":
            columns = [node.keys()]
        else:  # a join evicts as its condition allows, a processor as its author wants
            joins = node.nodeName() == "Join"
            columns = [child.output() for child in each(node.children())] if joins else []
        kept.append(bool(columns) and all(next(_event_times(of), None) is None for of in columns))
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
    return sum(map(_keeps, _stateful(analyzed(stream))))


def _refuse_unknown(plan: Any) -> None:
    """Refuse every operator of the stream that is not known: its late rows could not be found."""
    for node in walk(plan):
        if node.isStreaming() and node.nodeName() not in _KNOWN:
            raise _unaccountable(node.nodeName())
        if node.isStreaming() and node.nodeName() == "Aggregate" and _session_alone(node):
            raise QueryError(
                "Spark runs no session windows over all events of a stream", found="a session window as the only key",
                fix='group by a key as well: groupBy(F.session_window(…), "user_id")',
            )  # fmt: skip


def _session_alone(aggregate: Any) -> bool:
    """Tell whether an aggregate groups by a session window and nothing else."""
    keys = list(each(aggregate.groupingExpressions()))
    named = [key for key in keys if key.nodeName() in _NAMED]
    return len(keys) == 1 and bool(named) and bool(named[0].metadata().contains(_SESSION))


_KNOWN_STATE: Final = "use groupBy, dropDuplicates, a join or transformWithState"


def _unaccountable(found: str, fix: str = _KNOWN_STATE) -> QueryError:
    """Return the error for state whose late rows cannot be found."""
    return QueryError(
        "this transform keeps state in a way that rta cannot account for", found=found,
        fix=f"{fix}; or use Spark's own writeStream",
    )  # fmt: skip
