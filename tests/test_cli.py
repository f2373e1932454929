"""The command line as a person and as a program meet it."""

import json
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from click.testing import CliRunner, Result
from pyspark.sql import SparkSession

from rta import broker, datasets, serving, tail, topics
from rta.cli import main
from rta.errors import TopicError
from rta.producer import Published


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


def test_doctor_ticks_and_says_what_to_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    """All well: exit code 0 and a tick each. A wrong Java: exit code 1 and the mend."""
    well = rta("doctor")
    assert well.exit_code == 0, well.output
    assert well.output.count("✓") == 7
    monkeypatch.setenv("RTA_JAVA_HOME", "/nowhere")
    ill = rta("doctor", "--json")
    assert ill.exit_code == 1
    [java] = [check for check in json.loads(ill.stdout) if not check["ok"]]
    assert java["name"] == "java"
    assert "RTA_JAVA_HOME" in java["mend"]


def test_an_error_is_a_sentence_and_exit_code_1(monkeypatch: pytest.MonkeyPatch) -> None:
    """What, found, do; no trace, until it is asked for."""
    missing = rta("tail", "no-such-topic")
    assert missing.exit_code == 1
    assert "✗ there is no topic 'no-such-topic'" in missing.stderr
    assert "do:" in missing.stderr
    assert "Traceback" not in missing.output
    assert "Traceback" in rta("--trace", "tail", "no-such-topic").stderr
    assert rta("tail").exit_code == 2


def test_up_and_status_tell_of_the_broker() -> None:
    """`rta up` finds the running broker; `rta status` says where."""
    assert broker.bootstrap() in rta("up").stdout
    told = json.loads(rta("status", "--json").stdout)
    assert told["bootstrap"] == broker.bootstrap()
    assert set(told["tables"]) == {table.name for table in serving.tables()}


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
    assert "holds them already" in again.output
    assert topics.describe_topic(name).events == events
    lines = rta("tail", name, "-n", "3", "--json").stdout.splitlines()
    assert [json.loads(json.loads(line)["value"])["origin"] for line in lines]
    assert len(lines) == 3
    assert rta("tail", name, "-n", "2").stdout.count("\n") == 2


def test_a_publish_that_stopped_midway_is_said_aloud(
    spark: SparkSession, topic: Callable[..., str]
) -> None:
    """A topic with a part of the data set is neither filled twice nor taken for whole."""
    name = topic(partitions=1)
    first = datasets.publish_dataset("weather", topic=name, end=datetime(2013, 1, 2, tzinfo=UTC))
    assert isinstance(first, Published)
    with pytest.raises(TopicError, match=f"{first.events} of"):
        datasets.publish_dataset(
            "weather", topic=name, end=datetime(2013, 1, 3, tzinfo=UTC), once=True
        )


def test_tail_shows_any_bytes_harmlessly(topic: Callable[..., str]) -> None:
    """Control characters, invalid UTF-8 and null reach the terminal as escapes."""
    from kafka import KafkaProducer

    name = topic(partitions=1)
    producer = KafkaProducer(bootstrap_servers=broker.bootstrap())
    for value in (b"\x1b[31mred\x07", b"\xff\xfe", None):
        producer.send(name, value=value, key=b"k").get(10)
    producer.close()
    assert [record.value for record in tail.records(name)] == [
        "\\x1b[31mred\\x07",
        "\\xff\\xfe",
        None,
    ]
    assert "(null)" in rta("tail", name).stdout


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
