"""Read Spark's analyzed plan of an analysis into a description, or say which operator only Spark has.

Spark gives a plan as JSON: a node, then its children, each in the same form. What is read here need not be right: rta.engines.contract.proof
builds the description back into PySpark and refuses it unless Spark optimizes both to the same plan.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from rta.engines.contract.description import (
    WINDOW,
    Aggregate,
    Derived,
    Description,
    Filter,
    Session,
    Step,
    Watermark,
    Window,
)
from rta.engines.contract.expressions import (
    ARITHMETIC,
    CHOICES,
    OPERATORS,
    TEXT,
    Call,
    Cast,
    Column,
    Expression,
    Literal,
)
from rta.engines.contract.nodes import Node, refused, tree
from rta.engines.contract.window_reading import delay_of, is_window, of_window, window_of

_SOURCES: Final = ("StreamingRelation", "StreamingRelationV2", "StreamingDataSourceV2Relation")
_FUNCTIONS: Final = {"Sum": "sum", "Count": "count", "Min": "min", "Max": "max", "Average": "avg"}
_CALLS: Final = {spark: name for name, spark in OPERATORS.items()}
_NAMES: Final = {"long": "bigint", "integer": "int", "short": "smallint", "byte": "tinyint"}
_ORDER: Final = ("tinyint", "smallint", "int", "bigint")
_WIDEST: Final = 38  # digits of a DECIMAL
_OF_BIGINT: Final = 19  # digits
OWN_NAMES: Final[Mapping[type, str]] = {Window: WINDOW, Session: "session_window"}
"""Kind of window → the name that Spark gives it."""


def describe(plan: str, delay: str, fields: Mapping[str, str], result: Mapping[str, str]) -> Description:  # fmt: skip
    """Read a plan.

    Args:
        plan: The analyzed plan as JSON.
        delay: The plan as text, which alone has the delay of the watermark.
        fields: The columns of the events: name → type.
        result: The columns of the result: name → type.

    Raises:
        QueryError: Only Spark can run it; it names the operator.
    """
    import json

    node, taken = tree(iter(json.loads(plan))), {name: name for name in result}
    while node["name"] == "Project":
        taken = _selected(node, taken)
        [node] = node["of"]
    if node["name"] != "Aggregate":
        raise refused(f"its result comes from the operator {node['name']}")
    steps, window = _rows(node["of"][0], delay_of(delay))
    if window is None:
        raise refused("there is no time window among the keys")
    own = OWN_NAMES[type(window)]
    keys = tuple(_key(tree(iter(each))) for each in node["groupingExpressions"])
    if own not in keys:
        raise refused("there is no time window among the keys")
    keys = tuple(key for key in keys if key != own)
    if isinstance(window, Session) and (not keys or WINDOW in keys):
        raise refused(f"a session window with {f'the key {WINDOW!r}' if keys else 'no other key'}")
    made = [tree(iter(each)) for each in node["aggregateExpressions"]]
    aggregates = [_aggregate(each) for each in made if _plain(each)["called"] != own]
    windows = {each["called"]: WINDOW for each in made if _plain(each)["called"] == own}
    return Description(
        fields, tuple(steps), window, keys, tuple(each for each in aggregates if each is not None),
        result, {name: windows.get(old, old) for name, old in taken.items()},
    )  # fmt: skip


def type_name(told: Any) -> str:
    """Return a type as DDL writes it, of a type as JSON has it.

    >>> type_name("long"), type_name("decimal(12,2)")
    ('bigint', 'decimal(12,2)')
    """
    return _NAMES.get(told, told) if isinstance(told, str) else str(told.get("type"))


# ---------------------------------------------------------------- the operators


def _rows(node: Node, delay_ms: int | None) -> tuple[list[Step], Window | Session | None]:
    """Return the steps of a plan below its aggregation, in order, and the window that Spark has put among them."""
    if node["name"] in _SOURCES:
        return [], None
    if node["name"] not in _READ or len(node["of"]) != 1:
        raise refused(f"the operator {node['name']}")
    steps, window = _rows(node["of"][0], delay_ms)
    for found in _READ[node["name"]](node, delay_ms):
        if isinstance(found, Window | Session):
            window = found
        else:
            steps.append(found)
    return steps, window


def _watermark(node: Node, delay_ms: int | None) -> Iterator[Step]:
    if delay_ms is None:
        raise refused("a watermark whose delay is not days, hours, minutes or seconds")
    yield Watermark(tree(iter(node["eventTime"]))["called"], delay_ms)


def _filter(node: Node, _: int | None) -> Iterator[Step]:
    condition = tree(iter(node["condition"]))
    if not of_window(condition):
        yield Filter(expression(condition))


def _project(node: Node, _: int | None) -> Iterator[Step | Window | Session]:
    for each in map(tree, map(iter, node["projectList"])):
        if each["name"] == "Alias":
            value = each["of"][0]
            yield (
                window_of(value, 1)
                if is_window(value)
                else Derived(each["called"], expression(value))
            )


def _expand(node: Node, _: int | None) -> Iterator[Window | Session]:
    firsts = [tree(iter(each)) for each in node["projections"][0]]
    found = [each for each in firsts if is_window(each)]
    if len(found) != 1:
        raise refused("the operator Expand")
    yield window_of(found[0], len(node["projections"]))


_READ: Final[Mapping[str, Callable[[Node, int | None], Iterator[Step | Window | Session]]]] = {
    "EventTimeWatermark": _watermark, "Filter": _filter, "Project": _project, "Expand": _expand,
    "SubqueryAlias": lambda *_: iter(()),
}  # fmt: skip


def _selected(node: Node, taken: Mapping[str, str]) -> dict[str, str]:
    """Return what is taken of the rows below a select() that renames columns or leaves some out."""
    below = {}
    for each in map(tree, map(iter, node["projectList"])):
        inner = _plain(each)
        if inner["name"] != "AttributeReference":
            raise refused(f"{inner['name']} is computed from aggregates")
        below[each["called"]] = inner["called"]
    return {name: below[old] for name, old in taken.items()}


def _plain(node: Node) -> Node:
    """Return what an alias is of; a node without one as it is."""
    found: Node = node["of"][0] if node["name"] == "Alias" else node
    return found


def _key(node: Node) -> str:
    if node["name"] != "AttributeReference":
        raise refused(f"{node['name']} among the keys: make it a column first, with withColumn")
    return str(node["called"])


def _aggregate(node: Node) -> Aggregate | None:
    """Return an aggregate; None for a key."""
    if node["name"] == "AttributeReference":
        return None
    inner = _plain(node)
    if inner["name"] == "AttributeReference":
        raise refused(f"the key {inner['called']!r} has another name in the result: rename it with select")  # fmt: skip
    if inner["name"] != "AggregateExpression":
        raise refused(f"{inner['name']} is computed from aggregates")
    function = inner["of"][0]
    if function["name"] not in _FUNCTIONS:
        raise refused(f"the aggregate {function['name']}")
    if inner.get("isDistinct") in (True, "true") or len(inner["of"]) > 1 or len(function["of"]) != 1:  # fmt: skip
        raise refused("DISTINCT, FILTER or several arguments inside an aggregate")
    of = expression(function["of"][0])
    name = _FUNCTIONS[function["name"]]
    return Aggregate(
        str(node["called"]),
        name,
        None if name == "count" and isinstance(of, Literal) else of,
        _result(name, of),
    )


def _result(function: str, of: Expression) -> str:
    """Return the type that Spark gives an aggregate; floats are refused, whose sums depend on the order."""
    if function == "count":
        return "bigint"
    if of.type in ("double", "float"):
        raise refused(f"{function} of {of.type}: its sum depends on the order of the events; use DECIMAL")  # fmt: skip
    if function in ("min", "max"):
        if of.type not in ("timestamp", "date", *_ORDER) and not _decimal(of.type):
            raise refused(f"{function} of {of.type}")
        return of.type
    if precision := _decimal(of.type):
        digits, scale = precision
        return (
            f"decimal({min(digits + 10, _WIDEST)},{scale})"
            if function == "sum"
            else f"decimal({digits + 4},{scale + 4})"
        )
    if of.type not in _ORDER or function == "avg":
        raise refused(f"{function} of {of.type}")
    return "bigint"


# ---------------------------------------------------------------- the expressions


def expression(node: Node) -> Expression:
    """Read an expression.

    Raises:
        QueryError: It has something in it that is not proved to be the same on all engines.
    """
    match node["name"]:
        case "AttributeReference":
            return Column(node["called"], type_name(node["dataType"]))
        case "GetStructField":
            return _inner(node)
        case "Literal":
            return Literal(node["value"], type_name(node["dataType"]))
        case "Cast":
            return _cast(expression(node["of"][0]), type_name(node["dataType"]))
        case name if name in _CALLS:
            of = tuple(map(expression, node["of"]))
            if "string" in (each.type for each in of) and _CALLS[name] in ("<", "<=", ">", ">="):
                raise refused("strings are compared, whose order is another on each engine")
            return Call(_CALLS[name], of, _type(_CALLS[name], [each.type for each in of]))
        case other:
            raise refused(f"the expression {other}")


def _inner(node: Node) -> Column:
    """Return what is inside a struct of the event."""
    places = []
    while node["name"] == "GetStructField":
        places.append(node["ordinal"])
        [node] = node["of"]
    if node["name"] != "AttributeReference":
        raise refused(f"a field of {node['name']}")
    kind, path = node["dataType"], [node["called"]]
    for place in reversed(places):
        field = kind["fields"][place]
        kind, path = field["type"], [*path, field["name"]]
    return Column(".".join(path), type_name(kind), tuple(path))


def _cast(of: Expression, to: str) -> Expression:
    """Return a cast to a type that has room for all values: what does not fit is another story on each engine."""
    if of.type == to:
        return of
    wide, narrow = _decimal(to), _decimal(of.type)
    if isinstance(of, Literal) and of.value is not None and (of.type in _ORDER or narrow) and wide:
        narrow = _digits(of.value)
    grows = of.type in _ORDER and to in _ORDER[_ORDER.index(of.type) :]
    fits = wide and narrow and wide[1] >= narrow[1] and wide[0] - wide[1] >= narrow[0] - narrow[1]
    whole = wide and of.type in _ORDER and wide[0] - wide[1] >= _OF_BIGINT
    if not (grows or fits or whole):
        raise refused(f"a cast from {of.type} to {to}, which not all values survive")
    return Cast(of, to)


def _digits(value: str) -> tuple[int, int] | None:
    """Return precision and scale of a number as text.

    >>> _digits("-10.50")
    (4, 2)
    """
    found = re.fullmatch(r"-?(\d+)(?:\.(\d+))?", value)
    return found and (len(found[1]) + len(found[2] or ""), len(found[2] or ""))


def _decimal(kind: str) -> tuple[int, int] | None:
    """Return precision and scale of a DECIMAL; None for another type."""
    found = re.fullmatch(r"decimal\((\d+),(\d+)\)", kind)
    return found and (int(found[1]), int(found[2]))


def _type(operator: str, of: Iterable[str]) -> str:
    """Return the type that Spark gives the result of an operator."""
    types = list(of)
    if operator in CHOICES:
        return types[0] if operator == "coalesce" else types[1]
    if operator in TEXT:
        if set(types) != {"string"} or (operator == "trim" and len(types) > 1):
            raise refused(f"{operator} of {', '.join(types)}")
        return {"concat": "string", "trim": "string", "length": "int"}.get(operator, "boolean")
    if operator not in ARITHMETIC:
        return "boolean"
    left, right = map(_decimal, types)
    if left and right:
        if operator == "*":
            digits, scale = left[0] + right[0] + 1, left[1] + right[1]
        else:
            scale = max(left[1], right[1])
            digits = max(left[0] - left[1], right[0] - right[1]) + scale + 1
        if digits <= _WIDEST:
            return f"decimal({digits},{scale})"
    raise refused(f"{types[0]} {operator} {types[1]}: only DECIMALs are computed with, and at most 38 digits")  # fmt: skip
