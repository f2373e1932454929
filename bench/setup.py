"""The topic of user events, its archive and its truth: made once for each size, used by every row.

The truth is read from the topic itself by kafka-python and computed by DuckDB; Spark has no part in it.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import duckdb
import pyspark

import rta
from bench.child import Setup
from bench.measure import ROOT
from bench.topic import records
from rta.architectures import archives
from rta.dataframes.session import DEFAULTS, _placed
from rta.dataframes.sources import FETCH
from rta.errors import TopicError
from rta.jvm import engines_jar
from rta.settings import settings
from rta.setup.jars import connector_jars
from tests.docs.test_article import SPARK_QUERY
from tests.support.truth import TOTALS

PARTITIONS: Final = 4
DISORDER: Final = "30 seconds"  # a tenth of the events arrives up to this long after its time
_COLUMNS: Final = (
    "{event_id: 'VARCHAR', user_id: 'BIGINT', action: 'VARCHAR', amount: 'DECIMAL(12,2)',"
    " timestamp: 'TIMESTAMP', reported_at: 'TIMESTAMP'}"
)


def prepare(home: Path, events: int) -> Setup:
    """Return the setup for so many events; what is there and complete is used again.

    RTA_HOME must name `home`: its broker is started, and left to the caller to stop.
    """
    topic = f"user-events-{events}"
    archive, truth = (home / f"{topic}-{kind}.parquet" for kind in ("archive", "truth"))
    servers = rta.kafka.bootstrap()
    if _size(topic) != events:
        archive.unlink(missing_ok=True)
        archives.discard(topic)
        _publish(topic, events)
    if not archive.exists():
        read_topic(topic, archive)
        duckdb.execute(f"COPY (WITH events AS (FROM '{archive}') {TOTALS}) TO '{truth}'")
    return Setup(
        home=str(home), events=events, topic=topic, bootstrap=servers, archive=str(archive), truth=str(truth),
        spark=_spark_settings(), fetch=FETCH, article=SPARK_QUERY,
    )  # fmt: skip


def check_totals(setup: Setup, phase: Mapping[str, Any]) -> str:
    """Say how a phase's answer differs from the truth; "" where it is right.

    Floats are rounded to cents first: they are not exact, and the row's guarantee says so.
    """
    columns = "window_start, user_id, total_amount::DECIMAL(22, 2) AS total_amount, event_count"
    answer, truth = (f"SELECT {columns} FROM '{path}'" for path in (phase["answer"], setup.truth))
    wrong = {
        "too many": duckdb.execute(f"{answer} EXCEPT ALL {truth}").fetchall(),
        "missing": duckdb.execute(f"{truth} EXCEPT ALL {answer}").fetchall(),
    }
    if not any(wrong.values()):
        return ""
    counted = duckdb.execute(f"SELECT SUM(event_count) FROM ({answer})").fetchall()[0][0]
    rows = "; ".join(f"{len(found)} rows {what}, {found[:1]}" for what, found in wrong.items())
    return f"WRONG: {counted} of {setup.events} events counted; {rows}"


def trusted(_: Setup, phase: Mapping[str, Any]) -> str:
    """Take the verdict of a row that held its own answer to a truth that is its own."""
    return str(phase["fault"])


def read_topic(topic: str, archive: Path, start: Mapping[int, int] | None = None) -> None:
    """Write a topic's user events to a Parquet file, without Spark; start: partition → offset."""
    lines = archive.with_suffix(".json")
    with lines.open("wb") as file:
        for record in records(topic, start):
            file.write(record.value + b"\n")
    source = f"read_json('{lines}', format = 'newline_delimited', columns = {_COLUMNS})"
    duckdb.execute(f"COPY (FROM {source}) TO '{archive}'")
    lines.unlink()


def _spark_settings() -> dict[str, str]:
    """Return what rta.spark() sets, for those who start Spark without it; the class-data archive is no setting."""
    master = settings().spark_master
    jars = [str(jar) for jar in [*connector_jars(pyspark.__version__), engines_jar()]]
    placed = _placed(master, jars)
    options = placed["spark.driver.extraJavaOptions"].split("' '")
    kept = [each.strip("'") for each in options if "SharedArchive" not in each]
    placed["spark.driver.extraJavaOptions"] = " ".join(f"'{each}'" for each in kept)
    return {"spark.master": master, **DEFAULTS, **placed}


def _size(topic: str) -> int:
    try:
        return sum(latest - earliest for earliest, latest in rta.kafka.offsets(topic).values())
    except TopicError:
        return 0


def _publish(topic: str, events: int) -> None:
    """Fill the topic in a process of its own: no JVM of ours stays behind."""
    rta.kafka.delete_topic(topic, missing_ok=True)
    subprocess.run([sys.executable, "-m", "bench.setup", topic, str(events)], cwd=ROOT, check=True)


if __name__ == "__main__":
    made = rta.user_events(rta.spark(), rows=int(sys.argv[2]), lateness=DISORDER)
    rta.publish(made, sys.argv[1], key="user_id", order_by="reported_at", partitions=PARTITIONS)
