"""Parse one event from JSON strictly, in plain Python: the reference for rta.dataframes.parsing, which uses Spark."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from rta.events.event_types import EventType

_INSTANT: Final = re.compile(
    r"(?!0000)\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:?\d\d)", re.ASCII
)
_INTEGERS: Final = {"integer": 31, "long": 63}


def strict(value: bytes | None, event: EventType) -> dict[str, Any] | None:
    """Return the values of a good event by column; None if the bytes are not a good event.

    Times are in UTC without a zone, decimals have the scale of their type.

    >>> strict(b'{"event_id": "a", "user_id": NaN}', rta.USER_EVENTS) is None
    True
    """
    try:
        given = json.loads(
            (value or b"").decode("utf-8"), parse_float=Decimal, parse_constant=_refused, object_pairs_hook=_unique,
        )  # fmt: skip
        return {each.name: _value(given.get(event.field(each.name)), each) for each in event.schema}
    except (ValueError, ArithmeticError, AttributeError, RecursionError):
        return None


def _refused(literal: str) -> None:
    raise ValueError(literal)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) < len(pairs):
        raise ValueError("a key stands twice")
    return dict(pairs)


def _value(given: Any, field: Any) -> Any:
    """Return the value in the type of its column, exactly. Raises ValueError if that is not possible."""
    kind = field.dataType.typeName()
    if given is None and field.nullable:
        return None
    if kind == "string" and isinstance(given, str) and "\0" not in given:
        given.encode("utf-8")  # half of a surrogate pair is no text
        return given
    if (
        kind in _INTEGERS
        and type(given) is int
        and -(2 ** _INTEGERS[kind]) <= given < 2 ** _INTEGERS[kind]
    ):
        return given
    if kind == "timestamp" and isinstance(given, str) and _INSTANT.fullmatch(given):
        return datetime.fromisoformat(given).astimezone(UTC).replace(tzinfo=None)
    if kind == "decimal" and type(given) in (int, Decimal, str):
        exact = Decimal(given)
        unit = Decimal(1).scaleb(-field.dataType.scale)
        limit = Decimal(10) ** (field.dataType.precision - field.dataType.scale)
        if exact.is_finite() and abs(exact) < limit and exact % unit == 0:
            return exact.quantize(unit)
    raise ValueError(f"{field.name}: {given!r}")
