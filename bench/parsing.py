"""What strictness costs: flat events, and one of 25 nested fields, read by rta, and by Spark's own from_json and from_avro, which forgive."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Final

from bench.child import Setup, timed

if TYPE_CHECKING:
    from pyspark.sql import DataFrame
    from pyspark.sql.types import StructType

    from rta.events.event_types import EventType

EVENTS: Final = 200_000  # at most: they are held in memory
WARM: Final = 3  # rounds that are not counted
ROUNDS: Final = 7
FIELDS: Final = """
event_id STRING NOT NULL, user_id BIGINT NOT NULL, session STRING, kind STRING NOT NULL, at TIMESTAMP NOT NULL,
device STRUCT<os: STRING NOT NULL, version: STRING, model: STRING, width: INT, height: INT, touch: BOOLEAN>,
place STRUCT<country: STRING, city: STRING, latitude: DOUBLE, longitude: DOUBLE>,
items ARRAY<STRUCT<sku: STRING NOT NULL, quantity: INT NOT NULL, price: DECIMAL(10,2) NOT NULL, tags: ARRAY<STRING>>>,
total DECIMAL(12,2), currency STRING, coupon STRING, referrer STRING, campaign STRUCT<source: STRING, medium: STRING>
"""
ROW: Final = """
concat('e-', id) event_id, id % 1000 user_id, concat('s-', id % 5000) session, 'purchase' kind,
timestamp_micros(1700000000000000 + id * 1000) at,
named_struct('os', 'Linux', 'version', '6.1', 'model', 'desktop', 'width', 1920, 'height', 1080, 'touch', false) device,
named_struct('country', 'DE', 'city', 'Münster', 'latitude', 51.96D, 'longitude', 7.63D) place,
array(
  named_struct('sku', concat('sku-', id % 99), 'quantity', 2, 'price', CAST(12.50 AS DECIMAL(10,2)), 'tags', array('a', 'b')),
  named_struct('sku', 'sku-x', 'quantity', 1, 'price', CAST(id % 100 AS DECIMAL(10,2)), 'tags', array('c'))
) items,
CAST(25.00 AS DECIMAL(12,2)) total, 'EUR' currency, CAST(null AS STRING) coupon, 'https://example.org/shop?page=7' referrer,
named_struct('source', 'mail', 'medium', 'link') campaign
"""


def _avro() -> str:
    """Return the schema of the same event as Avro has it."""

    def record(name: str, **fields: Any) -> dict[str, Any]:
        return {
            "type": "record",
            "name": name,
            "fields": [{"name": n, "type": kind} for n, kind in fields.items()],
        }

    def decimal(precision: int) -> dict[str, Any]:
        return {"type": "bytes", "logicalType": "decimal", "precision": precision, "scale": 2}

    text, whole, real = ["null", "string"], ["null", "int"], ["null", "double"]
    tags = ["null", {"type": "array", "items": text}]
    item = record("item", sku="string", quantity="int", price=decimal(10), tags=tags)
    device = record(
        "device",
        os="string",
        version=text,
        model=text,
        width=whole,
        height=whole,
        touch=["null", "boolean"],
    )
    place = record("place", country=text, city=text, latitude=real, longitude=real)
    event = record(
        "event", event_id="string", user_id="long", session=text, kind="string", at={"type": "long", "logicalType": "timestamp-micros"},
        device=["null", device], place=["null", place], items=["null", {"type": "array", "items": ["null", item]}],
        total=["null", decimal(12)], currency=text, coupon=text, referrer=text,
        campaign=["null", record("campaign", source=text, medium=text)],
    )  # fmt: skip
    return json.dumps(event)


def nested(setup: Setup, scratch: Path) -> None:
    """Read the same events in turns by each way, from memory into nothing."""
    from pyspark.sql import functions as F
    from pyspark.sql.avro.functions import from_avro, to_avro

    import rta
    from rta.events.json_format import as_messages

    session, count = rta.spark(), min(setup.events, EVENTS)
    as_json = rta.EventType("nested", FIELDS, "at")
    as_avro = rta.EventType("nested", FIELDS, "at", format=rta.events.Avro(_avro()))
    events = session.sql(f"SELECT {ROW} FROM range({count})")
    json_raw = _held(as_messages(events, event=as_json).select("value"), scratch / "json")
    avro_raw = _held(events.select(to_avro(F.struct(*events.columns), _avro()).alias("value")), scratch / "avro")  # fmt: skip
    _in_turns(count, {
        "from_json": _from_json(json_raw, FIELDS),
        "rta, JSON": _ours(json_raw, as_json),
        "from_avro": avro_raw.select(from_avro("value", _avro()).alias("e")).select("e.*"),
        "rta, Avro": _ours(avro_raw, as_avro),
    })  # fmt: skip


def flat(setup: Setup, scratch: Path) -> None:
    """Read flat events as rta writes them, and with their fields in another order, as other programs do."""
    import rta
    from rta.events.json_format import as_messages

    count, kind = min(setup.events, EVENTS), rta.USER_EVENTS
    events = rta.user_events(rta.spark(), rows=count)
    turned = events.select(*reversed(kind.columns))
    plain = _held(as_messages(events, event=kind).select("value"), scratch / "plain")
    shuffled = _held(as_messages(turned, event=kind).select("value"), scratch / "shuffled")
    _in_turns(count, {
        "from_json": _from_json(plain, kind.schema),
        "rta, as it writes them": _ours(plain, kind),
        "rta, another order": _ours(shuffled, kind),
    })  # fmt: skip


def _from_json(raw: DataFrame, schema: StructType | str) -> DataFrame:
    from pyspark.sql import functions as F

    return raw.select(F.from_json(F.col("value").cast("string"), schema).alias("e")).select("e.*")


def _ours(raw: DataFrame, of: EventType) -> DataFrame:
    """Read as read_batch and read_stream do: the count keeps Spark from computing the reason once more, below the parser."""
    from rta.dataframes.parsing import parse
    from rta.dataframes.sources import observed
    from rta.events.type_checks import ORIGIN

    parsed = parse(raw, of).select(*of.columns, *ORIGIN, "reason")
    return observed(parsed, of.name).where("reason IS NULL").select(*of.columns)


def _in_turns(count: int, ways: Mapping[str, DataFrame]) -> None:
    """Read all events by each way, one way after the other, again and again; tell the medians."""
    faults = {
        name: f"{found:,} of {count:,} events"
        for name, frame in ways.items()
        if (found := frame.count()) != count
    }
    phases, seconds = {}, {name: [] for name in ways}  # type: dict[str, Any], dict[str, list[float]]
    for _ in range(WARM + ROUNDS):
        for name, frame in ways.items():
            phases[name], _none = timed(name, _reading(frame))
            seconds[name].append(phases[name].ended - phases[name].began)
    for name, phase in phases.items():
        took = median(seconds[name][WARM:])
        figures = {"seconds": took, "events_per_second": count / took}
        replace(phase).tell(fault=faults.get(name, ""), figures=figures)


def _held(messages: DataFrame, folder: Path) -> DataFrame:
    """Write messages down, and hold them in memory as Kafka's source would give them."""
    messages.coalesce(1).write.parquet(str(folder))
    rows = messages.sparkSession.read.parquet(str(folder)).selectExpr(
        "CAST(null AS BINARY) key", "value", "'nested' topic", "0 partition", "0L offset", "timestamp'2025-01-01 00:00:00Z' timestamp"
    )  # fmt: skip
    held = rows.persist()
    held.count()
    return held


def _reading(frame: DataFrame) -> Callable[[], None]:
    return lambda: frame.write.format("noop").mode("overwrite").save()
