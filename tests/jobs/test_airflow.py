"""Airflow itself: the DAG that the docs show runs a notebook through rta's engine, and a retry counts nothing twice."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import nbformat
import pytest

import rta
from rta import jobs
from tests.support.notebooks import written
from tests.support.truth import ROOT

pytestmark = [pytest.mark.kafka, pytest.mark.soak]
AIRFLOW = ["apache-airflow==3.3.2", "apache-airflow-providers-papermill==3.13.3"]
START = datetime(2024, 11, 15, 10, tzinfo=UTC)
DRAIN = """
from pathlib import Path
import rta
rta.drain({topic!r}, rta.transforms.totals, table="by_airflow", key=["window", "user_id"], event=rta.USER_EVENTS)
first = not Path({tried!r}).exists()
Path({tried!r}).touch()
assert not first, "the first try fails behind its drain"
"""
SAY = """
counted = rta.accounting("by_airflow")
print(scheduled_for, counted.used, counted.duplicate, counted.late, counted.quarantined, rta.read("by_airflow").event_count.sum())
"""


def test_the_dag_of_the_docs_is_exactly_once(tmp_path: Path, topic: Callable[..., str]) -> None:
    """`airflow dags test`: the first try fails behind its drain, the second succeeds; each is a run, each event is counted once."""
    events = [
        {"event_id": f"e{n}", "user_id": n % 7, "action": "view", "amount": Decimal(n), "timestamp": START + timedelta(seconds=n)}
        for n in range(500)
    ]  # fmt: skip
    rta.publish(events, name := topic(), event=rta.USER_EVENTS)
    cells = DRAIN.format(topic=name, tried=str(tmp_path / "tried")), SAY
    written(tmp_path / "daily.ipynb", *cells, parameters="scheduled_for = ''")

    [source] = re.findall(r'^DAG = """\n(.*?)^"""', (ROOT / "docs/schedules.md").read_text(), re.DOTALL | re.MULTILINE)  # fmt: skip
    dag = tmp_path / "airflow" / "dags" / "daily.py"
    dag.parent.mkdir(parents=True)
    places = source.replace("/srv/notebooks/", f"{tmp_path}/").replace("/srv/out/", f"{tmp_path}/")
    dag.write_text(places.replace("retries=2", 'retries=2, retry_delay=__import__("datetime").timedelta(0)'))  # fmt: skip

    source_of_rta, home = tmp_path / "source", tmp_path / "venv"
    shutil.copytree(ROOT / "rta", source_of_rta / "rta", ignore=shutil.ignore_patterns("__pycache__"))  # fmt: skip
    for each in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / each, source_of_rta)
    subprocess.run([sys.executable, "-m", "venv", home], check=True)
    subprocess.run([home / "bin/pip", "install", "--quiet", *AIRFLOW, source_of_rta], check=True)
    environment = os.environ | {
        "AIRFLOW_HOME": str(tmp_path / "airflow"), "AIRFLOW__CORE__LOAD_EXAMPLES": "False", "PATH": f"{home}/bin:{os.environ['PATH']}"
    }  # fmt: skip
    for command in (["db", "migrate"], ["dags", "test", "daily", "2026-03-29"]):
        subprocess.run([home / "bin/airflow", *command], env=environment, check=True, cwd=tmp_path)

    assert sorted(run.state for run in jobs.history("daily")) == ["failed", "succeeded"]
    out = nbformat.read(tmp_path / "daily-2026-03-29.ipynb", as_version=4)
    [said] = [each.outputs[0].text.split() for each in out.cells if "counted" in each.source]  # fmt: skip
    assert said == ["2026-03-29T00:00:00+00:00", "500", "0", "0", "0", "500"]
