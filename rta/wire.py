"""Events as they travel: JSON with exact decimals, instants in UTC to the microsecond, nulls left out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from rta.errors import InputError

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


def as_messages(frame: DataFrame, key: str | None = None) -> DataFrame:
    """Turn a frame into Kafka messages: `key` and `value` BINARY beside the frame's own columns.

    A `value` column, STRING or BINARY, is kept as it is, and a `key` column with it; else all columns
    become one JSON object. key: the column whose text becomes the key; null keys stay null.

    Raises InputError where the key is not a column.

    >>> as_messages(spark.sql("select 7L user_id"), "user_id").selectExpr("string(key)", "string(value)").head()
    Row(key='7', value='{"user_id":7}')
    """
    from pyspark.sql import functions as F

    if key is not None and key not in frame.columns:
        raise InputError(
            f"there is no column {key!r} for the key", found=frame.columns, do="choose from these"
        )
    raw = "value" in frame.columns and frame.schema["value"].dataType.typeName() in {
        "string",
        "binary",
    }
    value = F.col("value") if raw else json_column([F.col(f"`{name}`") for name in frame.columns])
    if key is None and raw and "key" in frame.columns:
        key = "key"
    named = F.col(f"`{key}`") if key is not None else F.lit(None)
    binary = key is not None and frame.schema[key].dataType.typeName() == "binary"
    return frame.withColumns(
        {
            "value": value.cast("binary"),
            "key": named if binary else named.cast("string").cast("binary"),
        }
    )


def message_columns(frame: DataFrame) -> list[str]:
    """Name the columns of as_messages() that Kafka's sink takes: key, value and, as Spark's own source gives them, headers.

    >>> message_columns(as_messages(spark.sql("select 'v' value, array(struct('n' key, binary('h') value)) headers")))
    ['key', 'value', 'headers']
    """
    own = "headers" in frame.columns and frame.schema["headers"].dataType.typeName() == "array"
    return ["key", "value", *(["headers"] if own else [])]


def json_text(event: Mapping[str, Any]) -> str:
    """Write one event the same way without Spark. A datetime without a zone is taken as UTC.

    Raises InputError for what JSON cannot hold exactly: NaN, infinities, other types.

    >>> json_text({"amount": Decimal("0.10"), "action": None, "timestamp": datetime(2024, 11, 15, 10, 30)})
    '{"amount":0.10,"timestamp":"2024-11-15T10:30:00.000000Z"}'
    """
    return _text({name: value for name, value in event.items() if value is not None})


def _text(value: Any) -> str:
    """Write a value; a Decimal as the number it is, which the standard library cannot."""
    match value:
        case Mapping():
            return (
                "{" + ",".join(f"{json.dumps(str(k))}:{_text(v)}" for k, v in value.items()) + "}"
            )
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
            "an event holds what JSON cannot",
            found=f"{value!r} ({error})",
            do="use str, int, Decimal, bool or datetime",
        ) from None
