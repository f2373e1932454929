"""How two partial answers become one: what happens to each column of an aggregate if parts of the events were counted apart.

| column of the answer         | merged by                                                        |
|------------------------------|------------------------------------------------------------------|
| a grouping column, `window`  | it names the row                                                 |
| sum of integers or decimals  | their sum                                                        |
| count                        | the sum                                                          |
| min, max                     | the min, the max                                                 |
| average                      | a pair: F.struct(F.sum(x).alias("sum"), F.count(x).alias("count")) |

Everything else is refused, with the reason: an average of averages, or a sum of distinct counts, would be wrong.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, cast

from pyspark.sql.types import StructType

from rta.dataframes.internals import analyzed, each, walk
from rta.errors import InputError
from rta.store.columns import sql_type

if TYPE_CHECKING:
    from pyspark.sql import DataFrame
    from sqlalchemy import Dialect

    from rta.store.serving_tables import Table

Merge = Literal["key", "sum", "count", "min", "max"]
_MERGED: Final[Mapping[str, Merge]] = {"sum": "sum", "count": "count", "min": "min", "max": "max"}
_TRANSPARENT: Final = {"SubqueryAlias", "EventTimeWatermark"}
_ROW_BY_ROW: Final = {*_TRANSPARENT, "Project", "Filter", "Union", "Generate", "CollectMetrics"}
_INSTEAD: Final = {
    "avg": 'keep it as a pair: F.struct(F.sum(x).alias("sum"), F.count(x).alias("count")).alias(…); a reader divides'
}


def merges(answer: DataFrame, *, several: bool = False) -> dict[str, Merge]:
    """Tell for each column of an aggregate, as it is in a table, how two parts of the answer merge.

    Args:
        answer: The result of a transform; a struct counts as its columns: window_start, window_end.
        several: Whether it is of several topics. Each row below its aggregate must then come from one event: what a join puts together may
            be in two parts.

    Raises:
        InputError: A column cannot be merged.

    >>> events = spark.createDataFrame([], "user_id INT, amount DECIMAL(12,2), timestamp TIMESTAMP")
    >>> merges(rta.transforms.totals(events))
    {'window_start': 'key', 'window_end': 'key', 'user_id': 'key', 'total_amount': 'sum', 'event_count': 'count'}
    """
    plan = analyzed(answer)
    kinds = _kinds(plan)
    if several:
        _require_row_by_row(plan)
    found: dict[str, Merge] = {}
    for field, attribute in zip(answer.schema, each(plan.output()), strict=True):  # fmt: skip
        kind, inner = kinds[attribute.exprId().id()], field.dataType
        names = inner.names if isinstance(inner, StructType) else []
        parts = kind if isinstance(kind, list) else [kind] * max(len(names), 1)
        found |= dict(zip([f"{field.name}_{name}" for name in names] or [field.name], parts, strict=True))  # fmt: skip
    return found


def _kinds(plan: Any) -> dict[int, Merge | list[Merge]]:
    """Tell for each column of a plan, by its id, how it merges; a list for the parts of a struct."""
    name = plan.nodeName()
    if name == "Aggregate":
        if any(node.nodeName() == "Aggregate" for node in walk(plan.child())):
            raise _unmergeable(
                "an aggregate of an aggregate",
                "aggregate once, and leave the rest to the reader of the table",
            )
        keys = {
            e.exprId().id()
            for e in each(plan.groupingExpressions())
            if _is(e, "Attribute", "Alias")
        }
        return {e.exprId().id(): _aggregated(e, keys) for e in each(plan.aggregateExpressions())}
    if name in _TRANSPARENT:
        return _kinds(plan.child())
    if name == "Project":
        below = _kinds(plan.child())
        return {e.exprId().id(): _projected(e, below) for e in each(plan.projectList())}
    at = (
        "no aggregate"
        if not any(n.nodeName() == "Aggregate" for n in walk(plan))
        else f"{name} after the aggregate"
    )
    raise _unmergeable(at, "end the transform with its groupBy(…).agg(…)")


def _require_row_by_row(plan: Any) -> None:
    """Refuse an operator below the aggregate that may need rows of two parts: all but those that are known to take each row alone."""
    aggregate = next(node for node in walk(plan) if node.nodeName() == "Aggregate")
    for node in walk(aggregate.child()):
        if node.nodeName() not in _ROW_BY_ROW and not node.children().isEmpty():
            raise _unmergeable(
                f"{node.nodeName()} of several topics, below the aggregate",
                "put their events together by unionByName(), then aggregate; or take rta.batch(), rta.kappa() or rta.follow()",
            )  # fmt: skip


def _aggregated(expression: Any, keys: set[int]) -> Merge | list[Merge]:
    """Tell how one output of an Aggregate merges."""
    if expression.exprId().id() in keys:
        return "key"
    child = expression.child() if _is(expression, "Alias") else expression
    if _is(child, "AttributeReference"):
        return "key"
    if _is(child, "CreateNamedStruct"):
        return [_function(value, expression.name()) for value in each(child.valExprs())]
    return _function(child, expression.name())


def _function(aggregate: Any, name: str) -> Merge:
    """Tell how an aggregate function merges."""
    sql = aggregate.sql()
    if not _is(aggregate, "AggregateExpression"):
        raise _unmergeable(
            f"{sql} AS {name}", "keep the aggregates as columns; the reader computes with them"
        )
    function = aggregate.aggregateFunction().prettyName()
    kind = None if aggregate.isDistinct() else _MERGED.get(function)
    result = aggregate.dataType().typeName()
    inexact = kind == "sum" and result in ("float", "double")
    unordered = kind in ("min", "max") and result in ("boolean", "binary")
    if kind is None or inexact or unordered:
        fix = (
            "cast it to DECIMAL: sums of floats depend on their order"
            if inexact
            else _INSTEAD.get(function)
        )
        raise _unmergeable(
            f"{sql} AS {name}",
            fix or "use sum, count, min or max; or take rta.kappa(), which merges nothing",
        )
    return kind


def _projected(expression: Any, below: Mapping[int, Merge | list[Merge]]) -> Merge | list[Merge]:
    """Tell how a column merges that was only renamed, or computed from the key alone."""
    child = expression.child() if _is(expression, "Alias") else expression
    if _is(child, "AttributeReference"):
        return below[child.exprId().id()]
    used = [below[used.exprId().id()] for used in each(child.references().toSeq())]
    if all(kind == "key" for kind in used):
        return "key"
    raise _unmergeable(
        f"{child.sql()} AS {expression.name()}",
        "keep the aggregates as columns; the reader computes with them",
    )


def grouping(answer: DataFrame) -> list[str] | None:
    """Return the columns by which a frame is grouped, as far as they are in the result; None if it is no aggregate.

    >>> events = spark.createDataFrame([], "user_id INT, amount DECIMAL(12,2), timestamp TIMESTAMP")
    >>> grouping(rta.transforms.totals(events).withColumnRenamed("user_id", "user"))
    ['window', 'user']
    >>> grouping(events)
    """
    plan = analyzed(answer)
    nodes = list(walk(plan))
    at = next((at for at, node in enumerate(nodes) if node.nodeName() == "Aggregate"), None)
    if at is None:
        return None
    keys = {
        e.exprId().id()
        for e in each(nodes[at].groupingExpressions())
        if _is(e, "AttributeReference", "Alias")
    }
    lists = [
        nodes[at].aggregateExpressions(),
        *(n.projectList() for n in reversed(nodes[:at]) if n.nodeName() == "Project"),
    ]
    for expression in (e for each_list in lists for e in each(each_list)):
        if (
            _is(expression, "Alias")
            and _is(expression.child(), "AttributeReference")
            and expression.child().exprId().id() in keys
        ):
            keys.add(expression.exprId().id())
    return [
        attribute.name() for attribute in each(plan.output()) if attribute.exprId().id() in keys
    ]


def counted(answer: DataFrame) -> str | None:
    """Name the column that counts all rows of its key, so that each event makes it greater; None if there is none.

    >>> events = spark.createDataFrame([], "user_id INT, amount DECIMAL(12,2), timestamp TIMESTAMP")
    >>> counted(rta.transforms.totals(events))
    'event_count'
    """
    plan = analyzed(answer)
    found = _row_counts(plan)
    return next((a.name() for a in each(plan.output()) if a.exprId().id() in found), None)


def _row_counts(plan: Any) -> set[int]:
    """Tell which columns of a plan, by their ids, count the rows of a group."""
    name = plan.nodeName()
    if name == "Aggregate":
        return {e.exprId().id() for e in each(plan.aggregateExpressions()) if _counts_rows(e)}
    if name == "Project":
        below = _row_counts(plan.child())
        named = {e.exprId().id(): e.child() if _is(e, "Alias") else e for e in each(plan.projectList())}  # fmt: skip
        return {
            new
            for new, old in named.items()
            if _is(old, "AttributeReference") and old.exprId().id() in below
        }
    return _row_counts(plan.child()) if name in {*_TRANSPARENT, "Filter"} else set()


def _counts_rows(expression: Any) -> bool:
    """Tell whether one output of an Aggregate is COUNT(*), or a count of what is never null."""
    call = expression.child() if _is(expression, "Alias") else expression
    if not _is(call, "AggregateExpression") or call.isDistinct() or call.filter().isDefined():
        return False
    function = call.aggregateFunction()
    return _is(function, "Count") and not any(e.nullable() for e in each(function.children()))


def _unmergeable(found: str, fix: str) -> InputError:
    return InputError("two parts of this answer cannot be merged", found=found, fix=fix)


def _is(expression: Any, *kinds: str) -> bool:
    return cast("str", expression.getClass().getSimpleName()) in kinds


def merged_select(parts: Sequence[Table], merges: Mapping[str, Merge], dialect: Dialect) -> str:
    """Write the SELECT that merges the rows of several tables; of one table it gives the rows."""
    quote = dialect.identifier_preparer.quote_identifier
    columns = parts[0].columns
    rows = " UNION ALL ".join(
        f"SELECT {', '.join(quote(c.name) for c in columns)} FROM {quote(each.name)}"  # noqa: S608 - checked names
        for each in parts
    )
    if len(parts) == 1:
        return rows
    merged = []
    for column in columns:
        name, kind = quote(column.name), merges[column.name]
        if kind == "key":
            merged.append(name)
            continue
        text = dialect.name == "sqlite" and column.dataType.typeName() == "decimal"
        inner = f"{name} COLLATE decimal" if text and kind in ("min", "max") else name
        total = f"{'SUM' if kind in ('sum', 'count') else kind.upper()}({inner})"
        if dialect.name != "sqlite":  # there a sum of integers is a NUMERIC
            total = f"CAST({total} AS {sql_type(column.dataType, dialect.name)})"
        merged.append(f"{total} AS {name}")
    keys = ", ".join(quote(name) for name, kind in merges.items() if kind == "key")
    grouped = f" GROUP BY {keys}" if keys else ""
    return f"SELECT {', '.join(merged)} FROM ({rows}) AS parts{grouped}"  # noqa: S608 - checked names
