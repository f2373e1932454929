"""A Protobuf message as JSON that the strict reader takes, each value exact; and back. Nothing of Spark is needed here."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, Final

TIMESTAMP: Final = "google.protobuf.Timestamp"
_WRAPPERS: Final = frozenset(
    f"google.protobuf.{kind}Value" for kind in ("Double", "Float", "Int64", "UInt64", "Int32", "UInt32", "Bool", "String", "Bytes")
)  # fmt: skip
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MORE: Final = 0x80  # the bit of a varint that says that another byte follows


@cache
def message_class(descriptors: bytes, name: str) -> Any:
    """Return the class of a message.

    Raises:
        DecodeError, TypeError, KeyError: The descriptors are none, are not all there, or have no such message.
    """
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    pool: Any = descriptor_pool.DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(descriptors).file:
        pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(name))


def decoder(
    descriptors: bytes, message: str, *, framed: bool, nan: bool
) -> Callable[[Any], tuple[str | None, str | None]]:
    """Return the function that makes JSON of the bytes of a message, or says why they are none.

    >>> decoder(b"", "any", framed=False, nan=False)(None)
    (None, 'null value')
    """

    def decoded(value: Any) -> tuple[str | None, str | None]:
        from google.protobuf.message import DecodeError

        if value is None:
            return None, "null value"
        try:
            data = unframed(bytes(value)) if framed else bytes(value)
            given = message_class(descriptors, message).FromString(data)
        except (DecodeError, IndexError, ValueError):
            return None, "broken Protobuf"
        return json.dumps(_plain(given, nan), ensure_ascii=False), None

    return decoded


def encoder(descriptors: bytes, message: str) -> Callable[[str], bytes]:
    """Return the function that makes a message of JSON."""

    def encoded(text: str) -> bytes:
        from google.protobuf import json_format

        given = json_format.Parse(text, message_class(descriptors, message)())
        return bytes(given.SerializeToString(deterministic=True))

    return encoded


def unframed(value: bytes) -> bytes:
    """Pass over Confluent's frame: a zero, four bytes of an id, the place of the message in its file: how many numbers, and these.

    >>> unframed(bytes([0, 0, 0, 0, 7, 0]) + b"m"), unframed(bytes([0, 0, 0, 0, 7, 4, 2, 0]) + b"m")
    (b'm', b'm')
    """
    if value[0]:
        raise ValueError(value[:1])
    many, at = _varint(value, 5)
    for _ in range(many >> 1):  # zigzag: the numbers are not negative
        _, at = _varint(value, at)
    return value[at:]


def _varint(value: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = value[at]
        at, number, shift = at + 1, number | (byte & ~_MORE) << shift, shift + 7
        if not byte & _MORE:
            return number, at


def _plain(given: Any, nan: bool) -> dict[str, Any]:  # noqa: FBT001 - of a recursion
    """Return a message as JSON has it; what was not set and has no default is not there."""
    found: dict[str, Any] = {}
    for each in given.DESCRIPTOR.fields:
        if each.has_presence and not given.HasField(each.name):
            continue
        value = getattr(given, each.name)
        if shape_of(each) == "map":
            inner = each.message_type.fields_by_name["value"]
            found[each.name] = {_key(key): _value(inner, value[key], nan) for key in value}
        elif shape_of(each) == "array":
            found[each.name] = [_value(each, one, nan) for one in value]
        else:
            found[each.name] = _value(each, value, nan)
    return found


def _value(of: Any, value: Any, nan: bool) -> Any:  # noqa: FBT001
    made = value
    if of.message_type and of.message_type.full_name == TIMESTAMP:
        made = _instant(value.seconds, value.nanos)
    elif of.message_type and of.message_type.full_name in _WRAPPERS:
        made = _value(of.message_type.fields_by_name["value"], value.value, nan)
    elif of.message_type:
        made = _plain(value, nan)
    elif of.enum_type:
        named = of.enum_type.values_by_number.get(value)
        made = named.name if named else value
    elif isinstance(value, bytes):
        made = base64.b64encode(value).decode()
    elif nan and isinstance(value, float) and not math.isfinite(value):
        made = "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return made


def _instant(seconds: int, nanos: int) -> Any:
    """Write a Timestamp as ISO 8601, all its digits; what no calendar has stays a number, which is no time."""
    try:
        whole = (_EPOCH + timedelta(seconds=seconds)).replace(tzinfo=None).isoformat()
    except OverflowError:
        return seconds
    return f"{whole}.{nanos:09d}".rstrip("0").rstrip(".") + "Z"


def _key(key: Any) -> str:
    return str(key).lower() if isinstance(key, bool) else str(key)


def shape_of(of: Any) -> str:
    """Return what a field is: a map, an array, a struct or a value."""
    if of.message_type and of.message_type.GetOptions().map_entry:
        return "map"
    return "array" if of.is_repeated else shape_inside(of)


def shape_inside(of: Any) -> str:
    """Return what one of the elements of a field is: a struct or a value."""
    kind = of.message_type.full_name if of.message_type else TIMESTAMP
    return "value" if kind == TIMESTAMP or kind in _WRAPPERS else "struct"
