"""The JSON of events: exact decimals, instants in UTC to the microsecond, nulls left out."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from rta.errors import InputError
from rta.values import python_value

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

# Spark's own default keeps milliseconds only; XXX is "Z" in UTC.
TIMESTAMP_FORMAT: Final = "yyyy-MM-dd'T'HH:mm:ss.SSSSSSXXX"
JSON_OPTIONS: Final[Mapping[str, str]] = {"timestampFormat": TIMESTAMP_FORMAT, "timeZone": "UTC"}


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
    fields: Mapping[str, str] = MappingProxyType({}),
    beside: Collection[str] = (),
) -> DataFrame:
    """Turn a frame into Kafka messages: `key` and `value` BINARY beside the frame's own columns.

    A frame of messages (see is_message) keeps its `value` and its `key`; else all columns become one JSON object.

    Args:
        frame: The frame.
        key: The column whose text becomes the key; a null key stays null.
        fields: column → its name in the JSON, if it is another.
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
    named = [F.col(_quoted(c)).alias(fields.get(c, c)) for c in frame.columns]
    value = F.col("value") if raw else json_column(named)
    if key is None and raw and "key" in frame.columns:
        key = "key"
    chosen = F.col(_quoted(key)) if key is not None else F.lit(None)
    binary = key is not None and frame.schema[key].dataType.typeName() == "binary"
    return frame.withColumns(
        {
            "value": value.cast("binary"),
            "key": chosen if binary else chosen.cast("string").cast("binary"),
        }
    )


def _quoted(name: str) -> str:
    """Quote a column's name, which may have any characters."""
    return "`" + name.replace("`", "``") + "`"


def message_columns(frame: DataFrame) -> list[str]:
    """Return the columns of as_messages() that Kafka's sink takes: key, value, and headers in the form of Spark's own source.

    >>> message_columns(as_messages(spark.sql("select 'v' value, array(struct('n' key, binary('h') value)) headers")))
    ['key', 'value', 'headers']
    """
    own = "headers" in frame.columns and frame.schema["headers"].dataType.typeName() == "array"
    return ["key", "value", *(["headers"] if own else [])]


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


def _text(value: Any) -> str:
    """Write a value; a Decimal as the number it is, which the standard library cannot."""
    value = python_value("a value inside an event", value)
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
