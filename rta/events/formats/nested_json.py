"""JSON of any depth: typed columns of each event and, where it is bad, the reason with its place. As strict as for flat JSON.

An event takes one of two ways:

- Formal: a regular expression, built from the schema, describes the whole text: known fields in the schema's order, each value in the
  form of its type and inside its range, nothing after the object. from_json, which would forgive much, reads only such texts.
- All others are parsed as a variant too, which keeps the type of each token, and each value is validated. Most are bad; the good ones
  have fields in another order, fields that the schema does not know, or unusual forms.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache, reduce
from operator import and_
from typing import Any, Final, cast

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import (
    ArrayType,
    DataType,
    DecimalType,
    MapType,
    StringType,
    StructField,
    StructType,
)

from rta.events.event_types import EventType
from rta.events.field_rules import STRING, Token
from rta.events.format_contract import Read
from rta.events.formats.flat_json import CORRUPT, STRICT, huge_pattern, once
from rta.events.formats.leaves import Leaf, leaf_of, named_leaves
from rta.events.formats.validation import once_parsed, syntax

Change = Callable[[Leaf, Column], Column | None]

_KEY: Final = r"\A[\w.-]{1,40}\z"


def read(raw: DataFrame, event: EventType) -> Read:
    """Read the events: see Format.read."""
    row, suspect, values, fault = _columns(event, raw.sparkSession)
    # Each step is a select of its own: Spark computes anew what one step uses twice.
    rows = raw.select("*", row.alias("_row"))
    return Read(rows.select("*", suspect.alias("_suspect")), values, fault)


@lru_cache(maxsize=64)
def _columns(
    event: EventType,
    session: SparkSession,  # noqa: ARG001 - another session, another JVM: these columns live in it
) -> tuple[Column, Column, dict[str, Column], Column]:
    """Build the columns of the steps, once a session."""
    shape = Shape(event)
    text = F.col("value").cast("string")
    compact, spaced = (shape.pattern(shape.root, (), space) for space in ("", r"\s*+"))
    formal = F.is_valid_utf8(text) & text.rlike(rf"\A(?:{compact}|\s*+{spaced}\s*+)\z")
    # Of a text that is not formal it is null.
    row = F.from_json(
        F.when(formal, text), shape.reads(shape.root, ()).add(CORRUPT, "string"), STRICT
    )
    read = F.col("_row")
    lost = shape.lost(shape.root, (), read)
    sound = [
        read.isNotNull(),
        read[CORRUPT].isNull(),
        *([~lost] if lost is not None else []),
    ]
    good = F.coalesce(reduce(and_, sound), F.lit(False))  # noqa: FBT003
    suspect = F.when(~good, _suspect(shape))
    values = {
        each.name: F.when(F.col("_suspect").isNull(), shape.value(each.dataType, (each.name,), read[event.field(each.name)]))
        .when(F.col("_suspect.fault").isNull(), F.col("_suspect.row")[each.name])
        for each in event.wire
    }  # fmt: skip
    return row, suspect, values, F.col("_suspect.fault")


def _suspect(shape: Shape) -> Column:
    """Parse an event that is not formal: its row and its fault, which is null if it is good all the same."""
    event = shape.event

    def parsed(value: Column) -> Column:
        text = value.cast("string")
        huge = F.coalesce(text.rlike(huge_pattern(shape.decimals)), F.lit(False))  # noqa: FBT003
        sane = F.when(~huge, text)
        read = shape.reads(shape.root, ()).add(CORRUPT, "string")
        return once_parsed(value, huge=huge, row=F.from_json(sane, read, STRICT))

    def typed(all_: Column) -> Column:
        row = F.struct(
            *(
                shape.value(each.dataType, (each.name,), all_["row"][event.field(each.name)]).alias(
                    each.name
                )
                for each in event.wire
            )
        )
        return F.struct(all_.alias("all"), row.alias("row"))

    def validated(both: Column) -> Column:
        all_, row = both["all"], both["row"]
        token = F.try_variant_get(all_["pair"], "$[0]", "variant")
        root = Found((), F.lit(""), token, row, F.lit(True), all_["rounded"])  # noqa: FBT003
        faults = [shape.member(each, event.field(each.name), root, dot="") for each in event.wire]
        fault = F.when(all_["huge"], "out of range").otherwise(F.coalesce(syntax(all_), *faults))
        return F.struct(row.alias("row"), fault.alias("fault"))

    return once(once(once(F.col("value"), parsed), typed), validated)


class Shape:
    """The shape of an event as JSON has it; each method goes down the type, `path` says where it is."""

    def __init__(self, event: EventType) -> None:
        self.event = event
        self.root = event.wire
        self.decimals = sorted(
            {name for name, kind in named_leaves(event) if isinstance(kind, DecimalType)}
        )

    def leaf(self, kind: DataType, path: tuple[str, ...]) -> Leaf:
        """Return how a value that has nothing inside is written."""
        return leaf_of(kind, ".".join(path), self.event)

    def name(self, field: StructField, path: tuple[str, ...]) -> str:
        """Return what a field is called in the JSON: the columns may have other names, what is inside them has its own."""
        return field.name if path else self.event.field(field.name)

    def pattern(self, kind: DataType, path: tuple[str, ...], space: str = r"\s*+") -> str:
        """Return the regular expression of a value in the plain form, with the fields of objects in the schema's order.

        space: What stands around names and values; a text without spaces is matched faster by a pattern without them.
        """
        match kind:
            case StructType():
                return rf"\{{{space}{self._members(kind, path, space)}\}}"
            case ArrayType():
                null = "|null" if kind.containsNull else ""
                item = rf"(?:{self.pattern(kind.elementType, path, space)}{null})"
                return _listed(item, r"\[", r"\]", space)
            case MapType():
                null = "|null" if kind.valueContainsNull else ""
                value = rf"(?:{self.pattern(kind.valueType, path, space)}{null})"
                return _listed(rf"{STRING}{space}:{space}{value}", r"\{", r"\}", space)
        return f"(?:{self.leaf(kind, path).rule.plain(kind)})"

    def _members(self, kind: StructType, path: tuple[str, ...], space: str) -> str:
        """Return the pattern of the fields of an object and the commas between them; one that may be null may be left out."""
        found, begun = "", False
        for each in kind:
            value = self.pattern(each.dataType, (*path, each.name), space)
            value = f"(?:{value}|null)" if each.nullable else value
            member = rf'"{re.escape(self.name(each, path))}"{space}:{space}{value}{space}'
            if begun:
                member = rf",{space}{member}"
            elif each.nullable:  # before a required field: the comma is behind it
                member = rf'{member}(?:,{space}(?=")|(?=\}}))'
            begun = begun or not each.nullable
            found += f"(?:{member})?+" if each.nullable else member
        return found

    def reads(self, kind: DataType, path: tuple[str, ...]) -> Any:
        """Return the type that from_json is asked for."""
        match kind:
            case StructType():
                return StructType(
                    [
                        StructField(
                            self.name(each, path), self.reads(each.dataType, (*path, each.name))
                        )
                        for each in kind
                    ]
                )
            case ArrayType():
                return ArrayType(self.reads(kind.elementType, path))
            case MapType():
                return MapType(StringType(), self.reads(kind.valueType, path))
        return self.leaf(kind, path).reads

    def value(self, kind: DataType, path: tuple[str, ...], read: Column) -> Column:
        """Return the value in the type of the schema of what from_json has read."""
        return self._changed(
            kind, path, read, lambda leaf, each: leaf.value(each) if leaf.converts else None
        )

    def written(self, kind: DataType, path: tuple[str, ...], value: Column) -> Column:
        """Return what to_json is to write of a value."""
        return self._changed(kind, path, value, lambda leaf, each: leaf.written(each))

    def _changed(
        self, kind: DataType, path: tuple[str, ...], value: Column, change: Change
    ) -> Column:
        """Return a value with what `change` makes of the leaves inside; the value itself if it changes none."""
        if not self._changes(kind, path, change):
            return value
        match kind:
            case StructType():
                fields = [
                    self._changed(
                        each.dataType, (*path, each.name), value[each.name], change
                    ).alias(each.name)
                    for each in kind
                ]
                return F.when(value.isNotNull(), F.struct(*fields))
            case ArrayType():
                return F.transform(
                    value, lambda each: self._changed(kind.elementType, path, each, change)
                )
            case MapType():
                return F.transform_values(
                    value, lambda _, each: self._changed(kind.valueType, path, each, change)
                )
        made = change(self.leaf(kind, path), value)
        return value if made is None else made

    def _changes(self, kind: DataType, path: tuple[str, ...], change: Change) -> bool:
        match kind:
            case StructType():
                return any(
                    self._changes(each.dataType, (*path, each.name), change) for each in kind
                )
            case ArrayType():
                return self._changes(kind.elementType, path, change)
            case MapType():
                return self._changes(kind.valueType, path, change)
        return change(self.leaf(kind, path), F.lit(None)) is not None

    def lost(self, kind: DataType, path: tuple[str, ...], read: Column) -> Column | None:
        """Return whether a value that the pattern takes is none after all, or a key of a map stands twice; None if that cannot be."""
        match kind:
            case StructType():
                found = [
                    self.lost(each.dataType, (*path, each.name), read[self.name(each, path)])
                    for each in kind
                ]
                some = [each for each in found if each is not None]
                return reduce(lambda a, b: a | b, some) if some else None
            case ArrayType():
                if self.lost(kind.elementType, path, read) is None:
                    return None
                return _true(
                    F.exists(
                        read, lambda each: cast("Column", self.lost(kind.elementType, path, each))
                    )
                )
            case MapType():
                keys = F.map_keys(read)
                twice = _true(F.size(F.array_distinct(keys)) < F.size(keys))
                if self.lost(kind.valueType, path, read) is None:
                    return twice
                inside = F.exists(
                    F.map_values(read),
                    lambda each: cast("Column", self.lost(kind.valueType, path, each)),
                )
                return twice | _true(inside)
        leaf = self.leaf(kind, path)
        return read.isNotNull() & leaf.value(read).isNull() if leaf.converts else None

    def member(self, field: StructField, name: str, parent: Found, dot: str = ".") -> Column:
        """Return the fault of a field of an object; null if it is good."""
        found = Found(
            (*parent.path, field.name),
            F.concat(parent.place, F.lit(dot + name)),
            F.try_variant_get(parent.token, f'$["{name}"]', "variant"),
            parent.typed[field.name],
            parent.typed.isNotNull(),
            parent.rounded,
        )
        return self.fault(field.dataType, found, nullable=field.nullable)

    def fault(self, kind: DataType, found: Found, *, nullable: bool) -> Column:
        """Return the fault of a value, or of the first that is bad inside it; null if all is good."""

        def judged(each: Column) -> Column:
            bound = replace(
                found,
                place=each["place"],
                token=each["token"],
                typed=each["typed"],
                whole=each["whole"],
            )
            wrong = self._wrong(kind, bound, each["kind"])
            absent = F.when(F.lit(not nullable), F.concat(F.lit("missing: "), each["place"]))
            return F.when(each["kind"] == "VOID", absent).otherwise(wrong)

        written = F.coalesce(F.schema_of_variant(found.token), F.lit("VOID"))
        packed = F.struct(
            found.token.alias("token"), found.typed.alias("typed"), found.place.alias("place"), found.whole.alias("whole"),
            written.alias("kind"),
        )  # fmt: skip
        return once(packed, judged)

    def _wrong(self, kind: DataType, found: Found, written: Column) -> Column:
        """Return the fault of a value that is there."""
        token = found.token
        match kind:
            case StructType():
                members = [self.member(each, each.name, found) for each in kind]
                return _right(written.startswith("OBJECT"), F.coalesce(*members), found)
            case ArrayType():
                elements = F.try_variant_get(token, "$", "array<variant>")
                faults = F.transform(
                    elements, lambda each, at: self._element(kind, found, each, at)
                )
                return _right(written.startswith("ARRAY"), _first(faults), found)
            case MapType():
                entries = F.map_entries(F.try_variant_get(token, "$", "map<string,variant>"))
                faults = F.transform(entries, lambda each: self._entry(kind, found, each))
                return _right(written.startswith("OBJECT"), _first(faults), found)
        text = F.try_variant_get(token, "$", "string")
        bad = self.leaf(kind, found.path).rule.fault(Token(kind, written, text, found.typed, found.rounded))  # fmt: skip
        return F.coalesce(F.concat(bad, F.lit(": "), found.place), found.out_of_range())

    def _element(self, kind: ArrayType, found: Found, token: Column, at: Column) -> Column:
        inside = Found(
            found.path,
            F.concat(found.place, F.lit("["), at.cast("string"), F.lit("]")),
            token,
            F.get(found.typed, at),
            found.typed.isNotNull(),
            found.rounded,
        )
        return self.fault(kind.elementType, inside, nullable=kind.containsNull)

    def _entry(self, kind: MapType, found: Found, entry: Column) -> Column:
        key = entry["key"]
        inside = Found(
            found.path,
            F.concat(
                found.place, F.lit("["), F.when(key.rlike(_KEY), key).otherwise("?"), F.lit("]")
            ),
            entry["value"],
            F.try_element_at(found.typed, key),
            found.typed.isNotNull(),
            found.rounded,
        )
        fault = self.fault(kind.valueType, inside, nullable=kind.valueContainsNull)
        return F.when(key.contains("\0"), F.concat(F.lit("NUL: "), found.place)).otherwise(fault)


@dataclass(frozen=True)
class Found:
    """A value of an event that is validated.

    Attributes:
        path: Where it is in the schema; arrays and maps add no part.
        place: Where it is in the event, as a reason says it (STRING).
        token: It, as the variant has it.
        typed: What was read of it.
        whole: Whether what it is in was read: from_json gives up a whole array for one element.
        rounded: See Token.
    """

    path: tuple[str, ...]
    place: Column
    token: Column
    typed: Column
    whole: Column
    rounded: Column

    def out_of_range(self) -> Column:
        """Return the fault of a value that no rule refuses, and that is none after all."""
        none = self.typed.isNull() & self.whole
        return F.when(none, F.concat(F.lit("out of range: "), self.place))


def _right(right: Column, inside: Column, found: Found) -> Column:
    """Return the fault inside a value, if it has the right type as a whole."""
    wrong = F.when(~right, F.concat(F.lit("wrong type: "), found.place))
    return F.coalesce(wrong, inside, found.out_of_range())


def _first(faults: Column) -> Column:
    return F.get(F.filter(faults, lambda each: each.isNotNull()), F.lit(0))


def _true(condition: Column) -> Column:
    return F.coalesce(condition, F.lit(False))  # noqa: FBT003


def _listed(item: str, opening: str, closing: str, space: str) -> str:
    """Return the pattern of items with commas between."""
    return rf"{opening}{space}(?:{item}{space}(?:,{space}{item}{space})*+)?+{closing}"
