"""A database server is killed at each step of a scheduled run, and started again."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil
import pytest

from rta import jobs
from rta.jobs.scheduling import scheduler as scheduling
from rta.jobs.scheduling import slots as store
from rta.jobs.scheduling.scheduler import Scheduler
from rta.jobs.states import State
from rta.store import database
from tests.faults.test_schedules import _ended, _look, _settled
from tests.support.databases import _fresh, postgresql_server
from tests.support.notebooks import SELDOM, written
from tests.support.waiting import HANG, until


class Server:
    """A PostgreSQL that may be killed."""

    def __init__(self, server: Any) -> None:
        self._server = server
        self.url = _fresh(server.get_uri(), f"t{uuid4().hex}")

    def kill(self) -> None:
        """End the server and all that it has started by SIGKILL: no transaction of theirs ends."""
        master = psutil.Process(self._server.get_pid())
        all_of_it = [master, *master.children(recursive=True)]
        for each in all_of_it:
            each.kill()
        _, left = psutil.wait_procs(all_of_it, timeout=HANG)
        assert not left

    def start(self) -> None:
        """Start it again: it recovers by its log."""
        self._server.ensure_postgres_running()


@pytest.fixture
def server() -> Iterator[Server]:
    """Start a server of its own, and stop it."""
    with postgresql_server() as own:
        made = Server(own)
        yield made
        database.engine(made.url).dispose()


# Step → what the server does not outlive: it is killed as soon as that has returned.
STEPS = {"planned": (store, "open_slots"), "claimed": (store, "claimed"), "started": (scheduling, "started")}  # fmt: skip


def _killing(function: Callable[..., Any], server: Server) -> Callable[..., Any]:
    """Return a function after whose first call a server is killed."""
    kill = iter([server.kill])

    def then(*given: Any, **named: Any) -> Any:
        found = function(*given, **named)
        next(kill, lambda: None)()
        return found

    return then


@pytest.mark.parametrize("step", ["before the plan", *STEPS, "in a cell", "at the end"])
def test_f75_the_database_is_killed_at_each_step(
    step: str, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scheduler and run go on and wait for it; once it is there again, the moment has run once and says so."""
    reached, opened, ran = (tmp_path / each for each in ("reached", "opened", "ran"))
    cell = (
        f"import pathlib, time\npathlib.Path({str(reached)!r}).touch()\nwhile not pathlib.Path({str(opened)!r}).exists(): time.sleep(0.05)\n"
        f"open({str(ran)!r}, 'a').write('x')"
    )
    said: list[str] = []
    monkeypatch.setenv("RTA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("RTA_DATABASE_URL", server.url)
    jobs.schedule(written(tmp_path / "f75.ipynb", cell), every=SELDOM, retries=2)
    jobs.run_now("f75")
    ours = Scheduler(say=said.append)
    with _ended(ours):
        if step in STEPS:
            room, name = STEPS[step]
            monkeypatch.setattr(room, name, _killing(getattr(room, name), server))
        elif step == "before the plan":
            server.kill()
        else:
            _look(ours, reached.exists)
            if step == "at the end":  # while the run is written down
                opened.touch()
                until(ran.exists)
            server.kill()
        _look(ours, lambda: [line for line in said if "is away" in line])
        opened.touch()
        if reached.exists():
            until(ran.exists)
        server.start()
        slot = _settled("f75", ours)
    assert ran.read_text() == "x"
    assert slot.state == State.SUCCEEDED
    assert [run.state for run in jobs.history("f75")] == [State.SUCCEEDED]
    assert sum("is away" in line for line in said) == 1
    assert any("goes on" in line for line in said)
