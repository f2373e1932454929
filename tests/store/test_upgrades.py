"""A database of an older rta opens, and its rows are readable."""

from datetime import UTC, datetime

from sqlalchemy import text

from rta.store import database, views
from rta.store.catalog import VIEWS

BEFORE = """CREATE TABLE rta_jobs (run_id TEXT PRIMARY KEY, job TEXT NOT NULL, notebook TEXT NOT NULL, parameters JSON NOT NULL,
 started_at {moment} NOT NULL, ended_at {moment}, outcome TEXT NOT NULL, message TEXT, folder TEXT, receipt JSON,
 CONSTRAINT rta_jobs_outcome CHECK (outcome IN ('running', 'succeeded', 'failed', 'died')))"""


def test_runs_of_an_older_rta_have_the_words_of_this_one(database_url: str) -> None:
    """`outcome` becomes `state`, "died" becomes "lost", in the rows and where a receipt is read; other runs can follow."""
    engine = database.engine(database_url)
    moment = "TIMESTAMP_TEXT" if "sqlite" in database_url else "TIMESTAMP WITH TIME ZONE"
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE rta_jobs"))
        connection.execute(text(BEFORE.format(moment=moment)))
        connection.execute(text("CREATE INDEX ix_rta_jobs_job ON rta_jobs (job)"))
        for run, outcome in (("a", "succeeded"), ("b", "died")):
            connection.execute(text(
                f"INSERT INTO rta_jobs VALUES ('{run}', 'j', 'n.ipynb', '{{}}', '2026-03-01 06:00:00.000000+00:00',"
                f" NULL, '{outcome}', NULL, NULL, '{{\"outcome\"\\: \"{outcome}\"}}')"
            ))  # fmt: skip
    for _ in range(2):  # the second time there is nothing to do
        engine.dispose()
        # Other tests' engines stay: a connection of theirs that is deleted while open would warn.
        del database._engines[
            next(key for key, made in database._engines.items() if made is engine)
        ]
        engine = database.engine(database_url)
        with engine.begin() as connection:
            query = "SELECT run_id, state FROM rta_jobs ORDER BY run_id"
            rows = connection.execute(text(query)).all()
            assert [tuple(row) for row in rows] == [("a", "succeeded"), ("b", "lost")]
    with engine.begin() as connection:
        connection.execute(text("UPDATE rta_jobs SET state = 'timed out' WHERE run_id = 'a'"))
    engine.dispose()


def test_a_cut_off_of_an_older_rta_is_that_of_its_topic(database_url: str) -> None:
    """A Lambda had one topic, and did not name it."""
    engine = database.engine(database_url)
    versions = {"3": {"parts": ["v_batch_3", "v_speed_3"], "cut_off": {"0": 5, "11": 7}}, "1": {"parts": ["v_v1"], "cut_off": {}}}  # fmt: skip
    entry = {"name": "v", "topic": "user-events", "served": 3, "versions": versions, "switched_at": datetime.now(UTC), "key": [], "schema": {}}  # fmt: skip
    with engine.begin() as connection:
        connection.execute(VIEWS.insert().values(entry))
    view = views.find("v", on=engine)
    assert view is not None
    assert {number: each.cut_off for number, each in view.versions.items()} == {3: {"user-events": {0: 5, 11: 7}}, 1: {}}  # fmt: skip
    engine.dispose()
