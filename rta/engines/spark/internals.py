"""What the engine uses of Spark that is not public API, besides rta.dataframes.internals: running queries, metrics, file systems.

Each function has a contract test in tests/engines/test_internals.py, which fails if an upgrade of Spark changes it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import count, takewhile
from typing import TYPE_CHECKING, Any, Final

from rta.dataframes.internals import analyzed, each, java_class, java_session, optimized

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

_KEEPS_STATE: Final = ("StateStore", "SessionWindowStateStore", "Streaming", "TransformWithState")
"""The beginnings of the names of operators that keep state, in a physical plan."""


def aggregates(expression: Any) -> Iterator[Any]:
    """Yield the aggregate functions inside an expression of a plan."""
    if expression.getClass().getSimpleName() == "AggregateExpression":
        yield expression
        return
    for child in each(expression.children()):
        yield from aggregates(child)


def running_query_id(session: SparkSession) -> str:
    """Return the id of the query whose micro-batch runs in this thread, inside foreachBatch."""
    return str(session.sparkContext.getLocalProperty("sql.streaming.queryId"))


def running_execution(session: SparkSession) -> Any:
    """Return Spark's QueryExecution of the micro-batch that runs in this thread, inside foreachBatch.

    Args:
        session: The session that started the query; that of the frame is a clone, which does not have it.
    """
    query = java_session(session).streams().get(running_query_id(session))
    return query.streamingQuery().lastExecution()


def observed(execution: Any, *prefixes: str) -> dict[str, Mapping[str, int]]:
    """Return name → counts of the observations whose names begin with one of the prefixes, in one execution of a plan."""
    pairs = [(pair._1(), pair._2()) for pair in each(execution.observedMetrics().toSeq())]
    return {name: json.loads(row.json()) for name, row in pairs if name.startswith(prefixes)}


def state_operators(execution: Any, known: Sequence[int] | None = None) -> dict[int, Any]:
    """Return number → operator for the operators of a physical plan that keep state.

    Spark numbers the nodes of a plan from 0. Each micro-batch asks, so few calls to the JVM are made.

    Args:
        execution: The execution of the plan.
        known: Their numbers in the micro-batch before. A query always has the same number of them, so if each of these still is one,
            there are no others.
    """
    plan = execution.executedPlan()
    if known is not None:
        found = {number: plan.apply(number) for number in known}
        if all(node and node.nodeName().startswith(_KEEPS_STATE) for node in found.values()):
            return found
    nodes = enumerate(takewhile(bool, map(plan.apply, count())))
    return {number: node for number, node in nodes if node.nodeName().startswith(_KEEPS_STATE)}


def metric(operators: Iterable[Any], name: str) -> int:
    """Sum one metric over operators of a physical plan; an operator without it counts 0."""
    return sum(
        int(op.metrics().apply(name).value()) for op in operators if op.metrics().contains(name)
    )


def inputs_with(operator: Any, mark: str) -> tuple[bool, ...]:
    """Tell for each input of an operator of a physical plan whether one of its columns has a key in its metadata."""
    return tuple(
        any(column.metadata().contains(mark) for column in each(child.output()))
        for child in each(operator.children())
    )


def refusal(stream: DataFrame, mode: str) -> Exception | None:
    """Return why Spark does not run a streaming frame in an output mode; None if it does. Nothing is started."""
    from pyspark.errors import AnalysisException

    session = stream.sparkSession
    checker = java_class(
        session, "org.apache.spark.sql.catalyst.analysis.UnsupportedOperationChecker"
    )
    modes = java_class(session, "org.apache.spark.sql.streaming.OutputMode")
    try:
        checker.checkForStreaming(analyzed(stream), getattr(modes, mode.capitalize())())
    except AnalysisException as error:
        return error
    return None


def calls_python(frame: DataFrame) -> bool:
    """Tell whether rows of a frame go through a Python function."""
    return "EvalPython" in str(optimized(frame.sparkSession, analyzed(frame)).toString())


def file_system(session: SparkSession, path: str) -> tuple[Any, Any]:
    """Return the Hadoop file system of a path, and Hadoop's object for the path."""
    place = java_class(session, "org.apache.hadoop.fs.Path")(path)
    return place.getFileSystem(java_session(session).sessionState().newHadoopConf()), place
