"""Faults around scheduled runs: the database goes away, a run never ends, a cell prints without end."""

from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import parse_qs, quote, urlsplit
from uuid import uuid4

import pytest

from rta import jobs
from rta.jobs.run_log import MOST
from rta.jobs.scheduling import slots as store
from rta.jobs.scheduling.planning import Slot
from rta.jobs.scheduling.scheduler import Scheduler
from rta.jobs.states import State
from rta.setup.processes import still_running
from rta.store import database
from tests.jobs.test_jobs import _outputs, _processes_of
from tests.support.databases import _fresh
from tests.support.notebooks import written
from tests.support.waiting import HANG, finished, until


def _look(ours: Scheduler, happened: Callable[[], object]) -> None:
    """Let a scheduler look until something has happened; what troubles it, it says."""

    def looked() -> object:
        with ours._told(""):
            ours.tick()
        return happened()

    until(looked)


def _settled(name: str, ours: Scheduler) -> Slot:
    """Let a scheduler look until the newest slot of a schedule has ended, and return it."""
    _look(ours, lambda: store.slots(name)[0].state.ended)
    for child in ours._children.values():
        finished(child)
    return store.slots(name)[0]


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
    jobs.schedule(written(tmp_path / "f50.ipynb", cell), every=3600, retries=2)
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
    jobs.schedule(path, every=3600, timeout=None if end == "cancelled" else 90)
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
