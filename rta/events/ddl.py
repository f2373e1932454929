"""A schema as DDL, `user_id BIGINT NOT NULL, at TIMESTAMP`, read without a JVM, and the SQL names of its types.

Spark's own parser (StructType.fromDDL) needs a running session. Nested types are not read here: give a StructType.
"""

from __future__ import annotations

import re
from typing import Final

from pyspark.sql.types import (
    AtomicType,
    BinaryType,
    BooleanType,
    ByteType,
    DataType,
    DateType,
    DecimalType,
    DoubleType,
    FloatType,
    IntegerType,
    LongType,
    ShortType,
    StringType,
    StructField,
    StructType,
    TimestampNTZType,
    TimestampType,
)

from rta.errors import InputError

_TYPES: Final[dict[str, DataType]] = {
    "STRING": StringType(), "BINARY": BinaryType(), "BOOLEAN": BooleanType(), "DATE": DateType(),
    "TIMESTAMP": TimestampType(), "TIMESTAMP_LTZ": TimestampType(), "TIMESTAMP_NTZ": TimestampNTZType(),
    "TINYINT": ByteType(), "BYTE": ByteType(), "SMALLINT": ShortType(), "SHORT": ShortType(), "INT": IntegerType(),
    "INTEGER": IntegerType(), "BIGINT": LongType(), "LONG": LongType(), "FLOAT": FloatType(), "REAL": FloatType(),
    "DOUBLE": DoubleType(), "DECIMAL": DecimalType(10, 0), "DEC": DecimalType(10, 0), "NUMERIC": DecimalType(10, 0),
}  # fmt: skip
_MOST: Final = 38  # digits of a DECIMAL
_COLUMN: Final = re.compile(
    r"""\s*(?:`(?P<quoted>(?:[^`]|``)+)`|(?P<name>\w+))\s*(?::\s*|\s+|(?<=`))(?P<type>\w+)
    (?:\s*\(\s*(?P<precision>\d+)\s*(?:,\s*(?P<scale>\d+)\s*)?\))?
    (?P<required>\s+NOT\s+NULL)?(?:\s+COMMENT\s+(?:'[^']*'|"[^"]*"))?\s*(?:,(?!\s*\Z)|\Z)""",
    re.VERBOSE | re.IGNORECASE,
)


def schema_of(text: str) -> StructType:
    """Read a schema from `name TYPE [NOT NULL]`, with commas between.

    Raises:
        InputError: The text cannot be read; the message has the first place.

    >>> schema_of("user_id BIGINT NOT NULL, amount DECIMAL(12,2)").simpleString()
    'struct<user_id:bigint,amount:decimal(12,2)>'
    >>> schema_of("user_id BIGINT at TIMESTAMP")
    Traceback (most recent call last):
    rta.errors.InputError: a schema cannot be read from here on; found: 'user_id BIGINT at TIMESTAMP'; fix: write name TYPE [NOT NULL], with commas between, or give a StructType
    """
    fields: list[StructField] = []
    at = 0
    while at < len(text) or not fields:
        column = _COLUMN.match(text, at)
        if column is None:
            raise InputError(
                "a schema cannot be read from here on", found=repr(text[at:].strip()[:80]),
                fix="write name TYPE [NOT NULL], with commas between, or give a StructType",
            )  # fmt: skip
        name = (column["quoted"] or "").replace("``", "`") or column["name"]
        fields.append(StructField(name, _type(column, name), not column["required"]))
        at = column.end()
    return StructType(fields)


def _type(column: re.Match[str], name: str) -> DataType:
    kind = _TYPES.get(column["type"].upper())
    if kind is None:
        known = ", ".join(type_name(each) for each in dict.fromkeys(_TYPES.values()))
        raise InputError(
            f"column {name!r} has a type that is not known",
            found=column["type"],
            fix=f"use one of {known}",
        )
    if column["precision"] is None:
        return kind
    precision, scale = int(column["precision"]), int(column["scale"] or 0)
    if not isinstance(kind, DecimalType) or not (scale <= precision <= _MOST and precision):
        raise InputError(
            f"column {name!r} has a type with numbers that it cannot have",
            found=f"{column['type']}({precision}, {scale})",
            fix=f"write DECIMAL(digits, digits after the point), at most {_MOST}",
        )
    return DecimalType(precision, scale)


def type_name(kind: DataType) -> str:
    """Return the SQL name of a type; the names of fields inside it keep their case.

    >>> type_name(StructType().add("userId", DecimalType(12, 2))), type_name(DecimalType(12, 2))
    ('struct<userId:decimal(12,2)>', 'DECIMAL(12,2)')
    """
    name: str = kind.simpleString()
    return name.upper() if isinstance(kind, AtomicType) else name
