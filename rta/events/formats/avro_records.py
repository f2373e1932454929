"""One Avro record an event, with or without Confluent's five bytes: its schema given, or found by its id in a registry."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rta.errors import InputError
from rta.urls import shown

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

    from rta.events.event_types import EventType
    from rta.events.format_contract import Read


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
        from rta.events.formats.avro_fields import require_fits
        from rta.events.strict_json import read_events

        schemas = {number: json.loads(text) for number, text in self._schemas(event).items()}
        for each in schemas.values():
            require_fits(event, each)
        framed = self.registry is not None if self.framed is None else self.framed
        return read_events(raw, event, avro={"schemas": schemas, "framed": framed})

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
