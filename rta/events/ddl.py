"""A schema as DDL, `user_id BIGINT NOT NULL, at TIMESTAMP`, read without a JVM, and the SQL names of its types.

Spark's own parser (StructType.fromDDL) needs a running session.
"""

from __future__ import annotations

import re
from typing import Final

from pyspark.sql.types import (
    ArrayType,
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
    MapType,
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
_TOKEN: Final = re.compile(
    r"""\s*(?:`(?P<quoted>(?:[^`]|``)+)`|(?P<word>\w+)|(?P<text>'[^']*'|"[^"]*")|(?P<mark>[<>(),:]))"""
)


def schema_of(text: str) -> StructType:
    """Read a schema from `name TYPE [NOT NULL]`, with commas between.

    Raises:
        InputError: The text cannot be read; the message has the first place.

    >>> schema_of("user_id BIGINT NOT NULL, device STRUCT<os STRING>, tags ARRAY<STRING>").simpleString()
    'struct<user_id:bigint,device:struct<os:string>,tags:array<string>>'
    >>> schema_of("user_id BIGINT at TIMESTAMP")
    Traceback (most recent call last):
    rta.errors.InputError: a schema cannot be read from here on; found: 'user_id BIGINT at TIMESTAMP'; fix: write name TYPE [NOT NULL], with commas between, or give a StructType
    """
    return _Reader(text).columns(end="")


class _Reader:
    """A place in a text of DDL; each method reads on from there."""

    def __init__(self, text: str) -> None:
        self._text, self._at, self._column = text, 0, 0

    def columns(self, end: str) -> StructType:
        """Read columns up to and with the mark that ends them; "" is the end of the text."""
        fields: list[StructField] = []
        while not fields or self._mark(","):
            if not end:
                self._column = self._at
            name = self._name()
            self._mark(":")
            kind = self._type(name)
            required = self._word("NOT")
            if required and not self._word("NULL"):
                raise self._unreadable()
            if self._word("COMMENT"):
                self._next("text")
            fields.append(StructField(name, kind, nullable=not required))
            if self._peek()[0] not in ({",", end} if end else {",", "end"}):
                raise self._unreadable()
        if end:
            self._mark(end)
        return StructType(fields)

    def _type(self, column: str) -> DataType:
        word = self._next("word").upper()
        if word in ("STRUCT", "ARRAY", "MAP"):
            if not self._mark("<"):
                raise self._unreadable()
            return self._inside(word, column)
        kind = _TYPES.get(word)
        if kind is None:
            known = ", ".join(type_name(each) for each in dict.fromkeys(_TYPES.values()))
            raise InputError(
                f"column {column!r} has a type that is not known", found=word,
                fix=f"use one of {known}, STRUCT<…>, ARRAY<…>, MAP<STRING, …>",
            )  # fmt: skip
        return self._sized(kind, word, column) if self._mark("(") else kind

    def _inside(self, word: str, column: str) -> DataType:
        """Read what stands between < and >."""
        if word == "STRUCT":
            return self.columns(end=">")
        first = self._type(column)
        second = self._type(column) if word == "MAP" and self._mark(",") else None
        if (word == "MAP" and second is None) or not self._mark(">"):
            raise self._unreadable()
        return ArrayType(first) if second is None else MapType(first, second)

    def _sized(self, kind: DataType, word: str, column: str) -> DataType:
        """Read the digits of a DECIMAL."""
        precision = int(self._number())
        scale = int(self._number()) if self._mark(",") else 0
        if not self._mark(")"):
            raise self._unreadable()
        if not isinstance(kind, DecimalType) or not (scale <= precision <= _MOST and precision):
            raise InputError(
                f"column {column!r} has a type with numbers that it cannot have", found=f"{word}({precision}, {scale})",
                fix=f"write DECIMAL(digits, digits after the point), at most {_MOST}",
            )  # fmt: skip
        return DecimalType(precision, scale)

    def _number(self) -> str:
        word = self._next("word")
        if not word.isdecimal():
            raise self._unreadable()
        return word

    def _name(self) -> str:
        group, text = self._peek()
        if group not in ("quoted", "word"):
            raise self._unreadable()
        self._next(group)
        return text.replace("``", "`") if group == "quoted" else text

    def _peek(self) -> tuple[str, str]:
        """Return the kind of the next token and its text; a mark is a kind of its own."""
        if not self._text[self._at :].strip():
            return "end", ""
        token = _TOKEN.match(self._text, self._at)
        group = (token and token.lastgroup) or "none"
        text = token[group] if token and token.lastgroup else ""
        return (text if group == "mark" else group), text

    def _next(self, group: str) -> str:
        found, text = self._peek()
        if found != group:
            raise self._unreadable()
        token = _TOKEN.match(self._text, self._at)
        self._at = token.end() if token else self._at
        return text

    def _mark(self, mark: str) -> bool:
        """Pass a mark if it is the next token; return whether it was."""
        there = self._peek()[0] == mark
        if there:
            self._next(mark)
        return there

    def _word(self, word: str) -> bool:
        """Pass a word, in any case, if it is the next token; return whether it was."""
        group, text = self._peek()
        there = group == "word" and text.upper() == word
        if there:
            self._next("word")
        return there

    def _unreadable(self) -> InputError:
        rest = self._text[self._column :].strip() or self._text.strip()
        return InputError(
            "a schema cannot be read from here on", found=repr(rest[:80]),
            fix="write name TYPE [NOT NULL], with commas between, or give a StructType",
        )  # fmt: skip


def type_name(kind: DataType) -> str:
    """Return the SQL name of a type; the names of fields inside it keep their case.

    >>> type_name(StructType().add("userId", DecimalType(12, 2))), type_name(DecimalType(12, 2))
    ('struct<userId:decimal(12,2)>', 'DECIMAL(12,2)')
    """
    name: str = kind.simpleString()
    return name.upper() if isinstance(kind, AtomicType) else name
