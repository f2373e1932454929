"""The figures as Prometheus takes them: names, types, and that the board and the rules ask only for what there is."""

import datetime as dt
import json
import re
import subprocess
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import yaml
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import CollectorRegistry

from rta.metrics import Observation, ObservedGroup, ObservedJob, ObservedQuery, ObservedTable
from rta.metrics.exporter import PORT, _Collector
from rta.metrics.families import FAMILIES, families
from rta.monitor import Verdict, Vitals
from rta.store.ledger import Accounting
from tests.support.prometheus import advised

NOON = dt.datetime(2026, 11, 26, 12, tzinfo=dt.UTC)
EVIL = 'a"b\\c\n🙂'
OURS = re.compile(r"\b(?:rta|kafka_consumergroup|spark_structured_streaming_driver)_\w+")


def everything() -> Observation:
    """Make a look that has all there is."""
    vitals = Vitals(NOON, 100.0, 400.0, behind=3, batch_ms=900.0, watermark=NOON, state_rows=7, state_bytes=900)  # fmt: skip
    query = ObservedQuery(
        "totals", "running", Verdict("keeping up", "good"), vitals, (vitals,), {("clicks", 0): 3}, {("clicks", 0): 1.5}, NOON, NOON, 42, "local-1",
    )  # fmt: skip
    other = replace(
        query, name="visits", engine="flink", application="", restarts=1, checkpoints=12
    )
    table = ObservedTable("totals", Accounting(10, 4, 3, 2, 1, batches=2, lost=5, flawed=1), NOON - dt.timedelta(minutes=1))  # fmt: skip
    jobs = [
        ObservedJob("nightly", {"succeeded": 2, "timed out": 1}, "timed out", NOON, NOON - dt.timedelta(days=1)),
        ObservedJob("new", due=NOON - dt.timedelta(minutes=10), ever_started=False),
    ]  # fmt: skip
    groups = [ObservedGroup(EVIL, {("clicks", 1): 9}, {("clicks", 1): 0.0})]
    return Observation(NOON, {"kafka": True, "database": True}, {}, [query, other], [table], groups, {"clicks": 2}, jobs, "embedded", 0.01)  # fmt: skip


def exposed(seen: Observation) -> str:
    """Return Prometheus' text of a look."""

    class Looked(_Collector):
        def __init__(self) -> None:
            """Look no more."""

        def collect(self):  # type: ignore[no-untyped-def]
            """Yield the families."""
            yield from families(seen)

    registry = CollectorRegistry()
    registry.register(Looked())
    return generate_latest(registry).decode()


def values(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Read the text by prometheus_client's own parser."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_each_figure_has_its_name_type_and_labels() -> None:
    """All families that there are, with what a look says; a name from outside is only a label."""
    text = exposed(everything())
    found = values(text)
    assert {name for name, _ in found} == set(FAMILIES)
    expected = {
        ("rta_up", (("part", "kafka"),)): 1,
        ("spark_structured_streaming_driver_inputRate_total", (("app_id", "local-1"), ("query_name", "totals"))): 100,
        ("spark_structured_streaming_driver_latency", (("app_id", "local-1"), ("query_name", "totals"))): 900,
        ("spark_structured_streaming_driver_eventTime_watermark", (("app_id", "local-1"), ("query_name", "totals"))): NOON.timestamp() * 1000,
        ("rta_query_events_per_second", (("engine", "spark"), ("query_name", "totals"))): 100,
        ("rta_query_running", (("engine", "flink"), ("query_name", "visits"))): 1,
        ("rta_query_state_bytes", (("engine", "flink"), ("query_name", "visits"))): 900,
        ("rta_query_restarts_total", (("engine", "flink"), ("query_name", "visits"))): 1,
        ("rta_query_checkpoints_total", (("engine", "flink"), ("query_name", "visits"))): 12,
        ("kafka_consumergroup_lag", (("consumergroup", "totals"), ("partition", "0"), ("topic", "clicks"))): 3,
        ("kafka_consumergroup_lag", (("consumergroup", EVIL), ("partition", "1"), ("topic", "clicks"))): 9,
        ("kafka_consumergroup_group_lag_seconds", (("cluster_name", "embedded"), ("group", "totals"), ("partition", "0"), ("topic", "clicks"))): 1.5,
        ("rta_events_total", (("outcome", "late"), ("table", "totals"))): 2,
        ("rta_events_total", (("outcome", "quarantined"), ("table", "totals"))): 1,
        ("rta_events_consumed_total", (("table", "totals"),)): 10,
        ("rta_freshness_seconds", (("table", "totals"),)): 60,
        ("rta_dead_letters", (("topic", "clicks"),)): 2,
        ("rta_job_runs_total", (("job", "nightly"), ("state", "timed out"))): 1,
        ("rta_job_failed", (("job", "nightly"),)): 1,
        ("rta_job_last_success_timestamp_seconds", (("job", "nightly"),)): (NOON - dt.timedelta(days=1)).timestamp(),
        ("rta_job_overdue_seconds", (("job", "new"),)): 600,
        ("rta_job_never_started", (("job", "new"),)): 1,
    }  # fmt: skip
    assert expected.items() <= found.items()
    # Spark's own names are for Spark: a query on Flink has no application.
    assert not [
        key for key in found if key[0].startswith("spark_") and ("query_name", "visits") in key[1]
    ]
    assert "# TYPE rta_events_total counter" in text
    assert "# TYPE spark_structured_streaming_driver_inputRate_total gauge" in text


def test_what_is_not_known_is_not_said() -> None:
    """Neither 0 nor NaN: a query of another process has no state size, a table without events no age."""
    seen = everything()
    query = replace(seen.queries[0], vitals=Vitals(NOON), lag={}, lag_seconds={}, committed_at=None)
    new = ObservedTable("new", Accounting())
    found = values(exposed(replace(seen, queries=[query], tables=[new], jobs=[])))
    names = {name for name, _ in found}
    assert not [name for name in names if name.startswith("spark_")]
    assert "rta_freshness_seconds" not in names
    assert found["rta_query_running", (("engine", "spark"), ("query_name", "totals"))] == 1
    assert found["rta_events_total", (("outcome", "used"), ("table", "new"))] == 0


def test_promtool_finds_nothing_but_spark_s_own_names_to_say() -> None:
    """`promtool check metrics` is content with ours; Spark's names are camelCase, and its gauges end with _total."""
    checked = subprocess.run(["promtool", "check", "metrics"], input=exposed(everything()), text=True, capture_output=True, check=False)  # fmt: skip
    said = [line for line in (checked.stdout + checked.stderr).splitlines() if line]
    assert said
    assert [line for line in said if not line.startswith("spark_structured_streaming_driver_")] == []  # fmt: skip


def test_the_rules_are_valid_and_ask_only_for_what_there_is() -> None:
    """`promtool check rules` takes them, and each name of ours in them is one of the exporter's."""
    rules = Path(str(files("rta.metrics"))) / "alerts.yml"
    checked = subprocess.run(["promtool", "check", "rules", rules], text=True, capture_output=True, check=False)  # fmt: skip
    assert checked.returncode == 0, checked.stdout + checked.stderr
    asked = [rule["expr"] for group in yaml.safe_load(rules.read_text())["groups"] for rule in group["rules"]]  # fmt: skip
    assert len(asked) > 10
    named = {name for expression in asked for name in OURS.findall(expression)}
    assert named <= set(FAMILIES)
    assert len(named) > 10


def test_the_board_asks_only_for_what_there_is() -> None:
    """Each name of ours in a panel or a variable is one of the exporter's; the panels do not overlap."""
    board = json.loads(files("rta.metrics").joinpath("grafana.json").read_text())
    asked = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    asked += [each["query"]["query"] for each in board["templating"]["list"] if each["type"] == "query"]  # fmt: skip
    named = {name for expression in asked for name in OURS.findall(expression)}
    assert named <= set(FAMILIES)
    assert len(named) > 12
    cells = [
        (x, y)
        for panel in board["panels"]
        for place in [panel["gridPos"]]
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24


def test_the_page_on_opentelemetry_names_the_exporter_s_address() -> None:
    """Its configuration is YAML, and the receiver scrapes the port that `rta metrics` has by default, as Prometheus is told to."""
    page = (Path(__file__).parents[2] / "docs" / "opentelemetry.md").read_text()
    [text] = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    config = yaml.safe_load(text)
    [job] = config["receivers"]["prometheus"]["config"]["scrape_configs"]
    assert job["static_configs"] == [{"targets": [f"127.0.0.1:{PORT}"]}]
    assert advised().items() <= job.items()
    for pipeline in config["service"]["pipelines"].values():
        assert set(pipeline["receivers"]) <= set(config["receivers"])
        assert set(pipeline["exporters"]) <= set(config["exporters"])
