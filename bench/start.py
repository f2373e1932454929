"""How long until one can work: import, broker, Spark, the first row of a stream, a job, the demo."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from bench.child import Setup, timed

ROOT: Final = Path(__file__).parents[1]
NOTEBOOK: Final = "notebooks/1-foundations/03-run-flights-job.ipynb"
UNTIL: Final = "2013-12-01"  # what make demo publishes first


def session(setup: Setup, _: Path) -> None:
    """Go as a notebook does: import rta, start Spark, follow a topic until its table has a row."""
    began = time.time()
    imported, _module = timed("import rta", _import)
    imported.tell(fault="")
    import rta

    started, spark = timed("rta.spark(), files in the cache", rta.spark)
    started.tell(fault="" if spark.range(3).count() == 3 else "Spark cannot count")
    table = f"bench_first_{uuid4().hex[:8]}"
    row, query = timed(
        "from import to the first row of a stream", partial(_first_row, setup, table)
    )
    row.began, row.cpu_before = began, imported.cpu_before
    row.tell(fault="" if rta.accounting(table).balanced else "not accounted for")
    query.stop()
    rta.reset(table)


def _import() -> Any:
    import rta

    return rta


def _first_row(setup: Setup, table: str) -> Any:
    """Follow the topic, a thousand events at a time, until another connection sees a row."""
    import rta

    query = rta.follow(
        setup.topic, rta.transforms.totals, table=table, key=["window", "user_id"], event=rta.USER_EVENTS,
        max_events_per_batch=1_000,
    )  # fmt: skip
    while rta.read(table, limit=1).empty:
        if failure := query.exception():
            raise failure
        time.sleep(0.01)
    return query


def broker(_: Setup, scratch: Path) -> None:
    """Bring a broker up in a new home, where its storage must be formatted, and again."""
    os.environ["RTA_HOME"] = str(scratch / "home")
    import rta

    try:
        for name in ("broker up, the first time", "broker up, again"):
            phase, running = timed(name, rta.up)
            phase.tell(fault="" if rta.up() == running else "it did not stay")
            rta.down()
    finally:
        rta.down()


def job(_: Setup, scratch: Path) -> None:
    """Run the flights notebook as a job over a topic of its own home, end to end."""
    with _home(scratch):
        _rta("publish", "flights", "--until", UNTIL, "--once")
        table = f"delays_{uuid4().hex[:8]}"
        command = ("run", NOTEBOOK, "-p", f"table={table}", "--json")
        phase, receipt = timed("job", partial(_rta, *command))
        counts = json.loads(receipt)["accounting"][table]
        phase.tell(fault=_wrong_delays(table), figures={"events": counts["used"]})


def demo(_: Setup, scratch: Path) -> None:
    """Run `make demo` where it has run before, in an environment that it finds complete."""
    _require_environment()
    with _home(scratch):
        _said("make", "demo")
        phase, _printed = timed("make demo, the second time", partial(_said, "make", "demo"))
        phase.tell(fault=_wrong_delays("delays"))


def _require_environment() -> None:
    """Refuse an environment that make would install again: a bench measures, it changes nothing."""
    if subprocess.run(["make", "--question", ".venv/.complete"], cwd=ROOT, check=False).returncode:
        raise RuntimeError("the environment is older than its pins: run `make env` first")


@contextmanager
def _home(scratch: Path) -> Iterator[None]:
    """Work in a home of its own, and stop what was started there."""
    os.environ["RTA_HOME"] = str(scratch.parents[1] / "demo")
    try:
        yield
    finally:
        _rta("down")


def _rta(*arguments: str) -> str:
    return _said(sys.executable, "-m", "rta.cli", *arguments)


def _said(*command: str) -> str:
    """Run a command and return what it said; RuntimeError with its last words where it fails."""
    done = subprocess.run(command, cwd=ROOT, text=True, capture_output=True, check=False)
    if done.returncode:
        words = " | ".join((done.stdout + done.stderr).strip().splitlines()[-4:])
        raise RuntimeError(f"{' '.join(command[-2:])}: {words}")
    return done.stdout


def _wrong_delays(table: str) -> str:
    """Compare a table of delays with DuckDB over the data file; "" where they agree."""
    import duckdb

    from rta.settings import settings
    from rta.store import serving

    sums = "SUM(flights) AS flights, SUM(delay_minutes) AS delay_minutes"
    found = serving.sql(f"SELECT {sums} FROM {table}").iloc[0].tolist()
    arrived = "scheduled + to_minutes(coalesce(delay_minutes, 0))"
    wanted = duckdb.execute(
        f"SELECT COUNT(*), SUM(delay_minutes) FROM '{settings().data / 'flights.parquet'}'"
        f" WHERE {arrived} < TIMESTAMP '{UNTIL}'"
    ).fetchall()[0]
    return "" if tuple(found) == tuple(wanted) else f"WRONG: {found}, not {list(wanted)}"
