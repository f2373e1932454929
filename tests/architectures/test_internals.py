"""What the architectures take from inside Spark: an upgrade that changes it fails here."""

from pathlib import Path

from pyspark.sql import SparkSession

from rta.architectures import internals


def test_parquet_sink(spark: SparkSession, tmp_path: Path) -> None:
    """A micro-batch is written once, however often it comes, partitioned, and Spark reads what its sink has noted."""
    write = internals.parquet_sink(spark, str(tmp_path), "day")
    rows = spark.sql("SELECT 1 AS n, DATE '2024-11-15' AS day")
    for number in (0, 0, 1):
        write(rows, number)
    assert spark.read.parquet(str(tmp_path)).count() == 2
    assert (tmp_path / "_spark_metadata" / "1").exists()
    assert (tmp_path / "day=2024-11-15").is_dir()
