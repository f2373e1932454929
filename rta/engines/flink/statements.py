"""The statements of one job: its source, its three sinks, and what it inserts into each.

    events ─┬─ results   upsert: the newest row of each group
            ├─ counts    upsert: for each partition how far it was read, and where its events went
            └─ bad       append: place and reason of each bad event

All three are in Kafka's transactions, which end with a checkpoint: a reader of committed records sees each group, each count and each bad
event exactly once, whatever was killed meanwhile.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from rta.engines.contract.description import WINDOW, Derived, Description, Session
from rta.engines.contract.expressions import NULLS, Call, Cast, Column, Expression, Literal
from rta.engines.contract.outputs import BAD, COUNTS, END, START
from rta.engines.flink.translation import EVENTS, flink_type, latest, quoted, select, table
from rta.errors import QueryError
from rta.events.event_types import EventType
from rta.events.type_checks import KAFKA_TIME

_MICROS: Final = "ROW<`start` BIGINT, `end` BIGINT>"
_APPEND: Final = {"connector": "kafka", "format": "json"}
_UPSERT: Final = {
    "connector": "upsert-kafka", "key.format": "json", "value.format": "json", "value.json.encode.decimal-as-plain-number": "true",
    "key.json.encode.decimal-as-plain-number": "true",
}  # fmt: skip
_METADATA: Final = {
    "rta_partition": "INT METADATA FROM 'partition' VIRTUAL",
    "rta_offset": "BIGINT METADATA FROM 'offset' VIRTUAL",
    "rta_sent": "TIMESTAMP_LTZ(3) METADATA FROM 'timestamp' VIRTUAL",
}


@dataclass(frozen=True)
class Wiring:
    """What a job reads and writes.

    Args:
        topic: The topic of the events.
        results: The topic of the results; those of counts and bad events are named after it.
        event: The type of the events.
        event_json: The same, as the format `rta-json` reads it.
        kafka: Kafka's own properties, for all of them.
        timeout_ms: How long a transaction of Kafka may stay open.
        starting: Where the source begins without a state: "earliest", "latest", or partition → offset.
    """

    topic: str
    results: str
    event: EventType
    event_json: str
    kafka: Mapping[str, str]
    timeout_ms: int
    starting: str | Mapping[int, int] = "earliest"


def unsupported(query: Description, event: EventType) -> str | None:
    """Return why Flink cannot run a query; None if it can.

    >>> unsupported(rta.engines.contract.described(rta.transforms.totals, rta.USER_EVENTS), rta.USER_EVENTS)
    """
    if event.event_time == KAFKA_TIME:
        return "the event time is Kafka's own"
    if query.window.column != event.event_time:
        return f"its window is not of the event time, {event.event_time}"
    strange = [name for name, kind in query.fields.items() if flink_type(kind) is None]
    if strange:
        return f"the column {strange[0]} has the type {query.fields[strange[0]]}"
    values = dict.fromkeys(event.required, True) | {step.name: never_null(step.value, event) for step in query.steps if isinstance(step, Derived)}  # fmt: skip
    null = [key for key in query.keys if not values.get(key)]
    if null:
        return f"the key {null[0]} may be null: declare it NOT NULL in the event type, or give it a default with coalesce"
    return None


def never_null(value: Expression, event: EventType) -> bool:
    """Tell whether a value is there for each good event."""
    match value:
        case Column(name):
            return name in event.required
        case Literal(told, _):
            return told is not None
        case Cast(of, _):
            return never_null(of, event)
        case Call(operator, of, _):
            there = [never_null(each, event) for each in of]
            if operator in ("case", "if"):  # conditions may be null, which is not true
                return len(of) % 2 == 1 and all([*there[1::2], there[-1]])
            return operator in NULLS or (any(there) if operator == "coalesce" else all(there))


def statements(query: Description, wired: Wiring) -> tuple[str, ...]:
    """Return what Flink is told, in order; the last one starts the job.

    Raises:
        QueryError: Flink cannot run the query.
    """
    if (why := unsupported(query, wired.event)) is not None:
        raise QueryError("this analysis does not run on Flink", found=why, fix='use engine="spark", or change it')  # fmt: skip
    inserts = (_results(query), _counts(), _bad())
    whole = "EXECUTE STATEMENT SET BEGIN\n" + "".join(f"{each};\n" for each in inserts) + "END"
    return (_source(query, wired), *_sinks(query, wired), whole)


def _source(query: Description, wired: Wiring) -> str:
    own = {name: str(flink_type(kind)) for name, kind in query.fields.items()}
    ahead = f"AS (`{wired.event.event_time}` > {latest(wired.event_json)})"
    columns = own | {"rta_reason": "STRING", "rta_us": "BIGINT"} | _METADATA | {"rta_ahead": ahead}
    options = {
        "connector": "kafka", "topic": wired.topic, **wired.kafka, "properties.group.id": wired.results,
        "scan.topic-partition-discovery.interval": "5 s", **_begin(wired.starting),
        "format": "rta-json", "rta-json.event": wired.event_json,
    }  # fmt: skip
    return table(EVENTS, columns, options)


def _begin(starting: str | Mapping[int, int]) -> dict[str, str]:
    if isinstance(starting, str):  # an offset that Kafka has deleted is an error, not a jump
        return {"scan.startup.mode": f"{starting}-offset", "properties.auto.offset.reset": "none"}
    places = ";".join(f"partition:{partition},offset:{offset}" for partition, offset in starting.items())  # fmt: skip
    return {
        "scan.startup.mode": "specific-offsets",
        "scan.startup.specific-offsets": places,
        "properties.auto.offset.reset": "earliest",
    }


def _sinks(query: Description, wired: Wiring) -> tuple[str, str, str]:
    keys = _key_columns(query)
    groups = dict.fromkeys(_of_window(query), "BIGINT NOT NULL") | {name: f"{flink_type(_type_of(query, key))} NOT NULL" for key, name in keys.items()}  # fmt: skip
    types = {name: _MICROS if old == WINDOW else str(flink_type(query.columns[name])) for name, old in query.taken.items()}  # fmt: skip
    counted = {"partition": "INT NOT NULL"} | dict.fromkeys(("next", "consumed", "used", "late", "quarantined"), "BIGINT")  # fmt: skip
    told = {"partition": "INT", "offset": "BIGINT", "reason": "STRING"}
    return (
        _sink("results", types | groups, wired.results, wired, key=groups),
        _sink("counts", counted, wired.results + COUNTS, wired, key=["partition"]),
        _sink("bad", told, wired.results + BAD, wired),
    )


def _sink(name: str, columns: Mapping[str, str], topic: str, wired: Wiring, *, key: Iterable[str] = ()) -> str:  # fmt: skip
    """Return a table that is a topic; with a key, the newest record of each is its row. Flink does not check the key."""
    primary = ", ".join(map(quoted, key))
    options = {
        "topic": topic,
        "sink.transactional-id-prefix": f"{topic}.{name}",  # none begins with another
        **wired.kafka, "sink.delivery-guarantee": "exactly-once", "properties.transaction.timeout.ms": str(wired.timeout_ms),
        **(_UPSERT if primary else _APPEND),
    }  # fmt: skip
    return table(name, columns, options, more=f"PRIMARY KEY ({primary}) NOT ENFORCED" if primary else "")  # fmt: skip


def _of_window(query: Description) -> dict[str, str]:
    """Return what a window adds to the key of the results → where it comes from. A session's end changes, and then it is another row."""
    ends = {END: "`window_end`"} if isinstance(query.window, Session) else {}
    return {START: "`window_start`"} | ends


def _key_columns(query: Description) -> dict[str, str]:
    """Return key → its column in the results; one of its own if the result leaves the key out."""
    shown = {old: name for name, old in query.taken.items()}
    return {key: shown.get(key, f"rta_key_{number}") for number, key in enumerate(query.keys)}


def _type_of(query: Description, key: str) -> str:
    made = {step.name: step.value.type for step in query.steps if isinstance(step, Derived)}
    return made.get(key) or query.fields[key]


def _results(query: Description) -> str:
    keys = _key_columns(query)
    columns = _of_window(query) | {name: quoted(key) for key, name in keys.items()}
    for name, old in query.taken.items():
        columns[name] = "ROW(`window_start`, `window_end`)" if old == WINDOW else quoted(old)
    names = ", ".join(map(quoted, columns))
    values = ", ".join(columns.values())
    return f"INSERT INTO `results` ({names}) SELECT {values} FROM ({select(query)})"  # noqa: S608 - names are quoted


def _counts() -> str:
    """Count the events of each partition. Each term is counted on its own: none is what the others leave."""
    terms = {
        "consumed": "COUNT(*)",
        "used": "COUNT(CASE WHEN `rta_reason` IS NULL AND NOT `rta_ahead` THEN 1 END)",
        "late": "CAST(0 AS BIGINT)",
        "quarantined": "COUNT(CASE WHEN `rta_reason` IS NOT NULL OR `rta_ahead` THEN 1 END)",
    }
    return f"INSERT INTO `counts` SELECT `rta_partition`, MAX(`rta_offset`) + 1, {', '.join(terms.values())} FROM `{EVENTS}` GROUP BY `rta_partition`"  # noqa: S608


def _bad() -> str:
    return f"INSERT INTO `bad` SELECT `rta_partition`, `rta_offset`, COALESCE(`rta_reason`, 'ahead') FROM `{EVENTS}` WHERE `rta_reason` IS NOT NULL OR `rta_ahead`"  # noqa: S608


def fingerprint(query: Description, wired: Wiring) -> str:
    """Return what must be the same for a state to go on: the query and where its events come from."""
    return json.dumps([query.as_json(), wired.topic, json.loads(wired.event_json)], sort_keys=True)
