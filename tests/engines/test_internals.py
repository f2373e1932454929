"""What the engine takes from inside Spark, one test each: an upgrade that changes one of them fails here."""

from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from rta.dataframes.internals import execution
from rta.dataframes.sources import OBSERVED
from rta.engines.spark import internals


def test_what_a_micro_batch_tells(spark: SparkSession, tmp_path: Path) -> None:
    """Inside foreachBatch: the query's id, its execution, what was observed, the operators that keep state, their metrics."""
    told: dict[str, Any] = {}
    rows = spark.range(4).select((F.col("id") % 2).alias("id"))
    rows.write.parquet(f"{tmp_path}/in")
    stream = spark.readStream.schema("id BIGINT").parquet(f"{tmp_path}/in")
    counted = stream.observe(f"{OBSERVED}:contract", F.count(F.lit(1)).alias("good"))

    def look(frame: DataFrame, _: int) -> None:
        frame.toArrow()
        ran = internals.running_execution(spark)
        keepers = internals.state_operators(ran)
        assert {*internals.state_operators(ran, [*keepers])} == {*keepers}
        assert {*internals.state_operators(ran, [0])} == {*keepers}  # not where it was thought
        operators = list(keepers.values())
        told.update(
            id=internals.running_query_id(spark), observed=internals.observed(ran, OBSERVED),
            operators=[each.nodeName() for each in operators], passed=internals.metric(operators, "numOutputRows"),
            dropped=internals.metric(operators, "numDroppedDuplicateRows"), unknown=internals.metric(operators, "none"),
        )  # fmt: skip

    query = counted.dropDuplicates(["id"]).writeStream.foreachBatch(look).trigger(availableNow=True)
    started = query.option("checkpointLocation", f"{tmp_path}/checkpoint").start()
    started.awaitTermination()
    assert told == {
        "id": str(started.id), "observed": {f"{OBSERVED}:contract": {"good": 4}}, "operators": ["StreamingDeduplicate"],
        "passed": 2, "dropped": 2, "unknown": 0,
    }  # fmt: skip


def test_observed_of_a_static_frame(spark: SparkSession) -> None:
    """A finite read tells the same; what is not rta's is left out."""
    frame = spark.range(3).observe(f"{OBSERVED}:one", F.count(F.lit(1)).alias("good"))
    frame = frame.observe("another", F.count(F.lit(1)).alias("n"))
    frame.toArrow()
    assert internals.observed(execution(frame), OBSERVED) == {f"{OBSERVED}:one": {"good": 3}}


def test_refusal(spark: SparkSession) -> None:
    """Spark says without a start whether it runs a frame in a mode."""
    stream = spark.readStream.format("rate").load()
    assert internals.refusal(stream, "append") is None
    refused = internals.refusal(stream.groupBy("value").count(), "append")
    assert "append" in str(refused).lower()


def test_calls_python(spark: SparkSession) -> None:
    """A Python function is an operator of its own in the optimized plan, of a stream, too."""
    stream = spark.readStream.format("rate").load()
    assert not internals.calls_python(stream.select(F.abs("value")))
    assert internals.calls_python(stream.select(F.udf(lambda value: value)("value")))


@pytest.mark.usefixtures(
    "as_delivered"
)  # the root is then the compiled stage, and its input the marked columns
def test_inputs_with(spark: SparkSession) -> None:
    """The operators of a physical plan have inputs, whose columns have metadata."""
    marked = spark.range(3).select(
        F.col("id").alias("id", metadata={"mark": 1}), F.lit(1).alias("n")
    )
    plan = execution(marked.where("id > 1")).executedPlan()
    assert internals.inputs_with(plan, "mark") == (True,)
    assert internals.inputs_with(plan, "another") == (False,)


def test_file_system(spark: SparkSession, tmp_path: Path) -> None:
    """Hadoop knows the file system of a path, and what is there."""
    system, place = internals.file_system(spark, str(tmp_path))
    assert system.exists(place)
    assert system.getScheme() == "file"
