"""The JSON of events: exact decimals, instants in UTC to the microsecond, nulls left out."""

from __future__ import annotations

import base64
import json
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from rta.errors import InputError
from rta.events.format_contract import chosen
from rta.values import python_value

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

    from rta.events.event_types import EventType

# Spark's own default keeps milliseconds only; XXX is "Z" in UTC.
TIMESTAMP_FORMAT: Final = "yyyy-MM-dd'T'HH:mm:ss.SSSSSSXXX"
JSON_OPTIONS: Final[Mapping[str, str]] = {
    "timestampFormat": TIMESTAMP_FORMAT,
    "timestampNTZFormat": "yyyy-MM-dd'T'HH:mm:ss.SSSSSS",
    "timeZone": "UTC",
}


def json_column(columns: Sequence[str | Column]) -> Column:
    """Build the column that holds these columns as one JSON object (STRING).

    >>> spark.sql("select 7L user_id, 0.10BD amount, null action").select(json_column(["user_id", "amount", "action"])).head()[0]
    '{"user_id":7,"amount":0.10}'
    """
    from pyspark.sql import functions as F

    return F.to_json(F.struct(*columns), dict(JSON_OPTIONS))


# What Spark's Kafka source calls the parts of a record, and what rta calls its time.
KAFKA: Final = frozenset(("key", "value", "headers", "topic", "partition", "offset", "timestamp", "timestampType", "kafka_timestamp"))  # fmt: skip


def is_message(frame: DataFrame, beside: Collection[str] = ()) -> bool:
    """Return whether a frame holds messages: it has a BINARY `value`, or a STRING one beside nothing but Kafka's own columns.

    Beside other columns, a STRING `value` is a field like them. beside: columns that only give the order.

    >>> is_message(spark.sql("SELECT '{}' value, 'k' key")), is_message(spark.sql("SELECT '21.5' value, 7L sensor"))
    (True, False)
    """
    if "value" not in frame.columns:
        return False
    kind = frame.schema["value"].dataType.typeName()
    return kind == "binary" or (kind == "string" and {*frame.columns} <= {*KAFKA, *beside})


def as_messages(
    frame: DataFrame,
    key: str | None = None,
    *,
    event: EventType | None = None,
    beside: Collection[str] = (),
) -> DataFrame:
    """Turn a frame into Kafka messages: `key` and `value` BINARY beside the frame's own columns.

    A frame of messages (see is_message) keeps its `value` and its `key`; else all columns become one JSON object, or what the format of
    the event type is.

    Args:
        frame: The frame.
        key: The column whose text becomes the key; a null key stays null.
        event: The type of the events.
        beside: Columns that only give the order.

    Raises:
        InputError: The key is not a column.

    >>> as_messages(spark.sql("select 7L user_id"), "user_id").selectExpr("string(key)", "string(value)").head()
    Row(key='7', value='{"user_id":7}')
    """
    from pyspark.sql import functions as F

    if key is not None and key not in frame.columns:
        raise InputError(
            f"there is no column {key!r} for the key", found=frame.columns, fix="choose from these"
        )
    raw = is_message(frame, beside)
    if raw:
        value = F.col("value")
    elif event is None:
        value = json_column([F.col(quoted(c)) for c in frame.columns])
    else:
        value = chosen(event.format).write(event, frame.columns)
    if key is None and raw and "key" in frame.columns:
        key = "key"
    taken = F.col(quoted(key)) if key is not None else F.lit(None)
    binary = key is not None and frame.schema[key].dataType.typeName() == "binary"
    return frame.withColumns(
        {
            "value": value.cast("binary"),
            "key": taken if binary else taken.cast("string").cast("binary"),
        }
    )


def quoted(name: str) -> str:
    """Quote a column's name, which may have any characters."""
    return "`" + name.replace("`", "``") + "`"


def message_columns(frame: DataFrame) -> list[str]:
    """Return the columns of as_messages() that Kafka's sink takes: key, value, and headers in the form of Spark's own source.

    >>> message_columns(as_messages(spark.sql("select 'v' value, array(struct('n' key, binary('h') value)) headers")))
    ['key', 'value', 'headers']
    """
    own = "headers" in frame.columns and frame.schema["headers"].dataType.typeName() == "array"
    return ["key", "value", *(["headers"] if own else [])]


def strict_json(value: bytes) -> Any:
    """Read one JSON value as it is written: numbers exact, NaN and a key that stands twice refused.

    Raises:
        ValueError: It is no such value.

    >>> strict_json(b'{"n": 1.50}')
    {'n': Decimal('1.50')}
    """
    return json.loads(
        value.decode(), parse_float=Decimal, parse_constant=_refused, object_pairs_hook=_unique
    )


def _refused(literal: str) -> None:
    raise ValueError(literal)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) < len(pairs):
        raise ValueError("a key stands twice")
    return dict(pairs)


def json_text(event: Mapping[str, Any]) -> str:
    """Write one event in the same form without Spark. A datetime without a zone is taken as UTC.

    Values may be NumPy's and pandas' own.

    Raises:
        InputError: JSON cannot hold a value exactly: NaN, an infinity, another type.

    >>> json_text({"amount": Decimal("0.10"), "action": None, "timestamp": datetime(2024, 11, 15, 10, 30)})
    '{"amount":0.10,"timestamp":"2024-11-15T10:30:00.000000Z"}'
    """
    values = {name: python_value(f"field {name!r}", value) for name, value in event.items()}
    return _text({name: value for name, value in values.items() if value is not None})


def as_written(values: Mapping[str, Any], event: EventType) -> dict[str, Any]:
    """Return the values of an event as its type writes them: instants in its form, without columns that are taken out of structs.

    Raises:
        InputError: Only Spark writes the format of the type, or its times.

    >>> event = rta.EventType("t", "n INT, at TIMESTAMP", "at", times="epoch_ms")
    >>> as_written({"n": 1, "at": datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)}, event)
    {'n': 1, 'at': Decimal('1700000000000')}
    """
    if event.format != "json" and type(event.format).__name__ != "Json":
        raise InputError(
            f"events of format {event.format!r} are written by Spark", found=type(values).__name__,
            fix="publish a Spark frame: spark.createDataFrame(…)",
        )  # fmt: skip
    there = {name: value for name, value in values.items() if name not in event.taken}
    if event.times == "iso":
        return there
    return {
        name: _timed(value, event.schema[name].dataType, name, event)
        if name in event.columns
        else value
        for name, value in there.items()
    }


def _timed(value: Any, kind: Any, path: str, event: EventType) -> Any:
    """Return a value with the instants inside it in their form."""
    match kind.typeName():
        case "struct" if isinstance(value, Mapping):
            return {n: _timed(v, kind[n].dataType, f"{path}.{n}", event) if n in kind.names else v for n, v in value.items()}  # fmt: skip
        case "array" if isinstance(value, list | tuple):
            return [_timed(each, kind.elementType, path, event) for each in value]
        case "map" if isinstance(value, Mapping):
            return {n: _timed(v, kind.valueType, path, event) for n, v in value.items()}
        case "timestamp" if isinstance(value, datetime):
            from rta.events.times import epoch, is_pattern

            form = event.time_form(path)
            if is_pattern(form):
                raise InputError(
                    "times in a pattern are written by Spark", found=f"{path}: {form!r}", fix="publish a Spark frame, or the text itself"
                )  # fmt: skip
            number = epoch(form, value)
            return value if number is None else number
    return value


def _text(value: Any) -> str:
    """Write a value; a Decimal as the number it is, which the standard library cannot."""
    value = python_value("a value inside an event", value)
    value = base64.b64encode(value).decode() if isinstance(value, bytes) else value
    match value:
        case Mapping():
            members = [
                f"{json.dumps(str(k), ensure_ascii=False)}:{_text(v)}" for k, v in value.items()
            ]
            return "{" + ",".join(members) + "}"
        case list() | tuple():
            return "[" + ",".join(map(_text, value)) + "]"
        case Decimal() if value.is_finite():
            return format(value, "f")
        case datetime():
            instant = value.astimezone(UTC) if value.tzinfo else value
            return f'"{instant.replace(tzinfo=None).isoformat(timespec="microseconds")}Z"'
        case date():
            return f'"{value.isoformat()}"'
    try:
        return json.dumps(value, allow_nan=False, ensure_ascii=False)
    except (TypeError, ValueError) as error:
        raise InputError(
            "an event has a value that JSON cannot hold",
            found=f"{value!r} ({error})",
            fix="use str, int, Decimal, bool or datetime",
        ) from None
