"""The same function over the whole topic at once: by Spark as batch, by DuckDB over the archive."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bench.child import Setup, first_record, save, timed
from bench.drain import PHASES

if TYPE_CHECKING:
    import pyarrow as pa


def spark(setup: Setup, scratch: Path) -> None:
    """Run the transform over rta.read_batch()."""
    for name in PHASES:
        phase, answer = timed(name, partial(_by_spark, setup))
        import rta

        first = first_record(rta.spark(), phase.began)
        path = save(answer, scratch / f"{name}.parquet")
        phase.tell(answer=path, first_record=first, from_start=name == "cold")


def _by_spark(setup: Setup) -> pa.Table:
    import rta

    rta.spark()
    totals = rta.read_batch(setup.topic, event=rta.USER_EVENTS).transform(rta.transforms.totals)
    columns = ("window.start AS window_start", "user_id", "total_amount", "event_count")
    return totals.selectExpr(*columns).toArrow()


def duckdb(setup: Setup, scratch: Path) -> None:
    """Run the same sums in DuckDB over the Parquet file."""
    for name in PHASES:
        phase, answer = timed(name, partial(_by_duckdb, setup))
        path = save(answer, scratch / f"{name}.parquet")
        phase.tell(answer=path, from_start=name == "cold")


def _by_duckdb(setup: Setup) -> pa.Table:
    import duckdb

    return duckdb.execute(
        f"""
        SELECT time_bucket(INTERVAL '5 minutes', "timestamp") AS window_start, user_id,
               SUM(amount) AS total_amount, COUNT(*) AS event_count
        FROM '{setup.archive}' GROUP BY ALL
        """
    ).to_arrow_table()
