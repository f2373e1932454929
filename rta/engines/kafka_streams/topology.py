"""A description as the topology of Kafka Streams: what the program reads, and what a person reads of it."""

from __future__ import annotations

import json
import subprocess
from typing import Any

from rta.engines.contract.description import Aggregate, Derived, Description, Filter, Session
from rta.engines.contract.expressions import Call, Cast, Column, Expression, Literal
from rta.errors import QueryError
from rta.events.event_types import EventType
from rta.events.strict_json import event_json
from rta.jvm import engines_jar
from rta.setup.java import find_java


def told(query: Description, event: EventType, max_skew: str = "5 minutes") -> dict[str, Any]:
    """Return the query and its events as the program reads them."""
    return {
        "query": query.as_json(),
        "event": json.loads(event_json(event, max_skew, query.paths)),
        "message_key": event.key,
    }


def unsupported(query: Description, event: EventType) -> str | None:
    """Return why Kafka Streams cannot run a query; None if it can. The program itself is asked: a JVM starts for a moment.

    >>> from rta.engines.contract import Aggregate, Window
    >>> count = (Aggregate("n", "count", None, "bigint"),)
    >>> columns = {"window": "struct", "action": "string", "n": "bigint"}
    >>> unsupported(Description({}, (), Window("timestamp", 60_000, 60_000), ("action",), count, columns, {}), rta.USER_EVENTS)
    'the keys of the groups do not contain user_id, which is the message key'
    """
    if isinstance(query.window, Session):
        return "a session window, since there is no watermark that closes one"
    if event.key is None:
        return f"the events of {event.name!r} have no message key, so those of a group may be on several partitions"
    command = [str(find_java().executable), "-XX:TieredStopAtLevel=1", "-cp", str(engines_jar()), "rta.Check"]  # fmt: skip
    asked = subprocess.run(
        command, input=json.dumps(told(query, event)).encode(), capture_output=True, check=False
    )
    if asked.returncode:
        raise QueryError("the query cannot be checked", found=asked.stderr.decode()[-400:], fix="see `rta doctor`")  # fmt: skip
    return asked.stdout.decode().strip() or None


def definition(query: Description, event: EventType) -> str:
    """Return the topology as a person reads it.

    >>> from rta.engines.contract import Aggregate, Window
    >>> count = (Aggregate("n", "count", None, "bigint"),)
    >>> columns = {"window": "struct", "user_id": "bigint", "n": "bigint"}
    >>> print(definition(Description({}, (), Window("timestamp", 60_000, 60_000), ("user_id",), count, columns, {}), rta.USER_EVENTS))
    source    events: each partition of user-events, by one task
    processor windows of timestamp: size 60 s
              group by window, user_id (the message key is user_id: no repartition topic)
              n = count(*) as bigint
    store     groups: RocksDB, with a changelog topic
    store     counts: consumed, used, late, quarantined of each partition, with a changelog topic
    sinks     rows, counts, bad events: in the transaction of the offsets (exactly_once_v2)
    """
    late = f", grace {query.watermark.delay_ms / 1000:g} s" if query.watermark else ""
    steps = [f"{each.name} = {text(each.value)}" for each in query.steps if isinstance(each, Derived)]  # fmt: skip
    steps += [f"where {text(each.condition)}" for each in query.steps if isinstance(each, Filter)]
    lines = [
        f"windows of {query.window.column}: {query.window.told}{late}",
        f"group by {', '.join(['window', *query.keys])} (the message key is {event.key}: no repartition topic)",
        *(f"{each.name} = {_aggregate(each)}" for each in query.aggregates),
    ]
    return "\n".join(
        [
            f"source    events: each partition of {event.name}, by one task",
            *_under("processor", [*steps, *lines]),
            "store     groups: RocksDB, with a changelog topic",
            "store     counts: consumed, used, late, quarantined of each partition, with a changelog topic",
            "sinks     rows, counts, bad events: in the transaction of the offsets (exactly_once_v2)",
        ]
    )


def _under(word: str, lines: list[str]) -> list[str]:
    return [f"{word if not number else '':10}{line}" for number, line in enumerate(lines)]


def _aggregate(each: Aggregate) -> str:
    return f"{each.function}({'*' if each.of is None else text(each.of)}) as {each.type}"


def text(value: Expression) -> str:
    """Return an expression as a person reads it.

    >>> text(Call("<", (Column("amount", "int"), Cast(Literal("5", "int"), "bigint")), "boolean"))
    '(amount < cast(5 as bigint))'
    """
    match value:
        case Column(name):
            return name
        case Literal(told_, kind):
            return "null" if told_ is None else repr(told_) if kind == "string" else told_
        case Cast(of, kind):
            return f"cast({text(of)} as {kind})"
        case Call(operator, of, _):
            inside = [text(each) for each in of]
            infix = not operator.isalpha() or operator in ("and", "or")
            return f"({f' {operator} '.join(inside)})" if infix else f"{operator}({', '.join(inside)})"  # fmt: skip
