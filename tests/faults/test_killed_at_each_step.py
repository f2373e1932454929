"""A notebook with Spark that is killed at each of its steps: under a schedule (F70, F71), and run by cron's line (F76)."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

import rta
from rta import jobs
from rta.jobs.scheduling.scheduler import Scheduler
from rta.jobs.states import State
from rta.settings import settings
from rta.setup.processes import still_running
from rta.testing import oracle
from tests.faults.test_schedules import _ended, _look, _settled
from tests.jobs.test_jobs import _outputs, _processes_of
from tests.support.notebooks import SELDOM, written
from tests.support.truth import true_totals
from tests.support.waiting import HANG, until

pytestmark = [pytest.mark.kafka, pytest.mark.usefixtures("spark")]


def _holding(path: Path, topic: str, table: str, step: str) -> tuple[Path, Path]:
    """Write a notebook that drains a topic, and at one step waits until a gate is open; return "reached" and the gate."""
    reached, opened = path.with_name("reached"), path.with_name("opened")
    gate = f"""import pathlib, time
def hold(here):
    if here == {step!r}:
        pathlib.Path({str(reached)!r}).touch()
        while not pathlib.Path({str(opened)!r}).exists(): time.sleep(0.05)
"""
    drain = f"""rta.drain({topic!r}, rta.transforms.totals, table={table!r}, key=["window", "user_id"], event=rta.USER_EVENTS,
    max_events_per_batch=20, also=[lambda rows, batch: batch.batch_id == 1 and hold("in a micro-batch")])"""
    cells = (
        f"{gate}hold('before Spark')",
        "import rta\nspark = rta.spark(master='local[1]')\nhold('before the drain')",
        drain,
        f"hold('after the drain')\nprint(len(rta.read({table!r})))",
    )
    written(path, *cells)
    return reached, opened


def _published(topic: str) -> None:
    """Publish the sixty events that each of these notebooks drains: three micro-batches."""
    rta.publish(rta.user_events(rta.spark(), rows=60, users=7), topic, key="user_id")


def _exact(table: str, topic: str) -> None:
    """Hold the table and its accounting against the oracle: each of the sixty events counts once."""
    assert oracle.differences(true_totals(topic), table) == []
    oracle.check_accounted(table, topic, used=60)


def _victim(kind: str, run: str) -> psutil.Process:
    """Find the kernel of a run, or the JVM of its Spark."""
    mark = {"kernel": "ipykernel_launcher", "JVM": "org.apache.spark.deploy.SparkSubmit"}[kind]
    [found] = [each for each in _processes_of(run) if mark in each.cmdline()]
    return found


SOAK = pytest.mark.soak  # Spark starts twice


@pytest.mark.parametrize(
    ("kind", "step"),
    [
        ("kernel", "before Spark"),
        pytest.param("kernel", "in a micro-batch", marks=SOAK),
        pytest.param("kernel", "before the drain", marks=SOAK),
        pytest.param("kernel", "after the drain", marks=SOAK),
        pytest.param("JVM", "before the drain", marks=SOAK),
        pytest.param("JVM", "after the drain", marks=SOAK),
    ],
)
def test_f71_kernel_and_jvm_are_killed_at_each_step_of_a_run(kind: str, step: str, tmp_path: Path, topic: Callable[..., str]) -> None:  # fmt: skip
    """Without its kernel a try has failed, and the next one succeeds; a JVM that is idle is replaced, or not missed: one success, each event counts once."""
    name, job = topic(partitions=1), f"f71_{kind}_{re.sub('[ -]', '_', step)}".lower()
    _published(name)
    path = tmp_path / f"{job}.ipynb"
    reached, opened = _holding(path, name, job, step)
    jobs.schedule(path, every=SELDOM, retries=3, backoff=0.1)
    jobs.run_now(job)
    ours = Scheduler(say=lambda _: None)
    with _ended(ours):
        _look(ours, reached.exists)
        [first] = jobs.history(job)
        processes = [each for each in _processes_of(first.run_id) if "kafka.Kafka" not in each.cmdline()]  # fmt: skip
        _victim(kind, first.run_id).kill()
        opened.touch()
        slot = _settled(job, ours)
    last, *failed = jobs.history(job)
    assert last.state == slot.state == State.SUCCEEDED
    assert [*slot.run_ids] == [each.run_id for each in (*failed, last)]
    told = [(each.state, "its kernel died" in str(each.message)) for each in failed]
    assert told == ([(State.FAILED, True)] if kind == "kernel" else [])
    assert _outputs(last) == f"{true_totals(name).num_rows}\n"
    _exact(job, name)
    assert not still_running(processes, patience=HANG)
    jobs.remove(job)


def test_f76_cron_s_line_is_killed_in_the_middle_and_runs_again(tmp_path: Path, topic: Callable[..., str], home: Path) -> None:  # fmt: skip
    """`rta run` by sh with cron's bare environment: SIGKILL in a micro-batch, then the same line again; each event counts once."""
    name, table = topic(partitions=1), "f76"
    _published(name)
    path = tmp_path / "by cron.ipynb"
    reached, opened = _holding(path, name, table, "in a micro-batch")
    bare = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "PYTHONPATH": os.environ.get("PYTHONPATH", "")}  # fmt: skip
    line = f"RTA_HOME='{home}' RTA_CACHE='{settings().cache}' exec {sys.executable} -P -m rta.cli run '{path}' --name {table} --json"  # fmt: skip
    with subprocess.Popen(["/bin/sh", "-c", line], env=bare, stderr=subprocess.PIPE) as first:
        try:
            until(reached.exists, first)
            [running] = jobs.history(table)
            processes = list(_processes_of(running.run_id))
            assert rta.accounting(table).consumed == 20
        finally:
            first.kill()
    assert not still_running(processes, patience=HANG)
    opened.touch()
    again = subprocess.run(["/bin/sh", "-c", line], env=bare, capture_output=True, text=True, check=True, timeout=HANG)  # fmt: skip
    told = json.loads(again.stdout)
    assert (told["state"], told["accounting"][table]["consumed"]) == ("succeeded", 40)
    assert [each.state for each in jobs.history(table)] == [State.SUCCEEDED, State.LOST]
    _exact(table, name)
