"""rta.events.formats.json_objects: events of any depth and times of any form, each value exact, each fault with its place."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql.types import ArrayType, MapType, StructType, TimestampType

from rta.dataframes.parsing import parse
from rta.events.event_types import EventType
from rta.events.format_contract import REASONS
from rta.events.formats.json_objects import Json
from rta.testing.reference_parser import strict

DDL = """
id STRING NOT NULL, device STRUCT<os: STRING NOT NULL, screen: STRUCT<width: INT, ratio: DOUBLE>>,
items ARRAY<STRUCT<sku: STRING, price: DECIMAL(10,2) NOT NULL, sold_at: TIMESTAMP>>, tags ARRAY<STRING>,
labels MAP<STRING, INT>, counts MAP<STRING, ARRAY<BIGINT>>, rate DECIMAL(20,10), ok BOOLEAN, day DATE, raw BINARY,
clock TIMESTAMP_NTZ, wall TIMESTAMP, meta STRUCT<sent: STRING, at: TIMESTAMP>
"""
ORDER = EventType(
    "order", DDL, "meta.at", times={"meta.at": "epoch_ms", "wall": "Europe/Berlin", "items.sold_at": "epoch_s"},
    fields={"raw": "raw-bytes"},
)  # fmt: skip
SENT = datetime(2025, 1, 1, tzinfo=UTC)
pytestmark = pytest.mark.usefixtures(
    "as_delivered"
)  # the rules are expressions, which Spark compiles
WHOLE: dict[str, Any] = {
    "id": "a",
    "device": {"os": "mac", "screen": {"width": 5, "ratio": 0.5}},
    "items": [{"sku": "x", "price": 1.50, "sold_at": 1700000000}, {"price": "2.5"}],
    "tags": ["a", None, "é\n"],
    "labels": {"a": 1, "b": None},
    "counts": {"n": [1, 2], "": []},
    "rate": 0.5,
    "ok": True,
    "day": "2024-02-29",
    "raw-bytes": "AQID",
    "clock": "2024-11-15T10:00:00.5",
    "wall": "2024-07-01T12:00:00",
    "meta": {"sent": "x", "at": 1700000000123},
}
QUICK = settings(
    max_examples=5, deadline=None, suppress_health_check=list(HealthCheck),
    phases=(Phase.explicit, Phase.generate),
)  # fmt: skip


def parsed(spark: SparkSession, values: list[bytes | None], of: EventType = ORDER) -> list[Row]:
    """Parse raw values; one row for each, in order."""
    return parse(raw(spark, values), of).orderBy("offset").collect()


def raw(spark: SparkSession, values: list[bytes | None]) -> DataFrame:
    """Make the rows of Kafka's source."""
    rows = [(b"k", value, "t", 0, number, SENT) for number, value in enumerate(values)]
    schema = (
        "key binary, value binary, topic string, partition int, offset long, timestamp timestamp"
    )
    return spark.createDataFrame(rows, schema)


def python(kind: Any, value: Any) -> Any:
    """Return a value of a row as the reference has it: dicts, lists, instants in UTC without a zone."""
    match kind:
        case _ if value is None:
            return None
        case StructType():
            return {each.name: python(each.dataType, value[each.name]) for each in kind}
        case ArrayType():
            return [python(kind.elementType, each) for each in value]
        case MapType():
            return {key: python(kind.valueType, each) for key, each in value.items()}
        case TimestampType():
            return value.astimezone(UTC).replace(tzinfo=None)
    return bytes(value) if isinstance(value, bytearray) else value


def values(row: Row, of: EventType = ORDER) -> dict[str, Any]:
    """Return the columns of an event as the reference has them."""
    return {each.name: python(each.dataType, row[each.name]) for each in of.schema}


def order(**fields: str | None) -> str:
    """Write a whole event with some fields written otherwise (None: left out)."""
    written = {name: json.dumps(value) for name, value in WHOLE.items()} | {
        name.replace("raw", "raw-bytes"): text for name, text in fields.items()
    }
    return (
        "{"
        + ",".join(f'"{name}":{text}' for name, text in written.items() if text is not None)
        + "}"
    )


CASES: list[tuple[str, str | None]] = [
    (order(), None),
    (order(device="null", items="null", tags="null", labels="null", counts="{}", rate=None, raw=None), None),
    (order(items="[]", tags="[]", labels="{}", device='{"os":""}'), None),
    (order(items="[null]"), None),
    (order(id=None), "missing: id"),
    (order(device="{}"), "missing: device.os"),
    (order(device='{"os":null}'), "missing: device.os"),
    (order(device='{"os":5}'), "wrong type: device.os"),
    (order(device="[]"), "wrong type: device"),
    (order(device='"mac"'), "wrong type: device"),
    (order(device='{"os":"a","os":"b"}'), "duplicate key"),
    (order(device='{"os":"a","screen":{"width":1.0}}'), "wrong type: device.screen.width"),
    (order(device='{"os":"a","screen":{"width":2147483648}}'), "out of range: device.screen.width"),
    (order(device='{"os":"a","screen":{"ratio":"NaN"}}'), "wrong type: device.screen.ratio"),
    (order(device='{"screen":{},"os":"a"}'), None),  # another order
    (order(device='{"os":"a","more":[1,{"b":2}]}'), None),  # an unknown field
    (order(device='{"os":"a\\u0000"}'), "NUL: device.os"),
    (order(items='[{"price":1},{"price":2},{"price":3},{"sku":"x"}]'), "missing: items[3].price"),
    (order(items='[{"price":1},{"price":1.005}]'), "inexact: items[1].price"),
    (order(items='[{"price":1.5E+1}]'), None),
    (order(items='[{"price":1E-3}]'), "inexact: items[0].price"),
    (order(items='[{"price":"1e1"}]'), "wrong type: items[0].price"),
    (order(items='[{"price":100000000}]'), "out of range: items[0].price"),
    (order(items='{"price":1}'), "wrong type: items"),
    (order(items='[{"price":1,"sold_at":1700000000.123456}]'), None),
    (order(items='[{"price":1,"sold_at":1700000000.1234567}]'), "inexact: items[0].sold_at"),
    (order(items='[{"price":1,"sold_at":"2024-11-15T10:00:00Z"}]'), "wrong type: items[0].sold_at"),
    (order(items='[{"price":1,"sold_at":1700000000123}]'), "out of range: items[0].sold_at"),
    (order(items="[5]"), "wrong type: items[0]"),
    (order(tags='["a",5]'), "wrong type: tags[1]"),
    (order(labels='{"a":"x"}'), "wrong type: labels[a]"),
    (order(labels='{"a":1,"a":2}'), "duplicate key"),
    (order(labels='{"a":1,"\\u0061":2}'), "duplicate key"),
    (order(labels='{"a\\u0000":1}'), "NUL: labels"),
    (order(counts='{"a":[1,2.5]}'), "wrong type: counts[a][1]"),
    (order(counts='{"a b":[1,2.5]}'), "wrong type: counts[?][1]"),
    (order(rate="1E-10"), None),
    (order(rate="0E-18"), None),
    (order(rate="-12345E-10"), None),
    (order(rate="1E-11"), "inexact: rate"),
    (order(rate="10E-11"), None),
    (order(rate="1.00000000000000000001E-7"), "inexact: rate"),
    (order(rate="1e10000000"), "out of range"),
    (order(day='"2024-02-30"'), "out of range: day"),
    (order(raw='"AQI"'), "wrong type: raw-bytes"),
    (order(raw='"AQJ="'), "wrong type: raw-bytes"),
    (order(raw='""'), None),
    (order(clock='"2024-11-15T10:00:00Z"'), "wrong type: clock"),
    (order(clock='"2024-02-30 10:00:00"'), "out of range: clock"),
    (order(wall='"2024-07-01T12:00:00Z"'), None),
    (order(wall='"2024-03-31T02:30:00"'), "out of range: wall"),  # skipped in spring
    (order(wall='"2024-10-27T02:30:00"'), None),  # the first of two
    (order(wall="1700000000"), "wrong type: wall"),
    (order(meta="{}"), "missing: meta.at"),
    (order(meta=None), "missing: meta"),
    (order(meta='{"at":"1700000000123"}'), None),  # as decimals may be
    (order(meta='{"at":1.7e12}'), None),
    (order(meta='{"at":4102444800000}'), "ahead"),
    (order() + "x", "trailing garbage"),
    (order()[:-1], "broken JSON"),
    ("[" + order() + "]", "not an object"),
    (order(day="NaN"), "NaN or Infinity"),
    (" " + order().replace(",", " ,\n ").replace(":", " : "), "wrong type: clock"),  # spaces inside texts, too
]  # fmt: skip


def test_each_fault_has_its_place(spark: SparkSession) -> None:
    """At any depth the reason says where; good events come back as the reference in plain Python reads them."""
    texts = [text.encode() for text, _ in CASES]
    rows = parsed(spark, [*texts])
    wrong = [(*case, row.reason) for case, row in zip(CASES, rows, strict=True) if case[1] != row.reason]  # fmt: skip
    assert wrong == []
    for text, row in zip(texts, rows, strict=True):
        read = strict(text, ORDER)
        assert (read is None) == (row.reason not in (None, "ahead")), text
        assert read is None or values(row) == read, text


def test_an_event_time_inside_is_a_column(spark: SparkSession) -> None:
    """The path of an event time gives a column that a watermark can use; Kafka's own time needs none."""
    [row] = parsed(spark, [order().encode()])
    assert python(TimestampType(), row.event_time) == datetime(2023, 11, 14, 22, 13, 20, 123000)  # noqa: DTZ001
    kafka = EventType("k", "n INT, at TIMESTAMP", "kafka_timestamp")
    frame = parse(raw(spark, [b'{"n":1}', b'{"n":2,"at":"2099-01-01T00:00:00Z"}']), kafka)
    assert frame.columns[:3] == ["n", "at", "topic"]
    assert [(each.n, each.reason) for each in frame.orderBy("n").collect()] == [
        (1, None),
        (2, None),
    ]
    assert frame.withWatermark("kafka_timestamp", "1 minute").count() == 2


@pytest.mark.parametrize(
    ("form", "texts"),
    [
        ("epoch_us", {"1700000000123456": "2023-11-14 22:13:20.123456", "1.5": None, "-1": "1969-12-31 23:59:59.999999", '"x"': None}),
        ("epoch_s", {"1700000000.5": "2023-11-14 22:13:20.5", "99999999999999": None, "253402300800": None}),
        ("UTC", {'"2024-11-15 10:00:00"': "2024-11-15 10:00:00", '"2024-11-15T10:00:00+02:00"': "2024-11-15 08:00:00", '"2024"': None}),
        ("dd/MM/yyyy HH:mm:ss XXX", {'"15/11/2024 10:00:00 +02:00"': "2024-11-15 08:00:00", '"31/02/2024 10:00:00 Z"': None, '"2024"': None, "5": None}),
        ("dd.MM.yyyy HH:mm in Europe/Berlin", {'"15.11.2024 10:00"': "2024-11-15 09:00:00", '"31.03.2024 02:30"': None, '"15.11.2024 10:00 "': None}),
    ],
)  # fmt: skip
def test_times_are_read_in_their_form(
    spark: SparkSession, form: str, texts: dict[str, str | None]
) -> None:
    """Each form gives the instant to the microsecond; what has another form is bad."""
    of = EventType("t", "at TIMESTAMP", "at", times=form)
    frame = parse(raw(spark, [f'{{"at":{text}}}'.encode() for text in texts]), of)
    found = frame.orderBy("offset").selectExpr("string(at) at", "reason").collect()
    assert {text: row.at for text, row in zip(texts, found, strict=True)} == texts
    assert all(row.reason is None or row.reason.endswith(": at") for row in found)


def test_nan_is_read_if_asked_for(spark: SparkSession) -> None:
    """Texts "NaN" and infinities in quotes, as Spark writes them, are doubles only for Json(nan=True)."""
    texts = [f'{{"x":{x}}}'.encode() for x in ('"NaN"', '"-Infinity"', "1.5", '"nan"', "NaN")]
    asked = EventType("n", "x DOUBLE", "kafka_timestamp", format=Json(nan=True))
    rows = parsed(spark, [*texts], asked)
    assert [str(row.x) for row in rows] == ["nan", "-inf", "1.5", "None", "None"]
    assert [row.reason for row in rows[3:]] == ["wrong type: x", "NaN or Infinity"]


def test_the_place_of_a_field_needs_no_plain_name(spark: SparkSession) -> None:
    """Fields inside may have any name that needs no escape: dots, dollars, brackets, quotes of SQL."""
    names = ["a.b", "$x", "it's", "c[0]", "größe", "a `b", "1"]
    inner = ", ".join(f"`{name.replace('`', '``')}`: INT" for name in names)
    of = EventType("odd", f"d STRUCT<{inner}>", "kafka_timestamp")
    good = json.dumps({"d": {name: at for at, name in enumerate(names)}})
    unknown = json.dumps({"d": {"?": 1, **{name: at for at, name in enumerate(names)}}})
    bad = [json.dumps({"d": {name: "x"}}) for name in names]
    rows = parsed(spark, [each.encode() for each in (good, unknown, *bad)], of)
    assert [tuple(row.d or ()) for row in rows[:2]] == [tuple(range(7))] * 2
    assert [row.reason for row in rows[2:]] == [f"wrong type: d.{name}" for name in names]


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
SMALL = st.integers(-(2**31) - 1, 2**31)
NUMBERS = st.decimals(-(10**9), 10**9, places=2).map(float) | SMALL
INSTANTS = st.integers(-(10**12), 1_735_689_600_000)
LOCAL = st.datetimes(datetime(1950, 1, 1), datetime(2024, 12, 30)).map(datetime.isoformat)  # noqa: DTZ001
ITEM = st.fixed_dictionaries({"price": NUMBERS | st.none()}, optional={"sku": TEXT | st.none(), "sold_at": SMALL, "more": NUMBERS})  # fmt: skip
EVENTS = st.fixed_dictionaries(
    {"id": TEXT, "meta": st.fixed_dictionaries({"at": INSTANTS}, optional={"sent": TEXT})},
    optional={
        "device": st.none() | st.fixed_dictionaries({"os": TEXT}, optional={"screen": st.fixed_dictionaries({}, optional={"ratio": NUMBERS, "width": SMALL})}),
        "items": st.lists(ITEM, max_size=3), "tags": st.lists(TEXT | st.none(), max_size=3),
        "labels": st.dictionaries(TEXT, SMALL | st.none(), max_size=3), "counts": st.dictionaries(TEXT, st.lists(SMALL, max_size=2), max_size=2),
        "rate": NUMBERS, "ok": st.booleans(), "day": st.dates(max_value=datetime(2024, 12, 30).date()).map(str),  # noqa: DTZ001
        "raw-bytes": st.sampled_from(["", "AQID", "AQ==", "AQI=", "AR==", "é"]), "clock": LOCAL, "wall": LOCAL | LOCAL.map(lambda text: text + "Z"),
        "other": TEXT,
    },
)  # fmt: skip
BREAKS = st.tuples(st.integers(0, 600), st.integers(0, 4), st.sampled_from(["", '"', "}", "null", "5", "[", ",", "e9", "\\"]))  # fmt: skip


def broken(text: str, cut: tuple[int, int, str] | None) -> bytes:
    """Spoil a text at a place."""
    if cut is None:
        return text.encode()
    at, gone, junk = cut[0] % (len(text) + 1), cut[1], cut[2]
    return (text[:at] + junk + text[at + gone :]).encode()


@QUICK
@given(
    sent=st.lists(st.tuples(EVENTS, st.booleans(), st.none() | BREAKS), min_size=60, max_size=120)
)
def test_random_events_are_read_as_the_reference_reads_them(
    spark: SparkSession, sent: list[tuple[dict[str, Any], bool, Any]]
) -> None:
    """Whatever is inside, in whatever order and however spoilt: good for both or for none, and the same values."""
    texts = []
    for event, turned, cut in sent:
        members = sorted(event.items(), key=lambda each: list(WHOLE).index(each[0]) if each[0] in WHOLE else 99)  # fmt: skip
        body = dict(members[::-1] if turned else members)
        texts.append(broken(json.dumps(body, ensure_ascii=turned), cut))
    for text, row in zip(texts, parsed(spark, [*texts]), strict=True):
        read = strict(text, ORDER)
        bad = row.reason not in (None, "ahead")
        assert (read is None) == bad, (text, row.reason)
        assert read is None or values(row) == read, text
        assert not bad or row.reason.split(":")[0] in REASONS
