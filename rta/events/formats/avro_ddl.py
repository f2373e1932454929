"""The columns of an Avro schema as DDL: what Spark's own conversion gives, without a JVM."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from rta.events import json_format

_PLAIN: Final = {
    "boolean": "BOOLEAN", "int": "INT", "long": "BIGINT", "float": "FLOAT", "double": "DOUBLE", "string": "STRING", "bytes": "BINARY",
    "enum": "STRING", "fixed": "BINARY",
}  # fmt: skip
_LOGICAL: Final = {
    "timestamp-millis": "TIMESTAMP", "timestamp-micros": "TIMESTAMP", "local-timestamp-millis": "TIMESTAMP_NTZ",
    "local-timestamp-micros": "TIMESTAMP_NTZ", "date": "DATE", "uuid": "STRING",
}  # fmt: skip


def columns(record: Any) -> list[tuple[str, str, bool]]:
    """Return the fields of a record: name, type as DDL, whether it is required.

    >>> columns({"type": "record", "name": "r", "fields": [{"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
    ...     {"name": "tags", "type": ["null", {"type": "array", "items": "string"}]}]})
    [('at', 'TIMESTAMP', True), ('tags', 'ARRAY<STRING>', False)]
    """
    return [(each["name"], *_typed(each["type"])) for each in record["fields"]]


def moments(record: Any, above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the paths of the fields that are instants, in the record or in records inside of it.

    >>> at = {"type": "long", "logicalType": "timestamp-millis"}
    >>> inner = {"type": "record", "name": "i", "fields": [{"name": "at", "type": ["null", at]}]}
    >>> list(moments({"type": "record", "name": "r", "fields": [{"name": "n", "type": "int"}, {"name": "meta", "type": inner}]}))
    [('meta', 'at')]
    """
    for each in record["fields"]:
        kinds = each["type"] if isinstance(each["type"], list) else [each["type"]]
        others = [kind for kind in kinds if kind != "null"]
        if _typed(each["type"])[0] == "TIMESTAMP":
            yield (*above, each["name"])
        elif len(others) == 1 and isinstance(others[0], dict) and others[0]["type"] == "record":
            yield from moments(others[0], (*above, each["name"]))


def _typed(kind: Any) -> tuple[str, bool]:  # noqa: PLR0911 - one for each kind
    """Return a type as DDL, and whether it has always a value. A type that is named twice is a STRING: its first place says what it is."""
    if isinstance(kind, list):
        others = [each for each in kind if each != "null"]
        return _typed(others[0])[0] if len(others) == 1 else "STRING", len(others) == len(kind)
    if isinstance(kind, str):
        return _PLAIN.get(kind, "STRING"), True
    if (logical := kind.get("logicalType")) == "decimal":
        return f"DECIMAL({kind['precision']},{kind.get('scale', 0)})", True
    if logical in _LOGICAL:
        return _LOGICAL[logical], True
    match kind["type"]:
        case "record":
            inner = (f"{quoted(name)} {ddl}{' NOT NULL' if needed else ''}" for name, ddl, needed in columns(kind))  # fmt: skip
            return f"STRUCT<{', '.join(inner)}>", True
        case "array":
            return f"ARRAY<{_typed(kind['items'])[0]}>", True
        case "map":
            return f"MAP<STRING, {_typed(kind['values'])[0]}>", True
        case name:
            return _typed(name)


def quoted(name: str) -> str:
    """Quote a name that DDL takes only so."""
    return name if re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII) else json_format.quoted(name)
