"""All history again: Lambda's batch layer beside plain Spark and DuckDB, over the same archive (rta.architectures.archive).

Cold: the first time in a new process, once the archive is there; the start of Spark is in it.
"""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from bench.child import Phase, Setup, first_record, save, timed
from bench.drain import KEY, PHASES

if TYPE_CHECKING:
    import pyarrow as pa

    from rta.architectures import Lambda


def lambda_(setup: Setup, scratch: Path) -> None:
    """Make Lambda's first version, then recompute(): batch view, speed view, switch; readers see it."""
    files(setup)
    import pyarrow as pa

    from rta.architectures import base

    table = f"bench_{uuid4().hex[:8]}"
    phase, wired = timed("cold", partial(_first_version, setup, table))
    for name in PHASES:
        if name == "warm":
            phase, _ = timed(name, wired.recompute)
        answer = pa.Table.from_pandas(wired.read(), preserve_index=False)
        _tell(phase, answer, scratch)
    wired.stop()
    base.drop(table)


def _first_version(setup: Setup, table: str) -> Lambda:
    import rta

    rta.spark()
    return rta.lambda_(
        setup.topic, rta.transforms.totals, table=table, key=KEY, event=rta.USER_EVENTS
    )


def view(setup: Setup, scratch: Path) -> None:
    """Compute the batch view alone into a table: recompute() without its archive, its speed view and the switch."""
    files(setup)
    import pyarrow as pa

    import rta

    for name in PHASES:
        table = f"bench_{uuid4().hex[:8]}"
        phase, _ = timed(name, partial(_batch_view, setup, table))
        _tell(phase, pa.Table.from_pandas(rta.read(table), preserve_index=False), scratch)
        rta.store.drop(table)


def _tell(phase: Phase, answer: pa.Table, scratch: Path) -> None:
    """Tell a phase of Spark with its answer."""
    import rta

    first = first_record(rta.spark(), phase.began)
    phase.tell(answer=save(answer, scratch / f"{phase.name}.parquet"), first_record=first)


def _batch_view(setup: Setup, table: str) -> None:
    import rta
    from rta.architectures import archives
    from rta.architectures.batch_views import batch_view
    from rta.engines.spark.query_sources import query_sources

    rta.spark()
    before = {setup.topic: archives.archived(setup.topic)}
    sources = query_sources(setup.topic, rta.USER_EVENTS)
    batch_view(sources, rta.transforms.totals, table=table, key=KEY, before=before)


def spark(setup: Setup, scratch: Path) -> None:
    """Run the same transform over the same files in a session with the same settings, into Arrow."""
    files(setup)
    for name in PHASES:
        phase, answer = timed(name, partial(_by_spark, setup))

        _tell(phase, answer, scratch)


def _by_spark(setup: Setup) -> pa.Table:
    import rta
    from rta.architectures import archives

    good = (
        rta.spark().read.parquet(str(archives.archive_folder(setup.topic))).where("reason IS NULL")
    )
    columns = ("window.start AS window_start", "user_id", "total_amount", "event_count")
    return good.transform(rta.transforms.totals).selectExpr(*columns).toArrow()


def duckdb(setup: Setup, scratch: Path) -> None:
    """Run the same sums in DuckDB over the same files."""
    where = files(setup)
    for name in PHASES:
        phase, answer = timed(name, partial(_by_duckdb, where))
        path = save(answer, scratch / f"{name}.parquet")
        phase.tell(answer=path)


def _by_duckdb(where: str) -> pa.Table:
    import duckdb

    return duckdb.execute(
        f"""
        SELECT time_bucket(INTERVAL '5 minutes', "timestamp"::TIMESTAMP) AS window_start, user_id,
               SUM(amount) AS total_amount, COUNT(*) AS event_count
        FROM '{where}' WHERE reason IS NULL GROUP BY ALL
        """
    ).to_arrow_table()


def files(setup: Setup) -> str:
    """Return the pattern of the archive's files; made once, by a process of its own, for all rows."""
    where = f"{setup.home}/archive/{setup.topic}/*/*.parquet"
    if _rows(where) != setup.events:
        subprocess.run([sys.executable, "-m", "bench.recompute", setup.topic], check=True)
        if _rows(where) != setup.events:  # Spark has not counted a file that is there
            raise ValueError(f"the archive has {_rows(where)} rows, not {setup.events}")
    return where


def _rows(where: str) -> int:
    """Count the rows of the archive by DuckDB; 0 where there is none."""
    import duckdb

    try:
        return int(duckdb.execute(f"SELECT COUNT(*) FROM '{where}'").fetchall()[0][0])
    except duckdb.IOException:
        return 0


if __name__ == "__main__":
    import rta
    from rta.architectures import archives

    archives.discard(sys.argv[1])
    rta.architectures.archive(sys.argv[1], event=rta.USER_EVENTS).awaitTermination()
