"""Flink SQL by hand over topics by name: what Spark's SQL does not have, such as MATCH_RECOGNIZE for patterns."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from rta.engines.flink import cluster
from rta.engines.flink.gateway import Answer
from rta.engines.flink.translation import flink_type, latest, quoted, table
from rta.errors import InputError
from rta.events.event_types import EventType, event_type
from rta.events.strict_json import event_json
from rta.kafka import client, topics
from rta.progress import waiting

if TYPE_CHECKING:
    import pandas as pd


def sql(
    text: str,
    *,
    events: Sequence[EventType] = (),
    max_skew: str = "5 minutes",
) -> pd.DataFrame:
    """Run a query in Flink SQL over what is in topics now.

    A topic's name is a table of its good events; a name that is no SQL identifier stands in backticks. The query runs as a batch: events
    are in the order of their event time, however they arrived. That time has milliseconds here, since Flink orders by no finer one.

    Args:
        text: The query.
        events: The types of the topics' events: that of the topic's name, or the one that is given; by default those that rta knows.
        max_skew: How far an event may be ahead of its record.

    Returns:
        The rows, each column in its type: DECIMAL as decimal.Decimal, times in UTC.

    Raises:
        InputError: The query names no topic.
        QueryError: Flink refuses it, in Flink's own words.

    Example:
        >>> sql("SELECT 1")
        Traceback (most recent call last):
        rta.errors.InputError: the query reads no topic; fix: name one: SELECT * FROM `user-events`
    """
    kinds = {name: _event(name, events) for name in named(text, [each.name for each in topics.list_topics()])}  # fmt: skip
    if not kinds:
        raise InputError("the query reads no topic", fix="name one: SELECT * FROM `user-events`")
    with waiting("Flink SQL"):
        running = cluster.up()
        properties = {"execution.runtime-mode": "batch", "parallelism.default": "1"}
        with cluster.opened(running, properties) as session:
            for name, kind in kinds.items():
                for statement in views(name, kind, max_skew):
                    session.sql(statement)
            return frame(session.sql(text.strip().rstrip(";")))


def named(text: str, known: Sequence[str]) -> list[str]:
    """Return the topics that a query names.

    >>> named("SELECT * FROM `user-events` u JOIN flights f ON true", ["user-events", "flights", "events", "flight"])
    ['user-events', 'flights']
    """
    plain = re.sub(r"'(?:[^']|'')*'", "''", text)
    ticked = set(re.findall(r"`([^`]+)`", plain))
    words = set(re.findall(r"\w+", re.sub(r"`[^`]+`", " ", plain)))
    return [name for name in known if name in ticked or name in words]


def views(name: str, kind: EventType, max_skew: str) -> tuple[str, str]:
    """Return the statements that make a topic's good events a view of its name."""
    for each in kind.schema:
        if flink_type(each.dataType.simpleString()) is None:
            raise InputError(f"Flink SQL by hand reads flat events, and {each.name!r} of {name!r} is none", found=each.dataType.simpleString(), fix="give an EventType without it")  # fmt: skip
    raw, told = f"{name}.raw", event_json(kind, max_skew)
    columns = {each.name: str(flink_type(each.dataType.simpleString())) for each in kind.schema}
    columns[kind.event_time] = "TIMESTAMP_LTZ(3)"
    time = quoted(kind.event_time)
    more = {
        "rta_reason": "STRING", "rta_sent": "TIMESTAMP_LTZ(3) METADATA FROM 'timestamp' VIRTUAL",
    }  # fmt: skip
    options = {
        "connector": "kafka", "topic": name, "properties.group.id": f"{name}.sql.{uuid4().hex[:8]}",
        **client.java_options("properties."),
        "scan.startup.mode": "earliest-offset", "scan.bounded.mode": "latest-offset", "format": "rta-json",
        "rta-json.event": told,
    }  # fmt: skip
    # A watermark makes the column an event time; a batch sorts by it.
    source = table(raw, columns | more, options, more=f"WATERMARK FOR {time} AS {time}")
    good = f"`rta_reason` IS NULL AND {time} <= {latest(told)}"
    view = f"CREATE TEMPORARY VIEW {quoted(name)} AS SELECT {', '.join(map(quoted, kind.columns))} FROM {quoted(raw)} WHERE {good}"  # noqa: S608 - quoted
    return source, view


def _event(name: str, events: Sequence[EventType]) -> EventType:
    """Return the type of a topic's events: the one of its name, the only one that is given, or one that rta knows."""
    named_so = [each for each in events if each.name == name]
    if named_so:
        return named_so[0]
    return events[0] if len(events) == 1 else event_type(name)


def frame(answer: Answer) -> pd.DataFrame:
    """Return Flink's answer as a pandas DataFrame, each column in its type."""
    import pandas as pd

    made = pd.DataFrame(answer.rows, columns=list(answer.columns))
    for name, kind in zip(answer.columns, answer.types, strict=True):
        made[name] = _typed(made[name], kind)
    return made


def _typed(column: Any, kind: Mapping[str, Any]) -> Any:
    import pandas as pd

    match kind["type"]:
        case "DECIMAL":  # the gateway writes 684.1 for 684.10
            step = Decimal(1).scaleb(-int(kind["scale"]))
            return column.map(lambda value: None if value is None else Decimal(value).quantize(step))  # fmt: skip
        case "TIMESTAMP_WITHOUT_TIME_ZONE" | "TIMESTAMP_WITH_LOCAL_TIME_ZONE":
            return pd.to_datetime(column, utc=True, format="ISO8601")
        case "FLOAT" | "DOUBLE":
            return column.map(lambda value: None if value is None else float(value)).astype("float64")  # fmt: skip
    return column
