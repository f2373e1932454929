"""rta.events.formats.avro_records: records with a given schema, and with schemas of a registry, found by their ids."""

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from pyspark.sql.avro.functions import from_avro, to_avro

import rta
from rta.engines import Source
from rta.errors import InputError, SetupError
from rta.events.event_types import EventType
from rta.events.formats.avro_records import Avro
from rta.events.formats.registry import schemas
from rta.events.inference import Sampled, inferred
from tests.dataframes.test_nested import parsed
from tests.kafka.test_foreign import sent


def record(*fields: tuple[str, Any], name: str = "Order") -> Any:
    """Make the schema of a record."""
    return {"type": "record", "name": name, "fields": [{"name": n, "type": kind} for n, kind in fields]}  # fmt: skip


def maybe(kind: Any) -> Any:
    """Make the type of a field that may be null."""
    return ["null", kind]


MICROS = {"type": "long", "logicalType": "timestamp-micros"}
ITEM = record(("sku", maybe("string")), ("price", {"type": "bytes", "logicalType": "decimal", "precision": 10, "scale": 2}), name="Item")  # fmt: skip
ORDER = json.dumps(
    record(
        ("id", maybe("string")), ("n", "int"), ("device", maybe(record(("os", maybe("string")), name="Device"))),
        ("items", {"type": "array", "items": ITEM}), ("labels", {"type": "map", "values": maybe("int")}), ("ratio", "double"),
        ("at", MICROS), ("sent", "long"), ("day", {"type": "int", "logicalType": "date"}), ("raw", "bytes"), ("more", "string"),
    )
)  # fmt: skip
DDL = """
id STRING NOT NULL, n BIGINT, device STRUCT<os: STRING NOT NULL>, items ARRAY<STRUCT<sku: STRING NOT NULL, price: DECIMAL(10,2)>>,
labels MAP<STRING, INT>, ratio DOUBLE, at TIMESTAMP, sent TIMESTAMP, day DATE, raw BINARY
"""
OF = EventType("order", DDL, "at", times={"sent": "epoch_ms"}, format=Avro(ORDER))


def long(number: int) -> bytes:
    """Write an Avro int or long."""
    number, out = (number << 1) ^ (number >> 63), b""
    while number > 0x7F:
        out, number = out + bytes([number & 0x7F | 0x80]), number >> 7
    return out + bytes([number])


def text(value: str | None) -> bytes:
    """Write a text that may be null."""
    return b"\0" if value is None else b"\2" + data(value.encode())


def data(value: bytes) -> bytes:
    """Write bytes."""
    return long(len(value)) + value


def order(**parts: bytes) -> bytes:
    """Write an order by hand, as another library does, with some parts written otherwise."""
    import struct

    whole = {
        "id": text("a"), "n": long(5), "device": b"\2" + text("mac"), "items": long(2) + text("x") + data(b"\x00\x96") + text("y") + data(b"\xff") + b"\0",
        "labels": long(1) + data(b"k") + b"\2" + long(7) + b"\0", "ratio": struct.pack("<d", 0.5), "at": long(1_700_000_000_123_456),
        "sent": long(1_700_000_000_123), "day": long(19_000), "raw": data(b"\0\xff"), "more": data(b"unknown"),
    }  # fmt: skip
    return b"".join((whole | parts).values())


NAN = b"\0\0\0\0\0\0\xf8\x7f"
CASES: list[tuple[bytes | None, str | None]] = [
    (order(), None),
    (order(device=b"\0", items=b"\0", labels=b"\0"), None),
    (None, "null value"),
    (b"", "empty value"),
    (order()[:-1], "broken Avro"),
    (order() + b"\0", "trailing garbage"),
    (order() + order(), "trailing garbage"),
    (b"{}", "broken Avro"),
    (order(id=text(None)), "missing: id"),
    (order(device=b"\2" + text(None)), "missing: device.os"),
    (order(items=long(2) + text("x") + data(b"\1") + text(None) + data(b"\1") + b"\0"), "missing: items[1].sku"),
    (order(id=text("a\0")), "NUL: id"),
    (order(items=long(1) + text("\0") + data(b"\1") + b"\0"), "NUL: items[0].sku"),
    (order(labels=long(1) + data(b"\0") + b"\2" + long(7) + b"\0"), "NUL: labels"),
    (order(ratio=NAN), "NaN or Infinity: ratio"),
    (order(sent=long(10**17)), "out of range: sent"),
    (order(at=long(4_102_444_800_000_000)), "ahead"),
]  # fmt: skip


def test_records_are_as_strict_as_json(spark: SparkSession) -> None:
    """Records that another library wrote: each value exact, what is bad with its place, nothing read behind the record."""
    rows = parsed(spark, [value for value, _ in CASES], OF)
    assert [(c, row.reason) for c, row in zip(CASES, rows, strict=True) if row.reason != c[1]] == []
    first = rows[0]
    assert (first.id, first.n, first.device.os, first.labels, first.ratio, bytes(first.raw)) == ("a", 5, "mac", {"k": 7}, 0.5, b"\0\xff")  # fmt: skip
    assert [(item.sku, item.price) for item in first["items"]] == [("x", Decimal("1.50")), ("y", Decimal("-0.01"))]  # fmt: skip
    assert first.at.astimezone(UTC) == datetime(2023, 11, 14, 22, 13, 20, 123456, tzinfo=UTC)
    assert first.sent.astimezone(UTC) == datetime(2023, 11, 14, 22, 13, 20, 123000, tzinfo=UTC)
    assert (rows[1].device, rows[1]["items"], rows[1].labels) == (None, [], {})


def test_nan_is_read_if_asked_for(spark: SparkSession) -> None:
    """Avro(nan=True) lets doubles be NaN."""
    of = EventType("order", DDL, "at", times={"sent": "epoch_ms"}, format=Avro(ORDER, nan=True))
    [row] = parsed(spark, [order(ratio=NAN)], of)
    assert (str(row.ratio), row.reason) == ("nan", None)


def test_what_spark_writes_is_read(spark: SparkSession) -> None:
    """to_avro's records come back."""
    schema = json.dumps(record(("id", "string"), ("at", MICROS)))
    frame = spark.sql("SELECT 'é' id, timestamp '2024-11-15 10:00:00.123456Z' at")
    value = bytes(frame.select(to_avro(F.struct("id", "at"), schema)).head()[0])  # type: ignore[index]
    [row] = parsed(spark, [value], EventType("w", "id STRING, at TIMESTAMP", "at", format=Avro(schema)))  # fmt: skip
    assert (row.id, row.at.microsecond, row.reason) == ("é", 123456, None)


WIDE = json.dumps(
    record(
        ("e", {"type": "enum", "name": "E", "symbols": ["x", "y"]}), ("f", {"type": "fixed", "name": "F", "size": 2}),
        ("u", ["null", "int", "long"]), ("same", maybe("E")), ("inner", record(("v", maybe("float")), name="Inner")), ("again", maybe("Inner")),
        ("ms", {"type": "long", "logicalType": "timestamp-millis"}), ("clock", {"type": "long", "logicalType": "local-timestamp-micros"}),
        ("said", "string"), ("local", "string"), ("d", {"type": "fixed", "name": "D", "size": 3, "logicalType": "decimal", "precision": 4, "scale": 1}),
        ("big", "long"), ("grows", "int"), ("yes", "boolean"), ("tags", {"type": "array", "items": "null"}),
    )
)  # fmt: skip
WIDE_DDL = """
e STRING NOT NULL, f BINARY, u BIGINT, same STRING, inner STRUCT<v: DOUBLE>, again STRUCT<v: FLOAT>, ms TIMESTAMP, clock TIMESTAMP_NTZ,
said TIMESTAMP, local TIMESTAMP, d DECIMAL(4,1), big DECIMAL(20,0), grows DOUBLE, yes BOOLEAN
"""
WIDE_PARTS = {
    "e": b"\2", "f": b"\xab\xcd", "u": b"\4" + long(2**40), "same": b"\2\0", "inner": b"\2\0\0\x20\x3f", "again": b"\0",
    "ms": long(-1), "clock": long(1_500_000), "said": data(b"2024-11-15T10:00:00+02:00"), "local": data(b"2024-07-01T12:00:00"),
    "d": b"\xff\xfc\x19", "big": long(-(2**63)), "grows": long(7), "yes": b"\1", "tags": long(-3) + long(0) + b"\0",
}  # fmt: skip


def wide(**parts: bytes) -> bytes:
    """Write a record of WIDE by hand, with some parts written otherwise."""
    return b"".join((WIDE_PARTS | parts).values())


def test_every_type_of_avro_is_read(spark: SparkSession) -> None:
    """Enum, fixed, unions, a type that is named again, moments of each kind, decimals of fixed size, wider columns; and what is bad in each."""
    of = EventType("wide", WIDE_DDL, "kafka_timestamp", times={"local": "Europe/Berlin"}, format=Avro(WIDE))  # fmt: skip
    cases = {
        wide(): None, wide(u=b"\2" + long(-5)): None, wide(e=b"\4"): "broken Avro", wide(yes=b"\2"): "broken Avro", wide(grows=long(2**31)): "broken Avro",
        wide(u=b"\6"): "broken Avro", wide(d=b"\x7f\xff\xff"): "out of range: d", wide(said=data(b"2024-11-15T10:00:00")): "no zone: said",
        wide(local=data(b"2024-03-31T02:30:00")): "out of range: local", wide(said=data(b"\xff")): "wrong type: said", wide(inner=b"\2\0\0\x80\x7f"): "NaN or Infinity: inner.v",
        wide(said=long(2**40)): "broken Avro", wide(tags=long(2**60)): "broken Avro", wide(e=b"\xff" * 11): "broken Avro", wide(tags=long(2) + b"\0"): None,
    }  # fmt: skip
    rows = parsed(spark, [*cases], of)
    assert [row.reason for row in rows] == [*cases.values()]
    found = rows[0]
    assert (found.e, bytes(found.f), found.u, found.same, found.inner.v, found.again) == ("y", b"\xab\xcd", 2**40, "x", 0.625, None)  # fmt: skip
    moments = [each.astimezone(UTC).isoformat() for each in (found.ms, found.said, found.local)]
    assert moments == ["1969-12-31T23:59:59.999000+00:00", "2024-11-15T08:00:00+00:00", "2024-07-01T10:00:00+00:00"]  # fmt: skip
    assert found.clock == datetime(1970, 1, 1, 0, 0, 1, 500000)  # noqa: DTZ001
    assert (found.d, found.big, found.grows, found.yes) == (Decimal("-99.9"), Decimal(-(2**63)), 7.0, True)  # fmt: skip
    assert rows[1].u == -5


def test_a_text_that_is_none_is_named(spark: SparkSession) -> None:
    """Avro's strings are UTF-8, also in the keys of maps; no byte is replaced in silence."""
    rows = parsed(spark, [order(id=b"\2" + data(b"\xff")), order(labels=long(1) + data(b"\xff") + b"\2" + long(7) + b"\0"),
                          order(labels=long(2) + 2 * (data(b"k") + b"\2" + long(7)) + b"\0")], OF)  # fmt: skip
    assert [row.reason for row in rows] == ["invalid UTF-8: id", "invalid UTF-8: labels", "duplicate key: labels"]  # fmt: skip


def test_random_records_are_read_as_spark_reads_them(spark: SparkSession) -> None:
    """What Spark writes of random rows comes back; what is spoilt is bad, or Spark reads the same from it."""
    rows = spark.range(200).selectExpr(
        "concat('e', id % 7) id", "int(id * 7919 % 1000 - 500) n", "IF(id % 3 = 0, null, named_struct('os', IF(id % 5 = 0, null, 'ü'))) device",
        "transform(sequence(1, 1 + id % 3), i -> named_struct('sku', string(i), 'price', CAST(id * i AS DECIMAL(10,2)))) items",
        "map('a', int(id), 'b', null) labels", "rand(7) ratio", "timestamp_micros(id * 1000003) at", "id * 1000 sent", "date_add('1970-01-01', int(id)) day",
        "unhex('00ff') raw", "'x' more",
    )  # fmt: skip
    of = EventType("order", DDL.replace("os: STRING NOT NULL", "os: STRING"), "kafka_timestamp", times={"sent": "epoch_ms"}, format=Avro(ORDER))  # fmt: skip
    whole = [bytes(row[0]) for row in rows.select(to_avro(F.struct(*rows.columns), ORDER)).collect()]  # fmt: skip
    spoilt = [each[: 7 * n % len(each)] + bytes([n % 256]) + each[7 * n % len(each) + 1 :] for n, each in enumerate(whole)]  # fmt: skip
    ours = parsed(spark, [*whole, *spoilt], of)
    assert [row.reason for row in ours[: len(whole)]] == [None] * len(whole)
    frame = spark.createDataFrame([(n, each) for n, each in enumerate([*whole, *spoilt])], "n long, value binary")  # fmt: skip
    theirs = frame.select("n", from_avro("value", ORDER, {"mode": "PERMISSIVE"}).alias("e")).orderBy("n").select("e.*").collect()  # fmt: skip
    same = ["id", "n", "device", "items", "labels", "ratio", "at", "day", "raw"]
    good = [(mine, other) for mine, other in zip(ours, theirs, strict=True) if mine.reason is None]
    assert len(whole) < len(good) < len(ours)
    for mine, other in good:
        assert [mine[name] for name in same] == [other[name] for name in same]


class Registry(BaseHTTPRequestHandler):
    """Two schemas of one subject, as a registry with Confluent's API tells them."""

    found: ClassVar[dict[str, Any]] = {}
    user: ClassVar[str | None] = None

    def do_GET(self) -> None:
        """Answer, to its user alone if it has one."""
        known = self.user is None or self.headers["Authorization"] == self.user
        answer = self.found.get(self.path) if known else None
        body = json.dumps(answer or {"error_code": 40401}).encode()
        self.send_response(200 if answer else 404 if known else 401)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def registry() -> Iterator[str]:
    """Run a registry that knows the topic "evolving" in two versions."""
    first, second = record(("id", "string"), ("n", "int")), record(("more", "string"), ("n", "long"), ("id", "string"), ("os", maybe("string")))  # fmt: skip
    subject = "/subjects/evolving-value/versions"
    Registry.found = {
        subject: [1, 2], f"{subject}/1": {"id": 7, "schema": json.dumps(first)}, f"{subject}/2": {"id": 300, "schema": json.dumps(second)},
        "/subjects/other-value/versions": [1], "/subjects/other-value/versions/1": {"id": 1, "schema": "x", "schemaType": "PROTOBUF"},
    }  # fmt: skip
    with ThreadingHTTPServer(("127.0.0.1", 0), Registry) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def framed(number: int, body: bytes) -> bytes:
    """Put Confluent's five bytes before a record."""
    return b"\0" + number.to_bytes(4) + body


def test_schemas_are_found_by_their_ids(spark: SparkSession, registry: str) -> None:
    """Events of an older and a newer schema are read as one type; an unknown id, and what is not framed, are bad."""
    of = EventType("evolving", "id STRING NOT NULL, n BIGINT, os STRING", "kafka_timestamp", format=Avro(registry=registry))  # fmt: skip
    old, new = data(b"a") + long(5), data(b"x") + long(2**40) + data(b"b") + text("mac")
    values = [framed(7, old), framed(300, new), framed(8, old), framed(7, old)[:-1], framed(300, new) + b"x", b"\1" + framed(7, old)[1:], b"\0\0"]  # fmt: skip
    rows = parsed(spark, [*values], of)
    assert [row.reason for row in rows] == [None, None, "unknown schema: 8", "broken Avro", "trailing garbage", "broken Avro", "broken Avro"]  # fmt: skip
    assert [(row.id, row.n, row.os) for row in rows[:2]] == [("a", 5, None), ("b", 2**40, "mac")]
    for name, message in {"nobody": "knows no schema", "other": "not Avro; found: PROTOBUF.*Protobuf"}.items():  # fmt: skip
        with pytest.raises(InputError, match=message):
            parsed(spark, [b""], EventType(name, "id STRING", "kafka_timestamp", format=Avro(registry=registry)))  # fmt: skip
    gone = EventType("t", "id STRING", "kafka_timestamp", format=Avro(registry="http://127.0.0.1:9"))  # fmt: skip
    with pytest.raises(SetupError, match=r"registry does not answer; found: 127.0.0.1:9"):
        parsed(spark, [b""], gone)


def test_the_password_of_a_registry_is_sent_and_never_shown(
    spark: SparkSession, registry: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes to the registry as HTTP has it; no repr, error, plan or code to paste has it."""
    monkeypatch.setattr(Registry, "user", "Basic YW5hOnBsYW50QGVk")  # ana:plant@ed
    url = registry.replace("//", "//ana:plant%40ed@")
    of = EventType("evolving", "id STRING, n BIGINT", "kafka_timestamp", format=Avro(registry=url))
    [row] = parsed(spark, [framed(7, data(b"a") + long(5))], of)
    assert (row.id, row.n) == ("a", 5)
    guess = inferred("evolving", [Sampled(None, framed(7, b"x"), 0)], registry=url, schemas=schemas(url, "evolving"))  # fmt: skip
    assert guess.event_type().format == Avro(registry=url)
    shown = [repr(of), of._repr_html_(), repr(of.format), guess.code, repr(guess), repr(Source("evolving", of))]  # fmt: skip
    for wrong in (url.replace("ed", "x"), "http://ana:plant%40ed@127.0.0.1:9", "http://ana:plant/ed@127.0.0.1", "ftp://ana:planted@127.0.0.1"):  # fmt: skip
        with pytest.raises((InputError, SetupError)) as refused:
            parsed(spark, [b""], EventType("evolving", "id STRING", "kafka_timestamp", format=Avro(registry=wrong)))  # fmt: skip
        shown.append(str(refused.value))
    with pytest.raises(InputError) as both:
        Avro("{}", registry=url)
    assert "refuses this user" in shown[-4]
    assert [each for each in [*shown, str(both.value)] if "plant" in each] == []


@pytest.mark.kafka
def test_infer_reads_a_topic_by_its_registry(spark: SparkSession, registry: str) -> None:
    """From an unknown topic to its rows: the event type that infer() writes reads each version of the schema, and as many events as it says."""
    rta.kafka.create_topic("evolving", partitions=1)
    old, new = data(b"a") + long(5), data(b"x") + long(2**40) + data(b"b") + text("mac")
    values = [framed(7, old), framed(300, new), framed(300, new), framed(8, old)]
    sent([(None, value, []) for value in values], "evolving")
    found = rta.infer("evolving", registry=registry)
    assert (found.format, found.fits, dict(found.facts)["schema"]) == ("avro", 0.75, "300")
    event = found.event_type()
    assert event.format == Avro(registry=registry)
    rows = rta.read_batch("evolving", event=event).orderBy("offset").collect()
    assert [(row.id, row.n, row.os, row.more) for row in rows] == [("a", 5, None, None), *[("b", 2**40, "mac", "x")] * 2]  # fmt: skip
    bad = rta.dataframes.quarantined("evolving", event=event).collect()
    assert [(row.offset, row.reason) for row in bad] == [(3, "unknown schema: 8")]


def test_an_event_time_may_be_inside_a_record(spark: SparkSession) -> None:
    """Its path names it, as in JSON; what is bad has its place; infer() finds it there."""
    meta = record(("at", maybe(MICROS)), ("sent", "long"), name="Meta")
    schema = json.dumps(record(("id", "string"), ("meta", maybe(meta))))
    of = EventType("t", "id STRING, meta STRUCT<at: TIMESTAMP, sent: TIMESTAMP>", "meta.at", times={"meta.sent": "epoch_ms"}, format=Avro(schema))  # fmt: skip
    at = b"\2" + long(1_700_000_000_123_456)
    rows = parsed(spark, [
        data(b"a") + b"\2" + at + long(1_700_000_000_123), data(b"b") + b"\0", data(b"c") + b"\2\0" + long(0),
        data(b"d") + b"\2\2" + long(4_102_444_800_000_000) + long(0), data(b"e") + b"\2" + at + long(10**17),
    ], of)  # fmt: skip
    assert [row.reason for row in rows] == [None, "missing: meta", "missing: meta.at", "ahead", "out of range: meta.sent"]  # fmt: skip
    moment = datetime(2023, 11, 14, 22, 13, 20, 123456, tzinfo=UTC)
    [column] = of.taken
    assert (rows[0][column].astimezone(UTC), rows[0].meta.at.astimezone(UTC)) == (moment, moment)
    found = inferred("t", [Sampled(None, framed(7, b"x"), 0)], registry="http://127.0.0.1:1", schemas={7: schema})  # fmt: skip
    assert found.arguments["event_time"] == "meta.at"
    assert found.notes == ()


def test_a_given_schema_may_be_framed(spark: SparkSession) -> None:
    """Without a registry the five bytes are passed over."""
    schema = json.dumps(record(("id", "string")))
    of = EventType("t", "id STRING", "kafka_timestamp", format=Avro(schema, framed=True))
    assert [row.id for row in parsed(spark, [framed(9, data(b"a"))], of)] == ["a"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (Avro, "needs the schema of its records, or a registry"),
        (lambda: Avro("{"), "is the JSON of a record"),
        (lambda: Avro('"string"'), "is the JSON of a record"),
        (
            lambda: EventType("t", "x INT", "kafka_timestamp", format=Avro(ORDER)),
            "has no field 'x'; found: id, n",
        ),
    ],
)
def test_what_cannot_be_read_is_refused(make: Any, message: str) -> None:
    """When the event type is made."""
    with pytest.raises(InputError, match=message):
        make()


def test_a_type_that_does_not_fit_is_refused(spark: SparkSession) -> None:
    """Before anything is read, with the place; so is a schema that has itself inside."""
    tree = record(("id", "string"), ("next", maybe("Tree")), name="Tree")
    with pytest.raises(InputError, match="has itself inside"):
        parsed(spark, [b""], EventType("t", "id STRING", "kafka_timestamp", format=Avro(json.dumps(tree))))  # fmt: skip
    for ddl, message in {"n STRING": "'n' does not have the type.*int in Avro, string", "device STRUCT<cpu: INT>": "'device.cpu'.*no such field"}.items():  # fmt: skip
        with pytest.raises(InputError, match=message):
            parsed(spark, [b""], EventType("t", ddl, "kafka_timestamp", format=Avro(ORDER)))
