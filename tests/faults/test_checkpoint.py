"""Faults of checkpoints: lost, cut short, older, another's, claimed twice; said before a query starts, never wrong numbers."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

import rta
from rta.errors import QueryError
from rta.store import ledger
from rta.testing import oracle
from tests.support.truth import KEY, checkpoint_of, setting, true_totals

pytestmark = pytest.mark.kafka
HOW: dict[str, Any] = {"key": KEY, "event": rta.USER_EVENTS}


@contextmanager
def restored(folder: Path) -> Iterator[None]:
    """Put a folder back as it was."""
    aside = folder.with_name(f"{folder.name}-aside")
    shutil.copytree(folder, aside)
    try:
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        aside.rename(folder)


def filled(spark: SparkSession, name: str, table: str, **how: Any) -> Path:
    """Fill a table in two batches, with more to come; return its checkpoint."""
    rta.publish(rta.user_events(spark, rows=200), name, key="user_id")
    with setting(spark, "spark.sql.streaming.noDataMicroBatches.enabled", "false"):
        rta.drain(name, rta.transforms.totals, table=table, max_events_per_batch=100, **HOW, **how)
    rta.publish(rta.user_events(spark, rows=50, first_row=200), name, key="user_id")
    return checkpoint_of(table)


def whole(name: str, table: str, used: int = 250) -> None:
    """Go on, and hold the table to the oracle."""
    rta.drain(name, rta.transforms.totals, table=table, **HOW)
    assert oracle.differences(true_totals(name), table) == []
    oracle.check_accounted(table, name, used=used)


def test_f12_a_checkpoint_that_was_deleted_is_said_aloud(
    spark: SparkSession, topic: Callable[..., str]
) -> None:
    """Without its checkpoint a table is not filled a second time; reset() is the way to start over."""
    name = topic(partitions=1)
    shutil.rmtree(filled(spark, name, "f12"))
    before = pa.Table.from_pandas(rta.read("f12"))
    with pytest.raises(
        QueryError, match=r"'f12'.*count events twice.*f12 is missing.*rta\.reset\('f12'\)"
    ):
        rta.drain(name, rta.transforms.totals, table="f12", **HOW)
    assert oracle.differences(before, "f12") == []
    assert rta.accounting("f12").consumed == 200
    rta.reset("f12")
    whole(name, "f12")


def cut(file: Path) -> None:
    """Cut a file in half; its checksum stays beside it, as after a full disk or a power cut."""
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def cut_without_checksum(file: Path) -> None:
    """Cut a file in half where no checksum tells."""
    cut(file)
    file.with_name(f".{file.name}.crc").unlink()


def empty(file: Path) -> None:
    """Leave nothing of a file but its name."""
    file.write_bytes(b"")
    file.with_name(f".{file.name}.crc").unlink()


def test_f13_a_checkpoint_that_is_damaged_names_the_file(
    spark: SparkSession, topic: Callable[..., str]
) -> None:
    """Each file that Spark starts from, cut in three ways or gone: refused with its name; whole again, it goes on."""
    name = topic(partitions=1)
    checkpoint = filled(spark, name, "f13")
    before, entries = pa.Table.from_pandas(rta.read("f13")), ledger.batches("f13")
    for file in ("metadata", "offsets/1", "commits/1", "rta-transform"):
        for damage in (cut, cut_without_checksum, empty):
            with restored(checkpoint):
                damage(checkpoint / file)
                with pytest.raises(QueryError, match=rf"damaged.*f13/{file}.*rta\.reset"):
                    rta.drain(name, rta.transforms.totals, table="f13", **HOW)
    for gone, said in (
        ("offsets/1", "lacks a file.*offsets/1"),
        ("offsets", "lacks a file.*offsets/1"),
    ):
        with restored(checkpoint):
            remove(checkpoint / gone)
            with pytest.raises(QueryError, match=said):
                rta.drain(name, rta.transforms.totals, table="f13", **HOW)
    assert ledger.batches("f13") == entries
    assert oracle.differences(before, "f13") == []
    remove(checkpoint / "commits")  # what can be told from the rest is no damage
    whole(name, "f13")


def remove(path: Path) -> None:
    """Remove a file with its checksum, or a folder."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
        path.with_name(f".{path.name}.crc").unlink()


def test_f13_state_that_is_damaged_names_the_file(
    spark: SparkSession, topic: Callable[..., str]
) -> None:
    """The state is read when the query runs: still one sentence, with the file; whole again, it goes on."""
    name = topic(partitions=1)
    checkpoint = filled(spark, name, "f13_state")
    for damage, said in (
        (cut, r"state in its checkpoint is damaged.*state/0/\d/\d\.changelog"),
        (remove, r"state in its checkpoint is damaged.*state/0/\d/\d\.changelog does not exist"),
    ):
        with restored(checkpoint):
            for file in checkpoint.glob("state/0/*/*.changelog"):
                damage(file)
            with pytest.raises(QueryError, match=said) as caught:
                rta.drain(name, rta.transforms.totals, table="f13_state", **HOW)
            assert "\n" not in str(caught.value)
            assert "rta.reset" in str(caught.value)
    with restored(checkpoint):
        remove(checkpoint / "state")
        with pytest.raises(QueryError, match="lacks the folder `state`"):
            rta.drain(name, rta.transforms.totals, table="f13_state", **HOW)
    assert rta.accounting("f13_state").consumed == 200
    whole(name, "f13_state")


def test_f13_an_older_copy_of_a_checkpoint_loses_no_event(
    spark: SparkSession, topic: Callable[..., str]
) -> None:
    """A checkpoint restored from a copy would cut batches that are in the table anew: refused, from each age."""
    name = topic(partitions=1)
    checkpoint = filled(spark, name, "f13_old")
    copy = checkpoint.with_name("f13_copy")
    shutil.copytree(checkpoint, copy)
    whole(name, "f13_old")
    newest = checkpoint.with_name("f13_newest")
    checkpoint.rename(newest)
    # Two batches behind; and one behind, with a batch planned that is in the table otherwise.
    for plan_anew in (False, True):
        shutil.copytree(copy, checkpoint)
        if plan_anew:
            for number in (2, 3):
                last = (checkpoint / "offsets" / "1").read_text()
                (checkpoint / "offsets" / str(number)).write_text(last)
        with pytest.raises(QueryError, match=r"older than table 'f13_old'.*batch 3.*rta\.reset"):
            rta.drain(name, rta.transforms.totals, table="f13_old", **HOW)
        shutil.rmtree(checkpoint)
    newest.rename(checkpoint)
    whole(name, "f13_old")


def highest(events: DataFrame) -> DataFrame:
    """Another analysis of the same operators, columns and types."""
    marked = events.withWatermark("timestamp", "10 minutes")
    return marked.groupBy(F.window("timestamp", "5 minutes"), "user_id").agg(
        F.max(F.col("amount").cast("decimal(22, 2)")).alias("total_amount"), F.count("*").alias("event_count"),
    )  # fmt: skip


def fewer(events: DataFrame) -> DataFrame:
    """Filter first."""
    return rta.transforms.totals(events.where("action = 'purchase'"))


def wider(events: DataFrame) -> DataFrame:
    """Windows of ten minutes."""
    return rta.transforms.totals(events, window="10 minutes")


def otherwise_said(events: DataFrame) -> DataFrame:
    """Compute the same totals: names and order of steps differ, and a longer lateness."""
    later = events.withColumn("seen", F.col("kafka_timestamp")).where("true")
    return rta.transforms.totals(later.withColumn("unused", F.lit(1)), lateness="20 minutes")


def test_f14_a_checkpoint_of_another_query_is_refused(
    spark: SparkSession, topic: Callable[..., str]
) -> None:
    """Another filter, window, aggregate, operator, result or topic: refused, with advice; a harmless change goes on."""
    name, other = topic(partitions=1), topic()
    filled(spark, name, "f14")
    rta.publish(rta.user_events(spark, rows=20), other, key="user_id")
    before, entries = pa.Table.from_pandas(rta.read("f14")), ledger.batches("f14")

    def once(events: DataFrame) -> DataFrame:
        return rta.transforms.totals(rta.transforms.deduplicate(events), lateness=None)

    def more(events: DataFrame) -> DataFrame:
        return rta.transforms.totals(events).withColumn(
            "mean", F.col("total_amount") / F.col("event_count")
        )

    for transform, found in (
        (fewer, "purchase"), (wider, "600000000"), (highest, "max"), (once, "event_id, timestamp"), (more, "total_amount / cast"),
    ):  # fmt: skip
        with pytest.raises(
            QueryError, match=rf"not the one that fills.*{found}.*rta\.reset\('f14'\)"
        ):
            rta.drain(name, transform, table="f14", **HOW)
    with pytest.raises(QueryError, match=f"from another topic than '{other}'; found: {name} in"):
        rta.drain(other, rta.transforms.totals, table="f14", **HOW)
    assert ledger.batches("f14") == entries
    assert oracle.differences(before, "f14") == []
    rta.drain(name, otherwise_said, table="f14", **HOW)
    whole(name, "f14")


def test_f14_another_number_of_partitions_goes_on_with_the_first(
    spark: SparkSession, topic: Callable[..., str]
) -> None:
    """spark.sql.shuffle.partitions is frozen in the checkpoint: Spark takes that one, and the numbers are right."""
    name = topic(partitions=1)
    with setting(spark, "spark.sql.shuffle.partitions", "4"):
        checkpoint = filled(spark, name, "f14_partitions")
    for partitions in ("2", "7"):
        with setting(spark, "spark.sql.shuffle.partitions", partitions):
            whole(name, "f14_partitions")
    assert len(list(checkpoint.glob("state/0/[0-9]*"))) == 4


def test_f11_of_two_queries_on_one_checkpoint_the_second_is_refused(
    spark: SparkSession, topic: Callable[..., str]
) -> None:
    """For the same table, another one, or reset(): refused plainly; the first goes on untouched; from another process: see F8."""
    name = topic(partitions=1)
    rta.publish(rta.user_events(spark, rows=100), name, key="user_id")
    query = rta.follow(name, rta.transforms.totals, table="f11", **HOW)
    try:
        query.processAllAvailable()
        for second in (
            lambda: rta.follow(name, wider, table="f11", **HOW),
            lambda: rta.drain(name, rta.transforms.totals, table="f11", **HOW),
            lambda: rta.drain(
                name, rta.transforms.totals, table="f11_b", checkpoint=checkpoint_of("f11"), **HOW
            ),
            lambda: rta.reset("f11"),
        ):
            with pytest.raises(
                QueryError, match=r"another query fills.*\(this one\), since.*stop it"
            ):
                second()
        rta.publish(rta.user_events(spark, rows=150, first_row=100), name, key="user_id")
        query.processAllAvailable()
        assert query.isActive
    finally:
        query.stop()
    whole(name, "f11")
