"""How each Spark type lies in the serving database: exactly.

| Spark                  | PostgreSQL             | SQLite                                    |
|------------------------|------------------------|-------------------------------------------|
| DECIMAL(p,s)           | NUMERIC(p,s)           | text of s decimals, COLLATE decimal       |
| TINYINT … BIGINT       | SMALLINT … BIGINT      | integer                                   |
| FLOAT, DOUBLE          | REAL, DOUBLE PRECISION | real; NaN as text (it would become NULL)  |
| BOOLEAN                | BOOLEAN                | 0 or 1                                    |
| TIMESTAMP              | TIMESTAMPTZ            | text: 2013-01-01 05:00:00.000000+00:00    |
| DATE                   | DATE                   | text: 2013-01-01                          |
| STRING, BINARY         | TEXT, BYTEA            | text, blob                                |

A struct is flattened one level, its name as prefix: `window` gives `window_start`, `window_end`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, cast

from rta.errors import InputError
from rta.names import checked

if TYPE_CHECKING:
    from pyspark.sql.types import DataType, StructType


@dataclass(frozen=True)
class Kind:
    """What one Spark type is elsewhere: two SQL types, the Python types it may hold, pandas."""

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
    "boolean": Kind("BOOLEAN", "BOOLEAN_INT", (bool,), "bool", "boolean"),
    "date": Kind("DATE", "DATE_TEXT", (dt.date,)),
    "timestamp": Kind("TIMESTAMP WITH TIME ZONE", "TIMESTAMP_TEXT", (dt.datetime,), "us", "us"),
    "binary": Kind("BYTEA", "BLOB", (bytes, bytearray)),
}


def flat(schema: StructType) -> StructType:
    """Return the columns of a serving table for a query's schema: structs flattened, names checked.

    Raises:
        InputError: if a column has a type that no table can hold, or two have one name.

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
    seen: set[str] = set()
    for column in columns:
        if column.dataType.typeName() not in KINDS:
            raise InputError(
                f"no serving table can hold column {column.name!r}",
                found=type_name(column.dataType),
                fix="cast it, or take its parts as columns, before the table",
            )
        if checked("column", column.name).casefold() in seen:
            raise InputError(f"two columns are named {column.name!r}", fix="rename one of them")
        seen.add(column.name.casefold())
    return StructType(columns)


def sql_type(kind: DataType, dialect: str) -> str:
    """Name a Spark type in the words of a database.

    >>> from pyspark.sql.types import DecimalType
    >>> sql_type(DecimalType(12, 2), "postgresql")
    'NUMERIC(12, 2)'
    """
    name = cast(str, getattr(KINDS[kind.typeName()], dialect))
    if kind.typeName() != "decimal":
        return name
    decimal = cast(Any, kind)
    return f"{name}({decimal.precision}, {decimal.scale})"
