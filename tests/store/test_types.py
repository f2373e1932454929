"""Every type that Spark has: it has a place in a table, or a sentence that refuses it and says what to do; so has it in an event type."""

import datetime as dt
import json
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Final

import duckdb
import polars as pl
import pytest
from pyspark.sql import SparkSession, types
from pyspark.sql.types import (
    ArrayType,
    DataType,
    IntegerType,
    LongType,
    MapType,
    StringType,
    StructField,
    StructType,
    UserDefinedType,
    VariantType,
    YearMonthIntervalType,
)
from sqlalchemy import Engine

import rta
from rta.errors import InputError
from rta.events.type_checks import checked_columns
from rta.store import serving, serving_tables, upserts
from rta.store.columns import REFUSED
from rta.store.stored_types import storable, stored_type
from tests.support.databases import NOON, create

NOON_HERE: Final = NOON.replace(tzinfo=None)
# type → an example; its value as it leaves Spark; what pandas reads; what Arrow has; its type in DuckDB, and in Polars
EXAMPLES: Final[Sequence[tuple[Any, ...]]] = (
    (types.ByteType, types.ByteType(), -128, -128, -128, "TINYINT", pl.Int8),
    (types.ShortType, types.ShortType(), 2**15 - 1, 2**15 - 1, 2**15 - 1, "SMALLINT", pl.Int16),
    (IntegerType, IntegerType(), -(2**31), -(2**31), -(2**31), "INTEGER", pl.Int32),
    (LongType, LongType(), 2**63 - 1, 2**63 - 1, 2**63 - 1, "BIGINT", pl.Int64),
    (types.FloatType, types.FloatType(), 0.5, 0.5, 0.5, "FLOAT", pl.Float32),
    (types.DoubleType, types.DoubleType(), 0.1, 0.1, 0.1, "DOUBLE", pl.Float64),
    (types.DecimalType, types.DecimalType(12, 2), *[Decimal("1.50")] * 3, "DECIMAL(12,2)", pl.Decimal(12, 2)),
    (StringType, StringType(), "é", "é", "é", "VARCHAR", pl.String),
    (types.CharType, types.CharType(2), "a ", "a ", "a ", "VARCHAR", pl.String),
    (types.VarcharType, types.VarcharType(9), "a", "a", "a", "VARCHAR", pl.String),
    (types.BooleanType, types.BooleanType(), True, True, True, "BOOLEAN", pl.Boolean),
    (types.BinaryType, types.BinaryType(), b"\0k", b"\0k", b"\0k", "BLOB", pl.Binary),
    (types.DateType, types.DateType(), *[NOON.date()] * 3, "DATE", pl.Date),
    (types.TimeType, types.TimeType(), *[dt.time(9, 0, 0, 5)] * 3, "TIME_NS", pl.Time),
    (types.TimestampType, types.TimestampType(), NOON, NOON, NOON, "TIMESTAMP WITH TIME ZONE", pl.Datetime("us", "UTC")),
    (types.TimestampNTZType, types.TimestampNTZType(), *[NOON_HERE] * 3, "TIMESTAMP", pl.Datetime("us")),
    (types.DayTimeIntervalType, types.DayTimeIntervalType(), *[dt.timedelta(days=-1, microseconds=1)] * 3, "INTERVAL", pl.Duration("us")),
    (YearMonthIntervalType, YearMonthIntervalType(), -14, -14, -14, "INTEGER", pl.Int32),
    (ArrayType, ArrayType(LongType()), [1, None], [1, None], [1, None], "BIGINT[]", pl.List(pl.Int64)),
    (MapType, MapType(LongType(), StringType()), {7: "a"}, {7: "a"}, [(7, "a")], "MAP(BIGINT, VARCHAR)", pl.Map(pl.Int64, pl.String)),
    (StructType, StructType().add("a", "integer"), {"a": 1}, {"a": 1}, {"a": 1}, "STRUCT(a INTEGER)", pl.Struct({"a": pl.Int32})),
    (VariantType, VariantType(), '{"a": [1.50, null]}', {"a": [Decimal("1.50"), None]}, '{"a":[1.50,null]}', "VARCHAR", pl.String),
)  # fmt: skip
PLACES: Final[dict[type[DataType], tuple[Any, ...]]] = {each[0]: each[1:] for each in EXAMPLES}


class Date(UserDefinedType):
    """A type of somebody else's, with the name of one of Spark's."""

    @classmethod
    def sqlType(cls) -> DataType:  # noqa: N802 - Spark's word
        """Tell what it is made of."""
        return ArrayType(LongType())


NO_PLACE: Final[dict[type[DataType], tuple[DataType, str]]] = {
    types.NullType: (types.NullType(), "no value but null"),
    types.CalendarIntervalType: (types.CalendarIntervalType(), r"make_ym_interval\(\) or make_dt_interval\(\)"),
    types.GeometryType: (types.GeometryType(4326), r"ST_AsBinary\(\)"),
    types.GeographyType: (types.GeographyType(4326), r"ST_AsBinary\(\)"),
    UserDefinedType: (Date(), r"vector_to_array\(\)"),
}  # fmt: skip
IN_EVENTS: Final = {
    *PLACES
} - {types.CharType, types.VarcharType, types.TimeType, types.DayTimeIntervalType, YearMonthIntervalType, VariantType}  # fmt: skip


def kinds(above: type[DataType] = DataType) -> set[type[DataType]]:
    """Return the types of PySpark that a column can have: those that no other of its types is made from."""
    below = {each for each in above.__subclasses__() if each.__module__ == types.__name__} - {
        StructField
    }
    return {kind for each in below for kind in kinds(each)} if below else {above}


def test_no_type_is_forgotten() -> None:
    """A type that a newer Spark adds is in neither of the two lists, and this says so."""
    assert kinds() == {*PLACES, *NO_PLACE}
    assert not {*PLACES} & {*NO_PLACE}
    assert len(REFUSED) == len(NO_PLACE) + 1  # of a TIME some have none


@pytest.mark.parametrize("kind", PLACES, ids=lambda kind: kind.__name__)
def test_a_type_with_a_place_comes_back(engine: Engine, kind: type[DataType]) -> None:
    """Alone and in an array, typed in pandas, Arrow, DuckDB and Polars; null stays null."""
    given, value, pandas, arrow, in_duckdb, in_polars = PLACES[kind]
    inner = StructType().add("x", given)
    table = create("each", StructType().add("id", "integer").add("w", inner).add("all", ArrayType(given)), ["id"], on=engine)  # fmt: skip
    assert table.columns["w_x"].dataType == given
    with engine.begin() as connection:
        upserts.upsert(connection, table, [(1, value, [value, None]), (2, None, None)])
    found = serving.read("each", on=engine).to_dict("records")
    assert (found[0]["w_x"], found[0]["all"]) == (pandas, [pandas, None])
    typed = serving.read_arrow("each", on=engine)
    assert typed["w_x"].to_pylist() == [arrow, None]
    assert typed["all"].to_pylist() == [[arrow, None], None]
    answer = duckdb.sql('SELECT DISTINCT typeof(w_x), typeof("all") FROM typed')
    assert answer is not None
    assert answer.fetchall() == [(in_duckdb, f"{in_duckdb}[]")]
    frame = pl.DataFrame(typed)
    assert frame.schema["w_x"] == in_polars
    assert frame["all"].list.len().to_list() == [2, None]


@pytest.mark.parametrize("kind", NO_PLACE, ids=lambda kind: kind.__name__)
def test_a_type_without_a_place_is_refused_with_what_to_do(engine: Engine, kind: type[DataType]) -> None:  # fmt: skip
    """By the column's name, however deep it is, before anything is made."""
    given, words = NO_PLACE[kind]
    for schema in (StructType().add("x", given), StructType().add("x", ArrayType(given))):
        with pytest.raises(InputError, match=f"no serving table can hold column 'x'.*{words}"):
            serving_tables.planned("refused", schema, [], on=engine)
    assert serving_tables.tables(on=engine) == []


def test_a_time_with_nanoseconds_is_refused_before_any_is_lost(engine: Engine) -> None:
    """Arrow gives a TIME(9) to Python without its last digits, and says nothing."""
    for digits in (7, 9):
        schema = StructType().add("x", ArrayType(types.TimeType(digits)))
        with pytest.raises(
            InputError, match=rf"column 'x'; found: TIME\({digits}\); fix: cast it to TIME\(6\)"
        ):
            serving_tables.planned("refused", schema, [], on=engine)
    assert serving_tables.planned("kept", StructType().add("x", types.TimeType(0)), [], on=engine)


@pytest.mark.parametrize("kind", sorted(kinds(), key=str), ids=lambda kind: kind.__name__)
def test_an_event_has_a_type_or_it_is_refused(kind: type[DataType]) -> None:
    """What events cannot have is refused by its name when the event type is made."""
    given = (PLACES.get(kind) or NO_PLACE[kind])[0]
    for each in (given, ArrayType(given), StructType().add("deep", given)):
        schema = StructType().add("x", each)
        if kind in IN_EVENTS and given != MapType(LongType(), StringType()):
            assert checked_columns(schema) == schema
            continue
        with pytest.raises(InputError, match=r"'x.*' has a type that events cannot have"):
            rta.EventType("any", schema, "kafka_timestamp")


@pytest.mark.parametrize("kind", [VariantType(), ArrayType(VariantType())], ids=str)
def test_a_variant_is_no_key(engine: Engine, kind: DataType) -> None:
    """JSON is equal in more ways than one: that is said before anything is made."""
    with pytest.raises(InputError, match="key column 'x' is an array, a map, a struct or a variant; fix: take the parts"):  # fmt: skip
        serving_tables.planned("keyed", StructType().add("x", kind), ["x"], on=engine)
    assert serving_tables.tables(on=engine) == []


DEEP: Final = """
    SELECT
      parse_json('{"b": [12345678901234567890123456789012345678, 1.5, 1e300, null], "a": "é\\\\u2028"}') AS v,
      to_variant_object(named_struct('big', 1234567890123456789012345678.0123456789BD, 'nan', double('NaN'), 'raw', X'00FF',
                                     'at', TIMESTAMP '2024-01-01 12:00:00Z', 'day', DATE '2024-01-01')) AS made,
      array(parse_json('null'), NULL, parse_json('"text"')) AS vs,
      named_struct('inner', array(named_struct('v', parse_json('[]'), 'n', 1))) AS deep,
      CAST(NULL AS STRUCT<v VARIANT>) AS gone,
      INTERVAL '-1-2' YEAR TO MONTH AS age, INTERVAL '3' YEAR AS years,
      map(INTERVAL '5' MONTH, array(INTERVAL '178956970-7' YEAR TO MONTH, NULL)) AS ages,
      7L AS n
"""


def test_what_arrow_lacks_leaves_spark_exactly(spark: SparkSession) -> None:
    """At any depth: each digit, NaN, what is null and what is JSON's null; a frame without such types is left as it is."""
    frame = spark.sql(DEEP)
    made = storable(frame)
    assert made.schema.simpleString() == stored_type(frame.schema).simpleString()
    [row] = made.toArrow().to_pylist()
    assert json.loads(row["v"]) == {
        "a": "é\u2028",
        "b": [12345678901234567890123456789012345678, 1.5, 1e300, None],
    }
    loose = json.loads(row["made"], parse_float=Decimal)
    assert loose == {
        "at": "2024-01-01 12:00:00+00:00", "big": Decimal("1234567890123456789012345678.0123456789"), "day": "2024-01-01", "nan": "NaN", "raw": "AP8=",
    }  # fmt: skip
    assert row["vs"] == ["null", None, '"text"']
    assert row["deep"] == {"inner": [{"v": "[]", "n": 1}]}
    assert row["gone"] is None
    assert (row["age"], row["years"], row["ages"]) == (-14, 36, [(5, [2**31 - 1, None])])
    plain = frame.select("n")
    assert storable(plain) is plain
