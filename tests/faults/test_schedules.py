"""Faults around scheduled runs: the database goes away, a run never ends, a cell prints without end, the disk is full, broker or JVM is killed."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import parse_qs, quote, urlsplit
from uuid import uuid4

import psutil
import pytest

import rta
from rta import jobs
from rta.jobs.run_log import MOST
from rta.jobs.scheduling import slots as store
from rta.jobs.scheduling.planning import Slot
from rta.jobs.scheduling.scheduler import Scheduler
from rta.jobs.states import State
from rta.setup.processes import still_running
from rta.store import database
from rta.testing import oracle
from tests.faults.test_broker import broker_again
from tests.jobs.test_jobs import _outputs, _processes_of
from tests.support.databases import _fresh
from tests.support.notebooks import SELDOM, written
from tests.support.truth import ROOT, true_totals
from tests.support.waiting import HANG, finished, until


def _look(ours: Scheduler, happened: Callable[[], object], *, progress: Callable[[], object] = lambda: None) -> None:  # fmt: skip
    """Let a scheduler look until something has happened; what troubles it, it says."""

    def looked() -> object:
        with ours._told(""):
            ours.tick()
        return happened()

    until(looked, progress=progress)


def _settled(name: str, ours: Scheduler) -> Slot:
    """Let a scheduler look until the newest slot of a schedule has ended, and return it."""
    _look(
        ours,
        lambda: store.slots(name)[0].state.ended,
        progress=lambda: store.slots(name)[0].run_ids,
    )
    for child in ours._children.values():
        finished(child)
    return store.slots(name)[0]


@contextmanager
def _ended(ours: Scheduler) -> Iterator[None]:
    """See to it that no try of a scheduler goes on after the block."""
    try:
        yield
    finally:
        for child in ours._children.values():
            child.kill()
            finished(child)


@pytest.fixture
def leaving(postgresql: str) -> Iterator[tuple[str, Path]]:
    """Lend the URL of a PostgreSQL behind a link: who removes the link, and ends the connections, has taken it away."""
    [folder] = parse_qs(urlsplit(postgresql).query)["host"]
    with TemporaryDirectory(prefix="rta-pg-") as name:
        link = Path(name) / "pg"
        link.symlink_to(folder)
        yield _fresh(postgresql, f"t{uuid4().hex}").replace(quote(folder, safe=""), quote(str(link), safe="")).replace(folder, str(link)), link  # fmt: skip


def test_f50_the_database_goes_away_during_a_scheduled_run(
    leaving: tuple[str, Path], postgresql: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The scheduler says so once and goes on, the run goes on, too: with the database back the moment has run once."""
    import psycopg

    reached, opened, ran = (tmp_path / each for each in ("reached", "opened", "ran"))
    cell = (
        f"import pathlib, time\npathlib.Path({str(reached)!r}).touch()\nwhile not pathlib.Path({str(opened)!r}).exists(): time.sleep(0.05)\n"
        f"open({str(ran)!r}, 'a').write('x')"
    )
    url, link = leaving
    said: list[str] = []
    monkeypatch.setenv("RTA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("RTA_DATABASE_URL", url)
    jobs.schedule(written(tmp_path / "f50.ipynb", cell), every=SELDOM, retries=2)
    jobs.run_now("f50")
    ours = Scheduler(say=said.append)
    _look(ours, reached.exists)
    there = link.readlink()
    link.unlink()
    with psycopg.connect(postgresql, autocommit=True) as connection:
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'")  # fmt: skip
    looks = iter(range(3))
    _look(ours, lambda: next(looks, None) is None)
    opened.touch()
    until(ran.exists)
    link.symlink_to(there)
    slot = _settled("f50", ours)
    assert len([line for line in said if "is away" in line]) == 1
    assert any("goes on" in line for line in said)
    assert (slot.state, slot.attempts, ran.read_text()) == (State.SUCCEEDED, 1, "x")
    assert [run.state for run in jobs.history("f50")] == [State.SUCCEEDED]
    database.engine().dispose()


@pytest.mark.kafka
@pytest.mark.parametrize("end", ["cancelled", pytest.param("timed out", marks=pytest.mark.soak)])
def test_f51_a_run_with_spark_that_never_ends(end: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    """A person cancels it, or it times out: its kernel and its JVM have ended."""
    monkeypatch.setenv("RTA_HOME", str(tmp_path / "home"))
    started = tmp_path / "started"
    path = written(
        tmp_path / "f51.ipynb",
        f"import pathlib, rta\nspark = rta.spark(master='local[1]')\nspark.range(1).count()\npathlib.Path({str(started)!r}).touch()\nwhile True: pass",
    )
    jobs.schedule(path, every=SELDOM, timeout=None if end == "cancelled" else 90)
    jobs.run_now("f51")
    ours = Scheduler(say=lambda _: None)
    _look(ours, started.exists)
    processes = list(_processes_of(jobs.history("f51")[0].run_id))
    assert any("java" in each.name() for each in processes)
    if end == "cancelled":
        jobs.cancel("f51")
    slot = _settled("f51", ours)
    assert slot.state == end
    assert not still_running(processes, patience=HANG)


@pytest.mark.parametrize("characters", [3 * MOST, pytest.param(1_000_000_000, marks=pytest.mark.soak)])  # fmt: skip
def test_f52_a_cell_that_prints_without_end(characters: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    """What is kept of it is bounded, in the notebook and in the log; the cells after it run, and print."""
    monkeypatch.setenv("RTA_HOME", str(tmp_path / "home"))
    path = written(tmp_path / "f52.ipynb", f"for _ in range({characters} // 10000): print('x' * 9999)", "print('after')")  # fmt: skip
    run = jobs.run(path)
    assert run.state == State.SUCCEEDED
    printed = _outputs(run)
    assert MOST < len(printed) < MOST + 200
    assert printed.endswith("characters was left out\nafter\n")
    assert MOST < len("".join(jobs.log("f52"))) < MOST + 400


@pytest.mark.kafka
@pytest.mark.usefixtures("spark")
def test_f70_f71_the_broker_and_then_the_jvm_are_killed_in_the_middle_of_a_run(tmp_path: Path, topic: Callable[..., str]) -> None:  # fmt: skip
    """Both tries have failed and say what to do, and leave nothing running; the third one ends the work, and every event counts once."""
    name, slow = topic(partitions=1), {"kafka.default.api.timeout.ms": "10000", "kafka.request.timeout.ms": "9000"}  # fmt: skip
    rta.publish(rta.user_events(rta.spark(), rows=60, users=7), name, key="user_id")
    cell = f"""
import pathlib, time, rta
folder, spark = pathlib.Path({str(tmp_path)!r}), rta.spark(master="local[1]")
turn = len([*folder.glob("reached-*")])
def hold(rows, batch):
    if turn < 2:
        (folder / f"reached-{{turn}}").touch()
        while not (folder / f"opened-{{turn}}").exists(): time.sleep(0.05)
rta.drain({name!r}, rta.transforms.totals, table="f70", key=["window", "user_id"], event=rta.USER_EVENTS, max_events_per_batch=20, also=[hold],
    options={slow} if turn == 0 else None)"""
    jobs.schedule(written(tmp_path / "f70.ipynb", cell), every=SELDOM, retries=9, backoff=0.1)
    jobs.run_now("f70")
    ours = Scheduler(say=lambda _: None)
    with broker_again() as before, _ended(ours):
        _look(ours, (tmp_path / "reached-0").exists)
        psutil.Process(before.pid).kill()
        (tmp_path / "opened-0").touch()
        _look(ours, (tmp_path / "reached-1").exists)
        [jvm] = [each for each in _processes_of(jobs.history("f70")[0].run_id) if "org.apache.spark.deploy.SparkSubmit" in each.cmdline()]  # fmt: skip
        jvm.kill()
        (tmp_path / "opened-1").touch()
        slot = _settled("f70", ours)
    last, *tries = jobs.history("f70")
    assert [each.run_id for each in (*reversed(tries), last)] == [*slot.run_ids]
    assert (slot.state, last.state, {each.state for each in tries}) == (State.SUCCEEDED, State.SUCCEEDED, {State.FAILED})  # fmt: skip
    said = " | ".join(str(each.message) for each in tries)
    assert "Kafka does not answer" in said
    assert "fix: see `rta status`; then run it again: it goes on where it was" in said
    assert "the JVM of Spark ended" in said
    assert sum(each.accounting["f70"].consumed for each in (*tries, last) if each.accounting) == 60
    assert oracle.differences(true_totals(name), "f70") == []
    oracle.check_accounted("f70", name, used=60)
    left = [each for run in slot.run_ids for each in _processes_of(run) if "kafka.Kafka" not in each.cmdline()]  # fmt: skip
    assert not still_running(left, patience=HANG)
    jobs.remove("f70")


def test_f69_the_disk_is_full(tmp_path: Path) -> None:
    """8 MB, which a run fills: its try has failed and says so, what it had printed is kept; what was due meanwhile runs once there is space.

    In a mount namespace of its own, which Linux gives to everybody, root or not.
    """
    disk, out = tmp_path / "disk", tmp_path / "out"
    disk.mkdir()
    out.mkdir()
    mount = f"mount -t tmpfs -o size=8m tmpfs '{disk}' && exec \"$@\""
    answer = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mount, "sh",
         sys.executable, "-m", "tests.children.fill_the_disk_of_jobs", str(out)],
        env=os.environ | {"RTA_HOME": str(disk), "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=HANG, check=False,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    told = json.loads(answer.stdout)
    runs = told["runs"]
    assert told["while full"] == {"fills": "running"}
    assert len([line for line in told["said"] if "is full" in line and "free it" in line]) == 1
    assert "scheduler: goes on" in told["said"]
    assert [slot[:3] for slot in told["slots"]] == [["due", "succeeded", 1], ["fills", "succeeded", 2]]  # fmt: skip
    [_, [failed, _]] = [slot[3] for slot in told["slots"]]
    assert {run: facts["state"] for run, facts in runs.items() if facts["state"] != "succeeded"} == {failed: "failed"}  # fmt: skip
    assert sum(len(slot[3]) for slot in told["slots"]) == len(runs) == 3
    assert "No space left on device" in runs[failed]["message"]
    assert "free some space on the disk of RTA_HOME" in runs[failed]["message"]
    assert told["printed"][failed] == ["kept\n"]
