"""A description as Flink SQL. Each result is computed in the type that Spark gives it.

Events come from a table whose format is `rta-json` (rta.jvm): beside an event's own columns it has `rta_us`, the event time in
microseconds since the epoch, and `rta_reason`, why the event is bad; a bad one has no other values. Groups are counted with GROUP BY over a
computed start of the window, not with Flink's window functions: these drop late events without a word, and keep the last windows of
a stream to themselves until a later event comes.

The start of a session is computed, too. Time is cut into spans as long as the gap: what is in one span is in one session, and a session
goes on from one span into the next if the gap between its last event there and the first one here is not longer than allowed. Each
event is counted in its span, and is told to the next one. So a span knows whether a session begins with it, and the newest such begin
up to a span is the start of its session; there is none for a moment while Flink puts another row in place of the first. An event that
comes between two sessions changes the start of the second: its row goes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Final

from rta.engines.contract.description import (
    WINDOW,
    Aggregate,
    Derived,
    Description,
    Filter,
    Session,
    Window,
)
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
    if isinstance(query.window, Session):
        return _sessions(query, query.window)
    rows = _windowed(query.window, _stepped(query))
    keys = [quoted(key) for key in query.keys]
    made = [f"{aggregate(each)} AS {quoted(each.name)}" for each in query.aggregates]
    end = f"`window_start` + {query.window.size_ms * 1000} AS `window_end`"
    return f"SELECT {', '.join(['`window_start`', end, *keys, *made])}\nFROM ({rows})\nGROUP BY {', '.join(['`window_start`', *keys])}"


def aggregate(each: Aggregate) -> str:
    """Return an aggregate in the type that Spark gives it."""
    of = "*" if each.of is None else sql(each.of)
    if each.function != "avg":
        return f"CAST({each.function.upper()}({of}) AS {flink_type(each.type)})"
    return _mean(f"SUM({of})", f"COUNT({of})", each.type)


def _mean(total: str, count: str, kind: str) -> str:
    """Return a mean. Flink's AVG of DECIMALs keeps the scale of the values: the quotient is computed as Spark does it, and rounded once."""
    return f"CAST(CAST({total} AS DECIMAL(38, {_scale(kind)})) / {count} AS {flink_type(kind)})"


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


def _begin(every: int) -> str:
    """Return the newest multiple of so many microseconds that is not after the event."""
    # MOD has the sign of its first argument: before 1970, too, a window begins before its events.
    return f"`rta_us` - MOD(MOD(`rta_us`, {every}) + {every}, {every})"


def _windowed(window: Window, rows: str) -> str:
    """Return the query that gives each row its window, or each of its windows if they hop."""
    size, slide = window.size_ms * 1000, window.slide_ms * 1000
    if window.tumbles:
        return f"SELECT *, {_begin(slide)} AS `{WINDOW}_start`\nFROM ({rows})"
    hops = _copied(rows, _begin(slide), [-number * slide for number in range(-(-size // slide))], f"{WINDOW}_start")  # fmt: skip
    return f"SELECT * FROM ({hops}) WHERE `rta_us` < `{WINDOW}_start` + {size}"  # noqa: S608


def _copied(rows: str, begin: str, steps: Sequence[int], name: str) -> str:
    """Return the query that gives a row once for each step, with the begin and the step added up as a column."""
    # What depends on the row is unfolded where the row is; constants would be joined, by one task that keeps all rows for ever.
    copies = ", ".join(f"`rta_begin` + {step}" if step >= 0 else f"`rta_begin` - {-step}" for step in steps)  # fmt: skip
    return f"SELECT *\nFROM (SELECT *, {begin} AS `rta_begin` FROM ({rows})) CROSS JOIN UNNEST(ARRAY[{copies}]) AS `rta_copies` (`{name}`)"  # noqa: S608 - names are quoted


_HERE: Final = "FILTER (WHERE `rta_span` <= `rta_us`)"
_NEXT: Final = "FILTER (WHERE `rta_span` > `rta_us`)"


def _sessions(query: Description, window: Session) -> str:
    """Return the query whose rows are sessions.

    >>> print(select(Description({}, (), Session("at", 60_000), ("page",), (Aggregate("n", "count", None, "bigint"),), {}, {})))
    SELECT `window_start`, ARRAY_MAX(ARRAY_AGG(`rta_last`) FILTER (WHERE `rta_last` IS NOT NULL)) + 60000000 AS `window_end`, `page`, CAST(SUM(`rta_0`) AS BIGINT) AS `n`
    FROM (SELECT *, MAX(CASE WHEN `rta_before` IS NULL OR `rta_first` - `rta_before` > 60000000 THEN `rta_first` END)
      OVER (PARTITION BY `page` ORDER BY `rta_span` ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS `window_start`
    FROM (SELECT `rta_span`, `page`, MIN(`rta_us`) FILTER (WHERE `rta_span` <= `rta_us`) AS `rta_first`,
      MAX(`rta_us`) FILTER (WHERE `rta_span` <= `rta_us`) AS `rta_last`, MAX(`rta_us`) FILTER (WHERE `rta_span` > `rta_us`) AS `rta_before`,
      COUNT(*) FILTER (WHERE `rta_span` <= `rta_us`) AS `rta_0`
    FROM (SELECT *
    FROM (SELECT *, `rta_us` - MOD(MOD(`rta_us`, 60000000) + 60000000, 60000000) AS `rta_begin` FROM (SELECT * FROM `events` WHERE `rta_reason` IS NULL AND NOT `rta_ahead`)) CROSS JOIN UNNEST(ARRAY[`rta_begin` + 0, `rta_begin` + 60000000]) AS `rta_copies` (`rta_span`))
    GROUP BY `rta_span`, `page`) WHERE `rta_first` IS NOT NULL) WHERE `window_start` IS NOT NULL
    GROUP BY `window_start`, `page`
    """
    gap, keys = window.gap_ms * 1000, ", ".join(map(quoted, query.keys))
    parts, wholes = [], []
    for number, each in enumerate(query.aggregates):
        made, whole = _in_parts(each, f"rta_{number}")
        parts += made
        wholes.append(f"{whole} AS {quoted(each.name)}")
    spans = f"""SELECT `rta_span`, {keys}, MIN(`rta_us`) {_HERE} AS `rta_first`,
  MAX(`rta_us`) {_HERE} AS `rta_last`, MAX(`rta_us`) {_NEXT} AS `rta_before`,
  {", ".join(parts)}
FROM ({_copied(_stepped(query), _begin(gap), (0, gap), "rta_span")})
GROUP BY `rta_span`, {keys}"""  # noqa: S608 - names are quoted
    begins = f"""SELECT *, MAX(CASE WHEN `rta_before` IS NULL OR `rta_first` - `rta_before` > {gap} THEN `rta_first` END)
  OVER (PARTITION BY {keys} ORDER BY `rta_span` ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS `window_start`
FROM ({spans}) WHERE `rta_first` IS NOT NULL"""  # noqa: S608 - names are quoted
    return f"""SELECT `window_start`, {_extreme("max", "rta_last")} + {gap} AS `window_end`, {", ".join([keys, *wholes])}
FROM ({begins}) WHERE `window_start` IS NOT NULL
GROUP BY `window_start`, {keys}"""  # noqa: S608 - names are quoted


def _in_parts(each: Aggregate, name: str) -> tuple[list[str], str]:
    """Return what is computed of an aggregate in each span, and how it is put together."""
    of, kind = "*" if each.of is None else sql(each.of), flink_type(each.type)
    if each.function == "avg":
        count = f"{name}_count"
        made = [f"SUM({of}) {_HERE} AS {quoted(name)}", f"COUNT({of}) {_HERE} AS {quoted(count)}"]
        return made, _mean(f"SUM({quoted(name)})", f"SUM({quoted(count)})", each.type)
    whole = _extreme(each.function, name) if each.function in ("min", "max") else f"SUM({quoted(name)})"  # fmt: skip
    return [f"{each.function.upper()}({of}) {_HERE} AS {quoted(name)}"], f"CAST({whole} AS {kind})"


def _extreme(function: str, name: str) -> str:
    """Return the smallest or largest of the spans of a session, which an event may divide otherwise.

    Flink's planner takes what OVER gives for constant (2.2.1), and so its MIN and MAX after it never take anything back.
    """
    return f"ARRAY_{function.upper()}(ARRAY_AGG({quoted(name)}) FILTER (WHERE {quoted(name)} IS NOT NULL))"
