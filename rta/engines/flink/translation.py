"""A description as Flink SQL. Each result is computed in the type that Spark gives it.

Events come from a table whose format is `rta-json` (rta.jvm): beside an event's own columns it has `rta_us`, the event time in
microseconds since the epoch, and `rta_reason`, why the event is bad; a bad one has no other values. Groups are counted with GROUP BY over a
computed start of the window, not with Flink's window functions: these drop late events without a word, and keep the last windows of
a stream to themselves until a later event comes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Final

from rta.engines.contract.description import WINDOW, Aggregate, Derived, Description, Filter
from rta.engines.contract.expressions import Call, Cast, Column, Expression, Literal

EVENTS: Final = "events"
GOOD: Final = "`rta_reason` IS NULL AND NOT `rta_ahead`"
_TYPES: Final = {
    "string": "STRING", "boolean": "BOOLEAN", "tinyint": "TINYINT", "smallint": "SMALLINT", "int": "INT", "bigint": "BIGINT",
    "float": "FLOAT", "double": "DOUBLE", "date": "DATE", "timestamp": "TIMESTAMP_LTZ(6)",
}  # fmt: skip


def flink_type(kind: str) -> str | None:
    """Return Flink's name of one of Spark's types; None if a query on Flink cannot have it.

    >>> flink_type("timestamp"), flink_type("decimal(12,2)"), flink_type("array<int>")
    ('TIMESTAMP_LTZ(6)', 'DECIMAL(12,2)', None)
    """
    return kind.upper() if kind.startswith("decimal(") else _TYPES.get(kind)


def quoted(name: str) -> str:
    """Return an identifier as Flink reads it."""
    return "`" + name.replace("`", "``") + "`"


def text(value: str) -> str:
    """Return a text literal."""
    return "'" + value.replace("'", "''") + "'"


def latest(event_json: str) -> str:
    """Return the latest time that an event may claim, from when Kafka got its record.

    >>> latest('{"max_skew_ms": 300000}')
    "`rta_sent` + INTERVAL '300' SECOND(3)"
    """
    skew = str(json.loads(event_json)["max_skew_ms"] // 1000)
    return f"`rta_sent` + INTERVAL '{skew}' SECOND({max(2, len(skew))})"


def table(
    name: str, columns: Mapping[str, str], options: Mapping[str, str], *, more: str = ""
) -> str:
    """Return the statement that tells Flink of a table.

    Args:
        name: Its name.
        columns: name → the rest of its definition.
        options: Of its connector.
        more: What else stands among the columns: a key, a watermark.
    """
    parts = [f"{quoted(column)} {kind}" for column, kind in columns.items()]
    inside = ", ".join([*parts, more] if more else parts)
    told = ", ".join(f"{text(option)} = {text(value)}" for option, value in options.items())
    return f"CREATE TEMPORARY TABLE {quoted(name)} ({inside}) WITH ({told})"


def select(query: Description) -> str:
    """Return the query whose rows are the results: window_start and window_end in microseconds since the epoch, keys, aggregates.

    >>> from rta.engines.contract import Aggregate, Window
    >>> print(select(Description({}, (), Window("at", 60_000, 60_000), ("page",), (Aggregate("n", "count", None, "bigint"),), {}, {})))
    SELECT `window_start`, `window_start` + 60000000 AS `window_end`, `page`, CAST(COUNT(*) AS BIGINT) AS `n`
    FROM (SELECT *, `rta_us` - MOD(MOD(`rta_us`, 60000000) + 60000000, 60000000) AS `window_start`
    FROM (SELECT * FROM `events` WHERE `rta_reason` IS NULL AND NOT `rta_ahead`))
    GROUP BY `window_start`, `page`
    """
    rows = _windowed(query, _stepped(query))
    keys = [quoted(key) for key in query.keys]
    made = [f"{aggregate(each)} AS {quoted(each.name)}" for each in query.aggregates]
    end = f"`window_start` + {query.window.size_ms * 1000} AS `window_end`"
    return f"SELECT {', '.join(['`window_start`', end, *keys, *made])}\nFROM ({rows})\nGROUP BY {', '.join(['`window_start`', *keys])}"


def aggregate(each: Aggregate) -> str:
    """Return an aggregate in the type that Spark gives it."""
    of = "*" if each.of is None else sql(each.of)
    kind = flink_type(each.type)
    if each.function != "avg":
        return f"CAST({each.function.upper()}({of}) AS {kind})"
    # Flink's AVG of DECIMALs keeps the scale of the values: the quotient is computed as Spark does it, and rounded once.
    return f"CAST(CAST(SUM({of}) AS DECIMAL(38, {_scale(each.type)})) / COUNT({of}) AS {kind})"


def sql(value: Expression) -> str:
    """Return an expression."""
    match value:
        case Column(name):
            return quoted(name)
        case Literal(None, kind):
            return f"CAST(NULL AS {flink_type(kind)})"
        case Literal(told, kind):
            return text(str(told)) if kind == "string" else f"CAST({_constant(str(told), kind)} AS {flink_type(kind)})"  # fmt: skip
        case Cast(of, kind):
            return f"CAST({sql(of)} AS {flink_type(kind)})"
        case Call(operator, of, kind):
            return _call(operator, [sql(each) for each in of], kind)


_FORMS: Final = {
    "not": "(NOT {0})", "isnull": "({0} IS NULL)", "isnotnull": "({0} IS NOT NULL)", "contains": "(POSITION({1} IN {0}) > 0)",
    "startswith": "STARTSWITH({0}, {1})", "endswith": "ENDSWITH({0}, {1})", "length": "CHAR_LENGTH({0})", "trim": "TRIM({0})",
}  # fmt: skip


def _call(operator: str, of: Sequence[str], kind: str) -> str:
    if operator in _FORMS:
        return _FORMS[operator].format(*of)
    match operator:
        case "coalesce":
            return f"COALESCE({', '.join(of)})"
        case "if" | "case":
            pairs = "".join(f" WHEN {when} THEN {then}" for when, then in zip(of[::2], of[1::2], strict=False))  # fmt: skip
            other = f" ELSE {of[-1]}" if len(of) % 2 else ""
            return f"(CASE{pairs}{other} END)"
        case "in":
            return f"({of[0]} IN ({', '.join(of[1:])}))"
        case "+" | "-" | "*":
            return f"CAST(({of[0]} {operator} {of[1]}) AS {flink_type(kind)})"
    between = "||" if operator == "concat" else operator.upper()
    return f"({f' {between} '.join(of)})"


def _constant(told: str, kind: str) -> str:
    """Return a constant that is not text: a number or a truth as it is, anything else as text that is cast."""
    plain = re.fullmatch(r"-?\d+(\.\d+)?|true|false", told)
    return told if plain and kind not in ("timestamp", "date") else text(told)


def _scale(kind: str) -> int:
    return int(kind.rstrip(")").partition(",")[2])


def _stepped(query: Description) -> str:
    """Return the query for the good events with the derived columns, filtered, one step inside the other."""
    rows, names = f"SELECT * FROM {quoted(EVENTS)} WHERE {GOOD}", ["rta_us", *query.fields]  # noqa: S608 - names are quoted
    for step in query.steps:
        match step:
            case Derived(name, value):
                kept = [each for each in names if each != name]
                rows = f"SELECT {', '.join(map(quoted, kept))}, {sql(value)} AS {quoted(name)} FROM ({rows})"  # noqa: S608
                names = [*kept, name]
            case Filter(condition):
                rows = f"SELECT * FROM ({rows}) WHERE {sql(condition)}"  # noqa: S608
    return rows


def _windowed(query: Description, rows: str) -> str:
    """Return the query that gives each row its window, or each of its windows if they hop."""
    size, slide = query.window.size_ms * 1000, query.window.slide_ms * 1000
    # MOD has the sign of its first argument: before 1970, too, a window begins before its events.
    start = f"`rta_us` - MOD(MOD(`rta_us`, {slide}) + {slide}, {slide})"
    if size == slide:
        return f"SELECT *, {start} AS `{WINDOW}_start`\nFROM ({rows})"
    copies = ", ".join(str(number * slide) for number in range(-(-size // slide)))
    hops = f"SELECT *, {start} - `rta_back` AS `{WINDOW}_start`\nFROM ({rows}) CROSS JOIN UNNEST(ARRAY[{copies}]) AS `rta_hops` (`rta_back`)"
    return f"SELECT * FROM ({hops}) WHERE `rta_us` < `{WINDOW}_start` + {size}"  # noqa: S608
