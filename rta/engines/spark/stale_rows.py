"""Rows that a result no longer has, and that update mode would leave in the table: refused before anything is made.

In update mode Spark tells which rows have come or changed, never which have gone. So a condition on an aggregate must not let a row go, and the key
of a row must not change.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from rta.dataframes.internals import analyzed, each
from rta.engines.spark.internals import aggregates
from rta.engines.spark.plans import Node
from rta.errors import InputError

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

_ROW_BY_ROW: Final = {"CollectMetrics", "EventTimeWatermark", "Filter", "Generate", "Project", "SubqueryAlias"}  # fmt: skip
_FIX: Final = (
    'give mode="complete", which replaces a small table as a whole; or write all rows, and choose where they are read: rta.sql("SELECT … WHERE …");'
    ' or give mode="update", if such a row never goes, as with a count that must be large enough'
)


def require_rows_stay(stream: DataFrame, table: str, key: Sequence[str]) -> None:
    """Refuse a result in update mode of which a row may go, or get another key.

    Args:
        stream: The result.
        table: Its table, for the error.
        key: The columns that identify a row.

    Raises:
        InputError: There is such a row; the message has the condition, or the column of the key.

    >>> views = spark.readStream.format("rate").load().groupBy("value").count()
    >>> require_rows_stay(views.where("value > 3"), "views", ["value"])
    >>> require_rows_stay(views.where("count < 3"), "views", ["value"])
    Traceback (most recent call last):
    rta.errors.InputError: in update mode a row that this result no longer has would stay in table 'views'; found: (count < ...3...) above the aggregate; fix: ...
    """
    above: list[Node] = []
    node = root = Node.of(analyzed(stream))
    while node.name in _ROW_BY_ROW and node.below:
        above.append(node)
        [node] = node.below
    if node.name != "Aggregate" or not node.keeps:
        return
    # What no aggregate has a part in is the same as long as the row is there.
    settled = {_id(e) for e in each(node.plan.aggregateExpressions()) if next(aggregates(e), None) is None}  # fmt: skip
    for upper in reversed(above):
        for condition in _conditions(upper):
            if not _used(condition) <= settled:
                raise _goes(table, f"{condition.sql()} above the aggregate")
        if upper.name == "Project":
            settled |= {_id(e) for e in each(upper.plan.projectList()) if _used(e) <= settled}
        elif upper.name == "Generate":  # it was made from what is settled
            settled |= {_id(a) for a in each(upper.plan.generatorOutput())}
    changing = [a.name() for a in each(root.plan.output()) if _id(a) not in settled]
    if parts := [name for name in key if name in changing]:
        raise _goes(table, f"the column {parts[0]!r} of its key, which is a result and changes")


def _conditions(node: Node) -> list[Any]:
    """Return what decides how many rows an operator makes of one."""
    if node.name == "Filter":
        return [node.plan.condition()]
    return [node.plan.generator()] if node.name == "Generate" else []


def _id(column: Any) -> Any:
    return column.exprId().id()


def _used(expression: Any) -> set[Any]:
    return {_id(column) for column in each(expression.references().toSeq())}


def _goes(table: str, found: str) -> InputError:
    return InputError(
        f"in update mode a row that this result no longer has would stay in table {table!r}", found=found, fix=_FIX
    )  # fmt: skip
