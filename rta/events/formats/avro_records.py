"""One Avro record an event, with or without Confluent's five bytes: its schema given, or found by its id in a registry."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from secrets import token_bytes
from typing import TYPE_CHECKING, Any, Final, cast

from rta.errors import InputError
from rta.events.format_contract import Read
from rta.urls import shown

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame
    from pyspark.sql.types import StructType

    from rta.events.event_types import EventType

_HEAD: Final = 5  # bytes: a zero, then the schema's id, the highest byte first
_END: Final = token_bytes(8)
"""Is put behind each record, and must be read as it is: so nothing stands between. Nobody who writes a message knows it."""


@dataclass(frozen=True, repr=False)
class Avro:
    """Describe events that are Avro records, one a message, not files of Avro.

    Fields are found by their names; a union of null and one other type is a column that may be null. Bad are, beside what is bad in JSON:
    `broken Avro`, `trailing garbage` behind the record, and `unknown schema: 7`, an id that the registry did not have when the query
    began.

    Args:
        schema: The record's schema, as JSON. It is that of the producer, or one with the same fields in the same order.
        registry: The URL of a schema registry with Confluent's API; the schemas are those of the subject `<topic>-value`. A user and a
            password in it are sent to the registry, and shown nowhere.
        framed: Whether the messages begin with Confluent's five bytes; by default if there is a registry.
        nan: Let FLOAT and DOUBLE be NaN and infinite.

    Raises:
        InputError: There is not exactly one of schema and registry, or the schema is none of a record.

    Example:
        >>> schema = '{"type": "record", "name": "Sale", "fields": [{"name": "n", "type": "int"}]}'
        >>> rta.EventType("sale", "n INT", "kafka_timestamp", format=Avro(schema)).columns
        ('n',)
    """

    schema: str | None = None
    registry: str | None = None
    framed: bool | None = None
    nan: bool = False

    def __repr__(self) -> str:
        """Show all but the password of the registry."""
        registry = self.registry and shown(self.registry)
        return f"Avro(schema={self.schema!r}, registry={registry!r}, framed={self.framed}, nan={self.nan})"

    def __post_init__(self) -> None:
        """Refuse what is no description of records."""
        if (self.schema is None) == (self.registry is None):
            raise InputError(
                "Avro needs the schema of its records, or a registry that has it", found=repr(self),
                fix='give one of them: Avro(schema=…), Avro(registry="http://127.0.0.1:8081")',
            )  # fmt: skip
        if self.schema is not None:
            _record(self.schema)

    def check(self, event: EventType) -> None:
        """Refuse columns that the given schema does not have, or has in a type that does not fit."""
        if self.schema is None:
            return
        fields = {each["name"]: each["type"] for each in _record(self.schema)["fields"]}
        if absent := [
            event.field(name) for name in event.wire.names if event.field(name) not in fields
        ]:
            raise InputError(
                f"the Avro schema has no field {absent[0]!r}", found=", ".join(fields),
                fix="name its fields: as columns, or by fields={column: field}",
            )  # fmt: skip

    def read(self, raw: DataFrame, event: EventType) -> Read:
        """Read the events: see Format.read."""
        from pyspark.sql import functions as F

        from rta.events.formats.avro_fields import Fields

        schemas = self._schemas(event)
        framed = self.registry is not None if self.framed is None else self.framed
        body = (
            F.when(_is_framed(), F.substring("value", _HEAD + 1, 2**30))
            if framed
            else F.col("value")
        )
        end = F.lit(_END)
        record = raw.select("*", F.concat(body, end).alias("_record"))
        read = record.select("*", *(self._when(name, text) for name, text in schemas.items()))
        fields = Fields(event, nan=self.nan)
        # How Spark reads what forgives says of every field that it may be null; how it reads what fails says which.
        strict = record.select(*(self._when(name, text, "FAILFAST") for name, text in schemas.items())).schema  # fmt: skip
        records = {name: cast("StructType", strict[f"_{name}"].dataType)["value"].dataType for name in schemas}  # fmt: skip
        one = next(iter(records.values())) if len(records) == 1 else None
        found = F.coalesce(*(F.col(f"_{name}.end") for name in schemas))
        if one is not None and fields.as_read(one):
            row, lost = F.col(f"_{next(iter(records))}.value"), F.lit(None)
        else:
            rows = [fields.row(kind, F.col(f"_{name}.value")) for name, kind in records.items()]
            # What cannot be read is a row of nulls.
            is_read = [F.col(f"_{name}.value").isNotNull() for name in schemas]
            made = F.coalesce(*(F.when(there, each) for there, each in zip(is_read, rows, strict=True)))  # fmt: skip
            read = read.select("*", made.alias("_row"))
            row, lost = F.col("_row"), F.col("_row._lost")
        fault = (
            F.when(F.col("value").isNull(), "null value")
            .when(F.octet_length("value") == 0, "empty value")
            .when(self._unknown(schemas, framed=framed), F.concat(F.lit("unknown schema: "), _id()))
            .when(row.isNull(), "broken Avro")
            .when(found != end, "trailing garbage")
            .otherwise(F.coalesce(lost, fields.fault(row, one)))
        )
        judged = read.select("*", fault.alias("_fault"))
        values = {name: F.when(F.col("_fault").isNull(), row[name]) for name in event.wire.names}
        return Read(judged, values, F.col("_fault"))

    def write(self, event: EventType, columns: Sequence[str]) -> Column:
        """Write the columns of a frame: see Format.write.

        Raises:
            InputError: The messages need the id of a schema.
        """
        from pyspark.sql import functions as F
        from pyspark.sql.avro.functions import to_avro

        if self.schema is None or self.framed:
            raise InputError(
                "rta does not write Confluent's five bytes: it registers no schemas", found=repr(self)[:100],
                fix="publish messages, a frame with a BINARY column `value`; or give Avro(schema=…)",
            )  # fmt: skip
        fields = [
            F.col(name).alias(event.field(name)) for name in columns if name in event.wire.names
        ]
        return to_avro(F.struct(*fields), self.schema)

    def _schemas(self, event: EventType) -> Mapping[str, str]:
        """Return the schemas by their ids; "any" is the one that is given."""
        if self.schema is not None:
            return {"any": self.schema}
        from rta.events.formats.registry import schemas

        return {
            str(number): text for number, text in schemas(str(self.registry), event.name).items()
        }

    def _when(self, name: str, schema: str, mode: str = "PERMISSIVE") -> Column:
        """Read the records of one schema; null for others, and where they cannot be read."""
        from pyspark.sql import functions as F
        from pyspark.sql.avro.functions import from_avro

        end = {"type": "fixed", "name": "rta_end", "size": len(_END)}
        fields = [{"name": "value", "type": json.loads(schema)}, {"name": "end", "type": end}]
        whole = json.dumps({"type": "record", "name": "rta_message", "fields": fields})
        data = F.col("_record") if name == "any" else F.when(_id() == name, F.col("_record"))
        return from_avro(data, whole, {"mode": mode}).alias(f"_{name}")

    def _unknown(self, schemas: Mapping[str, str], *, framed: bool) -> Column:
        from pyspark.sql import functions as F

        if not framed or self.schema is not None:
            return F.lit(False)  # noqa: FBT003
        return _is_framed() & ~_id().isin(*schemas)


def _is_framed() -> Column:
    from pyspark.sql import functions as F

    return F.col("value").startswith(F.lit(b"\0")) & (F.octet_length("value") >= _HEAD)


def _id() -> Column:
    """Return the id of the schema in Confluent's five bytes, as text."""
    from pyspark.sql import functions as F

    return F.conv(F.hex(F.substring("value", 2, 4)), 16, 10)


def _record(schema: str) -> Any:
    try:
        record = json.loads(schema)
    except (TypeError, ValueError):
        record = None
    if not isinstance(record, dict) or record.get("type") != "record":
        raise InputError(
            "the schema of Avro is the JSON of a record", found=repr(schema)[:100],
            fix='give it as text: {"type": "record", "name": …, "fields": […]}',
        )  # fmt: skip
    return record
