"""The scheduler with real databases, processes and notebooks: no run lost, none doubled, whoever dies."""

import json
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import accumulate
from pathlib import Path
from threading import Event
from typing import Any, Literal

import pytest

from rta import jobs
from rta.errors import InputError, JobError
from rta.jobs.receipts import versions
from rta.jobs.runs import record
from rta.jobs.scheduling import attempt
from rta.jobs.scheduling import slots as store
from rta.jobs.scheduling.planning import Schedule, Slot
from rta.jobs.scheduling.scheduler import Scheduler
from rta.jobs.states import State
from rta.setup.processes import runs
from tests.jobs.test_jobs import Gate, _outputs, _processes_of
from tests.support.notebooks import SELDOM, noting, written
from tests.support.waiting import HANG, finished, until

SCHEDULER = [sys.executable, "-P", "-m", "rta.cli", "scheduler"]


@pytest.fixture
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Lend a home that nobody used."""
    monkeypatch.setenv("RTA_HOME", str(tmp_path / "home"))
    yield tmp_path / "home"
    assert jobs.scheduler_status() is None


def _until(schedule: str, *, scheduler: Scheduler | None = None, slots: int = 1) -> list[Slot]:
    """Let a scheduler of ours look until so many slots of a schedule have ended."""
    ours = scheduler or Scheduler(say=lambda _: None)

    def ended() -> list[Slot]:
        ours.tick()
        found = store.slots(schedule)
        return found if len(found) >= slots and all(each.state.ended for each in found) else []

    until(ended)
    for child in ours._children.values():
        finished(child)
    return store.slots(schedule)


def _missed(name: str, file: Path, **how: Any) -> Schedule:
    """Make a schedule that has one moment which no scheduler has seen, and whose run adds a line to a file."""
    made = jobs.schedule(
        written(file.with_suffix(".ipynb"), noting(file)), name=name, every=SELDOM, **how
    )
    store.change(name, planned_to=datetime.now(UTC) - timedelta(days=7))
    return made


@pytest.mark.parametrize("step", ["planned", "claimed", "started", "ended"])
def test_f53_a_scheduler_that_is_killed_at_any_step(
    step: str, own_home: Path, tmp_path: Path
) -> None:
    """SIGKILL after the plan, after the claim, after the start of a run, and after its end: the moment ran once."""
    file = tmp_path / "ran"
    _missed("killed", file)
    child = subprocess.run([sys.executable, "-m", "tests.children.die_in_schedule", step], check=False, capture_output=True, timeout=HANG)  # fmt: skip
    assert child.returncode == -signal.SIGKILL, child.stderr
    before = store.slots("killed")
    assert [each.state for each in before] == [State.QUEUED if step == "planned" else State.RUNNING]
    [slot] = _until("killed")
    assert (slot.state, slot.attempts, slot.reason) == (State.SUCCEEDED, 1, "every")
    [line] = file.read_text().splitlines()
    assert datetime.fromisoformat(line) == slot.scheduled_for
    [run] = jobs.history("killed")
    assert (run.run_id, run.scheduled_for) == (slot.run_ids[0], slot.scheduled_for)


def test_two_schedulers_at_once(own_home: Path, tmp_path: Path) -> None:
    """Four schedules become due at once, two schedulers run: each moment runs once, each scheduler starts one at a time."""
    files = [tmp_path / f"ran{each}" for each in range(4)]
    for number, file in enumerate(files):
        _missed(f"two{number}", file)
    running = [subprocess.Popen([*SCHEDULER, "--limit", "2"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) for _ in range(2)]  # fmt: skip
    try:
        until(lambda: len(store.slots()) == 4 and all(each.state.ended for each in store.slots()))
    finally:
        for each in running:
            each.send_signal(signal.SIGTERM)
        said = [finished(each)[0] for each in running]
    assert [each.returncode for each in running] == [0, 0]
    assert sorted("one more" in each for each in said) == [False, True]
    assert {each.state for each in store.slots()} == {State.SUCCEEDED}
    assert [len(file.read_text().splitlines()) for file in files] == [1] * 4
    assert len(jobs.history()) == 4


def test_f53_a_runner_and_a_kernel_that_are_killed_are_tried_again(own_home: Path, tmp_path: Path) -> None:  # fmt: skip
    """SIGKILL of the process of a run: lost, of its kernel: failed; both are tries of one slot, and the third one succeeds."""
    hold, tries = tmp_path / "hold", tmp_path / "tries"
    hold.touch()
    cell = f"import os, time\nopen({str(tries)!r}, 'a').write(f'{{os.getpid()}}\\n')\nwhile os.path.exists({str(hold)!r}): time.sleep(0.05)"
    jobs.schedule(
        written(tmp_path / "n.ipynb", cell), name="dies", every=SELDOM, retries=2, backoff=0.1
    )
    jobs.run_now("dies")
    ours = Scheduler(say=lambda _: None)

    def begun(count: int) -> list[str]:
        ours.tick()
        lines = tries.read_text().splitlines() if tries.exists() else []
        return lines if len(lines) == count else []

    until(lambda: begun(1))
    [child] = ours._children.values()
    child.kill()
    kernel = int(until(lambda: begun(2))[-1])
    assert not runs(int(tries.read_text().splitlines()[0]))
    os.kill(kernel, signal.SIGKILL)
    until(lambda: begun(3))
    hold.unlink()
    [slot] = _until("dies", scheduler=ours)
    assert (slot.state, slot.attempts) == (State.SUCCEEDED, 3)
    states = {each.run_id: each.state for each in jobs.history("dies")}
    assert [states[each] for each in slot.run_ids] == [State.LOST, State.FAILED, State.SUCCEEDED]


def test_what_reaches_the_notebook_and_what_is_kept(own_home: Path, tmp_path: Path) -> None:
    """Parameters with quotes, newlines and emoji, the moment in its zone; each run keeps the notebook that ran; old runs go."""
    text = 'it\'s "quoted"\n\t{x} \\ ü 🎉 %s $HOME'
    path = written(tmp_path / "kept.ipynb", "print(repr(text), scheduled_for)", parameters="text = ''\nscheduled_for = ''")  # fmt: skip
    made = jobs.schedule(path, {"text": text}, every="1 hour", zone="Asia/Kolkata", keep_runs=2)
    assert store.named("kept") == made
    for number in range(2):
        if number == 1:  # the notebook is changed between two runs
            written(path, "print(2)", "1 / 0", parameters="text = ''\nscheduled_for = ''")
        slot = jobs.run_now("kept")
        _until("kept", slots=number + 1)
        if number == 0:
            [run] = jobs.history("kept")
            india = re.escape(slot.scheduled_for.isoformat()[:4])
            assert re.fullmatch(f"{re.escape(repr(text))} {india}.*\\+05:30\n", _outputs(run))
    new, old = jobs.history("kept")
    assert (new.state, old.state) == (State.FAILED, State.SUCCEEDED)
    assert new.sha256 != old.sha256
    assert "print(repr(text), scheduled_for)" in (Path(old.folder) / "source.ipynb").read_text()
    assert jobs.page("kept").endswith("report.html#failed")
    again = jobs.rerun(old.run_id)
    assert (again.sha256, again.scheduled_for, again.parameters) == (old.sha256, old.scheduled_for, old.parameters)  # fmt: skip
    assert _outputs(again) == _outputs(old)
    store.change("kept", keep_runs=1)
    jobs.run_now("kept")
    [slot] = _until("kept")
    assert [each.name for each in Path(old.folder).parent.glob("2*")] == [*slot.run_ids]


def test_a_notebook_that_never_ends_is_deleted_or_cancelled(own_home: Path, tmp_path: Path) -> None:
    """It times out with its kernel; one that is gone fails with its name; one that a person cancels is not tried again."""
    path = written(tmp_path / "endless.ipynb", "while True: pass")
    jobs.schedule(path, every=SELDOM, timeout=1)
    jobs.run_now("endless")
    [slot] = _until("endless")
    assert (slot.state, slot.message) == (State.TIMED_OUT, "it took longer than the timeout of 1 s")
    assert not list(_processes_of(slot.run_ids[0]))
    path.unlink()
    jobs.run_now("endless")
    gone, _ = _until("endless", slots=2)
    assert gone.state == State.FAILED
    assert "no such notebook" in str(gone.message)
    written(path, "import time; time.sleep(600)")
    store.change("endless", timeout=None, retries=3)
    jobs.run_now("endless")
    ours = Scheduler(say=lambda _: None)

    def running() -> object:
        ours.tick()
        return jobs.history("endless", state="running")

    until(running)
    run = jobs.cancel("endless")
    assert run.state == State.CANCELLED
    newest, *_ = _until("endless", scheduler=ours, slots=3)
    assert (newest.state, newest.attempts) == (State.CANCELLED, 1)
    with pytest.raises(InputError, match="does not run"):
        jobs.cancel("endless")


@pytest.mark.parametrize("overlap", ["skip", "queue"])
def test_a_moment_at_which_the_run_before_goes_on(
    overlap: Literal["skip", "queue"], own_home: Path, tmp_path: Path
) -> None:
    """It is skipped, and says so, or it waits until that run has ended, and then runs; the run before is left alone."""
    gate, file, said = Gate(tmp_path / "reached", tmp_path / "opened"), tmp_path / "ran", list[str]()  # fmt: skip
    path = written(tmp_path / "overlaps.ipynb", gate.cell, noting(file))
    made = jobs.schedule(path, every="1 hour", overlap=overlap)
    first, second = made.next(2)
    now = [first]
    ours = Scheduler(say=said.append, clock=lambda: now[0])
    try:
        until(lambda: [ours.tick(), gate.reached.exists()][1])  # type: ignore[func-returns-value]
        now[0] = second
        for _ in range(3):
            ours.tick()
        found = {each.scheduled_for: (each.state, each.attempts, each.message) for each in store.slots("overlaps")}  # fmt: skip
    finally:
        gate.opened.touch()
        ended = _until("overlaps", scheduler=ours)
    skipped = (State.SKIPPED, 0, "the run before it had not ended")
    assert found == {first: (State.RUNNING, 1, None), second: skipped if overlap == "skip" else (State.QUEUED, 0, None)}  # fmt: skip
    assert [each.state for each in ended] == [State.SKIPPED if overlap == "skip" else State.SUCCEEDED, State.SUCCEEDED]  # fmt: skip
    ran = [datetime.fromisoformat(line) for line in file.read_text().splitlines()]
    assert ran == [first, second][: len(ran)]
    assert len(ran) == (1 if overlap == "skip" else 2)
    assert len(jobs.history("overlaps")) == len(ran)
    assert sum("skipped: the run before it had not ended" in line for line in said) == (overlap == "skip")  # fmt: skip


def test_a_deadline_ends_a_try_and_what_waits(own_home: Path, tmp_path: Path) -> None:
    """A try that goes on is ended with its kernel, though its timeout is longer and it has tries left; a try that waits, and a slot, do not begin."""
    path = written(tmp_path / "due.ipynb", "while True: pass")
    jobs.schedule(path, every=SELDOM, retries=3, backoff=0.1, timeout="1 minute", deadline=1)
    slot = jobs.run_now("due")
    now = [slot.due_at]
    ours = Scheduler(say=lambda _: None, clock=lambda: now[0])
    [ended] = _until("due", scheduler=ours)
    assert (ended.state, ended.attempts) == (State.TIMED_OUT, 1)
    assert ended.message == "its deadline leaves no more time; it took longer than the timeout of 1 s"  # fmt: skip
    assert not list(_processes_of(ended.run_ids[0]))
    written(path, "1 / 0")
    store.change("due", backoff=60.0, deadline=3600.0)
    slot = jobs.run_now("due")
    now[0] = slot.due_at
    until(lambda: [ours.tick(), store.slots("due")[0].message][1])  # type: ignore[func-returns-value]
    assert (store.slots("due")[0].state, store.slots("due")[0].attempts) == (State.QUEUED, 1)
    now[0] += timedelta(hours=1)
    tried, _ = _until("due", scheduler=ours, slots=2)
    assert (tried.state, tried.attempts) == (State.FAILED, 1)
    assert str(tried.message).startswith("its deadline passed after 1 try; cell [1] failed: ZeroDivisionError")  # fmt: skip
    slot = jobs.run_now("due")
    now[0] = slot.due_at + timedelta(hours=1)
    never, *_ = _until("due", scheduler=ours, slots=3)
    assert (never.state, never.attempts, never.message) == (State.MISSED, 0, "its deadline passed before it could start")  # fmt: skip
    assert len(jobs.history("due")) == 2


def test_a_schedule_keeps_runs_for_so_many_days(own_home: Path, tmp_path: Path) -> None:
    """After each run those that are older go, with folder and slot; a younger one stays."""
    jobs.schedule(written(tmp_path / "aged.ipynb", "print(1)"), every=SELDOM, keep_days=7)

    def ran(slots: int) -> Slot:
        jobs.run_now("aged")
        return _until("aged", slots=slots)[0]

    def aged(slot: Slot, days: float) -> None:
        [run] = [each for each in jobs.history("aged") if each.run_id == slot.run_ids[0]]
        record(replace(run, started_at=datetime.now(UTC) - timedelta(days=days)))
        assert store.update(slot, replace(slot, due_at=datetime.now(UTC) - timedelta(days=days)))

    old = ran(1)
    aged(old, 6.9)
    young = ran(2)
    assert {each.scheduled_for for each in store.slots("aged")} == {old.scheduled_for, young.scheduled_for}  # fmt: skip
    [*_, before] = jobs.history("aged")
    assert before.run_id == old.run_ids[0]
    assert Path(before.folder).is_dir()
    aged(store.slots("aged")[-1], 7.1)
    aged(young, 6.9)
    new = ran(2)
    assert {each.scheduled_for for each in store.slots("aged")} == {young.scheduled_for, new.scheduled_for}  # fmt: skip
    assert [each.run_id for each in jobs.history("aged")] == [new.run_ids[0], young.run_ids[0]]
    assert not Path(before.folder).exists()


def test_five_hundred_are_due_at_once(own_home: Path, tmp_path: Path) -> None:
    """Two run, the others wait in the order in which they were due, however often the scheduler looks."""
    path = written(tmp_path / "storm.ipynb", "import time; time.sleep(600)")
    made = jobs.schedule(path, name="s000", cron="* * * * *")
    for number in range(1, 500):
        store.add(Schedule(**{**vars(made), "name": f"s{number:03}"}))
    ours = Scheduler(limit=2, say=lambda _: None, clock=lambda: made.planned_to + timedelta(minutes=1))  # fmt: skip
    for _ in range(3):
        ours.tick()
        assert Counter(each.state for each in store.slots()) == {State.RUNNING: 2, State.QUEUED: 498}  # fmt: skip
    assert {name for name, _ in ours._children} == {"s000", "s001"}
    for name in ("s000", "s001"):
        until(partial(jobs.history, name, state="running"))
        jobs.cancel(name)
    for child in ours._children.values():
        finished(child)
    assert {each.schedule for each in store.slots(states=[State.CANCELLED])} == {"s000", "s001"}


class _Forked:
    """A try as a fork of this process, which needs no second of its own for a start."""

    def __init__(self, slot: Slot, _lock: object) -> None:
        self.code: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            code = 1
            try:
                attempt.attempt(slot.schedule, slot.scheduled_for)
                code = 0
            finally:
                os._exit(code)

    def poll(self) -> int | None:
        """Return its exit code, once it has ended."""
        if self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.code = os.waitstatus_to_exitcode(status) if pid else None
        return self.code


@pytest.mark.parametrize("count", [12, pytest.param(500, marks=pytest.mark.soak)])
def test_many_are_due_at_once_and_all_run(
    count: int, own_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Never more than the limit at once, in the order in which they were due; each runs once, and succeeds. The kernel is a stand-in."""
    noted = tmp_path / "noted"

    def executed(notebook: Path, **_: Any) -> tuple[State, None]:
        for word in ("begins", "ends"):
            with noted.open("a") as file:
                file.write(f"{notebook.parent.parent.name} {word}\n")
        return State.SUCCEEDED, None

    monkeypatch.setattr("rta.jobs.execution.execute", executed)
    monkeypatch.setattr("rta.jobs.report.to_html", lambda *_, **__: None)
    monkeypatch.setattr("rta.jobs.runner.packages", str)
    monkeypatch.setattr("rta.jobs.scheduling.scheduler.started", _Forked)
    versions()  # once, not in each fork
    path = written(tmp_path / "storm.ipynb", "print(1)")
    names = [f"s{number:03}" for number in range(count)]
    made = jobs.schedule(path, name=names[0], cron="* * * * *")
    for name in names[1:]:
        store.add(Schedule(**{**vars(made), "name": name}))
    said: list[str] = []
    ours = Scheduler(limit=4, say=said.append, clock=lambda: made.planned_to + timedelta(minutes=1))  # fmt: skip

    def ended() -> bool:
        ours.tick()
        assert sum(child.poll() is None for child in ours._children.values()) <= 4
        return not store.open_slots()

    until(ended, progress=lambda: len(store.open_slots()))
    found = store.slots()
    assert {(each.schedule, each.state, each.attempts) for each in found} == {(name, State.SUCCEEDED, 1) for name in names}  # fmt: skip
    assert len(found) == count
    assert Counter(each.job for each in jobs.history(limit=1000)) == Counter(names)
    lines = noted.read_text().split()
    going = list(accumulate(1 if word == "begins" else -1 for word in lines[1::2]))
    assert (max(going) <= 4, going[-1]) == (True, 0)
    assert Counter(lines[::2]) == Counter(names * 2)
    assert [line.split()[0] for line in said if ", try 1," in line] == names
    until(lambda: all(child.poll() == 0 for child in ours._children.values()))


def test_a_scheduler_whose_home_was_deleted_ends(own_home: Path, tmp_path: Path) -> None:
    """It says so, and waits: a file system may be mounted again. After a minute it ends with a sentence."""
    said: list[str] = []
    now = [datetime.now(UTC)]
    ours = Scheduler(say=said.append, clock=lambda: now[0])

    def look() -> None:
        with ours._told(""):
            ours.tick()

    look()
    own_home.rename(tmp_path / "away")
    look()
    look()
    (tmp_path / "away").rename(own_home)
    look()
    assert [line.partition(";")[0] for line in said] == ["✗ scheduler: what the scheduler works with is not there", "scheduler: goes on"]  # fmt: skip
    own_home.rename(tmp_path / "away")
    look()
    now[0] += timedelta(minutes=1)
    with pytest.raises(JobError, match=f"was deleted or replaced; found: {own_home}; fix: start it again"):  # fmt: skip
        ours.run(Event())


def test_two_homes_know_nothing_of_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    """Two users of one machine have a schedule of the same name: each has its own runs, its own scheduler and its own locks."""
    for name in ("one", "two"):
        monkeypatch.setenv("RTA_HOME", str(tmp_path / name))
        jobs.schedule(written(tmp_path / f"{name}.ipynb", f"print({name!r})"), name="same", every=SELDOM)  # fmt: skip
        assert jobs.start_scheduler() == jobs.start_scheduler()
    for name in ("one", "two"):
        monkeypatch.setenv("RTA_HOME", str(tmp_path / name))
        jobs.run_now("same")
        until(lambda: jobs.history("same", state="succeeded"))
        [run] = jobs.history("same")
        assert _outputs(run) == f"{name}\n"
        until(lambda: not store.open_slots())
        assert jobs.stop_scheduler()
        assert not jobs.stop_scheduler()


def test_what_makes_no_sense_is_refused(own_home: Path, tmp_path: Path) -> None:
    """Before anything is stored: no moments, two kinds of them, a secret, a name that is there."""
    path = written(tmp_path / "n.ipynb", parameters="token = ''\nx = None")
    for how, message in (
        ({}, "one of cron, every and on_new"), ({"every": 60, "cron": "* * * * *"}, "one of cron"),
        ({"cron": "0 0 30 2 *"}, "not a cron line"), ({"every": 0.5}, "at least a second"),
        ({"every": 60, "missed": "all", "overlap": "skip"}, "queue them"), ({"every": 60, "retries": -1}, "not negative"),
        ({"every": 60, "zone": "Mars"}, "no such time zone"), ({"on_new": "a b"}, "not a legal topic name"),
        ({"every": 60, "parameters": {"token": "x"}}, "is a secret"), ({"every": 60, "parameters": {"x": {1: 2}}}, "cannot be stored"),
        ({"every": 60, "name": "../up"}, "not a legal job name"), ({"every": 60, "keep_runs": 0}, "at least one run"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=re.escape(message)):
            jobs.schedule(path, **how)
    assert jobs.schedules() == []
    jobs.schedule(path, every=60)
    with pytest.raises(InputError, match="already"):
        jobs.schedule(path, every=60)
    with pytest.raises(InputError, match=r"no schedule 'm'; found: schedules: n"):
        jobs.pause("m")


def test_the_tables_are_plain(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    """On SQLite and PostgreSQL a schedule and its slots come back as they were, and plain SQL reads them."""
    from rta.store.rows import rows

    monkeypatch.setenv("RTA_DATABASE_URL", database_url)
    path = written(tmp_path / "plain.ipynb", parameters="x = 1")
    made = jobs.schedule(path, {"x": 2}, cron="0 2 * * *", zone="Europe/Berlin", deadline="1 hour")
    assert store.named("plain") == made
    monday = made.planned_to + timedelta(days=7)
    found = store.plan(made, monday, active=False)
    assert len(found) == 7
    assert store.plan(made, monday, active=False) == []  # somebody has planned it already
    claimed = store.claimed(found[-1], "r1", monday)
    assert claimed
    assert store.claimed(found[-1], "r2", monday) is None
    assert store.slot_of("plain", found[-1].scheduled_for) == claimed
    query = "SELECT s.name, t.state, COUNT(*) AS n FROM rta_schedules s JOIN rta_slots t ON t.schedule = s.name GROUP BY s.name, t.state ORDER BY n"
    assert [tuple(row.values()) for row in rows(query)] == [("plain", "running", 1), ("plain", "missed", 6)]  # fmt: skip
    jobs.pause("plain")
    assert store.named("plain").paused
    jobs.resume("plain")
    assert store.named("plain").planned_to > made.planned_to
    jobs.backfill("plain", "2026-03-28", "2026-03-31")
    backfilled = [each for each in store.slots("plain") if each.reason == "backfill"]
    assert [f"{each.scheduled_for:%d %H}" for each in backfilled] == ["30 00", "29 01", "28 01"]
    jobs.remove("plain")
    assert {each.state for each in jobs.slots("plain")} == {State.MISSED, State.RUNNING}


def test_cron_runs_the_printed_line(own_home: Path, tmp_path: Path) -> None:
    """Sh with cron's bare environment: the line starts a scheduler if none runs; `rta run` works there, too."""
    jobs.schedule(
        written(tmp_path / "by cron.ipynb", "print('cron')"), name="by_cron", every=SELDOM
    )
    jobs.run_now("by_cron")
    bare = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "PYTHONPATH": os.environ.get("PYTHONPATH", "")}  # fmt: skip
    printed = subprocess.run([*SCHEDULER, "--crontab"], capture_output=True, text=True, check=True).stdout  # fmt: skip
    line = printed.split(" ", 5)[5].strip().replace(r"\%", "%")
    first = subprocess.Popen(["/bin/sh", "-c", line], env=bare)
    until(lambda: jobs.history("by_cron", state="succeeded"))
    subprocess.run(
        ["/bin/sh", "-c", line], env=bare, check=True, timeout=HANG
    )  # there is one: nothing to do
    until(lambda: not store.open_slots())
    assert jobs.stop_scheduler()
    finished(first)
    run = f"RTA_HOME='{own_home}' {sys.executable} -P -m rta.cli run '{tmp_path}/by cron.ipynb' --name by_cron --json"
    answer = subprocess.run(["/bin/sh", "-c", run], env=bare, capture_output=True, text=True, check=True, timeout=HANG)  # fmt: skip
    assert json.loads(answer.stdout)["state"] == "succeeded"
    assert len(jobs.history("by_cron")) == 2
