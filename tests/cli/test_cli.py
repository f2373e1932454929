"""The command line as a person and as a program meet it."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import psutil
import pytest
from click.testing import CliRunner, Result
from pyspark.sql import SparkSession
from pyspark.sql.types import StructType

import rta as rta_package
from rta import jobs
from rta.cli.app import main
from rta.dataframes import publish_datasets
from rta.dataframes.producer import Published
from rta.engines.spark import following
from rta.errors import InputError, TableError, TopicError
from rta.kafka import broker, tail, topics
from rta.settings import settings
from rta.store import database, ledger, rows, serving, serving_tables
from tests.support.databases import create
from tests.support.notebooks import SELDOM, written
from tests.support.waiting import HANG, until


def rta(*arguments: str) -> Result:
    """Run `rta …` in this process."""
    return CliRunner().invoke(main, list(arguments))


def test_help_lists_every_command_with_a_sentence() -> None:
    """`rta --help` shows all commands, and each has a --help of its own."""
    shown = rta("--help")
    assert shown.exit_code == 0
    for name, command in main.commands.items():
        assert name in shown.output
        assert command.help
        assert rta(name, "--help").exit_code == 0


def test_doctor_ticks_and_says_what_to_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    """All well: exit code 0 and a tick each. A wrong Java: exit code 1 and the fix."""
    well = rta("doctor")
    assert well.exit_code == 0, well.output
    assert well.output.count("✓") == 10
    monkeypatch.setenv("RTA_JAVA_HOME", "/nowhere")
    ill = rta("doctor", "--json")
    assert ill.exit_code == 1
    [java] = [check for check in json.loads(ill.stdout) if not check["ok"]]
    assert java["name"] == "java"
    assert "RTA_JAVA_HOME" in java["fix"]


def test_an_error_is_a_sentence_and_exit_code_1(monkeypatch: pytest.MonkeyPatch) -> None:
    """What, found, do; no trace, until it is asked for."""
    missing = rta("tail", "no-such-topic")
    assert missing.exit_code == 1
    assert "✗ there is no topic 'no-such-topic'" in missing.stderr
    assert "fix:" in missing.stderr
    assert "Traceback" not in missing.output
    assert "Traceback" in rta("--trace", "tail", "no-such-topic").stderr
    assert rta("tail").exit_code == 2


def test_up_and_status_tell_of_the_broker() -> None:
    """`rta up` finds the running broker; `rta status` says where."""
    assert broker.bootstrap() in rta("up").stdout
    assert "first event creates its topic, with 4 partitions" in rta("up").stdout
    told = json.loads(rta("status", "--json").stdout)
    assert told["bootstrap"] == broker.bootstrap()
    assert set(told["tables"]) == {table.name for table in serving_tables.tables()}


def test_up_starts_a_scheduler_and_down_ends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    """`rta up --scheduler` starts broker and scheduler of a home, once; what is due runs; `rta down` ends both."""
    monkeypatch.setenv("RTA_HOME", str(tmp_path / "home"))
    try:
        first = json.loads(rta("up", "--scheduler", "--json").stdout)
        assert f"scheduler (pid {first['scheduler']})" in rta("up", "--scheduler").stdout
        assert json.loads(rta("status", "--json").stdout)["scheduler"] == first["scheduler"]
        jobs.schedule(written(tmp_path / "due.ipynb", "print(1)"), every=SELDOM)
        jobs.run_now("due")
        until(lambda: jobs.history("due", state="succeeded"))
    finally:
        ended = rta("down").stdout
    assert "scheduler stopped" in ended
    until(lambda: not psutil.pid_exists(first["scheduler"]))
    assert rta("status").exit_code == 3


def test_status_without_a_broker_is_exit_code_3(
    tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program can tell that nothing runs."""
    monkeypatch.setenv("RTA_HOME", str(tmp_path))
    answer = rta("status")
    assert answer.exit_code == 3
    assert "not running" in answer.stdout


@pytest.mark.usefixtures("spark")
def test_publish_tail_and_topics(topic: Callable[..., str]) -> None:
    """Real weather goes onto a topic once, can be counted, and looked at."""
    name = topic(partitions=2)
    sent = rta("publish", "weather", "--topic", name, "--until", "2013-01-02", "--once", "--json")
    assert sent.exit_code == 0, sent.output
    events = json.loads(sent.stdout)["events"]
    assert {"name": name, "partitions": 2, "events": events} in json.loads(
        rta("topics", "--json").stdout
    )
    again = rta("publish", "weather", "--topic", name, "--until", "2013-01-02", "--once")
    assert "has them already" in again.output
    assert topics.describe_topic(name).events == events
    lines = rta("tail", name, "-n", "3", "--json").stdout.splitlines()
    assert [json.loads(json.loads(line)["value"])["origin"] for line in lines]
    assert len(lines) == 3
    assert rta("tail", name, "-n", "2").stdout.count("\n") == 2


def test_a_file_of_json_lines_is_published(topic: Callable[..., str], tmp_path: Path) -> None:
    """Its lines as they are, the key from a field; what does not fit a file, or is none, is refused before anything is sent."""
    name, file = topic(partitions=1), tmp_path / "clicks.jsonl"
    lines = [b'{"user": "a",  "n": 1}', '{"user": "ä"}'.encode()]
    file.write_bytes(b"\n".join(lines) + b"\n")
    sent = json.loads(rta("publish", str(file), "--topic", name, "--key", "user", "--json").stdout)
    assert sent["events"] == 2
    records = list(tail.records(name))
    assert [record.value for record in records] == [line.decode() for line in lines]
    assert [record.key for record in records] == ["a", "ä"]
    assert rta("publish", str(file)).exit_code == 2
    assert rta("publish", str(file), "--topic", name, "--once").exit_code == 2
    assert rta("publish", "weather", "--key", "origin").exit_code == 2
    missing = rta("publish", "clicks.jsnl", "--topic", name)
    assert missing.exit_code == 1
    assert "neither a file nor a data set" in missing.stderr
    assert topics.describe_topic(name).events == 2


def test_a_publish_that_stopped_midway_is_said_aloud(
    spark: SparkSession, topic: Callable[..., str]
) -> None:
    """A topic with a part of the data set is neither filled twice nor taken for whole."""
    name = topic(partitions=1)
    first = publish_datasets.publish_dataset(
        "weather", topic=name, end=datetime(2013, 1, 2, tzinfo=UTC)
    )
    assert isinstance(first, Published)
    with pytest.raises(TopicError, match=f"{first.events} of"):
        publish_datasets.publish_dataset(
            "weather", topic=name, end=datetime(2013, 1, 3, tzinfo=UTC), once=True
        )


def test_tail_shows_any_bytes_harmlessly(topic: Callable[..., str]) -> None:
    """Control characters, invalid UTF-8 and null reach the terminal as escapes."""
    from kafka import KafkaProducer

    name = topic(partitions=1)
    producer = KafkaProducer(bootstrap_servers=broker.bootstrap())
    for value in (b"\x1b[31mred\x07", b"\xff\xfe", None):
        producer.send(name, value=value, key=b"k").get(HANG)
    producer.close()
    assert [record.value for record in tail.records(name)] == [
        "\\x1b[31mred\\x07",
        "\\xff\\xfe",
        None,
    ]
    assert "(null)" in rta("tail", name).stdout


HEAVY = ["pyspark", "pandas", "numpy", "sqlalchemy", "pyarrow", "altair", "papermill", "pydantic", "IPython"]  # fmt: skip


def test_short_questions_load_nothing_heavy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """status, jobs, tables, queries, sql load no Spark, no pandas, no SQLAlchemy and no Kafka client; topics the last alone."""
    broker.up()
    assert _loads(["topics"], HEAVY) == []
    left = tmp_path / "checkpoints" / "left.engine"  # by a table that Flink has filled
    left.mkdir(parents=True)
    (left / "engine").write_text("flink")
    monkeypatch.setenv("RTA_HOME", str(tmp_path))
    for asked in (["status"], ["jobs"], ["tables"], ["queries"], ["sql", "SELECT 1 AS n"]):
        assert _loads(asked, [*HEAVY, "kafka"]) == [], asked


def _loads(asked: list[str], heavy: list[str]) -> list[str]:
    """Ask something in a process of its own, and return what heavy modules it has loaded."""
    code = f"""
import json, sys
from rta.cli.app import main
main({[*asked, "--json"]}, standalone_mode=False)
print(json.dumps([module for module in {heavy} if module in sys.modules]))
"""
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    return list(json.loads(answer.stdout.splitlines()[-1]))


def test_a_question_makes_no_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a fresh home the short questions are answered, and leave nothing behind."""
    monkeypatch.setenv("RTA_HOME", str(tmp_path / "fresh"))
    assert json.loads(rta("tables", "--json").stdout) == []
    assert json.loads(rta("queries", "--json").stdout) == []
    assert json.loads(rta("jobs", "--json").stdout) == []
    assert json.loads(rta("sql", "SELECT 7 AS n", "--json").stdout) == [{"n": 7}]
    assert not (tmp_path / "fresh" / "rta.db").exists()


def test_topics_are_created_described_and_deleted() -> None:
    """With settings of Kafka's own; a name that is taken, a wrong setting and a missing topic are said."""
    made = rta("topics", "create", "cli-topic", "--partitions", "2", "--config", "retention.ms=60000", "--json")  # fmt: skip
    assert json.loads(made.stdout) == {"name": "cli-topic", "partitions": 2, "events": 0}
    shown = json.loads(rta("topics", "describe", "cli-topic", "--json").stdout)
    assert shown["config"]["retention.ms"] == "60000"
    assert [each["next"] for each in shown["partitions"]] == [0, 0]
    assert "exists already" in rta("topics", "create", "cli-topic").stderr
    assert "Unknown topic config name" in rta("topics", "create", "x", "--config", "no.such=1").stderr  # fmt: skip
    assert rta("topics", "create", "x", "--config", "nothing").exit_code == 2
    assert rta("topics", "delete", "cli-topic").exit_code == 1  # nobody answers the question
    assert rta("topics", "delete", "cli-topic", "--yes").exit_code == 0
    assert "there is no topic 'cli-topic'" in rta("topics", "delete", "cli-topic", "--yes").stderr


def test_groups_tell_their_lag(topic: Callable[..., str]) -> None:
    """A group that has committed is listed with its lag; an unknown one is an error that names those there are."""
    from kafka import KafkaConsumer, KafkaProducer, TopicPartition
    from kafka.structs import OffsetAndMetadata

    name = topic(partitions=1)
    with closing(KafkaProducer(bootstrap_servers=broker.bootstrap())) as producer:
        for number in range(3):
            producer.send(name, value=b"%d" % number).get(HANG)
    with closing(KafkaConsumer(bootstrap_servers=broker.bootstrap(), group_id="cli-group")) as consumer:  # fmt: skip
        consumer.commit({TopicPartition(name, 0): OffsetAndMetadata(1, "", -1)})
    [group] = [row for row in json.loads(rta("groups", "--json").stdout) if row["name"] == "cli-group"]  # fmt: skip
    assert (group["topics"], group["lag"]) == ([name], 2)
    assert [row["lag"] for row in json.loads(rta("groups", "cli-group", "--json").stdout)] == [2]
    wrong = rta("groups", "cli-grup")
    assert wrong.exit_code == 1
    assert "cli-group" in wrong.stderr


def test_tables_queries_and_reset(spark: SparkSession, topic: Callable[..., str]) -> None:
    """A query that runs is listed with its process and its newest batch; its table with its rows; reset drops it."""
    name = topic(partitions=1)
    rta_package.publish(rta_package.user_events(spark, rows=40), name)
    query = following.follow(
        name, rta_package.transforms.totals, table="cli_table", key=["window", "user_id"], event=rta_package.USER_EVENTS,
        checkpoint=settings().home / "elsewhere" / "cp",
    )  # fmt: skip
    query.processAllAvailable()
    [running] = [row for row in json.loads(rta("queries", "--active", "--json").stdout) if row["table"] == "cli_table"]  # fmt: skip
    assert (running["topic"], running["process"], running["active"]) == (name, os.getpid(), True)
    assert running["last_batch"] >= 0
    assert running["verdict"].startswith(("keeping up", "no data for"))
    assert f"{name} → cli_table: process {os.getpid()}" in rta("status").stdout
    query.stop()
    query.awaitTermination()
    [table] = json.loads(rta("tables", "cli_table", "--json").stdout)
    assert table["rows"] == len(serving.read("cli_table"))
    assert (table["key"], table["topic"]) == (["window_start", "window_end", "user_id"], name)
    assert table["accounting"]["consumed"] == 40
    [stopped] = [row for row in json.loads(rta("queries", "--json").stdout) if row["table"] == "cli_table"]  # fmt: skip
    assert (stopped["active"], stopped["verdict"]) == (False, "stopped")
    assert "cli_table" in rta("queries").stdout
    wrong = rta("tables", "cli_tabel")
    assert wrong.exit_code == 1
    assert "cli_table" in wrong.stderr
    assert rta("reset", "cli_table").exit_code == 1
    assert rta("reset", "cli_table", "--yes").exit_code == 0
    assert "cli_table" not in [each.name for each in serving_tables.tables()]


def test_a_view_is_listed_with_its_parts_and_reset_with_them(spark: SparkSession, topic: Callable[..., str]) -> None:  # fmt: skip
    """The accounting of a view is that of the tables it shows."""
    name = topic(partitions=1)
    rta_package.publish(rta_package.user_events(spark, rows=30), name)
    with rta_package.kappa(
        name, rta_package.transforms.totals, table="cli_view", key=["window", "user_id"], event=rta_package.USER_EVENTS
    ) as wired:  # fmt: skip
        wired.catch_up()
    [view] = json.loads(rta("tables", "cli_view", "--json").stdout)
    assert (view["kind"], view["parts"]) == ("view", ["cli_view_v1"])
    assert view["accounting"]["consumed"] == 30
    assert rta("reset", "cli_view", "--yes").exit_code == 0
    assert not {"cli_view", "cli_view_v1"} & {each.name for each in serving_tables.tables()}


def test_rows_are_those_of_sql(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the terminal reads by the driver is what rta.sql() reads: decimals, moments, NaN; on both databases."""
    monkeypatch.setenv("RTA_DATABASE_URL", database_url)
    schema = StructType().add("id", "long").add("amount", "decimal(12,2)").add("at", "timestamp")
    table = create("exact", schema.add("ratio", "double"), ["id"])
    noon = datetime(2013, 1, 1, 12, tzinfo=UTC)
    batch = ledger.Batch("q", 0, "t", end_offsets={0: 2}, consumed=2, used=2)
    written = [(1, Decimal("0.10"), noon, 0.5), (2, None, None, None)]
    serving.commit_batch(database.engine(), table, batch, written)
    query = "SELECT id, amount, at, ratio FROM exact ORDER BY id"
    assert [tuple(row.values()) for row in rows.rows(query)] == written
    [row] = rows.rows("SELECT SUM(amount) AS total, MAX(at) AS newest FROM exact WHERE id = ?", [1])
    assert row == {"total": Decimal("0.10"), "newest": noon}
    with pytest.raises(TableError, match="there is no table exakt; found: tables: exact"):
        rows.rows("SELECT * FROM exakt")
    with pytest.raises(TableError, match="there is no table exakt; found: tables: exact"):
        serving.sql("SELECT * FROM exakt")
    with pytest.raises(InputError, match="two columns have one name; found: id"):
        rows.rows("SELECT id, id FROM exact")
    with pytest.raises(TableError):
        rows.rows("DELETE FROM exact")
    with pytest.raises(TableError):
        rows.rows("SELECT 1; DELETE FROM exact")
    assert [tuple(row.values()) for row in rows.rows(query)] == written


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_completion_is_a_script(shell: str) -> None:
    """A script for the shell, and the words that it asks for."""
    assert "_RTA_COMPLETE" in rta("completion", shell).stdout
    assert rta("completion", "tcsh").exit_code == 2
    asked = {"_RTA_COMPLETE": "bash_complete", "COMP_WORDS": "rta topics d", "COMP_CWORD": "2"}
    answer = CliRunner(env=asked).invoke(main, [], prog_name="rta")
    assert answer.stdout.split() == ["plain,delete", "plain,describe"]


def test_sql_answers_and_refuses_to_write() -> None:
    """A SELECT is a table; anything else is refused."""
    assert rta("sql", "SELECT 1234 AS n, 'a' AS t").stdout == "    n  t\n1,234  a\n"
    assert json.loads(rta("sql", "SELECT 1 AS n", "--json").stdout) == [{"n": 1}]
    assert rta("sql", "DROP TABLE rta_batches").exit_code == 1


def test_run_refuses_a_parameter_that_the_notebook_lacks(tmp_path: object) -> None:
    """Before anything runs: exit code 1 and the known names; a missing notebook is said as well."""
    notebook = "notebooks/1-foundations/03-run-flights-job.ipynb"
    wrong = rta("run", notebook, "-p", "windw=1 hour")
    assert wrong.exit_code == 1
    assert "window" in wrong.stderr
    assert rta("run", "notebooks/none.ipynb").exit_code == 1
