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
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

from rta.dataframes.internals import analyzed, each, framed
from rta.engines.spark.plans import MAY_KEEP, PROCESSOR, Node, stateful
from rta.engines.spark.query_sources import ONLY
from rta.errors import InputError, QueryError

if TYPE_CHECKING:
    from datetime import datetime

    from pyspark.sql import DataFrame

Transform = Callable[..., "DataFrame"]
Frames = Mapping[str, "DataFrame"]
ORIGIN: Final = ("topic", "partition", "offset")

WATERMARK: Final = "spark.watermarkDelayMs"
"""The key in a column's metadata by which Spark marks that the column has a watermark."""

_SESSION: Final = "spark.sessionWindow"
"""The key in a column's metadata by which Spark marks a session window."""

_NAMED: Final = {"AttributeReference", "Alias"}
_STATELESS: Final = {
    "CTERelationDef", "CTERelationRef", "CollectMetrics", "EventTimeWatermark", "Expand", "Filter", "Generate", "MapInArrow", "MapInPandas",
    "Project", "PythonMapInArrow", "RebalancePartitions", "Repartition", "RepartitionByExpression", "ResolvedHint", "Sample", "SubqueryAlias",
    "StreamingRelation", "StreamingRelationV2", "Union", "UpdateEventTimeWatermarkColumn", "View", "WithCTE",
}  # fmt: skip
"""Operators of a stream that keep no state, so they drop nothing as late."""
# Spark refuses these at the start; query_errors says for each what to do instead.
_REFUSED_BY_SPARK: Final = {"Sort", "Window"}
_KNOWN: Final = _STATELESS | MAY_KEEP | _REFUSED_BY_SPARK


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
    root = Node.of(analyzed(stream))
    _refuse_unknown(root)
    return [
        Operator(
            node.name, place, node.topics(), tuple(child.arriving() for child in node.below), tuple(_late_columns(node)),
            node.copies_of(),
        )
        for place, node in enumerate(stateful(root)) if node.keeps
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


def _late_columns(node: Node) -> Iterator[str | None]:
    """Yield for each input of an operator the column by which it drops late rows."""
    timed = node.name != PROCESSOR or str(node.plan.timeMode()).startswith("EventTime")
    for child in node.below:
        columns = (
            node.plan.groupingExpressions() if node.name == "Aggregate" else child.plan.output()
        )
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
    return stateful(Node.of(analyzed(answer)))[rule.place].below[rule.side].plan


def endless(plan: Any) -> list[bool]:
    """Tell for each operator that keeps state, from the result down, whether its state is never evicted."""
    kept = []
    for node in filter(attrgetter("keeps"), Node.of(plan).walk()):
        if node.name == "Aggregate":
            columns = [node.plan.groupingExpressions()]
        elif node.name == "Deduplicate":
            columns = [node.plan.keys()]
        else:  # a join evicts as its condition allows, a processor as its author wants
            columns = [child.plan.output() for child in node.below] if node.name == "Join" else []
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
    return sum(node.keeps for node in Node.of(analyzed(stream)).walk())


def _refuse_unknown(root: Node) -> None:
    """Refuse every operator of the stream that is not known: its late rows could not be found."""
    for node in root.walk():
        if node.streaming and node.name not in _KNOWN:
            raise _unaccountable(node.name, _INSTEAD.get(node.name, _KNOWN_STATE))
        if node.keeps and node.name == "Aggregate" and _session_alone(node.plan):
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
_LIMIT: Final = (
    'write the whole result, and limit where it is read: rta.sql("SELECT … ORDER BY … LIMIT 10")'
)
_INSTEAD: Final = {
    "Distinct": "write dropDuplicates() for SELECT DISTINCT, or dropDuplicatesWithinWatermark(…)",
    "FlatMapGroupsInPandasWithState": "write transformWithState or transformWithStateInPandas for applyInPandasWithState",
    "GlobalLimit": _LIMIT,
    "LocalLimit": _LIMIT,
}  # fmt: skip
"""Operator → what to write instead of it."""


def _unaccountable(found: str, fix: str = _KNOWN_STATE) -> QueryError:
    """Return the error for state whose late rows cannot be found."""
    return QueryError(
        "this transform keeps state in a way that rta cannot account for", found=found,
        fix=f"{fix}; or use Spark's own writeStream",
    )  # fmt: skip
