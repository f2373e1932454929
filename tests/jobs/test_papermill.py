"""rta as an engine of papermill, and with it of Airflow's PapermillOperator."""

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from rta import jobs
from rta.errors import InputError, JobError
from tests.support.notebooks import written

ROOT = Path(__file__).parents[2]


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """Install the entry points of pyproject.toml for a program that looks for them here."""
    points = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
    lines = [f"[{group}]\n" + "\n".join(f"{name} = {at}" for name, at in each.items()) for group, each in points.items()]  # fmt: skip
    folder = tmp_path / "installed" / "rta_points-0.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: rta-points\nVersion: 0\n")
    (folder / "entry_points.txt").write_text("\n".join(lines) + "\n")
    return folder.parent


def _executed(notebook: Path, parameters: dict[str, Any], **how: Any) -> Any:
    """Execute a notebook as PapermillOperator does, in this process."""
    import papermill
    from papermill.engines import papermill_engines

    from rta.jobs.papermill_engine import RtaEngine

    papermill_engines.register("rta", RtaEngine)
    return papermill.execute_notebook(str(notebook), str(notebook.with_name("out.ipynb")), parameters, engine_name="rta", progress_bar=False, **how)  # fmt: skip


def test_airflow_s_call_takes_the_engine_of_the_dag(tmp_path: Path, installed: Path) -> None:
    """The call that PapermillOperator makes, in a process that knows rta as a package only: one run, with receipt and outputs.

    The operator names no engine: the DAG makes rta's the one that papermill takes then.
    """
    path = written(tmp_path / "by_airflow.ipynb", "print(day, hours)", parameters="day = ''\nhours = 1")  # fmt: skip
    call = (
        "import sys, papermill; from papermill.engines import papermill_engines\n"
        "papermill_engines.register(None, papermill_engines.get_engine('rta'))\n"
        "papermill.execute_notebook(sys.argv[1], sys.argv[2], parameters={'day': '2026-03-29', 'hours': 3},"
        " progress_bar=False, report_mode=True, log_output=False, kernel_name=None, language=None, engine_name=None)"
    )
    out = tmp_path / "out.ipynb"
    environment = os.environ | {"PYTHONPATH": f"{installed}:{ROOT}"}
    subprocess.run([sys.executable, "-c", call, str(path), str(out)], env=environment, check=True)
    [run] = jobs.history("by_airflow")
    assert (run.state, run.parameters) == ("succeeded", {"day": "2026-03-29", "hours": 3})
    assert "2026-03-29 3" in out.read_text()
    assert json.loads(out.read_text())["metadata"]["papermill"]["parameters"]["hours"] == 3


def test_what_fails_in_rta_fails_in_papermill(tmp_path: Path) -> None:
    """A cell by papermill's own error, with the outputs kept; a time that is over and a wrong parameter by rta's."""
    from papermill.exceptions import PapermillExecutionError

    path = written(tmp_path / "fails_there.ipynb", "print('before')", "1 / 0", parameters="x = 1")
    with pytest.raises(PapermillExecutionError, match="ZeroDivisionError"):
        _executed(path, {})
    assert "before" in path.with_name("out.ipynb").read_text()
    with pytest.raises(InputError, match="no parameter 'y'"):
        _executed(path, {"y": 1})
    written(path, "while True: pass")
    with pytest.raises(JobError, match="longer than the timeout"):
        _executed(path, {}, execution_timeout=1)
    assert [run.state for run in jobs.history("fails_there")] == ["timed out", "failed"]
