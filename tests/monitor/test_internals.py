"""What the monitor takes from inside Spark, one test each: an upgrade that changes one of them fails here."""

from pathlib import Path

from pyspark.sql import SparkSession

from rta.dataframes.internals import walk
from rta.monitor import internals


def test_last_plan(spark: SparkSession, tmp_path: Path) -> None:
    """None before the first micro-batch; then the plan with its operators."""
    spark.range(4).write.parquet(f"{tmp_path}/in")
    stream = spark.readStream.schema("id BIGINT").parquet(f"{tmp_path}/in")
    writer = stream.dropDuplicates(["id"]).writeStream.format("noop").trigger(availableNow=True)
    query = writer.option("checkpointLocation", f"{tmp_path}/checkpoint").start()
    query.awaitTermination()
    assert "Deduplicate" in [node.nodeName() for node in walk(internals.last_plan(query))]


def test_heap_bytes(spark: SparkSession) -> None:
    """The driver has at least 100 MB."""
    assert internals.heap_bytes(spark) > 1e8


def test_in_session(spark: SparkSession) -> None:
    """A frame of a session of its own is one of this session."""
    other = spark.newSession()
    other.range(3).createOrReplaceTempView("only_there")
    here = internals.in_session(spark, other.table("only_there"))
    assert here.sparkSession is spark
    assert here.count() == 3
