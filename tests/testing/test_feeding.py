"""The kit that others prove their transforms with: micro-batches as given, and no law that always holds."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

import rta
from rta.errors import InputError
from rta.testing.feeding import Batches, check_law, feed

SCHEMA = "user_id INT, amount DECIMAL(12, 2), timestamp TIMESTAMP"


def _event(minute: int, amount: str = "0.10", user: int = 1) -> dict[str, Any]:
    """Give an event as a person would write it in a test: Python's own types."""
    moment = datetime(2024, 11, 15, 10, minute, tzinfo=UTC)
    return {"user_id": user, "amount": Decimal(amount), "timestamp": moment}


def test_each_list_is_one_micro_batch_in_order(spark: SparkSession) -> None:
    """Twelve lists, twelve batches: the last one wins, and empty lists count too."""

    def newest(events: DataFrame) -> DataFrame:
        return events.select("user_id", "amount", "offset")

    lists = [[_event(0, f"{n}.00")] if n % 3 else [] for n in range(12)]
    fed = feed(newest, lists, schema=SCHEMA, key=["user_id"], spark=spark)
    assert fed.events == 8
    assert fed.stream[(1,)].amount == Decimal("11.00")
    assert fed.stream[(1,)].offset == 7
    assert fed.late == frozenset()


def test_nothing_in_nothing_out(spark: SparkSession) -> None:
    """No batch, or only empty ones."""
    nothing: list[Batches] = [[], [[], []]]
    for batches in nothing:
        fed = check_law(
            rta.transforms.totals, batches, schema=SCHEMA, key=["window", "user_id"], spark=spark
        )
        assert (fed.events, fed.stream, fed.batch) == (0, {}, {})


def test_values_arrive_exactly(spark: SparkSession) -> None:
    """Decimals, instants with microseconds, nulls: as they were given."""
    moment = datetime(2024, 11, 15, 10, 30, 0, 123456, tzinfo=UTC)
    rows: list[dict[str, Any]] = [
        {"user_id": 1, "amount": Decimal("-9999999999.99"), "timestamp": moment},
        {"user_id": 2, "amount": None},
    ]
    fed = feed(lambda events: events, [rows], schema=SCHEMA, key=["user_id"], spark=spark)
    full, empty = fed.stream[(1,)], fed.stream[(2,)]
    assert (full.amount, full.timestamp) == (Decimal("-9999999999.99"), moment.replace(tzinfo=None))
    assert (empty.amount, empty.timestamp) == (None, None)
    assert (full.topic, full.partition, full.offset, empty.offset) == ("fed", 0, 0, 1)


def test_late_events_are_told_and_left_out_of_the_batch(spark: SparkSession) -> None:
    """The position of a late event counts through all batches."""
    batches = [[_event(40)], [_event(41)], [_event(3), _event(42)]]
    fed = check_law(
        rta.transforms.totals, batches, schema=SCHEMA, key=["window", "user_id"], spark=spark
    )
    assert fed.late == {2}
    assert sum(row.event_count for row in fed.batch.values()) == 3


def test_a_broken_law_shows_its_differences(spark: SparkSession) -> None:
    """The message names the key and both rows."""

    def unstable(events: DataFrame) -> DataFrame:
        place = F.when(F.input_file_name().contains("000001"), F.current_timestamp())
        return events.select("user_id", F.coalesce(place, F.col("timestamp")).alias("seen"))

    batches = [[_event(0, user=1)], [_event(0, user=2)]]
    with pytest.raises(AssertionError, match=r"differ in 1 rows:\n  \(2,\): stream Row.*batch Row"):
        check_law(unstable, batches, schema=SCHEMA, key=["user_id"], spark=spark)


def test_in_append_mode_both_have_what_is_final(spark: SparkSession) -> None:
    """Session windows run in append mode alone: the stream has what the watermark has closed, and so has the batch."""

    def sessions(events: DataFrame) -> DataFrame:
        window = F.session_window("timestamp", "5 minutes").alias("session")
        return events.withWatermark("timestamp", "10 minutes").groupBy(window, "user_id").count()

    batches = [
        [_event(0), _event(3)],
        [_event(20, user=2)],
        [_event(5), _event(31)],
        [_event(4), _event(38)],
    ]
    fed = check_law(sessions, batches, schema=SCHEMA, key=["session", "user_id"], spark=spark)
    assert sorted((row.user_id, row["count"]) for row in fed.stream.values()) == [(1, 3), (2, 1)]
    assert fed.late == {5}
    with pytest.raises(InputError, match="needs the window by which its rows are final"):
        feed(lambda events: sessions(events).select("count"), batches, schema=SCHEMA, key=["count"], spark=spark)  # fmt: skip


def test_in_complete_mode_the_last_result_counts(spark: SparkSession) -> None:
    """A row that the result no longer has is in neither."""

    def few(events: DataFrame) -> DataFrame:
        return events.groupBy("user_id").count().where("count < 2")

    batches = [[_event(0), _event(1, user=2)], [_event(2)]]
    fed = check_law(few, batches, schema=SCHEMA, key=["user_id"], spark=spark, mode="complete")
    assert list(fed.stream) == [(2,)]


def test_a_schema_is_that_of_a_row(spark: SparkSession) -> None:
    """A single type is refused in one sentence."""
    with pytest.raises(InputError, match="not that of a row"):
        feed(rta.transforms.totals, [], schema="INT", key=["user_id"], spark=spark)
