"""Describe an analysis for other engines, proved: built back into PySpark, Spark optimizes both to the same plan, or it is refused."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import reduce
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from rta.dataframes.internals import analyzed, optimized
from rta.dataframes.session import spark
from rta.engines.contract.description import (
    WINDOW,
    Derived,
    Description,
    Filter,
    Session,
    Watermark,
)
from rta.engines.contract.expressions import Call, Cast, Column, Expression, Literal
from rta.engines.contract.nodes import refused
from rta.engines.contract.plan_reading import OWN_NAMES, describe

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyspark.sql import Column as SparkColumn
    from pyspark.sql import DataFrame

    from rta.events.event_types import EventType

_RANDOM = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")  # a watermark's own id

_NESTED = ("struct<", "array<", "map<")


def described(transform: Callable[[DataFrame], DataFrame], event: EventType) -> Description:
    """Describe an analysis.

    Args:
        transform: The analysis, DataFrame to DataFrame, of the event's columns.
        event: The type of the events.

    Raises:
        QueryError: Only Spark can run it; it says why.

    Example:
        >>> from rta.engines.contract import described
        >>> described(rta.transforms.totals, rta.USER_EVENTS).window
        Window(column='timestamp', size_ms=300000, slide_ms=300000)
    """
    from pyspark.errors import AnalysisException

    with TemporaryDirectory(prefix="rta-empty-") as folder:
        events = spark().readStream.schema(event.schema).json(folder)
        try:
            result = transform(events)
        except AnalysisException as error:
            raise refused(f"it does not take the columns of an event alone: {str(error)[:200]}") from None  # fmt: skip
        plan = analyzed(result)
        found = describe(
            plan.toJSON(), plan.toString(),
            {each.name: each.dataType.simpleString() for each in events.schema},
            {each.name: each.dataType.simpleString() for each in result.schema},
        )  # fmt: skip
        wanted = result.schema.simpleString(), _said(result)
        again = (rebuilt(found, events, place) for place in range(len(found.keys) + 1))
        if not any((each.schema.simpleString(), _said(each)) == wanted for each in again):
            raise refused("a plan of a shape that rta cannot read with certainty")
    replaced = {step.name for step in found.steps if isinstance(step, Derived)}
    if changed := [path[0] for path in found.paths.values() if path[0] in replaced]:
        raise refused(f"a field of {changed[0]!r}, which is computed anew")
    types = {WINDOW: "", **dict.fromkeys(found.keys, "")} | {each.name: each.type for each in found.aggregates}  # fmt: skip
    wrong = [name for name, old in found.taken.items() if types[old] not in ("", found.columns[name])]  # fmt: skip
    if wrong:
        raise refused(f"the type of {', '.join(wrong)} is not the one that rta expects")
    # Structs stay with Spark: another engine gets what is read inside them.
    plain = {name: kind for name, kind in found.fields.items() if not kind.startswith(_NESTED)}
    inner = {each.name: each.type for each in found.expressions if isinstance(each, Column) and each.path}  # fmt: skip
    return replace(found, fields=plain | inner)


def rebuilt(query: Description, events: DataFrame, place: int = 0) -> DataFrame:
    """Build a description back into PySpark, its window so many keys from the left: no engine but Spark needs to know where."""
    from pyspark.sql import functions as F

    for step in query.steps:
        match step:
            case Derived(name, value):
                events = events.withColumn(name, column(value))
            case Filter(condition):
                events = events.where(column(condition))
            case Watermark(name, delay):
                events = events.withWatermark(name, f"{delay} milliseconds")
    time, own = query.window, OWN_NAMES[type(query.window)]
    if isinstance(time, Session):
        window = F.session_window(time.column, f"{time.gap_ms} milliseconds")
    else:
        window = F.window(
            time.column, f"{time.size_ms} milliseconds", f"{time.slide_ms} milliseconds"
        )
    made = [
        (F.count("*") if each.of is None else getattr(F, each.function)(column(each.of))).alias(each.name)
        for each in query.aggregates
    ]  # fmt: skip
    keys = [F.col(f"`{key}`") for key in query.keys]
    groups = events.groupBy(*keys[:place], window, *keys[place:]).agg(*made)
    if dict(query.taken) == {name: WINDOW if name == own else name for name in groups.columns}:
        return groups
    return groups.select(
        *(
            F.col(f"`{own if old == WINDOW else old}`").alias(name)
            for name, old in query.taken.items()
        )
    )


def column(value: Expression) -> SparkColumn:
    """Build an expression back into PySpark."""
    from pyspark.sql import functions as F

    match value:
        case Column(name, _, path):
            whole = F.col(f"`{path[0] if path else name}`")
            return reduce(lambda outer, field: outer[field], path[1:], whole)
        case Literal(text, kind):
            return F.lit(text).cast(kind) if kind != "string" else F.lit(text)
        case Cast(of, kind):
            return column(of).cast(kind)
        case Call(operator, of, _):
            return _call(operator, [column(each) for each in of])


def _call(operator: str, of: list[SparkColumn]) -> SparkColumn:
    from pyspark.sql import functions as F

    makers: dict[str, Callable[..., SparkColumn]] = {
        "=": lambda a, b: a == b, "<": lambda a, b: a < b, "<=": lambda a, b: a <= b, ">": lambda a, b: a > b, ">=": lambda a, b: a >= b,
        "and": lambda a, b: a & b, "or": lambda a, b: a | b, "not": lambda a: ~a,
        "isnull": lambda a: a.isNull(), "isnotnull": lambda a: a.isNotNull(),
        "+": lambda a, b: a + b, "-": lambda a, b: a - b, "*": lambda a, b: a * b,
        "in": lambda a, *b: a.isin(*b), "startswith": lambda a, b: a.startswith(b), "endswith": lambda a, b: a.endswith(b),
        "contains": lambda a, b: a.contains(b), "concat": F.concat, "length": F.length, "trim": F.trim,
        "coalesce": F.coalesce, "if": lambda a, b, c: F.when(a, b).otherwise(c), "case": _case,
    }  # fmt: skip
    return makers[operator](*of)


def _case(first: SparkColumn, value: SparkColumn, *more: SparkColumn) -> SparkColumn:
    from pyspark.sql import functions as F

    pairs = list(zip(more[::2], more[1::2], strict=False))
    built = reduce(lambda made, pair: made.when(*pair), pairs, F.when(first, value))
    return built.otherwise(more[-1]) if len(more) % 2 else built


def _said(frame: DataFrame) -> str:
    """Return the optimized plan of a frame as text, without what is different each time."""
    plan = optimized(frame.sparkSession, analyzed(frame))
    return _RANDOM.sub("", plan.canonicalized().toString())
