"""`rta schedule …` and `rta jobs …` as a person and as a program meet them."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from rta.cli.app import main
from tests.support.notebooks import written


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
    assert len(json.loads(rta("jobs", "prune", "--keep-runs", "0", "--yes", "--json").stdout)) == 3
    assert json.loads(rta("jobs", "--json").stdout) == []
