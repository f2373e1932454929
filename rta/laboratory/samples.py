"""Events for experiments, made from the newest good ones of the topic, so that they fit its event type."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import cycle, islice
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from rta.dataframes.sources import observed, parsed_batch, read_batch, read_stream
from rta.dataframes.starting_offsets import between
from rta.engines.spark.duplicates import deduplicates
from rta.engines.spark.lateness import LateRule, late_rows
from rta.errors import InputError, TopicError
from rta.events.json_format import json_text
from rta.kafka import topics
from rta.kafka.delivery_report import Deliveries
from rta.kafka.paced import bounded_producer
from rta.laboratory.experiments import HEADER, active
from rta.monitor.vitals import of_progress
from rta.store import ledger

if TYPE_CHECKING:
    from rta.engines.spark.starting import Request

Record = tuple[bytes | None, bytes | None]
"""A key and a value."""
_BACK: Final = 500  # records of each partition that are looked at
_PATIENCE: Final = 60.0  # seconds that Kafka may take for an acknowledgement
_SOON: Final = 10.0  # seconds that the first watermark may take
_ID: Final = "event_id"
BROKEN: Final[Sequence[Callable[[bytes], bytes]]] = (
    lambda value: value[: len(value) // 2],  # cut short
    lambda value: value + value,  # a second object after the first
    lambda value: b"[" + value + b"]",
    lambda value: b"\xef\xbb\xbf" + value,  # a byte order mark
    lambda value: value[:-1] + b"\xff" + value[-1:],  # no UTF-8
    lambda _: b"",
)


@dataclass(frozen=True)
class Sample:
    """A good event of the topic: its record, and its columns."""

    key: bytes | None
    value: bytes
    fields: Mapping[str, Any]


def newest(asked: Request) -> list[Sample]:
    """Read the newest good events of the topic, the newest event time first.

    Raises:
        TopicError: If there is none.
    """
    from pyspark.sql import functions as F

    topic, event = topics.description(asked.topic), asked.event
    start = {p: max(first, end - _BACK) for p, (first, end) in topic.ranges.items()}
    read = parsed_batch(topic.name, event, asked.max_skew, options=between(topic, start, "latest"))
    good = (
        observed(read, f"{topic.name}:newest")
        .where("reason IS NULL")
        .orderBy(F.desc(event.event_time))
        .limit(_BACK)
    )
    rows = good.select("key", "value", *event.columns).toArrow().to_pylist()
    if not rows:
        raise TopicError(
            f"topic {topic.name!r} has no good event to make others from", found=f"its newest {_BACK} records of each partition",
            fix="publish some first",
        )  # fmt: skip
    return [Sample(row.pop("key"), row.pop("value"), row) for row in rows]


def fresh(asked: Request, many: int) -> list[Record]:
    """Make new events: a new id each, and times after the newest one."""
    found = newest(asked)
    keys = {key for each in deduplicates(asked.transform(_static(asked))) for key in each.keys}
    new = {c.name for c in asked.event.schema if c.dataType.typeName() == "string"} & {_ID, *keys}
    if keys and not keys & {*new, asked.event.event_time}:
        raise InputError("no new events can be made: the transform would take them for copies", found=f"it knows events by {', '.join(sorted(keys))}", fix="give an id that is a text")  # fmt: skip
    after = max(found[0].fields[asked.event.event_time], watermark(asked) or datetime.min.replace(tzinfo=UTC))  # fmt: skip
    return _made(asked, found, new, (after + timedelta(microseconds=n + 1) for n in range(many)))


def late(asked: Request, many: int, by: timedelta) -> list[Record]:
    """Make new events whose time is behind the watermark.

    Raises:
        InputError: If there is no watermark, or they would not be late.
    """
    rule = LateRule.of(read_stream(asked.topic, event=asked.event).transform(asked.transform))
    deadline = time.monotonic() + _SOON
    while (now := watermark(asked)) is None and rule and time.monotonic() < deadline:
        time.sleep(0.05)  # Spark moves the watermark in the batch after the first
    if rule is None or now is None:
        raise InputError(
            f"no event of table {asked.table!r} can be late", found="no watermark yet" if rule else "a transform that drops nothing by event time",
            fix="process more events first" if rule else "give the transform a watermark: withWatermark(…)",
        )  # fmt: skip
    found, when = newest(asked), now - by
    places = (asked.topic, 0, 0, when)
    rows = [(*{**each.fields, asked.event.event_time: when}.values(), *places) for each in islice(cycle(found), many)]  # fmt: skip
    static = _static(asked)
    made = static.sparkSession.createDataFrame(rows, static.schema)
    reached = late_rows(made, asked.transform, rule, now).count()
    if reached < many:
        raise InputError(
            "these events would not be late", found=f"{reached} of {many}, {by} behind the watermark {now:%Y-%m-%d %H:%M:%S}",
            fix="give a longer `by`: more than a window is long",
        )  # fmt: skip
    return _made(asked, found, {_ID} & {*asked.event.columns}, [when] * many)


def copies(asked: Request, many: int) -> tuple[list[Record], str]:
    """Return the newest events once more, byte for byte, and what they are to be: "duplicate", or "used" if the transform keeps copies."""
    known = [(each.key, each.value) for each in newest(asked)]
    drops = deduplicates(asked.transform(_static(asked)))
    return list(islice(cycle(known), many)), "duplicate" if drops else "used"


def poison(asked: Request, many: int) -> list[Record]:
    """Break the newest events, each in another way."""
    broken = zip(cycle(newest(asked)), cycle(BROKEN), strict=False)
    return [(each.key, spoil(each.value)) for each, spoil in islice(broken, many)]


def watermark(asked: Request) -> datetime | None:
    """Return the watermark behind which the next batch drops events: that of the last one, which the ledger has a batch later."""
    known = [batch.watermark for batch in ledger.newest(asked.table)]
    if (query := active(asked.table)) and (progress := query.lastProgress):
        known.append(of_progress(progress).watermark)
    return max(filter(None, known), default=None)


def sent(topic: str, records: Sequence[Record], mark: bytes) -> int:
    """Send records in their order; return how many Kafka has acknowledged, which is all of them.

    Raises:
        BrokerError: If it has not acknowledged all.
    """
    deliveries = Deliveries(None)
    with bounded_producer(_PATIENCE, deliveries.give_up) as producer:
        for key, value in records:
            deliveries.send(producer, topic, key, value, [(HEADER, mark)])
    report = deliveries.report(topic, seconds=0, behind=0, log=None)
    report.require_all()
    return report.ok


def _static(asked: Request) -> Any:
    return read_batch(asked.topic, event=asked.event)


def _made(asked: Request, found: Sequence[Sample], new: Collection[str], times: Iterable[datetime]) -> list[Record]:  # fmt: skip
    """Make an event at each time: the other columns are those of the newest events."""
    event, records = asked.event, list[Record]()
    for sample, when in zip(cycle(found), times, strict=False):
        fields: dict[str, Any] = {**sample.fields, event.event_time: when} | {column: f"lab-{uuid4().hex[:12]}" for column in new}  # fmt: skip
        named = {event.field(column): value for column, value in fields.items()}
        key = str(fields[event.key]).encode() if event.key and event.key in new else sample.key
        records.append((key, json_text(named).encode()))
    return records
