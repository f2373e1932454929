"""Test your own transform: feed it micro-batches without a broker, and check the first law.

    drained stream of T(x) == batch T(x), exactly, for the events that were not late

feed() runs a real streaming query with one micro-batch for each list of rows; check_law() compares its result with that of a batch.
In append mode a row comes once it is final, so there the batch, too, has only what the last watermark has closed. For tests against a real topic, independent of Spark, see rta.testing.oracle.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from rta.engines.spark.lateness import WATERMARK, LateRule, Transform, late_rows, operators
from rta.engines.spark.output_modes import output_mode
from rta.errors import InputError

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, Row, SparkSession
    from pyspark.sql.types import StructType

Batches = Sequence[Sequence[Mapping[str, Any]]]
_ORIGIN: Final = "topic STRING, partition INT, offset BIGINT"


@dataclass(frozen=True)
class Fed:
    """The result of a stream over micro-batches, and that of a batch over the same events.

    Args:
        stream: Key → its final row.
        batch: The same of one batch over the events that were not late; in append mode without what is not final yet.
        late: The positions of the late events in the input, counted from 0.
        events: The number of events.
    """

    stream: Mapping[tuple[Any, ...], Row]
    batch: Mapping[tuple[Any, ...], Row]
    late: frozenset[int]
    events: int

    @property
    def differences(self) -> list[str]:
        """Return a line for each key whose rows are not equal."""
        keys = sorted(self.stream.keys() | self.batch.keys(), key=repr)
        return [
            f"{key}: stream {self.stream.get(key)}, batch {self.batch.get(key)}"
            for key in keys
            if self.stream.get(key) != self.batch.get(key)
        ]


def feed(
    transform: Transform,
    batches: Batches,
    *,
    schema: StructType | str,
    key: Sequence[str],
    spark: SparkSession,
    mode: str | None = None,
) -> Fed:
    """Feed rows to a transform in the given micro-batches, through a real streaming query.

    Args:
        transform: The analysis. It also gets topic, partition and offset, as from a topic.
        batches: One list of rows (mappings of column to value) for each micro-batch; it may be empty.
        schema: The schema of the rows.
        key: The columns of the result that identify a row; a later row of a key replaces the earlier one.
        spark: The session.
        mode: Spark's output mode, by default the first of "update" and "append" that Spark allows, as for rta.follow().

    Raises:
        InputError: In append mode, if the result has no window or event time by which its rows are final.

    Example:
        >>> day = [{"user_id": 1, "amount": "0.10", "timestamp": "2024-11-15 10:30:00"}]
        >>> schema = "user_id INT, amount DECIMAL(12, 2), timestamp TIMESTAMP"
        >>> fed = feed(rta.transforms.totals, [day, day], schema=schema, key=["window", "user_id"], spark=spark)
        >>> [row.total_amount for row in fed.stream.values()]
        [Decimal('0.20')]
    """
    from pyspark.sql import functions as F
    from pyspark.sql.types import StructType

    described = StructType.fromDDL(schema) if isinstance(schema, str) else schema
    if not isinstance(described, StructType):
        raise InputError(
            "the schema is not that of a row", found=schema, fix="give 'name TYPE, name TYPE'"
        )
    located = StructType([*described, *cast("StructType", StructType.fromDDL(_ORIGIN))])
    with tempfile.TemporaryDirectory(prefix="rta-feed-") as folder:
        _write(Path(folder) / "input", batches)
        stream = (
            spark.readStream.schema(located).option("maxFilesPerTrigger", 1).json(f"{folder}/input")
        )
        result = transform(stream)
        mode = output_mode(result, mode)
        until = _final_by(result) if mode == "append" else None
        final, watermarks, closed = _run(result, key, mode, folder)
        static = spark.read.schema(located).json(f"{folder}/input")
        late = _late(static, transform, LateRule.of(result), watermarks, batches)
        kept = static.where(~static["offset"].isin(list(late))) if late else static
        answer = transform(kept)
        answer = answer.where(F.expr(until) <= F.lit(closed)) if until else answer
        rows = {_key(row, key): row for row in answer.collect()}
    return Fed(final, rows, frozenset(late), sum(map(len, batches)))


def check_law(
    transform: Transform,
    batches: Batches,
    *,
    schema: StructType | str,
    key: Sequence[str],
    spark: SparkSession,
    mode: str | None = None,
) -> Fed:
    """Assert that the result of the stream equals that of the batch, row for row; return both.

    With sliding windows no event may be late: it would be missing in some of its windows and counted in the others.

    Args:
        transform: As for feed().
        batches: As for feed().
        schema: As for feed().
        key: As for feed().
        spark: As for feed().
        mode: As for feed().

    Raises:
        AssertionError: If they differ; it shows the first differences.

    Example:
        >>> rows = [{"user_id": 1, "amount": "0.10", "timestamp": "2024-11-15 10:30:00"}]
        >>> schema = "user_id INT, amount DECIMAL(12, 2), timestamp TIMESTAMP"
        >>> check_law(rta.transforms.totals, [rows], schema=schema, key=["window", "user_id"], spark=spark).events
        1
    """
    fed = feed(transform, batches, schema=schema, key=key, spark=spark, mode=mode)
    if fed.differences:
        shown = "\n  ".join(fed.differences[:5])
        raise AssertionError(f"stream and batch differ in {len(fed.differences)} rows:\n  {shown}")
    return fed


def _write(folder: Path, batches: Batches) -> None:
    """Write one file for each micro-batch; Spark reads them in the order of the times that are set here."""
    folder.mkdir()
    offsets = count()
    for number, rows in enumerate(batches):
        events = [{**row, "topic": "fed", "partition": 0, "offset": next(offsets)} for row in rows]
        path = folder / f"{number:06d}.json"
        path.write_text("\n".join(json.dumps(event, default=_plain) for event in events))
        os.utime(path, (1_000_000 + number, 1_000_000 + number))


def _plain(value: Any) -> str:
    """Return a value that JSON does not have as text, from which Spark reads it back exactly."""
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _final_by(result: DataFrame) -> str | None:
    """Return the moment (SQL) at which a row of append mode is final; None if it is so at once: no aggregate has made it."""
    if not any(each.name == "Aggregate" for each in operators(result)):
        return None
    for each in result.schema:
        if WATERMARK in each.metadata:
            return f"`{each.name}`" + (".end" if each.dataType.typeName() == "struct" else "")
    raise InputError(
        "in append mode the result needs the window by which its rows are final", found=", ".join(result.columns),
        fix='keep the window among the columns, or feed in mode="update"',
    )  # fmt: skip


def _run(
    result: DataFrame, key: Sequence[str], mode: str, folder: str
) -> tuple[dict[tuple[Any, ...], Row], list[str], datetime]:
    """Run the query to its end; return the final rows, the watermark of each micro-batch that had input, and the last one."""
    final: dict[tuple[Any, ...], Row] = {}

    def upsert(frame: DataFrame, _: int) -> None:
        if mode == "complete":
            final.clear()
        final.update({_key(row, key): row for row in frame.collect()})

    query = (
        result.writeStream.outputMode(mode)
        .option("checkpointLocation", f"{folder}/checkpoint")
        .trigger(availableNow=True)
        .foreachBatch(upsert)
        .start()
    )
    query.awaitTermination()
    before = "1970-01-01T00:00:00.000Z"
    watermarks = []
    for progress in query.recentProgress:
        if progress["sources"][0]["startOffset"] != progress["sources"][0]["endOffset"]:
            watermarks.append(before)
        before = progress.get("eventTime", {}).get("watermark", before)
    return final, watermarks, datetime.fromisoformat(before)


def _late(
    static: DataFrame,
    transform: Transform,
    rule: LateRule | None,
    watermarks: Sequence[str],
    batches: Batches,
) -> set[int]:
    """Return the offsets of the late events."""
    late: set[int] = set()
    first = 0
    for rows, watermark in zip(batches, watermarks, strict=True):
        if rule and rows and not watermark.startswith("1970-01-01"):
            span = static.where(f"offset >= {first} AND offset < {first + len(rows)}")
            found = late_rows(span, transform, rule, datetime.fromisoformat(watermark))
            late |= {row.offset for row in found.select("offset").collect()}
        first += len(rows)
    return late


def _key(row: Row, key: Sequence[str]) -> tuple[Any, ...]:
    """Return the key of a row."""
    return tuple(row[column] for column in key)
