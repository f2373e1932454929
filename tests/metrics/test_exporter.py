"""The exporter: scraped by a real Prometheus, whatever is away, and as a file for node-exporter."""

import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import pytest
from click.testing import CliRunner
from confluent_kafka import Consumer, TopicPartition
from pyspark.sql import SparkSession

import rta
from rta.cli.app import main
from rta.errors import InputError, JobError
from rta.kafka import broker
from rta.metrics import Exporter
from tests.metrics.test_families import values
from tests.support.notebooks import written
from tests.support.prometheus import fetched, prometheus
from tests.support.waiting import finished, until

ROOT = Path(__file__).parents[2]


def scraped(exporter: Exporter) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Scrape it as Prometheus does."""
    return values(fetched(exporter.address))


@pytest.mark.kafka
def test_prometheus_scrapes_a_query_its_lag_a_group_and_dead_letters(
    spark: SparkSession, topic: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A query that runs, one bad event, a group that is behind: each is in Prometheus, and its alert of the shipped rules fires."""
    monkeypatch.setattr(
        rta.metrics.Observer.__init__, "__defaults__", (8.0,)
    )  # below Prometheus's own
    monkeypatch.setattr("rta.metrics.unread._PATIENCE", 8.0)
    name = topic(partitions=2)
    table = "scraped_totals"
    good = rta.user_events(spark, rows=100)
    rta.publish(rta.events.poisoned(good, share=0.03, seed=3, kinds=["bom"]), name)
    query = rta.follow(name, rta.transforms.totals, table=table, key=["window", "user_id"], event=rta.USER_EVENTS)  # fmt: skip
    foreign = Consumer({"bootstrap.servers": broker.bootstrap(), "group.id": f"g-{name}"})
    try:
        query.processAllAvailable()
        taken = rta.accounting(table)
        foreign.commit(offsets=[TopicPartition(name, 0, 1)], asynchronous=False)
        foreign.close()
        ends = {p: end for p, (_, end) in rta.kafka.offsets(name).items()}
        rules = Path(str(files("rta.metrics"))) / "alerts.yml"
        with rta.metrics.serve(port=0) as exporter, prometheus(tmp_path, exporter.address, rules=[rules]) as server:  # fmt: skip
            until(lambda: server.query(f'rta_events_total{{table="{table}"}}'))
            outcomes = server.query(f'sum by (outcome) (rta_events_total{{table="{table}"}})')
            assert {dict(labels)["outcome"]: value for labels, value in outcomes.items()} == {
                "used": taken.used, "duplicate": taken.duplicate, "late": taken.late, "quarantined": taken.quarantined,
            }  # fmt: skip
            assert taken.quarantined > 0
            # Kafka may need more than the patience of one look.
            until(lambda: server.query(f'rta_dead_letters{{topic="{name}"}}') == {(("topic", name),): taken.quarantined})  # fmt: skip
            lag = f'kafka_consumergroup_lag{{topic="{name}"}}'
            until(lambda: server.query(f"sum by (consumergroup) ({lag})").get((("consumergroup", table),)) == 0)  # fmt: skip
            assert server.query(f'{lag[:-1]},consumergroup="g-{name}"}}') == {
                (("consumergroup", f"g-{name}"), ("partition", "0"), ("topic", name)): ends[0] - 1
            }  # fmt: skip
            [age] = server.query(f'kafka_consumergroup_group_lag_seconds{{group="g-{name}"}}').values()  # fmt: skip
            assert 0 < age < 3600
            spark_s = server.query(f'spark_structured_streaming_driver_states_rowsTotal{{query_name="{table}"}}')  # fmt: skip
            assert spark_s == {(("app_id", spark.sparkContext.applicationId), ("query_name", table)): len(rta.read(table))}  # fmt: skip
            until(lambda: "RtaDeadLetters" in server.firing())
            query.stop()
            rta.dlq.redrive(name, lambda dead: (dead.value or b"").removeprefix(b"\xef\xbb\xbf"))
            until(lambda: server.query(f'sum by (c) (kafka_consumergroup_lag{{consumergroup="{table}"}})') == {(): taken.quarantined})  # fmt: skip
            until(lambda: server.query(f'rta_dead_letters{{topic="{name}"}}') == {(("topic", name),): 0})  # fmt: skip
            assert server.query(f'rta_query_running{{query_name="{table}"}}') == {(("engine", "spark"), ("query_name", table)): 0}  # fmt: skip
            ages = server.query(f'max(kafka_consumergroup_group_lag_seconds{{group="{table}"}})')
            assert 0 < ages[()] < 600
            openmetrics = fetched(exporter.address, Accept="application/openmetrics-text")
            assert openmetrics.rstrip().endswith("# EOF")
    finally:
        query.stop()


@pytest.mark.kafka
def test_spark_s_own_figures_have_the_names_and_values_that_spark_registers(spark: SparkSession, topic: Callable[..., str]) -> None:  # fmt: skip
    """What Spark's own source of metrics has of a running query, named as the field's boards have it: all of it, and no more.

    The boards have their names from the JMX exporter by the rule of Spark's operator: `….driver.spark.streaming.QUERY.FIGURE` becomes
    `spark_structured_streaming_driver_FIGURE{query_name="QUERY"}`.
    """
    name, table = topic(partitions=1), "spark_s_names"
    rta.publish(rta.user_events(spark, rows=60, users=7), name)
    query = rta.follow(name, rta.transforms.totals, table=table, key=["window", "user_id"], event=rta.USER_EVENTS, max_events_per_batch=20)  # fmt: skip
    try:
        query.processAllAvailable()
        source = query._jsq.streamingQuery().streamMetrics()
        prefix, _, of = source.sourceName().rpartition(".")
        assert prefix == "spark.streaming"

        def registered() -> dict[tuple[str, str, str], float]:
            gauges = dict(source.metricRegistry().getGauges()).items()
            return {
                ("spark_structured_streaming_driver_" + re.sub(r"\W", "_", figure), spark.sparkContext.applicationId, of): gauge.getValue()
                for figure, gauge in gauges
            }  # fmt: skip

        def told() -> dict[tuple[str, str, str], float]:
            return {
                (metric, dict(labels)["app_id"], dict(labels)["query_name"]): value
                for (metric, labels), value in values(rta.metrics.exposition()).items()
                if metric.startswith("spark_") and ("query_name", table) in labels
            }

        assert len(registered()) == 6
        assert told().keys() == registered().keys()
        until(lambda: told() == registered())
        assert registered()["spark_structured_streaming_driver_states_rowsTotal", spark.sparkContext.applicationId, table] == len(rta.read(table))  # fmt: skip
    finally:
        query.stop()


def test_whatever_is_away_is_said_and_the_rest_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    """No broker: none is started. Kafka silent, the database away: 0, and an answer within the patience; both back: 1 again."""
    monkeypatch.setenv("RTA_HOME", str(tmp_path))
    up = {part: ("rta_up", (("part", part),)) for part in ("kafka", "database")}
    with rta.metrics.serve(port=0) as exporter, socket.socket() as silent:
        found = scraped(exporter)
        assert (found[up["kafka"]], found[up["database"]]) == (0, 1)
        assert broker.status() is None
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        monkeypatch.setenv("RTA_KAFKA_BOOTSTRAP", f"127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setenv("RTA_DATABASE_URL", "postgresql://u:planted@127.0.0.1:1/nowhere")
        found = until(lambda: (seen := scraped(exporter))[up["database"]] == 0 and seen)
        assert found[up["kafka"]] == 0
        assert found["rta_look_seconds", ()] < 9
        monkeypatch.delenv("RTA_DATABASE_URL")
        until(lambda: scraped(exporter)[up["database"]] == 1)


def test_a_run_of_a_job_is_counted_by_how_it_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    """Two real runs, of which the second fails: one of each state, the end of the newest, and that of the one that succeeded."""
    monkeypatch.setenv("RTA_HOME", str(tmp_path / "home"))
    path = written(tmp_path / "nightly.ipynb", "print(1)")
    job = ("job", "nightly")
    with rta.metrics.serve(port=0) as exporter:
        assert ("rta_job_failed", (job,)) not in scraped(exporter)
        good = rta.jobs.run(path)
        assert good.ended_at
        succeeded = {
            ("rta_job_runs_total", (job, ("state", "succeeded"))): 1,
            ("rta_job_last_end_timestamp_seconds", (job,)): good.ended_at.timestamp(),
            ("rta_job_last_success_timestamp_seconds", (job,)): good.ended_at.timestamp(),
            ("rta_job_failed", (job,)): 0,
        }
        until(lambda: succeeded.items() <= scraped(exporter).items())
        with pytest.raises(JobError):
            rta.jobs.run(written(path, "1 / 0"))
        [bad] = rta.jobs.history("nightly", state="failed")
        assert bad.ended_at
        failed = {
            ("rta_job_runs_total", (job, ("state", "failed"))): 1,
            ("rta_job_last_end_timestamp_seconds", (job,)): bad.ended_at.timestamp(),
            ("rta_job_failed", (job,)): 1,
        }
        until(lambda: (succeeded | failed).items() <= scraped(exporter).items())


def test_prometheus_tells_which_job_has_failed_and_when_it_is_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    """With the scrape of the page, `job` is the job: its alarm of the shipped rules fires for it alone, and ends with a run that succeeds."""
    monkeypatch.setenv("RTA_HOME", str(tmp_path / "home"))
    path = written(tmp_path / "nightly.ipynb", "1 / 0")
    rta.jobs.run(written(tmp_path / "weekly.ipynb", "1"))
    with pytest.raises(JobError):
        rta.jobs.run(path)
    rules = Path(str(files("rta.metrics"))) / "alerts.yml"
    with rta.metrics.serve(port=0) as exporter, prometheus(tmp_path, exporter.address, rules=[rules]) as server:  # fmt: skip
        fires = 'count by (rule) (ALERTS{alertname="RtaJobFailed",alertstate="firing",job=~"%s"})'
        until(lambda: server.query(fires % ".*") == {(): 1})
        assert server.query(fires % "nightly") == {(): 1}
        rta.jobs.run(written(path, "1"))
        until(lambda: "RtaJobFailed" not in server.firing())
        assert server.query('count(rta_job_failed{job=~"nightly|weekly"} == 0)') == {(): 2}


def test_the_figures_are_a_file_for_node_exporter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Written completely under its name, readable by others; another name, or no folder, is refused; promtool reads it."""
    monkeypatch.setenv("RTA_HOME", str(tmp_path / "home"))
    target = rta.metrics.write(tmp_path / "rta.prom")
    assert target.stat().st_mode & 0o777 == 0o644
    assert [path.name for path in tmp_path.glob("rta.*")] == ["rta.prom"]
    assert values(target.read_text())["rta_up", (("part", "kafka"),)] == 0
    checked = subprocess.run(["promtool", "check", "metrics"], input=target.read_bytes(), capture_output=True, check=False)  # fmt: skip
    assert checked.returncode == 0, checked.stderr
    with pytest.raises(InputError, match="no such folder"):
        rta.metrics.write(tmp_path / "nowhere" / "rta.prom")


def test_the_command_serves_prints_and_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On loopback, until it is interrupted; --once, --textfile, --rules and --board end at once; a port that is taken is a sentence."""
    monkeypatch.setenv("RTA_HOME", str(tmp_path))
    serving = subprocess.Popen(
        [sys.executable, "-m", "rta.cli", "metrics", "--port", "0"], cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    assert serving.stdout is not None
    said = serving.stdout.readline()
    assert said.startswith("metrics at http://127.0.0.1:")
    address = said.split()[2].rstrip(";")
    assert "rta_up" in fetched(address)
    port = address.rpartition(":")[2].partition("/")[0]
    run = CliRunner()
    taken = run.invoke(main, ["metrics", "--port", port])
    assert taken.exit_code == 1
    assert "cannot be used" in taken.stderr
    serving.send_signal(2)
    finished(serving)
    assert serving.returncode == 130
    once = run.invoke(main, ["metrics", "--once"])
    assert values(once.stdout)["rta_up", (("part", "database"),)] == 1
    assert run.invoke(main, ["metrics", "--textfile", str(tmp_path / "a.prom")]).exit_code == 0
    assert run.invoke(main, ["metrics", "--rules"]).stdout.startswith(
        "# Alert rules for Prometheus"
    )
    assert run.invoke(main, ["metrics", "--board"]).stdout.startswith("{")


@pytest.mark.kafka
def test_a_driver_that_is_killed_is_said(topic: Callable[..., str]) -> None:
    """The look after it has spark as away with the reason, the query as stopped, and Kafka and the tables as before."""
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.children.observe_a_dead_driver", topic(partitions=1)], cwd=ROOT, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    out, err = finished(child)
    assert out.splitlines()[0] == "before True True running | None", err
    assert out.splitlines()[1].startswith("after False True stopped | its JVM has ended: killed by signal 9"), out  # fmt: skip
