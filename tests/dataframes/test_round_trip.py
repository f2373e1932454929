"""What publish() writes of an event type is what parse() reads: in each format, with each form of times."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pyspark.sql import DataFrame, SparkSession

from rta.dataframes.parsing import parse
from rta.errors import InputError
from rta.events.event_types import EventType
from rta.events.formats.avro_records import Avro
from rta.events.formats.csv_lines import Csv
from rta.events.formats.json_objects import Json
from rta.events.json_format import as_messages
from rta.kafka.history import event_time
from rta.kafka.messages import Messages
from tests.dataframes.test_avro import MICROS, maybe, record

EACH = """
s STRING, b BOOLEAN, i INT, l BIGINT, d DOUBLE, f FLOAT, p DECIMAL(20,10), day DATE, raw BINARY, clock TIMESTAMP_NTZ,
iso TIMESTAMP, at TIMESTAMP, sec TIMESTAMP, wall TIMESTAMP, pat TIMESTAMP
"""
FORMS = {"at": "epoch_ms", "sec": "epoch_us", "wall": "Europe/Berlin", "pat": "dd/MM/yyyy HH:mm:ss.SSSSSS in Asia/Kolkata"}  # fmt: skip
DEEP = f"{EACH}, deep STRUCT<a: ARRAY<STRUCT<p: DECIMAL(10,2), at: TIMESTAMP>>, m: MAP<STRING, ARRAY<INT>>>"
VALUES = {
    "s": "'a,\"b\"\n;\\'é'", "b": "true", "i": "-5", "l": "9223372036854775807", "d": "1.5e-300D", "f": "float('0.1')", "p": "1E-10BD",
    "day": "date'2024-02-29'", "raw": "X'00FF'", "clock": "timestamp_ntz'2024-03-31 02:30:00.000001'", "iso": "timestamp'2024-11-15 10:00:00.123456Z'",
    "at": "timestamp'1969-12-31 23:59:59.999Z'", "sec": "timestamp'2024-11-15 10:00:00.123456Z'", "wall": "timestamp'2024-10-27 01:30:00Z'",
    "pat": "timestamp'2024-11-15 10:00:00.123456Z'",
    "deep": "named_struct('a', array(named_struct('p', 0.10BD, 'at', timestamp'2024-11-15 10:00:00.5Z'), null), 'm', map('k', array(1, null)))",
}  # fmt: skip


def typed(spark: SparkSession, of: EventType) -> DataFrame:
    """Make an event with all its columns, one with none, and one with a zero and an empty text."""
    columns = [f"CAST({VALUES[each.name]} AS {each.dataType.simpleString()}) {each.name}" for each in of.schema]  # fmt: skip
    whole = spark.sql(f"SELECT {', '.join(columns)}")
    none = spark.sql(f"SELECT {', '.join(f'CAST(null AS {c.dataType.simpleString()}) {c.name}' for c in of.schema)}")  # fmt: skip
    return whole.union(none).union(whole.withColumn("s", whole.s.substr(0, 0)).withColumn("p", whole.p * 0))  # fmt: skip


def back(frame: DataFrame, of: EventType) -> DataFrame:
    """Write a frame as messages, and read it."""
    sent = as_messages(frame, event=of).selectExpr(
        "key", "value", "'t' topic", "0 partition", "0L offset", "timestamp'2025-01-01 00:00:00Z' timestamp"
    )  # fmt: skip
    return parse(sent, of)


@pytest.mark.parametrize(
    "of",
    [
        EventType("json", DEEP, "kafka_timestamp", times={**FORMS, "deep.a.at": "epoch_s"}),
        EventType("nan", DEEP, "kafka_timestamp", format=Json(nan=True)),
        EventType("csv", EACH, "kafka_timestamp", times=FORMS, format="csv"),
        EventType("signs", EACH, "kafka_timestamp", times=FORMS, format=Csv(";", "'", null="NULL")),
        EventType("text", "s STRING", "kafka_timestamp", format="text"),
        EventType("bytes", "raw BINARY", "kafka_timestamp", format="bytes"),
        EventType("avro", "s STRING, i INT, l BIGINT, d DOUBLE, f FLOAT, b BOOLEAN, raw BINARY, iso TIMESTAMP", "kafka_timestamp", format=Avro(json.dumps(record(
            ("s", maybe("string")), ("i", maybe("int")), ("l", maybe("long")), ("d", maybe("double")), ("f", maybe("float")),
            ("b", maybe("boolean")), ("raw", maybe("bytes")), ("iso", maybe(MICROS)),
        )))),
    ],
    ids=lambda of: of.name,
)  # fmt: skip
def test_what_is_written_is_read(spark: SparkSession, of: EventType) -> None:
    """Each value of each type comes back to the last digit, microsecond and byte; nulls stay nulls."""
    frame = typed(spark, of) if {"s", "p"} <= {*of.columns} else typed(spark, EventType("all", EACH, "kafka_timestamp")).select(*of.columns).limit(1)  # fmt: skip
    columns = [f"to_json(struct({c}), map('timestampFormat', 'yyyy-MM-dd HH:mm:ss.SSSSSSXXX')) {c}" for c in of.columns]  # fmt: skip
    found = back(frame, of)
    assert [row.reason for row in found.collect()] == [None] * frame.count()
    assert found.selectExpr(*columns).collect() == frame.selectExpr(*columns).collect()


LEAF = st.none() | st.integers(-(2**31), 2**31 - 1)
ORDERS = st.fixed_dictionaries(
    {"id": st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=9), "meta": st.fixed_dictionaries({"at": st.datetimes(datetime(1900, 1, 1), datetime(2024, 12, 30)).map(lambda t: t.replace(tzinfo=UTC, microsecond=t.microsecond // 1000 * 1000))})},  # noqa: DTZ001
    optional={"items": st.lists(st.fixed_dictionaries({"n": LEAF}), max_size=3), "more": st.dictionaries(st.text("ab\"é", max_size=3), LEAF, max_size=3), "raw": st.binary(max_size=9)},
)  # fmt: skip
OF = EventType("order", "id STRING NOT NULL, items ARRAY<STRUCT<n: INT>>, more MAP<STRING, INT>, raw BINARY, meta STRUCT<at: TIMESTAMP>", "meta.at", times="epoch_ms")  # fmt: skip


@settings(max_examples=4, deadline=None, suppress_health_check=list(HealthCheck), phases=(Phase.explicit, Phase.generate))  # fmt: skip
@given(sent=st.lists(ORDERS, min_size=40, max_size=60))
def test_dicts_are_read_as_they_were(spark: SparkSession, sent: list[dict[str, Any]]) -> None:
    """Dicts of Python, written without Spark: nested, with instants as numbers and bytes as base64."""
    rows = [(None, m.value, "t", 0, at, datetime(2025, 1, 1, tzinfo=UTC)) for at, m in enumerate(Messages(sent, event=OF))]  # fmt: skip
    raw = spark.createDataFrame(rows, "key binary, value binary, topic string, partition int, offset long, timestamp timestamp")  # fmt: skip
    for event, row, each in zip(
        sent, parse(raw, OF).orderBy("offset").collect(), rows, strict=True
    ):
        assert row.reason is None, (each[1], row.reason)
        found = row.asDict(recursive=True)
        found["raw"] = None if row.raw is None else bytes(row.raw)
        wanted = {"items": None, "more": None, "raw": None} | event
        assert {name: found[name] for name in ("id", "items", "more", "raw")} == {
            name: wanted[name] for name in ("id", "items", "more", "raw")
        }
        assert row.event_time.astimezone(UTC) == event["meta"]["at"]
        since = event["meta"]["at"] - datetime(1970, 1, 1, tzinfo=UTC)
        assert event_time(each[1], OF) == since // timedelta(microseconds=1)


def test_what_only_spark_writes_is_said() -> None:
    """Dicts are JSON; another format, and times in a pattern, need a Spark frame."""
    csv = EventType("t", "n INT", "kafka_timestamp", format="csv")
    with pytest.raises(InputError, match="are written by Spark"):
        list(Messages([{"n": 1}], event=csv))
    pattern = EventType("t", "at TIMESTAMP", "at", times="dd/MM/yyyy XXX")
    with pytest.raises(InputError, match="times in a pattern are written by Spark"):
        list(Messages([{"at": datetime.now(UTC)}], event=pattern))
    [message] = Messages([{"at": "15/11/2024 Z"}], event=pattern)
    assert message.value == b'{"at":"15/11/2024 Z"}'
