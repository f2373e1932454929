"""rta.events.formats: CSV, texts, bytes and formats of others: as strict as JSON, with the same words."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any, Final

import pytest
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

import rta
from rta.errors import InputError
from rta.events import format_contract
from rta.events.event_types import EventType
from rta.events.format_contract import Format, Read
from rta.events.formats.avro_records import Avro
from rta.events.formats.csv_lines import Csv
from rta.events.formats.protobuf_json import message_class
from rta.events.formats.protobuf_messages import Protobuf
from tests.dataframes.test_avro import data, long, maybe, record, text
from tests.dataframes.test_nested import parsed
from tests.dataframes.test_protobuf import file_of

SALE = "shop STRING NOT NULL, n INT, amount DECIMAL(12,2), ratio DOUBLE, ok BOOLEAN, day DATE, at TIMESTAMP NOT NULL"
GOOD = "Berlin,5,1.50,0.5,true,2024-02-29,2024-11-15T10:00:00Z"

CSV_CASES: list[tuple[str | bytes | None, str | None]] = [
    (GOOD, None),
    (GOOD + "\n", None),
    (GOOD + "\r\n", None),
    ("Berlin,,,,,,2024-11-15T10:00:00Z", None),
    ('"a,""b""\nc",5,"1.50",0.5,true,2024-02-29,"2024-11-15 10:00:00.5+02:00"', None),
    ('"",,,,,,2024-11-15T10:00:00Z', None),
    (",,,,,,2024-11-15T10:00:00Z", "missing: shop"),
    ("Berlin,5,1.50,0.5,true,2024-02-29,", "missing: at"),
    (GOOD + ",6", "wrong number of fields"),
    ("Berlin,5", "wrong number of fields"),
    (GOOD + "\n" + GOOD, "broken CSV"),
    ('"a' + GOOD, "broken CSV"),
    ('"a"b' + GOOD, "broken CSV"),
    ('a"b' + GOOD, "broken CSV"),
    ("shop,n,amount,ratio,ok,day,at", "header"),
    ("", "empty value"),
    (None, "null value"),
    (b"\xff" + GOOD.encode(), "invalid UTF-8"),
    ("\ufeff" + GOOD, "byte order mark"),
    (GOOD.replace(",5,", ",5.0,"), "wrong type: n"),
    (GOOD.replace(",5,", ", 5,"), "wrong type: n"),
    (GOOD.replace(",5,", ",five,"), "wrong type: n"),
    (GOOD.replace(",5,", ",2147483648,"), "out of range: n"),
    (GOOD.replace("1.50", "1.505"), "inexact: amount"),
    (GOOD.replace("1.50", "1.5E+1"), None),
    (GOOD.replace("1.50", '"1,5"'), "wrong type: amount"),
    (GOOD.replace("1.50", "10000000000"), "out of range: amount"),
    (GOOD.replace("0.5", "NaN"), "wrong type: ratio"),
    (GOOD.replace("0.5", "1e400"), "out of range: ratio"),
    (GOOD.replace("true", "True"), "wrong type: ok"),
    (GOOD.replace("-29", "-30"), "out of range: day"),
    (GOOD.replace("00Z", "00"), "no zone: at"),
    (GOOD.replace("Berlin", "B\0"), "NUL: shop"),
    (GOOD.replace("2024-11-15T10", "2025-11-15T10"), "ahead"),
]


def test_csv_is_as_strict_as_json(spark: SparkSession) -> None:
    """Each line is good, with every value exact, or has its reason with the field."""
    of = EventType("sale", SALE, "at", format="csv")
    rows = parsed(spark, [v.encode() if isinstance(v, str) else v for v, _ in CSV_CASES], of)
    assert [
        (c, row.reason) for c, row in zip(CSV_CASES, rows, strict=True) if row.reason != c[1]
    ] == []
    assert [(row.shop, row.n, str(row.amount), row.ratio, row.ok) for row in rows[:6]] == [
        ("Berlin", 5, "1.50", 0.5, True), ("Berlin", 5, "1.50", 0.5, True), ("Berlin", 5, "1.50", 0.5, True),
        ("Berlin", None, "None", None, None), ('a,"b"\nc', 5, "1.50", 0.5, True), ("", None, "None", None, None),
    ]  # fmt: skip


def test_csv_has_other_signs_and_times(spark: SparkSession) -> None:
    """Another separator, quote and text for null; times in another form, bytes as base64; Kafka's time."""
    of = EventType(
        "sale", "shop STRING, raw BINARY, at TIMESTAMP, clock TIMESTAMP_NTZ", "kafka_timestamp",
        times="dd.MM.yyyy HH:mm in Europe/Berlin", format=Csv(separator=";", quote="'", null="NULL"),
    )  # fmt: skip
    lines = [b"'a;b';AQID;15.11.2024 10:00;2024-11-15 10:00:00", b"NULL;NULL;NULL;NULL", b"a;AQI;NULL;NULL", b"a;;2024;NULL"]  # fmt: skip
    rows = parsed(spark, [*lines], of)
    assert [row.reason for row in rows] == [None, None, "wrong type: raw", "wrong type: at"]
    assert (rows[0].shop, bytes(rows[0].raw), rows[0].at.astimezone(UTC)) == (
        "a;b", b"\x01\x02\x03", datetime(2024, 11, 15, 9, tzinfo=UTC),
    )  # fmt: skip
    assert tuple(rows[1])[:4] == (None,) * 4


def test_texts_and_bytes_are_taken_as_they_are(spark: SparkSession) -> None:
    """A text must be UTF-8, bytes may be anything; no value is a bad event."""
    values: list[bytes | None] = [b"a line", b"", b"\xff", b"\0", None]
    texts = parsed(spark, values, EventType("log", "line STRING", "kafka_timestamp", format="text"))
    assert [(row.line, row.reason) for row in texts] == [
        ("a line", None), ("", None), (None, "invalid UTF-8"), (None, "NUL: line"), (None, "null value"),
    ]  # fmt: skip
    raw = parsed(spark, values, EventType("raw", "data BINARY", "kafka_timestamp", format="bytes"))
    assert [row.data and bytes(row.data) for row in raw] == values
    assert [row.reason for row in raw] == [None] * 4 + ["null value"]


@pytest.mark.parametrize(
    ("schema", "form", "message"),
    [
        ("a STRUCT<b INT>", "csv", "a type that CSV cannot hold; found: struct<b:int>"),
        ("a STRING, b STRING", "text", "have one column, of type STRING; found: a, b"),
        ("a STRING", "bytes", "have one column, of type BINARY"),
    ],
)
def test_a_format_refuses_what_it_cannot_hold(schema: str, form: str, message: str) -> None:
    """When the event type is made, not when a query runs."""
    with pytest.raises(InputError, match=message):
        EventType("t", schema, "kafka_timestamp", format=form)


def test_csv_refuses_signs_that_are_none() -> None:
    """Separator and quote are two different characters."""
    for how in ({"separator": "::"}, {"quote": ","}, {"separator": "\n"}):
        with pytest.raises(InputError, match="two different characters"):
            Csv(**how)


@dataclass(frozen=True)
class Reversed:
    """A format of somebody else: a text from right to left."""

    def check(self, event: EventType) -> None:
        """Accept all."""

    def read(self, raw: DataFrame, event: EventType) -> Read:
        """Read it."""
        fault = F.when(F.col("value").isNull(), "null value")
        return Read(raw, {event.columns[0]: F.reverse(F.col("value").cast("string"))}, fault)

    def write(self, event: EventType, columns: Sequence[str]) -> Column:  # noqa: ARG002
        """Write it."""
        return F.reverse(event.columns[0])


def test_another_format_is_an_entry_point_away(
    spark: SparkSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A package registers a format under a name, or a person gives the object; read and accounted for like ours."""
    point = EntryPoint("reversed", f"{__name__}:Reversed", format_contract.GROUP)
    monkeypatch.setattr(format_contract, "entry_points", lambda group: [point] if group == format_contract.GROUP else [])  # fmt: skip
    named, given = (EventType("r", "line STRING", "kafka_timestamp", format=f) for f in ("reversed", Reversed()))  # fmt: skip
    assert isinstance(Reversed(), Format)
    for of in (named, given):
        rows = parsed(spark, [b"abc", None], of)
        assert [(row.line, row.reason) for row in rows] == [("cba", None), (None, "null value")]
    with pytest.raises(InputError, match="use one of bytes, csv, json, reversed, text"):
        rta.EventType("r", "line STRING", "kafka_timestamp", format="inverted")


PACKAGE: Final = {
    "shouted_events.py": """
from dataclasses import dataclass
from pyspark.sql import functions as F
from rta.errors import InputError
from rta.events import Read

@dataclass(frozen=True)
class Shouted:
    def check(self, event):
        if len(event.wire) != 1:
            raise InputError("one word is shouted at a time", fix="give one column")
    def read(self, raw, event):
        text = F.col("value").cast("string")
        fault = F.when(text.isNull(), "null value").when(F.upper(text) != text, f"not shouted: {event.columns[0]}")
        return Read(raw, {event.columns[0]: F.when(fault.isNull(), F.lower(text))}, fault)
    def write(self, event, columns):
        return F.upper(event.columns[0])
""",
    "shouted_events-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: shouted-events\nVersion: 1.0\n",
    "shouted_events-1.0.dist-info/entry_points.txt": "[rta.formats]\nshouted = shouted_events:Shouted\n",
}


@pytest.mark.kafka
def test_the_format_of_an_installed_package_is_found_by_its_name(
    spark: SparkSession, topic: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Published, drained, set aside with its own reason and place, and accounted for: its words are its own, all else is ours."""
    for name, source in PACKAGE.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    name = topic(partitions=1)
    event = EventType(name, "word STRING", "kafka_timestamp", format="shouted")
    with pytest.raises(InputError, match="one word is shouted at a time"):
        EventType(name, "a STRING, b STRING", "kafka_timestamp", format="shouted")
    rta.publish(spark.createDataFrame([("hey",), ("you",)], ["word"]), name, event=event)
    rta.publish(spark.createDataFrame([("quiet",)], ["value"]), name)
    told = rta.drain(name, lambda words: words.select("word"), table="shouted", event=event).accounting  # fmt: skip
    assert (told.consumed, told.used, told.quarantined, told.balanced) == (3, 2, 1, True)
    assert rta.read("shouted")["word"].tolist() == ["hey", "you"]
    [letter] = rta.dlq.dead_letters(name)
    assert (letter.reason, letter.value, letter.offset) == ("not shouted: word", b"quiet", 2)


FAULTS: Final[Sequence[tuple[dict[str, object], str | None]]] = [
    ({}, None),
    ({"shop": None}, "missing: shop"),
    ({"shop": "a\0"}, "NUL: shop"),
    ({"said": "2024-11-15T10:00:00"}, "no zone: said"),
    ({"said": "2024-02-30T10:00:00Z"}, "out of range: said"),
    ({"said": "yesterday"}, "wrong type: said"),
    ({"price": "1.505"}, "inexact: price"),
    ({"price": "100000000"}, "out of range: price"),
    ({"price": "dear"}, "wrong type: price"),
    ({"at": 10**17}, "out of range: at"),
    ({"at": 4_102_444_800_000}, "ahead"),
]


def test_one_fault_has_one_reason_and_place_in_each_format(spark: SparkSession) -> None:
    """The same events in JSON, CSV, Avro and Protobuf, and none at all."""
    schema = "shop STRING NOT NULL, price DECIMAL(8,2), said TIMESTAMP, at TIMESTAMP NOT NULL"
    avro = record(("shop", maybe("string")), ("price", {"type": "bytes", "logicalType": "decimal", "precision": 8, "scale": 2}), ("said", "string"), ("at", "long"))  # fmt: skip
    proto = file_of("proto2", {"Sale": [("shop", "string"), ("price", "string"), ("said", "string"), ("at", "int64")]})  # fmt: skip
    sale = message_class(proto, "shop.Sale")

    def as_avro(event: dict[str, Any]) -> bytes:
        return text(event["shop"]) + data(b"\x00\x96") + data(event["said"].encode()) + long(event["at"])  # fmt: skip

    written: dict[Any, Callable[[dict[str, Any]], bytes]] = {
        "json": lambda event: json.dumps(event).encode(),
        "csv": lambda event: ",".join("" if each is None else str(each) for each in event.values()).encode(),
        Avro(json.dumps(avro)): as_avro,
        Protobuf(proto, "shop.Sale"): lambda event: bytes(sale(**event).SerializeToString()),
    }  # fmt: skip
    whole = {"shop": "Bonn", "price": "1.50", "said": "2024-11-15T10:00:00Z", "at": 1_700_000_000_123}  # fmt: skip
    for form, write in written.items():
        of = EventType("sale", schema, "at", times={"at": "epoch_ms"}, format=form)
        # A decimal of Avro has its scale in the schema.
        faults = [each for each in FAULTS if "price" not in each[0] or not isinstance(form, Avro)]
        rows = parsed(spark, [*(write({**whole, **changed}) for changed, _ in faults), None], of)
        assert [row.reason for row in rows] == [*(reason for _, reason in faults), "null value"], form  # fmt: skip
        assert (rows[0].shop, str(rows[0].price), rows[0].at.microsecond) == ("Bonn", "1.50", 123000), form  # fmt: skip
