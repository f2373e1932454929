"""A job that is killed at each of its cells, and run again (F36)."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

import rta
from rta.jobs import runner
from rta.setup.processes import still_running
from rta.store import ledger, serving
from rta.testing import oracle
from tests.jobs.test_jobs import _processes_of
from tests.support.waiting import HANG, until

HOLD = """
import pathlib, time
def hold(cell):
    if cell == stop_at:
        pathlib.Path(folder, f"reached-{cell}").touch()
        time.sleep(600)
"""


@pytest.mark.soak
@pytest.mark.kafka
@pytest.mark.usefixtures("spark")
def test_f36_killed_at_each_cell_and_run_again(tmp_path: Path, topic: Callable[..., str]) -> None:
    """SIGKILL before Spark, between two micro-batches, after the drain; then the rest: the table is the oracle's."""
    name, table = topic(partitions=2), "f36_totals"
    spark = rta.spark()
    rta.publish(
        rta.user_events(spark, rows=300, users=20), name, key="user_id", order_by="reported_at"
    )
    path = tmp_path / "f36.ipynb"
    cells = [
        HOLD + "hold(0)\nimport rta\nspark = rta.spark(master='local[2]')",
        f"""rta.drain({name!r}, rta.transforms.totals, table={table!r}, key=["window", "user_id"],
            event=rta.USER_EVENTS, max_events_per_batch=75)""",
        f"hold(2)\nrta.read({table!r})",
    ]
    parameters = f"folder = {str(tmp_path)!r}\nstop_at = -1"
    tagged = new_code_cell(parameters, metadata={"tags": ["parameters"]})
    nbformat.write(new_notebook(cells=[tagged, *map(new_code_cell, cells)]), path)

    _killed(path, stop_at=0, when=(tmp_path / "reached-0").exists)
    _killed(path, stop_at=-1, when=lambda: len(ledger.batches(table)) >= 1)
    before = serving.accounting(table).consumed
    assert 0 < before < 300
    third = _killed(path, stop_at=2, when=(tmp_path / "reached-2").exists)
    assert third.accounting[table].consumed == 300 - before
    assert {at: span[1] for at, span in third.offsets[table][name].items()} == ledger.offsets(
        table
    )[name]
    rta.publish(rta.user_events(spark, rows=50, first_row=300, users=20), name, key="user_id")
    last = runner.run(path)

    assert last.state == "succeeded"
    assert last.accounting[table].consumed == 50
    assert last.accounting[table].balanced
    assert [each.state for each in runner.history("f36")] == ["succeeded", "lost", "lost", "lost"]
    truth = oracle.run(
        "SELECT time_bucket(INTERVAL 5 MINUTE, timestamp) AS window_start, window_start + INTERVAL 5 MINUTE"
        " AS window_end, user_id, SUM(amount) AS total_amount, COUNT(*) AS event_count FROM events GROUP BY ALL",
        events=oracle.events(name, rta.USER_EVENTS),
    )
    assert oracle.differences(truth, table) == []
    oracle.check_accounted(table, name)


def _killed(path: Path, *, stop_at: int, when: Callable[[], object]) -> runner.Receipt:
    """Run the job elsewhere, kill the runner when a thing has happened; nothing stays, the output is readable."""
    code = f"import sys; from rta.jobs import runner; runner.run(sys.argv[1], {{'stop_at': {stop_at}}})"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stderr=subprocess.PIPE
    ) as process:
        until(when)
        process.kill()
    lost = runner.history(path.stem)[0]
    assert lost.state == "lost"
    assert lost.executed
    nbformat.validate(nbformat.read(lost.executed, as_version=4))
    assert not still_running(_processes_of(lost.run_id), patience=HANG)
    return lost
