"""From the types that Avro has to those of the event type, exactly; and what is bad in a value that has its type."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from operator import or_
from typing import Final

from pyspark.sql import Column
from pyspark.sql import functions as F
from pyspark.sql.types import (
    ArrayType,
    DataType,
    DecimalType,
    MapType,
    StringType,
    StructField,
    StructType,
    TimestampNTZType,
    TimestampType,
)

from rta.errors import InputError
from rta.events.event_types import EventType
from rta.events.formats.leaves import leaf_of, once

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

    def as_read(self, record: DataType) -> bool:
        """Tell whether a record has each column under its name, in its type."""
        there = {each.name: each.dataType for each in record} if isinstance(record, StructType) else {}  # fmt: skip
        return all(
            self._event.field(each.name) == each.name in there
            and each.dataType.simpleString() == there[each.name].simpleString()
            for each in self._event.wire
        )

    def fault(self, row: Column, record: DataType | None = None) -> Column:
        """Return what is bad in the columns of a row, with its place; null if they are good.

        Args:
            row: It.
            record: The type of the record, with what may be null in it; None if there are several.
        """
        wire = self._event.wire
        names = {each.name: self._event.field(each.name) for each in wire}

        def judged(all_: Column) -> Column:
            return F.coalesce(*(self._member(each, names[each.name], F.lit(""), all_) for each in wire))  # fmt: skip

        some = self._signs(wire, record, row, names)
        return F.when(reduce(or_, some), once(row, judged)) if some else F.lit(None).cast("string")

    def _signs(
        self, kind: StructType, there: DataType | None, value: Column, names: Mapping[str, str] | None = None, *, elements: bool = False,
    ) -> list[Column]:  # fmt: skip
        """Return conditions of which one holds if something in a struct is bad; one may hold where all is good, too.

        Of an array all elements are looked at together, without a function of each, which Spark would interpret.

        Args:
            kind: The type of the struct.
            there: Its type in Avro.
            value: It; or an array of such structs.
            names: Column → field, where they differ.
            elements: Whether it is an array.
        """
        found: list[Column] = []
        for each in kind:
            inside = _field(there, (names or {}).get(each.name, each.name))
            needed = not each.nullable and (inside is None or inside.nullable)
            look = self._of_elements if elements else self._of_value
            found += look(each.dataType, inside and inside.dataType, value[each.name], needed=needed)  # fmt: skip
        return found

    def _of_value(self, kind: DataType, there: DataType | None, value: Column, *, needed: bool) -> list[Column]:  # fmt: skip
        found = [value.isNull()] if needed else []
        match kind:
            case StructType():
                inside = self._signs(kind, there, value)
                found += [value.isNotNull() & reduce(or_, inside)] if inside else []
            case ArrayType():
                of = there.elementType if isinstance(there, ArrayType) else None
                found += self._of_elements(kind.elementType, of, value, needed=not kind.containsNull)  # fmt: skip
            case MapType():
                of = there.valueType if isinstance(there, MapType) else None
                found += self._of_elements(StringType(), None, F.map_keys(value), needed=False)
                found += self._of_elements(kind.valueType, of, F.map_values(value), needed=not kind.valueContainsNull)  # fmt: skip
            case _:
                refused = self._refused(kind, value)
                found += [] if refused is None else [refused]
        return found

    def _of_elements(self, kind: DataType, there: DataType | None, values: Column, *, needed: bool) -> list[Column]:  # fmt: skip
        if kind.typeName() == "string":
            return [F.array_join(values, "", "\0" if needed else None).contains("\0")]
        found = [F.exists(values, F.isnull)] if needed else []
        match kind:
            case StructType():
                found += self._signs(kind, there, values, elements=True)
            case ArrayType():  # null if one of them is null
                of = there.elementType if isinstance(there, ArrayType) else None
                flat = F.flatten(values)
                found += [values.isNotNull() & flat.isNull()]
                found += self._of_elements(kind.elementType, of, flat, needed=not kind.containsNull)
            case MapType():
                found.append(F.size(values) > 0)
            case _ if kind.typeName() in ("float", "double") and not self._nan:
                ends = F.array_max(values), F.array_min(values)
                found += [~(F.abs(end.cast("double")) < float("inf")) for end in ends]
        return found

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


def _field(there: DataType | None, name: str) -> StructField | None:
    return there[name] if isinstance(there, StructType) and name in there.names else None


def shown(key: Column) -> Column:
    """Return the key of a map as a reason may show it."""
    return F.when(key.rlike(r"\A[\w.-]{1,40}\z"), key).otherwise("?")
