"""Jobs as the database knows them: what has run, what is due and has not begun, and what never has."""

import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

import rta
from rta.alerts import job_failed, job_late, job_never_started
from rta.metrics import Observation, ObservedJob, ledger_reader
from rta.metrics.stored import StoredLook
from rta.store import database, ledger
from rta.store.catalog import BATCHES, JOBS, SCHEDULES, SLOTS
from rta.store.ledger import Batch

NOW = dt.datetime.now(dt.UTC)
AGO = {minutes: NOW - dt.timedelta(minutes=minutes) for minutes in (1, 5, 10, 20, 30, 60)}


@pytest.fixture(autouse=True)
def empty(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Give each test an empty home and database, of each kind."""
    monkeypatch.setenv("RTA_HOME", str(tmp_path))
    monkeypatch.setenv("RTA_DATABASE_URL", database_url)
    yield
    database.engine().dispose()


def write(table: Any, **values: Any) -> None:
    """Write one row."""
    with database.writing(database.engine()) as connection:
        connection.execute(table.insert().values(values))


def run(job: str, state: str, ended: dt.datetime | None, message: str | None = None) -> None:
    """Write a run that has ended."""
    run_id = f"{job}-{state}-{ended}"
    write(JOBS, run_id=run_id, job=job, notebook="n", parameters={}, started_at=AGO[60], ended_at=ended, state=state, message=message)  # fmt: skip


def schedule(name: str, *, planned_to: dt.datetime, paused: bool = False) -> None:
    """Write a schedule of every five minutes."""
    write(
        SCHEDULES, name=name, notebook="n", parameters={}, every=300.0, zone="UTC", missed="skip", overlap="skip", retries=0, backoff=1.0, paused=paused,
        created_at=AGO[60], planned_to=planned_to,
    )  # fmt: skip


def slot(name: str, state: str, at: dt.datetime, *, attempts: int = 0) -> None:
    """Write a slot."""
    write(
        SLOTS, schedule=name, scheduled_for=at, reason="schedule", state=state, due_at=at, not_before=at, attempts=attempts, run_ids=[],
        ended_at=at if state == "missed" else None,
    )  # fmt: skip


def jobs() -> dict[str, ObservedJob]:
    """Look at the jobs."""
    return {each.name: each for each in StoredLook().look().jobs}


def fires() -> dict[str, set[str]]:
    """Return the subjects that the three rules find."""
    seen = Observation(NOW, {"database": True}, jobs=StoredLook().look().jobs)
    rules = (job_failed(), job_late(after=240), job_never_started(after=240))
    return {rule.name: set(rule.found(seen)[0]) for rule in rules}


def test_jobs_that_failed_are_late_or_never_started() -> None:
    """One that succeeds, one whose newest run timed out, one missed since; one due and waiting, one due without a scheduler, one new."""
    assert StoredLook().look().jobs == []
    run("well", "succeeded", AGO[10])
    run("ill", "succeeded", AGO[30])
    run("ill", "timed out", AGO[5], "cell 4 took too long")
    run("again", "failed", AGO[30])
    run("again", "succeeded", AGO[5])
    run("goes", "running", None)
    run("absent", "succeeded", AGO[60])
    schedule("absent", planned_to=NOW)
    slot("absent", "missed", AGO[10])
    run("waits", "succeeded", AGO[60])
    schedule("waits", planned_to=NOW)
    slot("waits", "queued", AGO[20])
    run("unplanned", "succeeded", AGO[60])
    schedule("unplanned", planned_to=AGO[20])
    schedule("new", planned_to=NOW)
    slot("new", "queued", AGO[20])
    schedule("tried", planned_to=NOW)
    slot("tried", "running", AGO[20], attempts=1)
    schedule("paused", planned_to=AGO[20], paused=True)
    found = jobs()
    assert (found["ill"].last_state, found["ill"].message) == ("timed out", "cell 4 took too long")
    assert found["ill"].last_success == AGO[30]
    assert found["ill"].runs == {"succeeded": 1, "timed out": 1}
    assert found["absent"].runs == {"succeeded": 1, "missed": 1}
    assert found["waits"].due == AGO[20]
    assert found["goes"].last_state is None
    due = found["unplanned"].due
    assert due is not None
    assert AGO[20] < due <= AGO[20] + dt.timedelta(minutes=5)
    assert (found["new"].ever_started, found["tried"].ever_started) == (False, True)
    assert found["paused"].due is None
    assert fires() == {"job failed": {"ill", "absent"}, "job late": {"waits", "unplanned"}, "job never started": {"new"}}  # fmt: skip
    run("ill", "succeeded", AGO[1])
    assert fires()["job failed"] == {"absent"}


def test_a_real_schedule_that_nobody_runs_is_never_started(tmp_path: Path) -> None:
    """Made by rta.jobs.schedule(): not at once, but once a moment of it is over and no scheduler came."""
    notebook = tmp_path / "n.ipynb"
    notebook.write_text('{"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}')
    rta.jobs.schedule(notebook, name="lonely", every="1 minute")
    assert fires()["job never started"] == set()
    with database.writing(database.engine()) as connection:
        connection.execute(SCHEDULES.update().values(planned_to=AGO[10]))
    assert fires()["job never started"] == {"lonely"}


def test_the_ledger_is_read_on_and_its_sums_are_those_of_the_ledger(monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    """Whatever was read before: several topics, a flaw, two queries of a table; one that is new and long; one that is deleted."""
    monkeypatch.setattr(ledger_reader, "_ONE_BY_ONE", 5)
    random = Random(7)  # noqa: S311 - test data
    look = StoredLook()

    def enter(query: str, table: str, numbers: range) -> None:
        with database.writing(database.engine()) as connection:
            for number in numbers:
                for topic in ("views", "buys"):
                    terms: dict[str, Any] = {name: random.randint(0, 9) for name in ("used", "duplicate", "late", "quarantined")}  # fmt: skip
                    consumed = sum(terms.values()) + (number == 3)
                    batch = Batch(query, number, topic, {0: 99 * number, 1: 7}, {0: 99 * number + 99, 1: 7}, NOW, consumed=consumed, **terms)  # fmt: skip
                    assert ledger.enter(connection, table, batch)

    def same() -> None:
        found = look.look()
        for table in found.tables:
            assert table.accounting == ledger.summed(table.name)
            assert found.reached[table.name] == ledger.offsets(table.name)
            assert table.committed_at is not None
        assert {each.table: each.last_batch for each in found.queries} == {
            each.table: each.last_batch for each in rta.engines.queries()
        }  # fmt: skip

    enter("one", "a", range(4))
    same()
    enter("one", "a", range(4, 9))
    enter("two", "a", range(2))
    enter("long", "b", range(40))
    same()
    assert [table.accounting.flawed for table in look.look().tables] == [1, 1]
    enter("long", "b", range(40, 42))
    same()
    with database.writing(database.engine()) as connection:
        connection.execute(BATCHES.delete().where(BATCHES.c.query_id == "long"))
    assert [table.name for table in look.look().tables] == ["a"]
    same()
