"""From the types that Avro has to those of the event type, exactly; and what is bad in a value that has its type."""

from __future__ import annotations

from functools import reduce
from operator import or_
from typing import Final, cast

from pyspark.sql import Column
from pyspark.sql import functions as F
from pyspark.sql.types import (
    ArrayType,
    DataType,
    DecimalType,
    MapType,
    StructField,
    StructType,
    TimestampNTZType,
    TimestampType,
)

from rta.errors import InputError
from rta.events.event_types import EventType
from rta.events.formats.flat_json import once
from rta.events.formats.leaves import leaf_of

# The types of a column that hold every value of what Avro has.
_WIDER: Final = {"integer": {"long", "double"}, "float": {"double"}}
_DIGITS: Final = {"integer": 10, "long": 19}


class Fields:
    """The columns of an event type, as a record of Avro has them."""

    def __init__(self, event: EventType, *, nan: bool) -> None:
        self._event, self._nan = event, nan

    def row(self, record: DataType, read: Column) -> Column:
        """Return a record as one struct of the columns, and `_lost`: what is bad in a text or number that is no instant.

        A field that the record does not have is null.

        Raises:
            InputError: A field has a type that does not fit its column.
        """
        columns, lost = [], [F.lit(None).cast("string")]
        for each in self._event.wire:
            name = self._event.field(each.name)
            if isinstance(record, StructType) and name in record.names:
                value = self._value(each.dataType, record[name].dataType, (each.name,), read[name], lost)  # fmt: skip
            else:
                value = F.lit(None).cast(each.dataType)
            columns.append(value.alias(each.name))
        return F.struct(*columns, F.coalesce(*lost).alias("_lost"))

    def _value(
        self, kind: DataType, there: DataType, path: tuple[str, ...], read: Column, lost: list[Column] | None,
    ) -> Column:  # fmt: skip
        if kind.simpleString() == there.simpleString():  # but for what may be null
            return read
        match kind, there:
            case StructType(), StructType():
                if absent := [each for each in kind.names if each not in there.names]:
                    raise self._misfit((*path, absent[0]), None, kind[absent[0]].dataType)
                fields = [
                    self._value(each.dataType, there[each.name].dataType, (*path, each.name), read[each.name], lost).alias(each.name)
                    for each in kind
                ]  # fmt: skip
                return F.when(read.isNotNull(), F.struct(*fields))
            case ArrayType(), ArrayType():
                return F.transform(
                    read,
                    lambda each: self._value(kind.elementType, there.elementType, path, each, None),
                )
            case MapType(), MapType():
                return F.transform_values(
                    read,
                    lambda _, each: self._value(kind.valueType, there.valueType, path, each, None),
                )
        return self._leaf(kind, there, path, read, lost)

    def _leaf(
        self, kind: DataType, there: DataType, path: tuple[str, ...], read: Column, lost: list[Column] | None,
    ) -> Column:  # fmt: skip
        other = there.typeName()
        if isinstance(kind, TimestampType | TimestampNTZType) and lost is not None:
            leaf = leaf_of(kind, ".".join(path), self._event)
            number = leaf.reads.typeName() == "decimal"
            if other in (("integer", "long") if number else ("string",)):
                bare = leaf.rule.plain(kind).replace('"', "")
                made = leaf.value(read.try_cast(leaf.reads) if number else F.when(read.rlike(rf"\A(?:{bare})\z"), read).try_cast(leaf.reads))  # fmt: skip
                word = "out of range" if number else "wrong type"
                lost.append(
                    F.when(read.isNotNull() & made.isNull(), f"{word}: {self._place(path)}")
                )
                return made
        exact = isinstance(kind, DecimalType) and kind.precision - kind.scale >= _DIGITS.get(
            other, 99
        )
        if exact or kind.typeName() in _WIDER.get(other, ()):
            return read.cast(kind)
        raise self._misfit(path, there, kind)

    def _place(self, path: tuple[str, ...]) -> str:
        return ".".join((self._event.field(path[0]), *path[1:]))

    def _misfit(self, path: tuple[str, ...], there: DataType | None, kind: DataType) -> InputError:
        place = self._place(path)
        found = f"{there.simpleString()} in Avro" if there else "no such field in Avro"
        return InputError(
            f"the column at {place!r} does not have the type of its field", found=f"{found}, {kind.simpleString()} in the event type",
            fix="give the column the type of the field, or a wider one",
        )  # fmt: skip

    def fault(self, row: Column) -> Column:
        """Return what is bad in a row, with its place; null if it is good."""
        bad = [
            self._is_bad(each.dataType, row[each.name], nullable=each.nullable)
            for each in self._event.wire
        ]
        some = [each for each in bad if each is not None]

        def judged(all_: Column) -> Column:
            return F.coalesce(
                *(
                    self._member(each, self._event.field(each.name), F.lit(""), all_)
                    for each in self._event.wire
                )
            )

        found = F.when(reduce(or_, some), once(row, judged)) if some else F.lit(None).cast("string")
        return F.coalesce(row["_lost"], found)

    def _is_bad(self, kind: DataType, value: Column, *, nullable: bool) -> Column | None:
        """Return whether something in a value is bad, in few steps; None if nothing can be."""
        found: list[Column] = [] if nullable else [value.isNull()]
        inside: Column | None = None
        match kind:
            case StructType():
                each = [self._is_bad(f.dataType, value[f.name], nullable=f.nullable) for f in kind]
                some = [one for one in each if one is not None]
                inside = value.isNotNull() & reduce(or_, some) if some else None
            case ArrayType():
                if self._is_bad(kind.elementType, value, nullable=kind.containsNull) is not None:
                    inside = F.exists(
                        value,
                        lambda one: cast(
                            "Column",
                            self._is_bad(kind.elementType, one, nullable=kind.containsNull),
                        ),
                    )
            case MapType():
                inside = F.exists(F.map_keys(value), lambda key: key.contains("\0"))
                if self._is_bad(kind.valueType, value, nullable=kind.valueContainsNull) is not None:
                    inside |= F.exists(
                        F.map_values(value),
                        lambda one: cast(
                            "Column",
                            self._is_bad(kind.valueType, one, nullable=kind.valueContainsNull),
                        ),
                    )
            case _:
                inside = self._refused(kind, value)
        found += [] if inside is None else [F.coalesce(inside, F.lit(False))]  # noqa: FBT003
        return reduce(or_, found) if found else None

    def _refused(self, kind: DataType, value: Column) -> Column | None:
        if kind.typeName() == "string":
            return value.contains("\0")
        if kind.typeName() in ("float", "double") and not self._nan:
            return ~(F.abs(value.cast("double")) < float("inf"))
        return None

    def _member(self, field: StructField, name: str, before: Column, parent: Column) -> Column:
        place = F.concat(before, F.lit(name))
        return self._fault(field.dataType, parent[field.name], place, nullable=field.nullable)

    def _fault(self, kind: DataType, value: Column, place: Column, *, nullable: bool) -> Column:
        """Return the first fault in a value that is bad."""
        absent = F.when(F.lit(not nullable), F.concat(F.lit("missing: "), place))
        match kind:
            case StructType():
                before = F.concat(place, F.lit("."))
                inside = F.coalesce(
                    *(self._member(each, each.name, before, value) for each in kind)
                )
            case ArrayType():
                faults = F.transform(
                    value,
                    lambda one, at: self._fault(
                        kind.elementType,
                        one,
                        F.concat(place, F.lit("["), at.cast("string"), F.lit("]")),
                        nullable=kind.containsNull,
                    ),
                )
                inside = F.get(F.filter(faults, lambda one: one.isNotNull()), F.lit(0))
            case MapType():
                faults = F.transform(
                    F.map_entries(value),
                    lambda one: F.when(one["key"].contains("\0"), F.concat(F.lit("NUL: "), place)).otherwise(
                        self._fault(
                            kind.valueType, one["value"], F.concat(place, F.lit("["), shown(one["key"]), F.lit("]")),
                            nullable=kind.valueContainsNull,
                        )
                    ),
                )  # fmt: skip
                inside = F.get(F.filter(faults, lambda one: one.isNotNull()), F.lit(0))
            case _:
                refused = self._refused(kind, value)
                word = "NUL: " if kind.typeName() == "string" else "NaN or Infinity: "
                inside = (
                    F.lit(None).cast("string")
                    if refused is None
                    else F.when(refused, F.concat(F.lit(word), place))
                )
        return F.when(value.isNull(), absent).otherwise(inside)


def shown(key: Column) -> Column:
    """Return the key of a map as a reason may show it."""
    return F.when(key.rlike(r"\A[\w.-]{1,40}\z"), key).otherwise("?")
