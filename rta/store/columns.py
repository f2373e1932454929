"""The columns of the serving database: how each Spark type is stored exactly; its values to the driver, and back to pandas.

| Spark                  | PostgreSQL             | SQLite                                    |
|------------------------|------------------------|-------------------------------------------|
| DECIMAL(p,s)           | NUMERIC(p,s)           | text of s decimals, COLLATE decimal       |
| TINYINT … BIGINT       | SMALLINT … BIGINT      | integer                                   |
| FLOAT, DOUBLE          | REAL, DOUBLE PRECISION | real; NaN as text (it would become NULL)  |
| BOOLEAN                | BOOLEAN                | 0 or 1                                    |
| TIMESTAMP              | TIMESTAMPTZ            | text: 2013-01-01 05:00:00.000000+00:00    |
| TIMESTAMP_NTZ          | TIMESTAMP              | text: 2013-01-01 05:00:00.000000          |
| DATE                   | DATE                   | text: 2013-01-01                          |
| TIME                   | TIME                   | text: 05:00:00.000000                     |
| INTERVAL DAY TO SECOND | INTERVAL               | integer: microseconds                     |
| INTERVAL YEAR TO MONTH | INTEGER                | integer: months                           |
| STRING, CHAR, VARCHAR  | TEXT                   | text                                      |
| BINARY                 | BYTEA                  | blob                                      |
| ARRAY, MAP, inner STRUCT, VARIANT | JSONB       | JSON as text (rta.store.nested)           |

A struct is flattened one level, its name as prefix: `window` gives `window_start`, `window_end`. What is deeper is JSON, and SQL reaches
into it: `tags ->> 0` and `device_os ->> 'name'` on both databases. What has no place is refused, with what to do: see REFUSED.
"""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Context, Decimal, DecimalException, Inexact, InvalidOperation
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

from rta.errors import InputError, TableError
from rta.names import LONGEST, checked
from rta.store.nested import NESTED, from_json, inner_types, microseconds, to_json

if TYPE_CHECKING:
    import pandas as pd
    from pyspark.sql.types import DataType, StructField, StructType

# White space that SQLite and Python skip before a number: it marks our numbers among other text.
MARK: Final = "\v\f"
_MOMENT: Final = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}\+00:00")
_PLAIN: Final = 6
_MICROSECONDS: Final = 6  # digits behind the second
_SHORTEST: Final = dt.timedelta(
    microseconds=-(2**63)
)  # which is how NumPy writes that there is none
_MISFITS: Final = (DecimalException, OverflowError, ValueError, TypeError, LookupError)
_EXACT: Final = Context(prec=38, traps=[Inexact, InvalidOperation])


@dataclass(frozen=True)
class Kind:
    """A Spark type elsewhere: two SQL types, the Python types of its values, and pandas' types."""

    postgresql: str
    sqlite: str
    python: tuple[type, ...]
    pandas: str = "object"
    nullable: str = "object"
    bits: int = 0


# The SQLite names are chosen for their affinity ("TEXT", "INT", "DOUB" in the name decide it).
KINDS: Final[Mapping[str, Kind]] = {
    "byte": Kind("SMALLINT", "SMALLINT", (int,), "int8", "Int8", 8),
    "short": Kind("SMALLINT", "SMALLINT", (int,), "int16", "Int16", 16),
    "integer": Kind("INTEGER", "INTEGER", (int,), "int32", "Int32", 32),
    "long": Kind("BIGINT", "BIGINT", (int,), "int64", "Int64", 64),
    "float": Kind("REAL", "REAL", (float, int), "float32", "Float32"),
    "double": Kind("DOUBLE PRECISION", "DOUBLE", (float, int), "float64", "Float64"),
    "decimal": Kind("NUMERIC", "DECIMAL_TEXT", (Decimal, int)),
    "string": Kind("TEXT", "TEXT", (str,)),
    "char": Kind("TEXT", "TEXT", (str,)),
    "varchar": Kind("TEXT", "TEXT", (str,)),
    "boolean": Kind("BOOLEAN", "BOOLEAN_INT", (bool,), "bool", "boolean"),
    "date": Kind("DATE", "DATE_TEXT", (dt.date,)),
    "timestamp": Kind("TIMESTAMP WITH TIME ZONE", "TIMESTAMP_TEXT", (dt.datetime,), "us", "us"),
    "timestamp_ntz": Kind("TIMESTAMP", "MOMENT_TEXT", (dt.datetime,), "naive", "naive"),
    "time": Kind("TIME", "TIME_TEXT", (dt.time,)),
    "daytimeinterval": Kind("INTERVAL", "INTERVAL_US", (dt.timedelta,), "duration", "duration"),
    "yearmonthinterval": Kind("INTEGER", "INTEGER", (int,), "int32", "Int32", 32),
    "binary": Kind("BYTEA", "BLOB", (bytes, bytearray)),
    "array": Kind("JSONB", "JSON_TEXT", (list, tuple)),
    "map": Kind("JSONB", "JSON_TEXT", (dict, list)),
    "struct": Kind("JSONB", "JSON_TEXT", (dict, tuple)),
    "variant": Kind("JSONB", "JSON_TEXT", (str,)),
}
_SPATIAL: Final = (
    "take ST_AsBinary() of it, and ST_Srid(), as columns: neither database has this type"
)
REFUSED: Final[Mapping[str, str]] = {
    "void": "leave it out, or cast it to the type that it is meant to have: it has no value but null",
    "interval": "make it make_ym_interval() or make_dt_interval(): months and days have no length, so it is neither equal nor greater",
    "geometry": _SPATIAL,
    "geography": _SPATIAL,
    "nanoseconds": "cast it to TIME(6): neither Python nor the databases keep more than microseconds",
    "udt": "take its parts as columns, such as vector_to_array() of a vector: only Python knows what is in it",
}
"""What to do about a type that no table can hold, by its typeName(); `udt` are the types of others, `nanoseconds` is a TIME finer than TIME(6)."""


def flat(schema: StructType) -> StructType:
    """Return the columns of a serving table for a query's schema: structs flattened, names checked.

    Raises:
        InputError: A column has a type that no table can hold (REFUSED), or two have one name.

    >>> from pyspark.sql.types import StructType
    >>> window = StructType().add("start", "timestamp").add("end", "timestamp")
    >>> flat(StructType().add("window", window).add("events", "long")).names
    ['window_start', 'window_end', 'events']
    """
    from pyspark.sql.types import StructField, StructType

    from rta.events.ddl import type_name

    columns = []
    for field in schema:
        inner = field.dataType
        if not isinstance(inner, StructType):
            columns.append(StructField(field.name, inner, field.nullable))
        else:
            columns += [
                StructField(
                    f"{field.name}_{sub.name}", sub.dataType, field.nullable or sub.nullable
                )
                for sub in inner
            ]
    whole, seen = {*schema.names}, set[str]()
    for column in columns:
        for each in inner_types(column.dataType):
            name = _told(each)
            if name not in KINDS:
                raise InputError(
                    f"no serving table can hold column {column.name!r}", found=type_name(each),
                    fix=REFUSED.get(name, "cast it, or take its parts as columns, before the table"),
                )  # fmt: skip
        if column.name not in whole and len(column.name) > LONGEST:
            raise InputError(
                "the field of a struct has too long a name for a column", found=f"{column.name!r}, {len(column.name)} characters",
                fix=f"give the struct or the field a shorter name before the table: together at most {LONGEST} characters",
            )  # fmt: skip
        if checked("column", column.name).casefold() in seen:
            raise InputError(f"two columns are named {column.name!r}", fix="rename one of them")
        seen.add(column.name.casefold())
    return StructType(columns)


def _told(kind: Any) -> str:
    """Return the name of a type by which it has a place, or is refused."""
    if kind.simpleString() == "udt":
        return "udt"
    name = str(kind.typeName())
    return "nanoseconds" if name == "time" and kind.precision > _MICROSECONDS else name


def sql_type(kind: DataType, dialect: str) -> str:
    """Return a database's name for a Spark type.

    >>> from pyspark.sql.types import DecimalType
    >>> sql_type(DecimalType(12, 2), "postgresql")
    'NUMERIC(12, 2)'
    """
    name = cast(str, getattr(KINDS[kind.typeName()], dialect))
    if kind.typeName() != "decimal":
        return name
    decimal = cast(Any, kind)
    return f"{name}({decimal.precision}, {decimal.scale})"


def encode(field: StructField, values: Sequence[Any], dialect: str) -> Sequence[Any]:
    """Turn one column's values, or its Arrow array, into what the database's driver stores exactly.

    A naive datetime is local time, as in PySpark's own rows.

    Raises:
        TableError: There is a null in a required column, or a value that would be changed.

    >>> from decimal import Decimal
    >>> from pyspark.sql.types import DecimalType, StructField
    >>> encode(StructField("amount", DecimalType(12, 2)), [Decimal("1.5"), None], "sqlite")
    ['1.50', None]
    """
    if hasattr(values, "to_pylist"):
        if dialect == "sqlite" and (texts := _texts(field, values)) is not None:
            return texts
        values = values.to_pylist()
    name = field.dataType.typeName()
    kind, types = KINDS[name], set(map(type, values))
    if type(None) in types and not field.nullable:
        raise TableError(
            f"column {field.name!r} must have a value in each row",
            found="null",
            fix="filter such rows out, or fill them with coalesce() before the table",
        )
    if wrong := types - {type(None), *kind.python}:
        raise _misfit(field, min(each.__name__ for each in wrong))
    if kind.bits and (present := [value for value in values if value is not None]):
        limit = 2 ** (kind.bits - 1)
        if min(present) < -limit or max(present) >= limit:
            raise _misfit(field, max(present, key=abs))
    convert = _converter(field.dataType, name, dialect)
    if convert is None:
        return values
    try:
        return [None if value is None else convert(value) for value in values]
    except _MISFITS:
        raise _misfit(field, _culprit(convert, values)) from None


def _texts(field: StructField, array: Any) -> list[str | None] | None:
    """Write an Arrow array of moments or decimals as text, all at once; None if Arrow cannot do that exactly."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind: Any = field.dataType
    if array.null_count and not field.nullable:
        return None  # the other way says which column
    if kind.typeName() == "timestamp" and pa.types.is_timestamp(array.type) and array.type.tz:
        # Each moment once: a window stands in many rows, and strftime is slow.
        coded = array.cast(pa.timestamp("us")).dictionary_encode()
        utc = pc.strftime(coded.dictionary, format="%Y-%m-%d %H:%M:%S").to_pylist()
        texts = [f"{each}+00:00" for each in utc]
        return [None if place is None else texts[place] for place in coded.indices.to_pylist()]
    # Arrow writes a number with more zeros behind the point with an exponent.
    same = pa.types.is_decimal(array.type) and kind.typeName() == "decimal" and kind.scale <= _PLAIN
    if same and (array.type.precision, array.type.scale) == (kind.precision, kind.scale):
        return cast("list[str | None]", array.cast(pa.string()).to_pylist())
    return None


def _misfit(field: StructField, found: object) -> TableError:
    kind = field.dataType.simpleString().upper()
    return TableError(
        f"column {field.name!r} is {kind} and cannot hold a value",
        found=found,
        fix="cast the column in the query; nothing is rounded or cut here",
    )


def _culprit(convert: Callable[[Any], Any], values: Iterable[Any]) -> object:
    for value in values:
        try:
            _ = None if value is None else convert(value)
        except _MISFITS:
            return value
    return None


def _converter(kind: DataType, name: str, dialect: str) -> Callable[[Any], Any] | None:
    if name == "decimal":
        decimal = cast(Any, kind)
        return _decimal_converter(decimal.precision, decimal.scale, text=dialect == "sqlite")
    if name in ("float", "double"):
        return _real if dialect == "sqlite" else float
    if name == "timestamp":
        return timestamp_text if dialect == "sqlite" else _utc
    if name in NESTED:
        return partial(to_json, kind)
    local = partial(dt.datetime.isoformat, sep=" ", timespec="microseconds")
    clock = partial(dt.time.isoformat, timespec="microseconds")
    texts: dict[str, Any] = {"date": dt.date.isoformat, "timestamp_ntz": local, "time": clock, "daytimeinterval": microseconds}  # fmt: skip
    return bytes if name == "binary" else texts.get(name) if dialect == "sqlite" else None


def _decimal_converter(precision: int, scale: int, *, text: bool) -> Callable[[Any], Any]:
    unit, limit = Decimal(1).scaleb(-scale), Decimal(10) ** (precision - scale)

    def convert(value: Any) -> Any:
        exact = Decimal(value).quantize(unit, context=_EXACT)
        if not -limit < exact < limit:
            raise OverflowError
        return f"{exact:f}" if text else exact

    return convert


def _real(value: float) -> float | str:
    return MARK + "NaN" if math.isnan(value) else float(value)


def _utc(value: dt.datetime) -> dt.datetime:
    return value.astimezone(dt.UTC)


def timestamp_text(value: dt.datetime) -> str:
    """Write a moment as SQLite keeps it: UTC, microseconds, sortable as text.

    >>> timestamp_text(dt.datetime(2013, 1, 1, 5, tzinfo=dt.UTC))
    '2013-01-01 05:00:00.000000+00:00'
    """
    return value.astimezone(dt.UTC).isoformat(" ", "microseconds")


def unmarked(value: Any) -> Any:
    """Read a number that SQLite had to carry as marked text: NaN, or an exact sum.

    >>> unmarked(MARK + "1.50"), unmarked("1.50")
    (Decimal('1.50'), '1.50')
    """
    if type(value) is not str or not value.startswith(MARK):
        return value
    return math.nan if value.endswith("NaN") else Decimal(value)


def decode(kind: DataType, values: Sequence[Any]) -> list[Any]:
    """Read a column that SQLite gave without its type, as in a view; values that have it stay.

    >>> from pyspark.sql.types import DateType, DecimalType
    >>> decode(DecimalType(12, 2), ["1.50", None]), decode(DateType(), ["2013-01-01"])
    ([Decimal('1.50'), None], [datetime.date(2013, 1, 1)])
    """
    name = kind.typeName()
    if name in NESTED:
        return [from_json(kind, each) for each in values]
    reads: dict[str, Callable[[Any], Any]] = {
        "decimal": Decimal, "date": dt.date.fromisoformat, "timestamp": dt.datetime.fromisoformat, "boolean": bool,
        "timestamp_ntz": dt.datetime.fromisoformat, "time": dt.time.fromisoformat,
    }  # fmt: skip
    if name == "daytimeinterval":
        return [dt.timedelta(microseconds=each) if type(each) is int else each for each in values]
    texts = name == "boolean" or any(type(value) is str for value in values)
    if not texts or name not in reads:
        return list(values)
    return [None if value is None else reads[name](value) for value in values]


def series(values: Sequence[Any], name: str, *, nullable: bool) -> pd.Series[Any]:
    """Build the pandas column of a Spark type (by its typeName), each value exact.

    >>> series([1, None], "long", nullable=True).dtype
    Int64Dtype()
    """
    import numpy as np
    import pandas as pd

    kind = KINDS[name]
    if kind.pandas == "us":
        plain = [None if v is None else v.astimezone(dt.UTC).replace(tzinfo=None) for v in values]
        return pd.Series(np.array(plain, dtype="datetime64[us]")).dt.tz_localize("UTC")
    if kind.pandas == "naive":
        return pd.Series(np.array(values, dtype="datetime64[us]"))
    if kind.pandas == "duration" and _SHORTEST not in values:
        return pd.Series(np.array(values, dtype="timedelta64[us]"))
    if kind.pandas in ("object", "duration"):
        return pd.Series(values, dtype=object)
    if not nullable:
        return pd.Series(np.array(values, dtype=kind.pandas))
    missing = np.array([value is None for value in values], dtype=bool)
    filled = np.array([0 if value is None else value for value in values], dtype=kind.pandas)
    # Built from its parts, so that NaN (a value) and null (no value) stay apart.
    extension: Any = cast(Any, pd.api.types.pandas_dtype(kind.nullable)).construct_array_type()
    return pd.Series(extension(filled, missing))


def guess(values: Sequence[Any]) -> tuple[str, bool]:
    """Guess the Spark type of a free query's values, and whether there are nulls.

    >>> guess([1.5, 2, None])
    ('double', True)
    """
    types = set(map(type, values))
    nullable = type(None) in types
    types.discard(type(None))
    if types == {float, int}:
        return "double", nullable
    known = {int: "long", bool: "boolean", float: "double", dt.datetime: "timestamp", dt.timedelta: "daytimeinterval"}  # fmt: skip
    return (known.get(types.pop(), "string") if len(types) == 1 else "string"), nullable


def moments(values: list[Any]) -> list[Any]:
    """Read a column of moments that SQLite gave as text, as in MAX(time); any other column stays.

    >>> moments(["2013-01-01 05:00:00.000000+00:00"])
    [datetime.datetime(2013, 1, 1, 5, 0, tzinfo=datetime.timezone.utc)]
    """
    present = [value for value in values if value is not None]
    if not present or not all(type(v) is str and _MOMENT.fullmatch(v) for v in present):
        return values
    return [None if value is None else dt.datetime.fromisoformat(value) for value in values]
