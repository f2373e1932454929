"""`rta alerts`: a list with an exit code, and a watch by a file of rules."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from rta.cli.app import main
from tests.support.waiting import finished, until

ROOT = Path(__file__).parents[2]
RULES = """
from rta import alerts

rules = [alerts.Rule("always", lambda seen: {"this": "is amiss"}, severity="critical")]
channels = [alerts.Log(), lambda notice: print(notice, flush=True)]
"""


def test_a_file_of_rules_is_watched_and_what_fires_is_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    """Nothing fires: 0. The watch says it and lives until Ctrl-C; the list says it, too, and exits with 4. A second one is refused."""
    monkeypatch.setenv("RTA_HOME", str(tmp_path / "home"))
    run = CliRunner()
    calm = run.invoke(main, ["alerts", "--json"])
    assert (calm.exit_code, json.loads(calm.stdout)) == (0, [])
    rules = tmp_path / "night.py"
    rules.write_text(RULES)
    watching = subprocess.Popen(
        [sys.executable, "-m", "rta.cli", "alerts", str(rules), "--every", "0.1"], cwd=ROOT, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    assert watching.stdout is not None
    assert watching.stdout.readline().startswith("Watch(alerts: 1 rules")
    assert watching.stdout.readline() == "[CRITICAL] always this: is amiss\n"
    fires = run.invoke(main, ["alerts", "--state", "firing", "--json"])
    [alert] = json.loads(fires.stdout)
    assert (fires.exit_code, alert["rule"], alert["subject"]) == (4, "always", "this")
    shown = run.invoke(main, ["alerts"])
    assert "always" in shown.stdout
    second = run.invoke(main, ["alerts", "--watch"])
    assert second.exit_code == 1
    assert f"process {watching.pid}" in second.stderr
    watching.send_signal(signal.SIGINT)
    _, err = finished(watching)
    assert watching.returncode == 130
    assert err.count("always this: is amiss") == 1
    assert "Traceback" not in err
    until(
        lambda: run.invoke(main, ["alerts"]).exit_code == 4
    )  # it fires until a watch sees otherwise


def test_a_file_that_is_none_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Missing, or without rules and channels: a sentence."""
    monkeypatch.setenv("RTA_HOME", str(tmp_path / "home"))
    empty = tmp_path / "empty.py"
    empty.write_text("x = 1\n")
    run = CliRunner()
    for path, said in (
        (tmp_path / "no.py", "there is no such file of rules"),
        (empty, "assigns neither"),
    ):
        refused = run.invoke(main, ["alerts", str(path)])
        assert refused.exit_code == 1
        assert said in refused.stderr
