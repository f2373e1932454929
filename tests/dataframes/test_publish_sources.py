"""publish() and publish_paced() take what a person has: frames, lists, files; each in its order, nothing left out in silence."""

import gzip
import json
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import SparkSession

import rta
from rta.dataframes.producer import INTENDED, publish, publish_paced
from rta.errors import InputError
from rta.kafka.messages import Messages
from tests.dataframes.test_producer import read_back, records

pytestmark = pytest.mark.kafka
Topic = Callable[..., str]
NOON = datetime(2024, 11, 15, 12, tzinfo=UTC)


def mapped() -> rta.EventType:
    """Make an event type whose producer has names of his own."""
    columns = "user_id BIGINT NOT NULL, at TIMESTAMP NOT NULL, price DECIMAL(5,2)"
    fields = {"at": "@timestamp", "user_id": "user-id"}
    return rta.EventType("clicks", columns, event_time="at", key="user_id", fields=fields)


def values(topic: str) -> list[str]:
    """Read the values of a topic of one partition."""
    return [record.value.decode() for record in records(topic)]


ROWS: list[dict[str, Any]] = [
    {"user_id": 7, "at": NOON, "price": Decimal("0.10")},
    {"user_id": 8, "at": NOON, "price": None},
]
WRITTEN = [
    '{"user-id":7,"@timestamp":"2024-11-15T12:00:00.000000Z","price":0.10}',
    '{"user-id":8,"@timestamp":"2024-11-15T12:00:00.000000Z"}',
]


def test_each_source_becomes_the_same_messages(spark: SparkSession, topic: Topic) -> None:
    """A Spark frame, a pandas frame and a list of dicts, in bulk and paced: the same bytes, under the producer's names."""
    of = mapped()
    frame = spark.createDataFrame(ROWS, of.schema)
    missing = pd.DataFrame(ROWS).assign(
        extra=[np.nan, np.nan], gone=pd.Series([None, None], dtype="datetime64[ns]")
    )
    sources: list[Any] = [frame, missing, ROWS, (row for row in ROWS), [{k: np.int64(v) if k == "user_id" else v for k, v in row.items()} for row in ROWS]]  # fmt: skip
    for source in sources:
        name = topic(partitions=1)
        made = publish(source, name, event=of)
        assert (made.events, made.offsets) == (2, {0: (0, 2)})
        assert values(name) == WRITTEN
        assert [(r.key, r.headers) for r in records(name)] == [(b"7", []), (b"8", [])]
    assert rta.read_batch(name, event=of).select(*of.columns).collect() == frame.collect()
    for source in sources[:3]:
        name = topic(partitions=1)
        assert publish_paced(source, name, event=of, rate=1_000, headers={"h": "x"}).ok == 2
        assert values(name) == WRITTEN
        assert [[h for h, _ in r.headers] for r in records(name)] == [["h", INTENDED]] * 2


def test_a_file_is_sent_byte_for_byte(topic: Topic, tmp_path: Path) -> None:
    """Each line is an event as it stands, broken ones too; what was left out is said."""
    lines = [b'{"u": 7,  "s":"\xc3\xa9"}', b"", b'{"u":"a"}', b"  ", b'{"u":\xff', b'{"other":1}', b'{"u":true}']  # fmt: skip
    plain, packed = tmp_path / "events.jsonl", tmp_path / "events.jsonl.gz"
    plain.write_bytes(b"\xef\xbb\xbf" + b"\r\n".join(lines))
    packed.write_bytes(gzip.compress(b"\n".join(lines) + b"\n"))
    for path in (plain, str(packed)):
        name = topic(partitions=1)
        made = publish(path, name, key="u")
        there = [(record.key, record.value) for record in records(name)]
        assert there == [(b"7", lines[0]), (b"a", lines[2]), (None, lines[4]), (None, lines[5]), (b"true", lines[6])]  # fmt: skip
        assert (made.events, made.skipped, made.keyless) == (5, 2, 2)
        assert "empty lines skipped: 2; lines without the key: 2" in repr(made)
        assert "<td" in made._repr_html_()


def test_a_file_is_replayed_by_a_field(topic: Topic, tmp_path: Path) -> None:
    """publish_paced() takes a file too, by the time that its lines hold, under the producer's name for it."""
    path, name = tmp_path / "events.jsonl", topic(partitions=1)
    path.write_text(
        '{"@timestamp":"2024-11-15T12:00:00Z"}\n{"@timestamp":"2024-11-15T12:01:00Z"}\n'
    )
    of = rta.EventType("c", "at TIMESTAMP NOT NULL", event_time="at", fields={"at": "@timestamp"})
    publish_paced(path, name, event=of, time="at", speed_up=6_000)
    intended = [int(dict(record.headers)[INTENDED]) for record in records(name)]
    assert intended[1] - intended[0] == pytest.approx(10_000, abs=2)


def test_a_field_named_value_takes_nothing_with_it(spark: SparkSession, topic: Topic) -> None:
    """A STRING `value` beside other columns is a field; a BINARY one is the message, and what stays behind is said."""
    name = topic(partitions=1)
    publish(spark.sql("SELECT '21.5' value, 7L sensor"), name, key="sensor")
    publish(spark.sql("SELECT '21.5' value, timestamp'2024-11-15 12:00:00Z' timestamp, 1L offset"), name)  # fmt: skip
    publish(spark.sql("SELECT '{}' value, 2 n"), name, order_by="n")
    made = publish(spark.sql("SELECT binary('x') value, 'why' poison, 1L offset"), name)
    assert values(name) == ['{"value":"21.5","sensor":7}', "21.5", "{}", "x"]
    assert made.left_out == ("poison",)
    assert "columns left out: poison" in repr(made)
    publish_paced(spark.sql("SELECT '21.5' value, 7L sensor"), name)
    assert values(name)[-1] == '{"value":"21.5","sensor":7}'


def test_a_frame_keeps_its_order(spark: SparkSession, topic: Topic) -> None:
    """Each partition holds the events of many tasks in the order of the frame, also of one that is kept in memory."""
    name = topic(partitions=2)
    frame = rta.events.user_events(spark, rows=4_000).repartition(1).sortWithinPartitions("reported_at", "event_id")  # fmt: skip
    half = frame.limit(2_000).repartitionByRange(4, "reported_at", "event_id").sortWithinPartitions("reported_at", "event_id")  # fmt: skip
    kept = half.localCheckpoint()
    assert kept.rdd.getNumPartitions() > 1
    publish(kept, name, key="user_id")
    read = [[json.loads(record.value) for record in batch] for batch in read_back(name).values()]
    assert sum(map(len, read)) == 2_000
    places = [[(event["reported_at"], event["event_id"]) for event in batch] for batch in read]
    assert places == [sorted(batch) for batch in places]


def test_a_frame_that_was_published_is_not_late(spark: SparkSession, topic: Topic) -> None:
    """Generated events come out of a small watermark whole, however many micro-batches read them."""
    name = topic(partitions=2)
    publish(rta.events.user_events(spark, rows=2_000).repartition(4, "user_id").sort("timestamp"), name, key="user_id")  # fmt: skip
    table = "kept_in_order"
    options = {"maxOffsetsPerTrigger": "1000"}
    rta.drain(name, rta.transforms.totals, table=table, key=["window", "user_id"], event=rta.USER_EVENTS, options=options)  # fmt: skip
    assert (rta.accounting(table).consumed, rta.accounting(table).late) == (2_000, 0)


@pytest.mark.parametrize(
    ("source", "how", "message"),
    [
        (None, {}, "this source cannot be published; found: NoneType .*return"),
        ({"a": 1}, {}, "this source cannot be published; found: dict"),
        (7, {}, "found: int"),
        (b"{}", {}, "found: bytes"),
        (["{}"], {}, "an event must be a mapping.*found: str"),
        ("no/such.jsonl", {}, "no such file"),
        ([{"a": 1}], {"key": "b"}, r"no column 'b'; found: \['a'\]"),
        ([{"a": 1}], {"order_by": "a"}, "in its own order"),
        ([{"a": 1}], {"parallel": True}, "in its own order"),
        ([{"a": float("nan")}], {}, "that JSON cannot hold"),
        ([{"a": {1}}], {}, "that JSON cannot hold"),
        ([{"a": pd.Timestamp(1, unit="ns")}], {}, "'a' has nanoseconds"),
        (pd.DataFrame({"a": [1]}), {"key": "b"}, "no column 'b'"),
        (pd.DataFrame({0: [1]}), {}, "column of a frame must have a name"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), {}, "a name of its own"),
        (pd.DataFrame({"a": [1], "b": [2]}).set_index("a"), {}, r"index.*found: \['a'\]"),
        (pd.DataFrame({"at": [NOON]}), {"event": True}, "no column 'user_id'"),
    ],
    ids=lambda each: str(each)[:30],
)  # fmt: skip
def test_what_cannot_be_published_is_said(
    topic: Topic, source: Any, how: dict[str, Any], message: str
) -> None:
    """The error names what was found and what is taken; both ways say the same."""
    if how.get("event"):
        how = {"event": mapped()}
    name = topic()
    with pytest.raises(InputError, match=message):
        publish(source, name, **how)
    if not {"order_by", "parallel"} & set(how):
        with pytest.raises(InputError, match=message):
            publish_paced(source, name, **how)
    assert records(name) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'[{"a":1}]', "one JSON array; fix: write one object on each line"),
        (gzip.compress(b"{}", mtime=0), "found: compressed"),
        (b"PAR1....", "found: Parquet"),
        (b'{"a":1}\n', r"no column 'key'; found: \['a'\]"),
    ],
)
def test_a_file_of_another_kind_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    """Nothing is sent, and the error says what the file seems to be."""
    path = tmp_path / "events.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        Messages(path, key="key")


def test_a_frame_without_a_required_column_is_refused(spark: SparkSession, topic: Topic) -> None:
    """Each of its events would be quarantined."""
    name = topic()
    with pytest.raises(InputError, match=r"'clicks' requires columns.*\['user_id'\]"):
        publish(spark.sql("SELECT timestamp'2024-11-15 12:00:00Z' at"), name, event=mapped())


def test_an_event_that_kafka_refuses_is_told(topic: Topic) -> None:
    """A list with one event that is too large: the others are there, and the error counts."""
    name = topic(partitions=1)
    with pytest.raises(InputError, match=r"2 of 3 events are on topic.*max_request_size"):
        publish([{"n": 1}, {"n": "x" * 1_100_000}, {"n": 3}], name)
    assert values(name) == ['{"n":1}', '{"n":3}']
