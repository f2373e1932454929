"""Parse one event from JSON strictly, in plain Python: the reference for rta.events.formats, which use Spark."""

from __future__ import annotations

import base64
import json
import re
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo

from rta.events.json_format import strict_json

if TYPE_CHECKING:
    from rta.events.event_types import EventType

_CLOCK: Final = r"(?!0000)\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d{1,6})?"
_ZONE: Final = r"(Z|[+-]\d\d:?\d\d)"
_INTEGERS: Final = {"byte": 7, "short": 15, "integer": 31, "long": 63}
_EPOCHS: Final = {"epoch_s": 6, "epoch_ms": 3, "epoch_us": 0}


def strict(value: bytes | None, event: EventType) -> dict[str, Any] | None:
    """Return the values of a good event by column; None if the bytes are not a good event.

    Times are in UTC without a zone, decimals have the scale of their type; structs and maps are dicts, arrays lists.
    A time in the form of a pattern is not read: it raises NotImplementedError.

    >>> strict(b'{"event_id": "a", "user_id": NaN}', rta.USER_EVENTS) is None
    True
    """
    try:
        given = strict_json(value or b"")
        json.dumps(
            given, default=str, ensure_ascii=False
        ).encode()  # half of a surrogate pair is no text, wherever it stands
        found = {
            each.name: _value(
                given.get(event.field(each.name)), each.dataType, each.nullable, each.name, event
            )
            for each in event.wire
        }
    except (ValueError, ArithmeticError, AttributeError, RecursionError):
        return None
    for column, path in event.taken.items():
        inside: Any = found
        for name in path:
            inside = None if inside is None else inside[name]
        found[column] = inside
    return found


def _value(given: Any, kind: Any, nullable: bool, path: str, event: EventType) -> Any:  # noqa: FBT001 - as the schema has it
    """Return the value in the type of its column, exactly. Raises ValueError if that is not possible."""
    name = kind.typeName()
    if given is None and nullable:
        return None
    if name == "struct" and isinstance(given, dict):
        return {
            each.name: _value(given.get(each.name), each.dataType, each.nullable, f"{path}.{each.name}", event)
            for each in kind
        }  # fmt: skip
    if name == "array" and isinstance(given, list):
        return [_value(each, kind.elementType, kind.containsNull, path, event) for each in given]
    if name == "map" and isinstance(given, dict):
        return {
            _text(key): _value(each, kind.valueType, kind.valueContainsNull, path, event)
            for key, each in given.items()
        }
    read = _LEAVES.get(name)
    if read is None and name == "timestamp":
        return _instant(given, event.time_form(path))
    if read is None or given is None:
        raise ValueError(f"{path}: {given!r}")
    return read(given, kind)


def _text(given: Any, _: Any = None) -> str:
    if not isinstance(given, str) or "\0" in given:
        raise ValueError(repr(given))
    given.encode("utf-8")  # half of a surrogate pair is no text
    return given


def _integer(given: Any, kind: Any) -> int:
    bits = _INTEGERS[kind.typeName()]
    if type(given) is not int or not -(2**bits) <= given < 2**bits:
        raise ValueError(repr(given))
    return given


def _boolean(given: Any, _: Any) -> bool:
    if type(given) is not bool:
        raise ValueError(repr(given))
    return given


def _double(given: Any, kind: Any) -> float:
    limit = Decimal(2) ** (128 if kind.typeName() == "float" else 1024)
    if type(given) not in (int, Decimal) or abs(given) >= limit:
        raise ValueError(repr(given))
    return float(given)


def _decimal(given: Any, kind: Any) -> Decimal:
    if type(given) not in (int, Decimal, str):
        raise ValueError(repr(given))
    if isinstance(given, str) and not re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", given):
        raise ValueError(given)
    exact = Decimal(given)
    sign, digits, exponent = exact.as_tuple()
    if not isinstance(exponent, int):
        raise ValueError(repr(given))
    whole = int("".join(map(str, digits))) * (-1 if sign else 1)
    if not whole:
        return Decimal(0).scaleb(-kind.scale)
    shift = exponent + kind.scale
    if shift > kind.precision:
        raise ValueError(repr(given))
    scaled, rest = (whole * 10**shift, 0) if shift >= 0 else divmod(whole, 10**-shift)
    if rest or abs(scaled) >= 10**kind.precision:
        raise ValueError(repr(given))
    return Decimal((int(scaled < 0), tuple(map(int, str(abs(scaled)))), -kind.scale))


def _date(given: Any, _: Any) -> date:
    if not isinstance(given, str) or not re.fullmatch(r"\d{4}-\d\d-\d\d", given, re.ASCII):
        raise ValueError(repr(given))
    return date.fromisoformat(given)


def _clock(given: Any, _: Any) -> datetime:
    if not isinstance(given, str) or not re.fullmatch(_CLOCK, given, re.ASCII):
        raise ValueError(repr(given))
    return datetime.fromisoformat(given)


def _bytes(given: Any, _: Any) -> bytes:
    read = base64.b64decode(_text(given), validate=True)
    if base64.b64encode(read).decode() != given:
        raise ValueError(given)
    return read


def _instant(given: Any, form: str) -> datetime:
    """Return an instant in UTC, without its zone."""
    if form in _EPOCHS:
        from pyspark.sql.types import DecimalType

        scale = _EPOCHS[form]
        micros = int(_decimal(given, DecimalType(18, scale)) * 10**scale)
        return datetime(1970, 1, 1) + timedelta(microseconds=micros)  # noqa: DTZ001
    if " in " in form or "yy" in form:
        raise NotImplementedError(form)
    zone = "" if form != "iso" else _ZONE
    if not isinstance(given, str) or not re.fullmatch(
        _CLOCK + (zone or f"{_ZONE}?"), given, re.ASCII
    ):
        raise ValueError(repr(given))
    found = datetime.fromisoformat(given)
    if found.tzinfo is None:
        local = found.replace(tzinfo=ZoneInfo(form))
        if local.astimezone(UTC).astimezone(local.tzinfo).replace(tzinfo=None) != found:
            raise ValueError(f"{given} is skipped in {form}")
        found = local
    if abs(found.utcoffset() or timedelta()) > timedelta(hours=18):
        raise ValueError(given)
    return found.astimezone(UTC).replace(tzinfo=None)


_LEAVES: Final[dict[str, Any]] = {
    "string": _text, "boolean": _boolean, "float": _double, "double": _double, "decimal": _decimal, "date": _date,
    "timestamp_ntz": _clock, "binary": _bytes, **dict.fromkeys(_INTEGERS, _integer),
}  # fmt: skip
