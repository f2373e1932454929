"""rta.events.Protobuf: messages that another library wrote, as strict as JSON, with the same reasons and places, accounted for."""

import math
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

import pytest
from google.protobuf import (
    descriptor_pb2,
    json_format,
    timestamp_pb2,
    wrappers_pb2,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

import rta
from rta.errors import InputError
from rta.events.event_types import EventType
from rta.events.formats.protobuf_json import message_class
from rta.events.formats.protobuf_messages import Protobuf
from tests.dataframes.test_nested import parsed
from tests.kafka.test_foreign import foreign
from tests.support.waiting import HANG

Field = tuple[str, str]


def file_of(syntax: str, messages: dict[str, list[Field]]) -> bytes:
    """Write what protoc writes: message → fields, each a name and a type such as "int64", "string*" (repeated) or ".shop.Item"."""
    file = descriptor_pb2.FileDescriptorProto(name=f"{syntax}.proto", package="shop", syntax=syntax)  # fmt: skip
    imported = [descriptor_pb2.FileDescriptorProto() for _ in range(2)]
    for copy, made in zip(imported, (timestamp_pb2, wrappers_pb2), strict=True):
        made.DESCRIPTOR.CopyToProto(copy)
        file.dependency.append(copy.name)
    kinds = file.enum_type.add(name="Kind")
    for number, name in enumerate(("NEW", "SOLD")):
        kinds.value.add(name=name, number=number)
    for name, fields in messages.items():
        made = file.message_type.add(name=name)
        for number, (field, kind) in enumerate(fields, 1):
            _add(made, name, field, kind, number)
    return bytes(descriptor_pb2.FileDescriptorSet(file=[*imported, file]).SerializeToString())


def _add(made: Any, name: str, field: str, kind: str, number: int) -> None:
    label = "LABEL_REPEATED" if kind.endswith(("*", "%")) else "LABEL_OPTIONAL"
    plain = kind.rstrip("*%")
    added = made.field.add(name=field, number=number, label=label)
    if kind.endswith("%"):  # a map with texts as keys
        entry = made.nested_type.add(name=f"{field.title()}Entry")
        entry.options.map_entry = True
        _add(entry, name, "key", "string", 1)
        _add(entry, name, "value", plain, 2)
        added.type, added.type_name = added.TYPE_MESSAGE, f".shop.{name}.{field.title()}Entry"
    elif plain.startswith("."):
        added.type = added.TYPE_ENUM if plain == ".shop.Kind" else added.TYPE_MESSAGE
        added.type_name = plain
    else:
        added.type = getattr(added, f"TYPE_{plain.upper()}")


ITEM: Final = [("sku", "string"), ("price", "string"), ("ratio", "float")]
ORDER: Final = [
    ("id", "string"), ("n", "int64"), ("big", "uint64"), ("device", ".shop.Device"), ("items", ".shop.Item*"), ("labels", "int32%"),
    ("ratio", "double"), ("at", ".google.protobuf.Timestamp"), ("sent", "fixed64"), ("raw", "bytes"), ("kind", ".shop.Kind"),
    ("note", ".google.protobuf.StringValue"), ("tags", "string*"), ("yes", "bool"), ("said", "string"), ("more", "string"),
]  # fmt: skip
MESSAGES: Final = {"Order": ORDER, "Item": ITEM, "Device": [("os", "string")]}
WRITTEN: Final = file_of("proto2", MESSAGES)
DDL: Final = """
id STRING NOT NULL, n BIGINT, big BIGINT, device STRUCT<os: STRING NOT NULL>,
items ARRAY<STRUCT<sku: STRING NOT NULL, price: DECIMAL(10,2), ratio: FLOAT>>, labels MAP<STRING, INT>, ratio DOUBLE, at TIMESTAMP,
sent TIMESTAMP, raw BINARY, kind STRING, note STRING, tags ARRAY<STRING>, yes BOOLEAN, said TIMESTAMP
"""
OF: Final = EventType("order", DDL, "at", times={"sent": "epoch_ms"}, format=Protobuf(WRITTEN, "shop.Order"))  # fmt: skip
WHOLE: Final[dict[str, Any]] = {
    "id": "a", "n": -5, "big": 2**63 - 1, "device": {"os": "mac"}, "items": [{"sku": "x", "price": "1.50", "ratio": 0.1}, {"sku": "y"}],
    "labels": {"k": 7}, "ratio": 0.5, "at": "2024-11-15T10:00:00.123456Z", "sent": 1_700_000_000_123, "raw": "AP8=", "kind": "SOLD",
    "note": "", "tags": ["é", ""], "yes": True, "said": "2024-11-15T10:00:00+02:00", "more": "unknown to the type",
}  # fmt: skip


def order(written: bytes = WRITTEN, **parts: Any) -> bytes:
    """Write an order by Google's own library, with some parts written otherwise; what is None is left out."""
    given = {name: value for name, value in (WHOLE | parts).items() if value is not None}
    message = message_class(written, "shop.Order")()
    json_format.ParseDict(given, message)
    return bytes(message.SerializeToString())


CASES: Final[list[tuple[bytes | None, str | None]]] = [
    (order(), None),
    (order(n=None, device=None, items=None, labels=None, raw=None, kind=None, note=None, tags=None, yes=None), None),
    (None, "null value"),
    (b"", "missing: id"),
    (order()[:-1], "broken Protobuf"),
    (b"{}", "broken Protobuf"),
    (order() + b"\x07", "broken Protobuf"),
    (order() + b"\xa0\x06\x05", None),  # a field 100 that a newer producer has added
    (order(id=None), "missing: id"),
    (order(device={}), "missing: device.os"),
    (order(items=[{"sku": "x"}, {"price": "1"}]), "missing: items[1].sku"),
    (order(items=[{"sku": "x", "price": "1.505"}]), "inexact: items[0].price"),
    (order(items=[{"sku": "x", "price": "dear"}]), "wrong type: items[0].price"),
    (order(big=2**64 - 1), "out of range: big"),
    (order(sent=10**17), "out of range: sent"),
    (order(id="a\0"), "NUL: id"),
    (order(labels={"\0": 1}), "NUL: labels"),
    (order(ratio="NaN"), "NaN or Infinity"),
    (order(said="2024-11-15T10:00:00"), "no zone: said"),
    (order(said="2024-02-30T10:00:00Z"), "out of range: said"),
    (order(at="2024-11-15T10:00:00.123456789Z"), "inexact: at"),
    (order(at="2099-01-01T00:00:00Z"), "ahead"),
]  # fmt: skip


def test_messages_are_as_strict_as_json(spark: SparkSession) -> None:
    """Messages of Google's own library: each value exact, what is bad with its place, nothing guessed."""
    rows = parsed(spark, [value for value, _ in CASES], OF)
    assert [(c, row.reason) for c, row in zip(CASES, rows, strict=True) if row.reason != c[1]] == []
    first, empty = rows[0], rows[1]
    assert (first.id, first.n, first.big, first.device.os, first.labels, first.ratio) == ("a", -5, 2**63 - 1, "mac", {"k": 7}, 0.5)  # fmt: skip
    assert [(item.sku, item.price, item.ratio is None) for item in first["items"]] == [("x", Decimal("1.50"), False), ("y", None, True)]  # fmt: skip
    assert first["items"][0].ratio == pytest.approx(0.1)
    assert first.at.astimezone(UTC) == datetime(2024, 11, 15, 10, 0, 0, 123456, tzinfo=UTC)
    assert first.sent.astimezone(UTC) == datetime(2023, 11, 14, 22, 13, 20, 123000, tzinfo=UTC)
    assert (bytes(first.raw), first.kind, first.note, first.tags, first.yes) == (b"\0\xff", "SOLD", "", ["é", ""], True)  # fmt: skip
    assert (empty.n, empty.device, empty["items"], empty.labels, empty.note, empty.yes) == (None, None, [], {}, None, None)  # fmt: skip


def test_what_was_not_set_has_its_default_where_the_proto_says_so(spark: SparkSession) -> None:
    """Of proto3 a plain field is never absent; a message and a wrapper may be."""
    written = file_of("proto3", MESSAGES)
    of = EventType("order", DDL, "kafka_timestamp", times={"sent": "epoch_ms"}, format=Protobuf(written, "shop.Order"))  # fmt: skip
    unset: dict[str, Any] = dict.fromkeys(("id", "n", "device", "items", "note", "at", "kind"))
    [row, bad] = parsed(spark, [order(written, **unset), order(written, items=None, said=None)], of)
    assert (row.id, row.n, row.kind, row.device, row.note, row.at, row.reason) == ("", 0, "NEW", None, None, None, None)  # fmt: skip
    assert bad.reason == "wrong type: said"  # an empty text is no time


def test_nan_and_confluents_frame(spark: SparkSession) -> None:
    """NaN is read if asked for; the frame is passed over, and what has none is bad."""
    of = EventType("order", "id STRING, ratio DOUBLE", "kafka_timestamp", format=Protobuf(WRITTEN, "shop.Order", framed=True, nan=True))  # fmt: skip
    frames = [b"\0\0\0\0\7\0", b"\0\0\0\0\7\4\2\0", b"\1\0\0\0\7\0", b"\0\0\0", b"\0\0\0\0\7\xff"]
    rows = parsed(spark, [*(frame + order(ratio="-Infinity") for frame in frames[:3]), *frames[3:]], of)  # fmt: skip
    assert [row.reason for row in rows] == [None, None, *["broken Protobuf"] * 3]
    assert [row.ratio for row in rows[:2]] == [-math.inf, -math.inf]
    with pytest.raises(InputError, match="does not write Confluent's frame"):
        of.format.write(of, ["id"])  # type: ignore[union-attr]


TEXT: Final = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=5)
ORDERS: Final = st.fixed_dictionaries(
    {"id": TEXT},
    optional={
        "n": st.integers(-(2**63), 2**63 - 1), "device": st.fixed_dictionaries({"os": TEXT}), "labels": st.dictionaries(TEXT, st.integers(-9, 9), max_size=2),
        "items": st.lists(st.fixed_dictionaries({"sku": TEXT}), max_size=2), "tags": st.lists(TEXT, max_size=2), "yes": st.booleans(),
        "ratio": st.floats(allow_nan=False, allow_infinity=False), "kind": st.sampled_from(["NEW", "SOLD"]), "note": TEXT,
    },
)  # fmt: skip


@settings(max_examples=3, deadline=None, suppress_health_check=list(HealthCheck))
@given(given=st.lists(st.tuples(ORDERS, st.none() | st.integers(0, 60)), min_size=30, max_size=60))
def test_random_messages_are_read_as_googles_library_reads_them(spark: SparkSession, given: list[tuple[dict[str, Any], int | None]]) -> None:  # fmt: skip
    """Whole ones, and such as break off: good for both or for none, and the same values."""
    of = EventType("order", DDL.replace("at TIMESTAMP,", ""), "kafka_timestamp", times={"sent": "epoch_ms"}, format=Protobuf(WRITTEN, "shop.Order"))  # fmt: skip
    nothing: dict[str, Any] = dict.fromkeys(WHOLE)
    values = [order(**nothing | parts)[:cut] for parts, cut in given]
    made = message_class(WRITTEN, "shop.Order")
    for value, row in zip(values, parsed(spark, [*values], of), strict=True):
        try:
            read = made.FromString(value)
        except Exception:  # noqa: BLE001 - the library's own
            assert row.reason == "broken Protobuf"
            continue
        absent = not read.HasField("id") or (read.HasField("device") and not read.device.HasField("os"))  # fmt: skip
        lost = absent or any(not item.HasField("sku") for item in read.items)
        assert (row.reason is not None) == lost, (value, row.reason)
        if not lost:
            assert (row.id, row.labels, row.tags) == (read.id, dict(read.labels), list(read.tags))
            assert (row.n, row.ratio, row.yes) == tuple(getattr(read, name) if read.HasField(name) else None for name in ("n", "ratio", "yes"))  # fmt: skip
            assert [item.sku for item in row["items"]] == [item.sku for item in read.items]
            assert row.note == (read.note.value if read.HasField("note") else None)


@pytest.mark.kafka
def test_protobuf_is_published_drained_and_accounted_for(spark: SparkSession, topic: Callable[..., str]) -> None:  # fmt: skip
    """Of rta and of another producer; a bad message is a dead letter, whole, with its reason; the stream is the batch."""
    name = topic(partitions=1)
    event = EventType(name, DDL, "at", "id", times={"sent": "epoch_ms"}, format=Protobuf(WRITTEN, "shop.Order"))  # fmt: skip
    producer = foreign()
    sent = [order(id=f"o{n}", n=n) for n in range(5)] + [order(id=None), b"\xff", None]
    for value in sent:
        producer.produce(name, value, "k")
    assert producer.flush(HANG) == 0
    written = rta.read_batch(name, event=event).select("id", "n", "device", "labels", "at", "sent", "raw", "kind", "note", "tags", "yes")  # fmt: skip
    rta.publish(written, name, event=event)

    def counted(orders: Any) -> Any:
        windows = orders.withWatermark("at", "1 hour").groupBy(F.window("at", "1 hour"), "device.os", "kind")  # fmt: skip
        return windows.agg(F.sum("n").alias("n"), F.count("note").alias("notes"), F.count("*").alias("orders"))  # fmt: skip

    told = rta.drain(name, counted, table="protobuf", key=["window", "os", "kind"], event=event, max_events_per_batch=4).accounting  # fmt: skip
    assert (told.consumed, told.used, told.quarantined, told.balanced) == (13, 10, 3, True)
    [row] = rta.read("protobuf")[["os", "kind", "n", "notes", "orders"]].to_dict("records")
    assert row == {"os": "mac", "kind": "SOLD", "n": 20, "notes": 10, "orders": 10}
    [batch] = counted(rta.read_batch(name, event=event)).collect()
    assert (batch.n, batch.notes, batch.orders) == (20, 10, 10)
    letters = [(each.reason, each.value, each.offset) for each in rta.dlq.dead_letters(name)]
    assert letters == [("missing: id", sent[5], 5), ("broken Protobuf", b"\xff", 6), ("null value", None, 7)]  # fmt: skip


@pytest.mark.parametrize(
    ("schema", "more", "message"),
    [
        ("id STRING", {"message": "shop.Sale"}, "do not have the Protobuf message 'shop.Sale'"),
        ("id STRING", {"descriptors": b"\xff"}, "do not have the Protobuf message.*protoc --include_imports"),
        ("id STRING", {"descriptors": b""}, "do not have the Protobuf message"),
        ("nobody STRING", {}, "'shop.Order' has no field 'nobody'; found: id, n, big"),
        ("device STRUCT<name: STRING>", {}, "'shop.Device' has no field 'device.name'; found: os"),
        ("device STRING", {}, "field 'device' has another shape than its column; found: struct, for string"),
        ("tags STRING", {}, "found: array, for string"),
        ("id ARRAY<STRING>", {}, "found: value, for array<string>"),
        ("items ARRAY<STRING>", {}, "found: struct, for string"),
        ("labels MAP<STRING, ARRAY<INT>>", {}, "found: value, for array<int>"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused(schema: str, more: dict[str, Any], message: str) -> None:
    """When the event type is made, with the place."""
    how: dict[str, Any] = {"descriptors": WRITTEN, "message": "shop.Order"} | more
    with pytest.raises(InputError, match=message):
        EventType("order", schema, "kafka_timestamp", format=Protobuf(**how))


def test_other_engines_say_that_they_read_json() -> None:
    """Before anything is made."""
    of = EventType("order", "id STRING", "kafka_timestamp", format=Protobuf(WRITTEN, "shop.Order"))
    with pytest.raises(InputError, match=r"Protobuf.*other engines read JSON"):
        rta.events.strict_json.event_json(of)
    assert (repr(of.format), hash(of)) == ("Protobuf(message='shop.Order', framed=False, nan=False)", hash(of))  # fmt: skip
