"""rta.peek and rta.infer: what another tool wrote, seen as it is, and an event type that reads it."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from click.testing import CliRunner

import rta
from rta.cli.app import main
from rta.errors import InputError, TopicError
from rta.events.inference import Sampled, inferred
from tests.kafka.test_foreign import LONG_AGO, foreign, sent
from tests.support.waiting import HANG

pytestmark = pytest.mark.kafka
AT: int = 1_731_666_601_000  # milliseconds: 2024-11-15T10:30:01Z


def test_peek_shows_records_as_they_are(topic: Any) -> None:
    """Tombstones, keys, headers of any bytes; from the end, a place, a time; only those with a text."""
    name = topic(partitions=2)
    records = [(f"k{n}", None if n == 3 else f'{{"n": {n}}}', [("trace", b"\x1b[31m" if n == 4 else None)]) for n in range(6)]  # fmt: skip
    sent(records[:3], name, timestamp=LONG_AGO)
    sent(records[3:], name, timestamp=LONG_AGO + 60_000)
    newest = rta.peek(name, count=3)
    assert [(each.offset, each.key) for each in newest] == [(3, "k3"), (4, "k4"), (5, "k5")]
    assert newest[0].value is None
    assert newest[1].headers == (("trace", "\\x1b[31m"),)
    assert newest[2].headers == (("trace", None),)
    shown = newest._repr_html_()
    assert "(tombstone)" in shown
    assert "looked at 3 of 6 records" in shown
    since = datetime.fromtimestamp((LONG_AGO + 1) / 1000, UTC)
    assert [each.offset for each in rta.peek(name, starting=since)] == [3, 4, 5]
    assert [each.offset for each in rta.peek(name, starting="earliest", count=2)] == [0, 1]
    assert [each.offset for each in rta.peek(name, starting={0: 4})] == [4, 5]
    assert [each.offset for each in rta.peek(name, where='"n": 5')] == [5]
    assert [each.offset for each in rta.peek(name, where="31m")] == [4]
    assert [each.offset for each in rta.peek(name, where=lambda each: each.value is None)] == [3]
    for wrong in ({0: 7}, {2: 0}, "newest", datetime(2024, 11, 15)):  # noqa: DTZ001 - no zone
        with pytest.raises(InputError):
            rta.peek(name, starting=wrong)
    with pytest.raises(TopicError, match="no topic"):
        rta.peek("peek-no-such-topic")
    run = CliRunner().invoke(main, ["peek", name, "--offset", "0:3", "-n", "1", "--json"])
    assert json.loads(run.stdout)[0]["key"] == "k3", run.output
    text = CliRunner().invoke(main, ["peek", name, "--where", "k4"]).stdout
    assert r"\x1b[31m" in text
    assert "\x1b" not in text


VIEW: dict[str, Any] = {
    "@timestamp": "2024-11-15T10:30:00Z", "user": {"id": 7, "device": {"os": "iOS", "beta": False}}, "offset": 7,
    "items": [{"sku": "a", "price": 4.5}, {"sku": "b", "price": 12}], "born": "1990-01-01", "note": None,
}  # fmt: skip


def test_infer_writes_the_event_type_of_nested_json(topic: Any) -> None:
    """Nested fields, the names that a column cannot have, key, headers, tombstones, and the share that fits."""
    name = topic(partitions=1)
    views = [VIEW | {"user": VIEW["user"] | {"id": n}, "offset": n, "email": f"u{n}@example.org"} for n in range(20)]  # fmt: skip
    del views[3]["items"], views[4]["born"]
    records = [(each["email"], json.dumps(each), [("trace", b"1")]) for each in views]
    sent([*records, ("gone", None, []), ("broken", "{", []), ("other", json.dumps(VIEW | {"user": "me", "email": "e"}), [])], name, timestamp=AT)  # fmt: skip
    found = rta.infer(name)
    assert (found.format, found.tombstones, found.sampled, round(found.fits, 3)) == ("json", 1, 23, round(20 / 22, 3))  # fmt: skip
    assert found.arguments == {
        "name": name,
        "schema": "timestamp TIMESTAMP NOT NULL, "
        "user STRUCT<id BIGINT NOT NULL, device STRUCT<os STRING NOT NULL, beta BOOLEAN NOT NULL> NOT NULL> NOT NULL, "
        "my_offset BIGINT NOT NULL, items ARRAY<STRUCT<sku STRING NOT NULL, price DECIMAL(18,2) NOT NULL>>, born DATE, note STRING, "
        "email STRING NOT NULL",
        "event_time": "timestamp",
        "fields": {"timestamp": "@timestamp", "my_offset": "offset"},
    }
    said = dict(found.facts)
    assert said["headers"] == "trace"
    assert "no column" in said["keys"]  # two of the records have a key of their own
    assert any("note is null" in each for each in found.notes)
    assert "rta.EventType(" in repr(found)
    run = CliRunner().invoke(main, ["infer", name, "--json"])
    assert json.loads(run.stdout)["code"] == found.code, run.output


def sample(*values: Any, key: Any = None) -> Any:
    """Infer from some values: JSON, or bytes as they are."""
    raw = [v if isinstance(v, bytes) else json.dumps(v).encode() for v in values]
    return inferred("t", [Sampled(key(v) if key else None, r, AT) for v, r in zip(values, raw, strict=True)])  # fmt: skip


def test_infer_finds_the_event_time() -> None:
    """At any depth and in each form; what is no event time is not taken for one."""
    nested = sample(
        {"id": 1, "meta": {"created": 1_731_666_600_123}, "expires_at": "2025-11-15T10:30:00Z"}
    )
    assert nested.arguments["event_time"] == "meta.created"
    assert nested.arguments["times"] == {"meta.created": "epoch_ms"}
    assert "created TIMESTAMP NOT NULL" in nested.arguments["schema"]
    seconds = sample({"n": 1, "ts": 1_731_666_600})
    assert seconds.arguments["times"] == {"ts": "epoch_s"}
    for form, each in {"epoch_ms": 10**3, "epoch_us": 10**6}.items():
        finer = sample({"n": 1, "ts": 1_731_666_600 * each + 1})
        assert finer.arguments["times"] == {"ts": form}
        assert f"ts, {form}" in dict(finer.facts)["event time"]
    local = sample({"n": 1, "time": "2024-11-15 10:30:00"})
    assert local.arguments["times"] == {"time": "UTC"}
    assert any("zone" in each for each in local.notes)
    none = sample({"n": 1, "size": 1_731}, {"n": 2, "size": 99})
    assert none.arguments["event_time"] == "kafka_timestamp"
    two = sample({"at": "2024-11-15T10:30:00Z", "received_at": "2024-11-15T10:30:01Z"})
    assert two.arguments["event_time"] == "at"
    assert "received_at" in dict(two.facts)["event time"]


def test_infer_of_types_and_formats() -> None:
    """Numbers of each size, maps, mixed kinds; CSV, text, bytes, Confluent's framing."""
    at = {"at": "2024-11-15T10:30:00Z"}
    big = sample(
        at | {"a": 2**63, "b": 0.123456, "c": 1e300, "d": True, "e": [], "f": {}, "g": [[1]]}
    )
    for part in ("a DECIMAL(38,0)", "b DOUBLE", "c DOUBLE", "d BOOLEAN", "e ARRAY<STRING>", "f MAP<STRING, STRING>", "g ARRAY<ARRAY<BIGINT>>"):  # fmt: skip
        assert part in big.arguments["schema"]
    maps = sample(*[at | {"by": {f"user-{n}": n, f"user-{n + 1}": 1}} for n in range(50)])
    assert "by MAP<STRING, BIGINT>" in maps.arguments["schema"]
    mixed = sample(*[at | {"n": n} for n in range(9)], at | {"n": "nine"})
    assert "n BIGINT NOT NULL" in mixed.arguments["schema"]
    assert mixed.fits == pytest.approx(0.9)
    assert sample(*[at | {"n": n} for n in range(9)], key=lambda v: str(v["n"]).encode()).arguments["key"] == "n"  # fmt: skip
    lines = sample(b"7;2024-11-15T10:30:00Z;1.50;", b'8;2024-11-15T10:30:01Z;2.00;"a;b"')
    assert lines.format == "csv"
    assert lines.arguments["schema"] == "c1 BIGINT NOT NULL, c2 TIMESTAMP NOT NULL, c3 DECIMAL(18,2) NOT NULL, c4 STRING"  # fmt: skip
    assert "format=rta.events.Csv(separator=';')," in lines.code
    headed = sample(
        b"shop,n,@at", b"Berlin,5,2024-11-15T10:30:00Z", b"Paris,6,2024-11-15T10:31:00Z"
    )
    assert headed.arguments["schema"] == "shop STRING NOT NULL, n BIGINT NOT NULL, at TIMESTAMP NOT NULL"  # fmt: skip
    assert (headed.arguments["fields"], headed.fits) == ({"at": "@at"}, pytest.approx(2 / 3))
    assert "the reason `header`" in headed.notes[0]
    assert sample(b"GET /a HTTP/1.1", b"GET /b HTTP/1.1").arguments["format"] == "text"
    assert sample(b"\x01\xff\xfe", b"\x02\xff").arguments["format"] == "bytes"
    assert any("schema 7" in each for each in sample(b"\x00\x00\x00\x00\x07abc").notes)
    with pytest.raises(InputError, match="nothing to guess"):
        inferred("t", [Sampled(b"k", None, AT)])


def test_infer_says_that_bytes_may_be_avro() -> None:
    """Records of Avro without Confluent's framing do not say their schema: what to give is said, also if each is text by chance."""
    for values in ((b"\x02a\x0e", b"\x04bc\x10"), (b"\x01\xff\xfe", b"\x02\xff")):
        found = sample(*values)
        assert found.arguments["format"] == "bytes"
        [note] = found.notes
        assert "Avro without framing" in note
        assert "format=rta.events.Avro(schema)" in note
        assert "format=rta.events.Protobuf(descriptors, message)" in note
        assert note in repr(found)


def test_infer_reads_many_partitions(topic: Any) -> None:
    """Half of the sample is old, half is new, of each partition."""
    name = topic(partitions=3)
    producer = foreign()
    for n in range(300):
        producer.produce(name, json.dumps({"n": n, "v": "old" if n < 150 else 1}), partition=n % 3)
    assert producer.flush(HANG) == 0
    found = rta.infer(name, sample=60)
    assert (found.sampled, found.total, found.fits) == (60, 300, 0.5)


def test_infer_reads_avro_by_its_registry() -> None:
    """The schema says it all; without the registry the bytes say which schema it is."""
    at = {"type": "long", "logicalType": "timestamp-millis"}
    money = {"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 2}
    place = {"type": "record", "name": "place", "fields": [{"name": "lat", "type": "double"}, {"name": "names", "type": {"type": "map", "values": "string"}}]}  # fmt: skip
    record = {
        "type": "record", "name": "sale", "fields": [
            {"name": "updated_at", "type": at}, {"name": "sold_at", "type": ["null", at]}, {"name": "paid", "type": money},
            {"name": "offset", "type": ["null", "int"]}, {"name": "place", "type": ["null", place]},
            {"name": "kind", "type": {"type": "enum", "name": "k", "symbols": ["A"]}}, {"name": "odd", "type": ["int", "string"]},
        ],
    }  # fmt: skip
    records = [Sampled(None, b"\0\0\0\0" + bytes([n]) + b"x", AT) for n in (7, 7, 9)]
    found = inferred(
        "t", records, registry="http://127.0.0.1:8081", schemas={7: json.dumps(record)}
    )
    assert (found.format, round(found.fits, 2)) == ("avro", 0.67)
    assert found.arguments["schema"] == (
        "updated_at TIMESTAMP NOT NULL, sold_at TIMESTAMP NOT NULL, paid DECIMAL(12,2) NOT NULL, my_offset INT, "
        "place STRUCT<lat DOUBLE NOT NULL, names MAP<STRING, STRING> NOT NULL>, kind STRING NOT NULL, odd STRING NOT NULL"
    )
    assert found.arguments["event_time"] == "sold_at"
    assert "format=rta.events.Avro(registry='http://127.0.0.1:8081')," in found.code
    assert found.event_type().key is None
