"""A transform means the same in every session: what Spark numbers anew makes no difference."""

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from rta.engines.spark.start_checks import fingerprint


@pytest.mark.parametrize(
    "expression",
    [
        "count_if(amount > 1)",
        "sum(nullif(amount + 1, 2))",
        "max(filter(array(amount), x -> x > 1))",
        "count(DISTINCT amount)",
        "sum(amount) FILTER (WHERE amount + 1 BETWEEN 1 AND 3)",
    ],
)
def test_it_is_the_same_twice(spark: SparkSession, expression: str) -> None:
    """Each is planned twice, and described alike."""
    events = spark.createDataFrame([], "user_id INT, amount INT")
    first, again = (
        fingerprint(
            events, lambda rows: rows.groupBy("user_id").agg(F.expr(expression).alias("it"))
        )
        for _ in range(2)
    )
    assert first == again
