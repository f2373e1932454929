"""What the architectures use of Spark that is no public API; its contract test is in tests/architectures/test_internals.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from rta.dataframes.internals import java_class, java_session, scala_sequence

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

_SINK = "org.apache.spark.sql.execution.streaming.sinks.FileStreamSink"
_PARQUET = "org.apache.spark.sql.execution.datasources.parquet.ParquetFileFormat"
_SCALA = "org.apache.spark.api.python.PythonUtils"


def parquet_sink(
    session: SparkSession, folder: str, partitioned_by: str
) -> Callable[[DataFrame, int], None]:
    """Return a function that writes a micro-batch to a folder once: Spark's own file sink, which records the numbers of its batches."""
    options = java_class(session, _SCALA).toScalaMap({"path": folder})
    columns = scala_sequence(session, [partitioned_by])
    parquet = java_class(session, _PARQUET)()
    sink = java_class(session, _SINK)(java_session(session), folder, parquet, columns, options)
    return lambda frame, batch_id: sink.addBatch(batch_id, frame._jdf)
