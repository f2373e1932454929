"""One Protobuf message an event: decoded in Python by its descriptor, then read as strictly as JSON, by the same reader."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from rta.errors import InputError
from rta.events.formats.protobuf_json import (
    decoder,
    encoder,
    message_class,
    shape_inside,
    shape_of,
)

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

    from rta.events.event_types import EventType
    from rta.events.format_contract import Read

_DECODED: Final = "json STRING, fault STRING"


@dataclass(frozen=True, repr=False)
class Protobuf:
    """Describe events that are Protobuf messages, one a record.

    A message is decoded by a function in Python, so in micro-batches of Spark alone, more slowly than JSON and Avro, and each executor needs rta. What it says is read
    by the rules of JSON, with the same reasons and places; there is one more, `broken Protobuf`. Fields are found by their names in the .proto.
    A field that was not set is null if the .proto tells that (`optional`, messages), else it has its default. An enum is its name, a
    google.protobuf.Timestamp a TIMESTAMP, a wrapper such as StringValue its value; fields that the descriptor does not know are passed over.

    Args:
        descriptors: What `protoc --include_imports --descriptor_set_out=FILE` has written.
        message: The full name of the message, such as "shop.Order".
        framed: Whether records begin with Confluent's frame: a zero, the id of a schema, the place of the message in it. It is passed over.
        nan: Let FLOAT and DOUBLE be NaN and infinite.

    Raises:
        InputError: The descriptors are none, or have no such message.

    Example:
        >>> from google.protobuf import descriptor_pb2
        >>> file = descriptor_pb2.FileDescriptorProto(name="sale.proto", package="shop")
        >>> _ = file.message_type.add(name="Sale").field.add(name="n", number=1, type="TYPE_INT32", label="LABEL_OPTIONAL")
        >>> written = descriptor_pb2.FileDescriptorSet(file=[file]).SerializeToString()  # protoc writes such a file
        >>> rta.EventType("sale", "n INT", "kafka_timestamp", format=Protobuf(written, "shop.Sale")).format
        Protobuf(message='shop.Sale', framed=False, nan=False)
    """

    descriptors: bytes
    message: str
    framed: bool = False
    nan: bool = False

    def __repr__(self) -> str:
        """Show all but the descriptors."""
        return f"Protobuf(message={self.message!r}, framed={self.framed}, nan={self.nan})"

    def __post_init__(self) -> None:
        """Refuse what describes no message."""
        from google.protobuf.message import DecodeError

        try:
            message_class(self.descriptors, self.message)
        except (DecodeError, TypeError, KeyError) as error:
            raise InputError(
                f"the descriptors do not have the Protobuf message {self.message!r}", found=str(error)[:200],
                fix='give what `protoc --include_imports --descriptor_set_out=FILE` has written, as bytes, and the full name, "package.Message"',
            ) from None  # fmt: skip

    def check(self, event: EventType) -> None:
        """Refuse columns that the message does not have, or has in another shape."""
        described = message_class(self.descriptors, self.message).DESCRIPTOR
        for column in event.wire:
            field = event.field(column.name)
            _require(column.dataType, field, described, field)

    def read(self, raw: DataFrame, event: EventType) -> Read:
        """Read the events: see Format.read."""
        from pyspark.sql import functions as F

        from rta.events.format_contract import Read
        from rta.events.strict_json import spark_json
        from rta.jvm.spark_reader import FAULT, read_event

        function = decoder(self.descriptors, self.message, framed=self.framed, nan=self.nan)
        decoded = F.udf(function, _DECODED, useArrow=True)
        text = F.col("_decoded.json").cast("binary")
        read = read_event(raw.sparkSession, text, spark_json(event)).alias("_event")
        frame = raw.select("*", decoded("value").alias("_decoded")).select("*", read)
        fault = F.coalesce(F.col("_decoded.fault"), F.col("_event")[FAULT])
        return Read(frame, {name: F.col("_event")[name] for name in event.wire.names}, fault)

    def write(self, event: EventType, columns: Sequence[str]) -> Column:
        """Write the columns of a frame: see Format.write. A DECIMAL, for which Protobuf has no type, is read from texts, and not written.

        Raises:
            InputError: The messages need the id of a schema.
        """
        from pyspark.sql import functions as F

        from rta.events.formats.json_objects import Json

        if self.framed:
            raise InputError(
                "rta does not write Confluent's frame: it registers no schemas", found=repr(self),
                fix="publish messages, a frame with a BINARY column `value`; or leave framed=True out",
            )  # fmt: skip
        text = Json().write(event, [name for name in columns if name in event.columns])
        return F.udf(encoder(self.descriptors, self.message), "binary", useArrow=True)(text)


def _require(kind: Any, name: str, described: Any, place: str) -> None:
    """Refuse a field that is not there, or is a message, a list or a map where its column is none, and the other way round."""
    of = described.fields_by_name.get(name)
    if of is None:
        raise InputError(
            f"the Protobuf message {described.full_name!r} has no field {place!r}", found=", ".join(described.fields_by_name.keys()),
            fix="name its fields: as columns, or by fields={column: field}",
        )  # fmt: skip
    shape, inside = shape_of(of), kind
    _require_shape(kind, shape, place)
    if shape == "map":
        of, inside = of.message_type.fields_by_name["value"], kind.valueType
    elif shape == "array":
        inside = kind.elementType
    _require_shape(inside, shape_inside(of), place)
    for each in inside if inside.typeName() == "struct" else ():
        _require(each.dataType, each.name, of.message_type, f"{place}.{each.name}")


def _require_shape(kind: Any, shape: str, place: str) -> None:
    wanted = kind.typeName() if kind.typeName() in ("map", "array", "struct") else "value"
    if wanted != shape:
        raise InputError(
            f"the Protobuf field {place!r} has another shape than its column", found=f"{shape}, for {kind.simpleString()}",
            fix="let the column be a STRUCT of a message, an ARRAY of a repeated field, a MAP of a map, and a plain type of all others",
        )  # fmt: skip
