"""EventType: what cannot be read is refused when it is made; a schema may be written as DDL, without a JVM."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from pyspark.sql import SparkSession
from pyspark.sql.types import ArrayType, LongType, MapType, StringType, StructField, StructType

import rta
from rta.errors import InputError
from rta.events.ddl import schema_of, type_name
from rta.events.event_types import EventType

DDL = "user_id BIGINT NOT NULL, price decimal(12, 2), at TIMESTAMP NOT NULL, page STRING"
DEEP = StructType().add("userId", StructType().add("innerName", "string"))


def clicks(**how: Any) -> EventType:
    """Make an event type of two lines, with something else in it."""
    return EventType(
        **{"name": "clicks", "schema": DDL, "event_time": "at", "key": "user_id"} | how
    )


@pytest.mark.parametrize(
    "text",
    [
        DDL,
        "a int, b INTEGER, c long, d BIGINT, e short, f smallint, g byte, h tinyint, i float, j real, k double",
        "a STRING COMMENT 'it, is', `b c` boolean not null comment \"x\",c:date, `d``e`: timestamp",
        "a decimal, b dec(3), c NUMERIC ( 38 , 38 ), d binary, e timestamp_ntz, f timestamp_ltz",
        " `größe` DOUBLE\n,\n x\tSTRING ",
        "a struct<b: int not null, `c d` ARRAY<MAP<STRING, DECIMAL(3,1)>>, e STRUCT<f:date>> NOT NULL COMMENT 'x', g array<binary>",
    ],
)
def test_a_schema_is_read_as_spark_reads_it(spark: SparkSession, text: str) -> None:
    """Our parser of DDL and Spark's own, which needs a session, read the same columns."""
    theirs = cast(StructType, StructType.fromDDL(text))
    assert [(f.name, f.dataType, f.nullable) for f in schema_of(text)] == [
        (f.name, f.dataType, f.nullable) for f in theirs
    ]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", "''"),
        ("a", "'a'"),
        ("a BIGINT,", "'a BIGINT,'"),
        ("a BIGINT b STRING", "'a BIGINT b STRING'"),
        ("a BIGINT, tags ARRAY<STRING", "'tags ARRAY<STRING'"),
        ("a BIGINT, d STRUCT<os STRING,>", "'d STRUCT<os STRING,>'"),
        ("a MAP<STRING>", "'a MAP<STRING>'"),
        ("a ARRAY<INTERVAL>", "column 'a' has a type that is not known; found: INTERVAL"),
        ("a INTERVAL DAY TO SECOND", "column 'a' has a type that is not known; found: INTERVAL"),
        ("a STRUCT<b: TIME(6)>", "column 'b' has a type that is not known; found: TIME"),
        ("a VARIANT", "column 'a' has a type that is not known; found: VARIANT"),
        ("a BIGINT, b BIGINT NULL", "'b BIGINT NULL'"),
        ("a VARCHAR", "column 'a' has a type that is not known; found: VARCHAR"),
        ("a DECIMAL(39, 2)", "column 'a' has a type with numbers"),
        ("a STRING(5)", "column 'a' has a type with numbers"),
    ],
)
def test_a_schema_that_cannot_be_read_says_from_where(text: str, found: str) -> None:
    """The error shows the first place that is no column."""
    with pytest.raises(InputError) as error:
        schema_of(text)
    assert found in str(error.value)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"name": "a/b"}, "topic name"),
        ({"event_time": "time"}, "event time is a TIMESTAMP column; found: no column 'time'; fix: choose from at"),
        ({"event_time": "user_id"}, "found: user_id BIGINT; fix: choose from at"),
        ({"schema": "a BIGINT", "event_time": "a"}, "fix: add one"),
        ({"key": "nobody"}, "key is a column; found: 'nobody'; fix: choose from user_id, price, at, page"),
        ({"schema": None}, "has columns; found: None"),
        ({"schema": {"a": "int"}}, "has columns"),
        ({"schema": DDL + ", `user-id` STRING"}, "column name; found: 'user-id'"),
        ({"schema": DDL + ", offset BIGINT"}, r"reserved; found: offset.*fields=\{\"my_offset\": \"offset\"\}"),
        ({"schema": DDL + ", Value STRING"}, "reserved; found: Value"),
        ({"schema": DDL + ", _id STRING"}, r"reserved.*\"my_id\": \"_id\""),
        ({"schema": DDL + ", PAGE STRING"}, "two columns are named 'PAGE'"),
        ({"schema": StructType().add("m", MapType(LongType(), StringType()))}, "'m' has a type that events cannot have; found: map<bigint,string>"),
        ({"schema": "at TIMESTAMP, d STRUCT<`a\\b`: INT>", "key": None}, "d has a field with a name that cannot be read"),
        ({"schema": "at TIMESTAMP, d ARRAY<STRUCT<os INT, OS INT>>", "key": None}, "two fields with one name, but for its case; found: 'os'"),
        ({"event_time": "meta.at"}, "found: no field 'meta.at'"),
        ({"schema": "meta STRUCT<at STRING>", "event_time": "meta.at"}, "found: meta.at STRING"),
        ({"schema": "meta STRUCT<at TIMESTAMP>, event_time DATE", "event_time": "meta.at"}, "would be the column 'event_time'"),
        ({"fields": {"page": ("at", "page")}}, "path of column 'page' does not lead to a field of its type"),
        ({"times": {"page": "iso"}}, "times is a form, or a mapping.*no TIMESTAMP 'page'; fix: choose from at"),
        ({"times": "Europe/Atlantis"}, "the times of 'at' have a form that is not known"),
        ({"times": "dd/MM/yyyy HH:mm"}, "have no zone.*in Europe/Berlin"),
        ({"times": {"at": "yyyy SSSSSSSX"}}, "more digits than a microsecond"),
        ({"tombstones": "keep"}, "kept ones have a key.*NOT NULL: at"),
        ({"tombstones": "drop"}, "are \"quarantine\" or \"keep\""),
        ({"format": "xml"}, "no format of events is called 'xml'"),
        ({"format": "protobuf"}, r"Protobuf needs the descriptors of its messages.*rta.events.Protobuf\(descriptors, message\).*protoc"),
        ({"format": 5}, "this is no format of events; found: 5"),
        ({"fields": {"nobody": "x"}}, "found: no column 'nobody'"),
        ({"fields": ["at"]}, "fields is a mapping"),
        ({"fields": {"at": 'a"b'}}, "field of column 'at' has a name that cannot be read"),
        ({"fields": {"at": "a\\b"}}, "cannot be read"),
        ({"fields": {"at": ""}}, "cannot be read"),
        ({"fields": {"at": "a\x00"}}, "cannot be read"),
        ({"fields": {"at": "\ud800"}}, "cannot be read"),
        ({"fields": {"at": "page"}}, "two columns are read from one field; found: 'page'"),
    ],
    ids=str,
)  # fmt: skip
def test_what_cannot_be_is_refused_when_it_is_made(how: dict[str, Any], message: str) -> None:
    """Each error names what is wrong, before any topic, query or table is there."""
    with pytest.raises(InputError, match=message):
        clicks(**how)


def test_two_columns_may_change_their_names() -> None:
    """A column may bear the name of another one's field."""
    swapped = clicks(fields={"user_id": "page", "page": "user_id"})
    assert (swapped.field("page"), swapped.field("user_id"), swapped.field("at")) == (
        "user_id", "page", "at",
    )  # fmt: skip


def test_an_event_type_is_a_value() -> None:
    """It shows what it is, its event time is required, it is equal to one made alike, and replace() keeps the rest."""
    event = clicks(schema=DDL.replace("at TIMESTAMP NOT NULL", "at TIMESTAMP"), key=None, fields={"at": "@t", "page": "page"})  # fmt: skip
    assert repr(event) == (
        "EventType('clicks', event_time='at', key=None: user_id BIGINT NOT NULL, price DECIMAL(12,2), "
        "at TIMESTAMP NOT NULL from '@t', page STRING)"
    )
    assert event.required == ("user_id", "at")
    again = replace(event, name="clicks")
    assert (again, hash(again)) == (event, hash(event))
    assert again != replace(event, fields={})


def test_an_event_time_may_stand_anywhere() -> None:
    """The path of a field gives a required column of its own, also after replace(); Kafka's time is no column of the schema."""
    views = EventType("views", "meta STRUCT<sent: STRING, at: TIMESTAMP>, n INT", "meta.at", times={"meta.at": "epoch_ms"})  # fmt: skip
    assert (views.event_time, views.columns) == ("event_time", ("meta", "n", "event_time"))
    assert (views.taken, views.wire.names) == ({"event_time": ("meta", "at")}, ["meta", "n"])
    assert views.required == ("meta", "event_time")
    meta = views.schema["meta"].dataType
    assert isinstance(meta, StructType)
    assert [each.nullable for each in meta] == [True, False]
    assert "times={'meta.at': 'epoch_ms'}" in repr(views)
    assert replace(views, name="views") == views
    named = EventType("views", "meta STRUCT<at: TIMESTAMP>, happened TIMESTAMP", "happened", fields={"happened": ("meta", "at")})  # fmt: skip
    assert (named.field("happened"), named.event_time) == ("meta.at", "happened")
    logs = EventType("logs", "line STRING", "kafka_timestamp", format="text")
    assert (logs.event_time, logs.columns) == ("kafka_timestamp", ("line",))


def test_names_inside_a_type_keep_their_case() -> None:
    """An error about a nested column shows it as its producer wrote it."""
    assert type_name(ArrayType(DEEP)) == "array<struct<userId:struct<innerName:string>>>"
    with pytest.raises(InputError, match="map<struct<userId:struct<innerName:string>>,string>"):
        EventType("x", StructType([StructField("deep", MapType(DEEP, StringType()))]), "at")


def test_two_lines_need_no_spark(tmp_path: Path) -> None:
    """An event type is made in a fresh interpreter without a JVM."""
    code = f"import rta, sys; rta.EventType('clicks', {DDL!r}, event_time='at'); from pyspark import SparkContext; print(SparkContext._gateway)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True, text=True, check=True, env=os.environ | {"RTA_HOME": str(tmp_path)},
    )  # fmt: skip
    assert done.stdout == "None\n"
    assert rta.USER_EVENTS.key == "user_id"
