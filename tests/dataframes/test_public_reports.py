"""What people have reported of reading events with Spark, each with the right value: nothing is null, rounded or taken over in silence.

The numbers are those of Spark's tickets, or of a project's pull request or issue, in which the fault is told. Their addresses are in docs/bad-and-late-events.md.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from pyspark.sql import Row, SparkSession

import rta
from rta.dataframes import parse

AT = "2024-11-15T10:30:00.000001Z"
NESTED = "data STRUCT<c1 BIGINT, c2 ARRAY<STRUCT<c3 BIGINT, c4 STRING>>>, at TIMESTAMP"
FLAT = "n INT, d DOUBLE, m DECIMAL(12,2), t STRING, b BOOLEAN, at TIMESTAMP"
SALE = '{"type": "record", "name": "sale", "fields": [{"name": "n", "type": "int"}]}'
JSON: list[tuple[str, str, str, str | None, Any]] = [
    ("SPARK-33134: a scalar for a struct made all around it null", NESTED, '"data": {"c2": [19], "c1": 123456}', "wrong type: data.c2[0]", None),
    ("confluentinc/ksql#5980: one bad field made its struct null", NESTED, '"data": {"c1": "x", "c2": []}', "wrong type: data.c1", None),
    ("SPARK-10681: a time lost its microseconds", FLAT, '"n": 1', None, {"at": datetime.fromisoformat(AT)}),
    ("SPARK-25040: an empty text was read as null where no text is meant", FLAT, '"d": ""', "wrong type: d", None),
    ("SPARK-25040: also for decimals", FLAT, '"m": ""', "wrong type: m", None),
    ("SPARK-47798: a decimal with too many digits was rounded", FLAT, '"m": 1.005', "inexact: m", None),
    ("SPARK-47798: and null if it was too large", FLAT, '"m": 12345678901.00', "out of range: m", None),
    ("SPARK-48148: an object read as text came with other numbers", FLAT, '"t": {"b": -999.99999999999999999999999999999999995}', "wrong type: t", None),
    ("SPARK-12749: a decimal came by way of a float", FLAT, '"m": 9999999999.99', None, {"m": Decimal("9999999999.99")}),
]  # fmt: skip


def read(spark: SparkSession, event: rta.EventType, values: Sequence[bytes | None]) -> list[Row]:
    """Parse values; return the rows in their order."""
    rows = [(b"k", value, "t", 0, n, datetime(2024, 11, 15, 10, 31, tzinfo=UTC)) for n, value in enumerate(values)]  # fmt: skip
    raw = spark.createDataFrame(rows, "key BINARY, value BINARY, topic STRING, partition INT, offset BIGINT, timestamp TIMESTAMP")  # fmt: skip
    return parse(raw, event).orderBy("offset").collect()


@pytest.mark.parametrize("schema", [NESTED, FLAT], ids=["nested", "flat"])
def test_reports_about_json(spark: SparkSession, schema: str) -> None:
    """Each bad event has a reason with its place; each good one its exact value."""
    event = rta.EventType("t", schema, event_time="at")
    cases = [each for each in JSON if each[1] == schema]
    values = [f'{{{members}, "at": "{AT}"}}'.encode() for _, _, members, _, _ in cases]
    for (why, _, _, reason, expected), row in zip(cases, read(spark, event, values), strict=True):
        assert row.reason == reason, why
        for name, value in (expected or {}).items():
            found = row[name].astimezone(UTC) if isinstance(value, datetime) else row[name]
            assert found == value, why


def test_reports_about_times(spark: SparkSession) -> None:
    """SPARK-44696: milliseconds were read as seconds, in the year 55563: the form of a time is given, and no other one is read."""
    found = {
        form: read(spark, rta.EventType("t", "at TIMESTAMP", "at", times=form), [b'{"at": 1691241070000}'])[0]
        for form in ("epoch_ms", "epoch_s", "iso")
    }  # fmt: skip
    assert {form: row.reason for form, row in found.items()} == {"epoch_ms": None, "epoch_s": "out of range: at", "iso": "wrong type: at"}  # fmt: skip
    assert found["epoch_ms"].at.astimezone(UTC) == datetime(2023, 8, 5, 13, 11, 10, tzinfo=UTC)


def test_reports_about_what_is_no_event(spark: SparkSession) -> None:
    """SPARK-19543: an empty value failed the query; SPARK-25935: no JSON was a row of nulls."""
    event = rta.EventType("t", FLAT, event_time="at")
    found = read(spark, event, [b"", b"  ", b"no json", None])
    assert [row.reason for row in found] == ["empty value", "empty value", "broken JSON", "null value"]  # fmt: skip


def test_reports_about_csv(spark: SparkSession) -> None:
    """SPARK-26372: a bad field got the value of the row before; SPARK-26151, SPARK-18699: the rest of a bad line was lost, or shifted."""
    schema = "n INT, day DATE, note STRING"
    event = rta.EventType("t", schema, "kafka_timestamp", format=rta.events.Csv())
    found = read(spark, event, [b"1,2024-11-15,a", b"2,bad,b", b"3,2013-111-11,c", b"4", b"5,2024-11-15,"])  # fmt: skip
    assert [row.reason for row in found] == [None, "wrong type: day", "wrong type: day", "wrong number of fields", None]  # fmt: skip
    assert [(row.n, row.note) for row in found if row.reason is None] == [(1, "a"), (5, None)]


def test_reports_about_avro(spark: SparkSession) -> None:
    """apache/spark#48645: Confluent's five bytes were read as data, and gave other values without a word."""
    plain = rta.EventType("t", "n INT", "kafka_timestamp", format=rta.events.Avro(SALE))
    framed = rta.EventType("t", "n INT", "kafka_timestamp", format=rta.events.Avro(SALE, framed=True))  # fmt: skip
    seven = b"\x0e"  # 7 as Avro writes it
    values = [seven, b"\0\0\0\0\x07" + seven]
    assert [(row.n, row.reason) for row in read(spark, plain, values)] == [(7, None), (None, "trailing garbage")]  # fmt: skip
    assert [(row.n, row.reason) for row in read(spark, framed, values)] == [(None, "broken Avro"), (7, None)]  # fmt: skip
