"""Rules over what is real: a stream whose sink hangs, events that go on to come, a query that fails elsewhere, a job that fails."""

import signal
import subprocess
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from pyspark.sql import SparkSession

import rta
from rta.alerts import Notice, Watch
from rta.errors import JobError
from tests.support.notebooks import written
from tests.support.receivers import mail_receiver
from tests.support.waiting import HANG, finished, until


@pytest.mark.kafka
def test_a_stream_that_hangs_is_said_and_that_it_goes_on(
    spark: SparkSession, topic: Callable[..., str]
) -> None:
    """Lag in seconds over its target and growing; no progress: each once, and resolved once the sink takes rows again."""
    name, first = topic(partitions=1), count(0, 50)
    hangs, goes_on = Event(), Event()

    def sink(_rows: Any, _batch: Any) -> None:
        if hangs.is_set():
            goes_on.wait(HANG)

    def more() -> None:
        rta.publish(rta.user_events(spark, rows=50, first_row=next(first)), name)

    said: list[Notice] = []
    rules = [rta.alerts.lag(over=2, for_=0), rta.alerts.no_progress(after=2)]
    more()
    query = rta.follow(
        name, rta.transforms.totals, table="hanging", key=["window", "user_id"], event=rta.USER_EVENTS, also=[sink]
    )  # fmt: skip
    watching = Watch(rules, [said.append], every=1, name="hanging")

    def told(word: str) -> set[str]:
        watching.look()
        return {each.alert.rule for each in said if (each.alert.state, each.alert.subject) == (word, "hanging")}  # fmt: skip

    def both_fire() -> bool:
        more()
        return told("firing") == {"lag", "no progress"}

    try:
        query.processAllAvailable()
        assert told("firing") == set()
        hangs.set()
        until(both_fire)
        hangs.clear()
        goes_on.set()
        query.processAllAvailable()
        until(lambda: told("resolved") == {"lag", "no progress"})
    finally:
        goes_on.set()
        query.stop()
        watching.stop()
    assert sorted((each.alert.rule, each.alert.state) for each in said if each.alert.subject == "hanging") == [
        ("lag", "firing"), ("lag", "resolved"), ("no progress", "firing"), ("no progress", "resolved"),
    ]  # fmt: skip


RULES = """
from rta import alerts

rules = [alerts.query_failed()]
channels = [lambda notice: print(notice, flush=True)]
"""


@pytest.mark.kafka
def test_a_query_that_fails_is_said_by_a_watch_in_another_process(
    spark: SparkSession, topic: Callable[..., str], tmp_path: Path
) -> None:
    """`rta alerts` says why it has failed, and that it runs again, each once."""
    name, rules, told = topic(partitions=1), tmp_path / "rules.py", tmp_path / "told"
    how: dict[str, Any] = {"table": "fails_here", "key": ["window", "user_id"], "event": rta.USER_EVENTS}  # fmt: skip

    def sink(_rows: Any, _batch: Any) -> None:
        raise OSError("the sink takes nothing")

    def lines() -> list[str]:
        return [line for line in told.read_text().splitlines() if " query failed fails_here" in line]  # fmt: skip

    rules.write_text(RULES)
    rta.publish(rta.user_events(spark, rows=5), name)
    query = rta.follow(name, rta.transforms.totals, **how, also=[sink])
    command = [sys.executable, "-m", "rta.cli", "alerts", str(rules), "--every", "0.2"]
    with told.open("w") as file:
        watching = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
    try:
        until(lines, watching)
        query = rta.follow(name, rta.transforms.totals, **how)
        query.processAllAvailable()
        until(lambda: len(lines()) == 2, watching)
    finally:
        query.stop()
        watching.send_signal(signal.SIGINT)
        finished(watching)
    assert lines()[0].startswith("[CRITICAL] query failed fails_here: ")
    assert "the sink takes nothing" in lines()[0]
    assert lines()[1].startswith("[RESOLVED] query failed fails_here")


def test_a_job_that_failed_is_mailed_and_that_it_is_well_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    """One mail with the cell and its error, one in the same thread once a run succeeds; a look between them sends none."""
    monkeypatch.setenv("RTA_HOME", str(tmp_path / "home"))
    path = written(tmp_path / "nightly.ipynb", "1 / 0")
    with mail_receiver() as receiver:
        mail = rta.alerts.Mail("ops@shift.example", sender="rta@here.example", host="127.0.0.1", port=receiver.port, security="none")  # fmt: skip
        watching = Watch([rta.alerts.job_failed()], [mail], every=60, name="mailed")
        try:
            with pytest.raises(JobError):
                rta.jobs.run(path)
            watching.look()
            watching.look()
            until(lambda: receiver.got)
            rta.jobs.run(written(path, "1 / 1"))
            watching.look()
            until(lambda: len(receiver.got) == 2)
        finally:
            watching.stop()
    fires, over = receiver.got
    assert "job failed nightly: failed: cell [1] failed: ZeroDivisionError: division by zero" in fires["Subject"]  # fmt: skip
    assert over["Subject"].startswith("[RESOLVED] job failed nightly")
    assert fires["References"] == over["References"]
