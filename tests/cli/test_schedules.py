"""`rta schedule …` and `rta jobs …` as a person and as a program meet them."""

import json
import shlex
import subprocess
import sys
from configparser import RawConfigParser
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from rta import jobs
from rta.cli.app import main
from rta.jobs.scheduling import slots as store
from rta.jobs.states import State
from tests.jobs.test_jobs import Gate, _run_elsewhere
from tests.support.notebooks import written
from tests.support.waiting import finished, until

EVIL = 'it\'s "quoted" = \n\t{x} \\ ü 🎉 %s $HOME'


def rta(*arguments: str) -> Result:
    """Run `rta …` in this process."""
    return CliRunner().invoke(main, list(arguments))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Lend a home that nobody used."""
    monkeypatch.setenv("RTA_HOME", str(tmp_path / "home"))
    return tmp_path


def test_a_schedule_from_its_making_to_its_end(home: Path) -> None:
    """Add, list with five moments, show, pause, resume, queue, fill and remove; each says what it did, and programs get JSON."""
    path = str(written(home / "told.ipynb", "print(x)", parameters="x = 1"))
    added = rta("schedule", "add", path, "--cron", "0 2 * * *", "--zone", "Europe/Berlin", "-p", "x=2", "--retries", "2", "--backoff", "5 minutes")  # fmt: skip
    assert added.exit_code == 0, added.output
    assert "no scheduler runs" in added.stderr
    assert added.stdout.count("next") == 5
    [listed] = json.loads(rta("schedule", "list", "--json").stdout)
    assert (listed["name"], listed["parameters"], listed["backoff"], len(listed["next"])) == ("told", {"x": 2}, 300.0, 5)  # fmt: skip
    assert all(each[11:19] == "02:00:00" for each in listed["next"])
    assert "0 2 * * * Europe/Berlin" in rta("schedule", "list").stdout
    assert rta("schedule", "pause", "told").exit_code == 0
    assert "paused" in rta("schedule", "list").stdout
    assert rta("schedule", "resume", "told").exit_code == 0
    assert json.loads(rta("schedule", "run-now", "told", "--json").stdout)["state"] == "queued"
    span = ("--from", "2026-03-28", "--to", "2026-03-31")
    dry = rta("schedule", "backfill", "told", *span, "--reverse", "--dry-run")
    assert dry.stdout.splitlines() == ["2026-03-30 00:00:00 UTC", "2026-03-29 01:00:00 UTC", "2026-03-28 01:00:00 UTC", "3 moments would be queued"]  # fmt: skip
    assert len(json.loads(rta("schedule", "show", "told", "--json").stdout)["slots"]) == 1
    assert rta("schedule", "backfill", "told", *span).stdout.endswith("3 moments are queued\n")
    shown = rta("schedule", "show", "told").stdout
    assert shown.count("queued") == 4
    assert rta("schedule", "remove", "told").exit_code == 1  # it asks
    assert rta("schedule", "remove", "told", "--yes").exit_code == 0
    gone = rta("schedule", "show", "told")
    assert (gone.exit_code, "no schedule 'told'" in gone.stderr) == (1, True)


def test_exit_codes_and_receipts_of_runs(home: Path) -> None:
    """0, 1 and 124; the receipt is printed in each case; the history is filtered, the report found, old runs are removed."""
    good = str(written(home / "coded.ipynb", "print('fine')"))
    bad = str(written(home / "coded_bad.ipynb", "1 / 0"))
    slow = str(written(home / "coded_slow.ipynb", "while True: pass"))
    answers = [rta("run", good, "--json"), rta("run", bad, "--json"), rta("run", slow, "--json", "--timeout", "1")]  # fmt: skip
    assert [each.exit_code for each in answers] == [0, 1, 124]
    states = [json.loads(each.stdout)["state"] for each in answers]
    assert states == ["succeeded", "failed", "timed out"]
    [failed] = json.loads(rta("jobs", "--state", "failed", "--json").stdout)
    assert failed["job"] == "coded_bad"
    assert rta("jobs", "--job", "coded").stdout.count("succeeded") == 1
    assert rta("jobs", "open", "coded_bad", "--print").stdout.endswith("report.html#failed\n")
    assert "fine" in rta("jobs", "log", "coded", "--follow").stdout
    assert rta("jobs", "cancel", "coded").exit_code == 1
    assert rta("jobs", "open", "nothing").exit_code == 1
    assert rta("jobs", "prune", "--keep-runs", "0", "--dry-run").stdout == "3 runs would be removed\n"  # fmt: skip
    assert rta("jobs", "prune").exit_code == 1
    assert rta("jobs", "prune", "--keep-days", "1").stdout == "0 runs are removed\n"
    assert rta("jobs", "prune", "--keep-days", "0").exit_code == 1  # it asks
    assert rta("jobs", "prune", "--job", "coded", "--keep-days", "0", "--yes").stdout == "1 run is removed\n"  # fmt: skip
    assert len(json.loads(rta("jobs", "prune", "--keep-runs", "0", "--yes", "--json").stdout)) == 2
    assert json.loads(rta("jobs", "--json").stdout) == []


def test_each_option_of_add_is_kept(home: Path) -> None:
    """A period, what happens if, the limits and what is kept: each as it was given, in seconds, runs and days; a number is seconds."""
    path = str(written(home / "kept.ipynb", "print(1)"))
    given = (
        "--every", "15 minutes", "--name", "quarter", "--missed", "skip", "--staleness", "2 hours", "--overlap", "queue", "--retries", "3",
        "--backoff", "90", "--timeout", "1800", "--deadline", "4 hours", "--keep-runs", "5", "--keep-days", "1.5",
    )  # fmt: skip
    made = json.loads(rta("schedule", "add", path, *given, "--json").stdout)
    expected = {
        "name": "quarter", "notebook": path, "cron": None, "every": 900.0, "on_new": None, "missed": "skip", "staleness": 7200.0, "overlap": "queue",
        "retries": 3, "backoff": 90.0, "timeout": 1800.0, "deadline": 14_400.0, "keep_runs": 5, "keep_days": 1.5, "paused": False,
    }  # fmt: skip
    assert expected.items() <= made.items()
    moments = [datetime.fromisoformat(each) for each in made["next"]]
    assert {later - earlier for earlier, later in pairwise(moments)} == {timedelta(minutes=15)}  # fmt: skip
    [kept] = jobs.schedules()
    assert expected.items() <= vars(kept).items()
    shown = dict(line.split(maxsplit=1) for line in rta("schedule", "show", "quarter").stdout.splitlines() if line[:1].isalpha())  # fmt: skip
    assert (shown["every"], shown["overlap"], shown["deadline"], shown["keep_days"]) == ("900.0", "queue", "14400.0", "1.5")  # fmt: skip
    assert json.loads(rta("schedule", "add", path, "--every", "60", "--missed", "all", "--json").stdout)["overlap"] == "queue"  # fmt: skip
    for wrong, code, message in (
        (("--every", "a while"), 1, "not a duration"), (("--every", "60", "--missed", "some"), 2, "--missed"),
        (("--every", "60", "--overlap", "both"), 2, "--overlap"), (("--every", "60", "--timeout", "0"), 1, "above 0"),
        (("--every", "60", "--cron", "* * * * *"), 1, "one of cron, every and on_new"), (("--every", "60", "--keep-runs", "0"), 1, "at least one run"),
        (("--every", "60", "--keep-days", "0"), 1, "for a while"), (("--every", "60", "--deadline", "-1"), 1, "above 0"),
    ):  # fmt: skip
        refused = rta("schedule", "add", path, "--name", "wrong", *wrong)
        assert (refused.exit_code, message in refused.stderr) == (code, True), refused.stderr
    assert len(jobs.schedules()) == 2


def test_a_schedule_that_waits_for_events_is_told(home: Path) -> None:
    """It has a topic and how many, and no moments; there is nothing to fill."""
    path = str(written(home / "waits.ipynb", "print(1)"))
    told = rta("schedule", "add", path, "--on-new", "clicks", "--events", "1000").stdout
    assert told == "schedule waits: 1,000 new in clicks\n"
    [listed] = json.loads(rta("schedule", "list", "--json").stdout)
    assert (listed["on_new"], listed["events"], listed["next"]) == ("clicks", 1000, [])
    assert "on new events" in rta("schedule", "list").stdout
    filled = rta("schedule", "backfill", "waits", "--from", "2026-03-01", "--to", "2026-03-02")
    assert (filled.exit_code, "no moments to fill" in filled.stderr) == (1, True)
    assert rta("schedule", "add", path, "--name", "x", "--on-new", "a b").exit_code == 1
    assert rta("schedule", "add", path, "--name", "x", "--on-new", "t", "--events", "0").exit_code == 1  # fmt: skip


def test_backfill_only_what_failed_or_has_no_run(home: Path) -> None:
    """Of moments that succeeded, failed and were missed, each choice takes its own, and they wait again."""
    path = str(written(home / "filled.ipynb", "print(1)"))
    assert rta("schedule", "add", path, "--cron", "0 2 * * *").exit_code == 0
    span = ("--from", "2026-03-01", "--to", "2026-03-05")
    assert rta("schedule", "backfill", "filled", *span).exit_code == 0
    for slot, state in zip(store.slots("filled"), (State.FAILED, State.SUCCEEDED, State.TIMED_OUT, State.MISSED), strict=True):  # fmt: skip
        assert store.update(slot, replace(slot, state=state, attempts=1, message="before"))
    none = rta("schedule", "backfill", "filled", *span, "--dry-run").stdout
    assert none.splitlines() == ["2026-03-01 02:00:00 UTC", "1 moment would be queued"]
    failed = rta("schedule", "backfill", "filled", *span, "--only", "failed", "--dry-run").stdout
    assert failed.splitlines() == ["2026-03-02 02:00:00 UTC", "2026-03-04 02:00:00 UTC", "2 moments would be queued"]  # fmt: skip
    assert not store.open_slots()
    queued = json.loads(rta("schedule", "backfill", "filled", *span, "--only", "failed", "--reverse", "--json").stdout)  # fmt: skip
    assert [(each["scheduled_for"][:10], each["state"]) for each in queued] == [("2026-03-04", "queued"), ("2026-03-02", "queued")]  # fmt: skip
    assert {(each.attempts, each.message, each.reason) for each in store.open_slots()} == {(0, None, "backfill")}  # fmt: skip
    without = rta("schedule", "backfill", "filled", *span, "--only", "none").stdout
    assert without.splitlines() == ["2026-03-01 02:00:00 UTC", "1 moment is queued"]
    assert [each.state for each in store.slots("filled") if each.state.ended] == [State.SUCCEEDED]
    assert rta("schedule", "backfill", "filled", *span, "--only", "all").exit_code == 2


def test_a_parameter_with_quotes_newlines_and_emoji_arrives_exactly(home: Path) -> None:
    """By a shell, of a schedule and of a run, and once more of its rerun, which takes another value too."""
    path = str(written(home / "exact.ipynb", "print(ascii(text))", parameters="text = ''"))
    command = [sys.executable, "-m", "rta.cli", "schedule", "add", path, "--every", "7 days", "-p", f"text={EVIL}"]  # fmt: skip
    subprocess.run(["/bin/sh", "-c", shlex.join(command)], check=True, capture_output=True)
    assert json.loads(rta("schedule", "show", "exact", "--json").stdout)["parameters"] == {"text": EVIL}  # fmt: skip
    first = json.loads(rta("run", path, "-p", f"text={EVIL}", "--json").stdout)
    written(Path(path), "1 / 0", parameters="text = ''")
    again = rta("jobs", "rerun", first["run_id"], "--json")
    other = rta("jobs", "rerun", first["run_id"], "-p", "text=a=b")
    assert [each.exit_code for each in (again, other)] == [0, 0], other.output
    assert other.stdout.startswith("exact succeeded in ")
    found = jobs.history("exact")
    assert [each.run_id for each in found[1:]] == [json.loads(again.stdout)["run_id"], first["run_id"]]  # fmt: skip
    assert [each.parameters for each in found] == [{"text": "a=b"}, {"text": EVIL}, {"text": EVIL}]
    assert {each.sha256 for each in found} == {first["sha256"]}
    printed = [rta("jobs", "log", each.run_id).stdout.splitlines()[-1] for each in found]
    assert printed == [ascii("a=b"), ascii(EVIL), ascii(EVIL)]
    refused = rta("jobs", "rerun", "exact", "-p", "txet=1")
    assert (refused.exit_code, "did you mean 'text'" in refused.stderr) == (1, True)


def test_a_rerun_that_fails_says_so_and_prints_its_receipt(home: Path) -> None:
    """1 if it failed, 124 if it timed out, as `rta run`; a program gets the receipt in each case."""
    cell = "import time\nif wait: time.sleep(600)\n1 / 0"
    path = str(written(home / "fails.ipynb", cell, parameters="wait = False"))
    assert rta("run", path).exit_code == 1
    failed = rta("jobs", "rerun", "fails", "--json")
    slow = rta("jobs", "rerun", "fails", "-p", "wait=yes", "--timeout", "1", "--json")
    assert [each.exit_code for each in (failed, slow)] == [1, 124]
    assert [json.loads(each.stdout)["state"] for each in (failed, slow)] == ["failed", "timed out"]
    assert "cell [2] failed: ZeroDivisionError" in failed.stderr
    assert rta("jobs", "--job", "fails", "--limit", "2").stdout.count("fails ") == 2


def test_a_run_is_cancelled(home: Path) -> None:
    """By its id: the run ends, says so with its receipt, and is in the history as cancelled."""
    gate = Gate(home / "reached", home / "opened")
    with _run_elsewhere(written(home / "endless.ipynb", gate.cell)) as process:
        try:
            until(gate.reached.exists, process)
            [run] = jobs.history("endless", state="running")
            answer = rta("jobs", "cancel", run.run_id)
        finally:
            gate.opened.touch()
            finished(process)
    assert (answer.exit_code, answer.stdout) == (0, f"run {run.run_id}: cancelled\n")
    [ended] = json.loads(rta("jobs", "--state", "cancelled", "--json").stdout)
    assert (ended["run_id"], ended["message"]) == (run.run_id, "interrupted")
    again = rta("jobs", "cancel", run.run_id)
    assert (again.exit_code, "does not run" in again.stderr) == (1, True)


def test_a_unit_of_systemd_runs_the_scheduler(home: Path) -> None:
    """It has this home and this interpreter, and ends no run with the scheduler; to print it starts nothing."""
    printed = rta("scheduler", "--systemd")
    assert printed.exit_code == 0
    unit = RawConfigParser(strict=False)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read_string(printed.stdout)
    service = unit["Service"]
    assert shlex.split(service["ExecStart"]) == [sys.executable, "-P", "-m", "rta.cli", "scheduler"]
    assert f"RTA_HOME={home / 'home'}" in shlex.split(service["Environment"])
    assert (service["KillMode"], service["Restart"]) == ("process", "on-failure")
    assert jobs.scheduler_status() is None
