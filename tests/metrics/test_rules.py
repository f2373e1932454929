"""The alert rules that ship for Prometheus, one after another: `promtool test rules` sees each fire for its fault, and end with it."""

import re
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from rta.metrics.families import FAMILIES

RULES: Final = Path(str(files("rta.metrics"))) / "alerts.yml"
STEP: Final = 10  # seconds from one scrape to the next
HOUR: Final = 3600
TARGET: Final = {"job": "rta", "instance": "127.0.0.1:9464"}  # what Prometheus adds
SPARK: Final = "spark_structured_streaming_driver_"

Series = Mapping[str, Callable[[int], float]]
"""A series without what Prometheus adds → its value at a second."""


@dataclass(frozen=True)
class Case:
    """A fault that comes and goes.

    Args:
        alert: The rule that is to fire, and no other.
        series: What is scraped.
        fires: The second at which it fires; one scrape before, it does not.
        resolved: The second at which it is over; one scrape before, it fires.
        labels: Those of the alert.
        says: Its summary.
    """

    alert: str
    series: Series
    fires: int
    resolved: int
    labels: Mapping[str, str]
    says: str


def between(first: int, end: int, fault: float, well: float = 0) -> Callable[[int], float]:
    """Return a series that has one value from a second to another, and a second one before and after."""
    return lambda second: fault if first <= second < end else well


def always(value: float) -> Callable[[int], float]:
    """Return a series that stays."""
    return lambda _: value


def since(begin: int, end: int) -> Callable[[int], float]:
    """Return a series that counts the seconds of a fault."""
    return lambda second: second - begin if begin <= second < end else 0


CLICKS: Final = '{consumergroup="clicks",topic="t",partition="0"}'
QUERY: Final = '{query_name="clicks",engine="spark"}'
DRIVER: Final = '{app_id="local-1",query_name="clicks"}'
OF_A_TABLE: Final = {"table": "clicks"}
CASES: Final = (
    Case("RtaDown", {"up": between(60, 300, 0, well=1)}, 90, 300, TARGET | {"severity": "critical"}, "127.0.0.1:9464 does not answer"),
    Case("RtaDown", {'rta_up{part="kafka"}': between(60, 300, 0, well=1)}, 90, 300,
        TARGET | {"part": "kafka", "severity": "critical"}, "kafka at 127.0.0.1:9464 does not answer"),
    Case("RtaLagGrowing", {
            'kafka_consumergroup_group_lag_seconds{cluster_name="c",group="clicks",topic="t",partition="0"}': always(30),
            'kafka_consumergroup_group_lag_seconds{cluster_name="c",group="clicks",topic="t",partition="1"}': between(60, 300, 90),
            f"rta_query_growing{QUERY}": always(1),
        }, 90, 300, {"group": "clicks", "severity": "warning"}, "clicks is 1m 30s behind, and growing"),
    Case("RtaSlowerThanInput", {
            f"{SPARK}inputRate_total{DRIVER}": between(60, 300, 200, well=50), f"{SPARK}processingRate_total{DRIVER}": always(100),
            f"kafka_consumergroup_lag{CLICKS}": always(9),
        }, 120, 300, TARGET | {"app_id": "local-1", "query_name": "clicks", "severity": "warning"}, "clicks processes fewer events than arrive"),
    Case("RtaNoProgress", {
            f"rta_query_last_commit_timestamp_seconds{QUERY}": lambda second: 60 if 60 <= second < 300 else second,
            f"rta_query_running{QUERY}": always(1), f"kafka_consumergroup_lag{CLICKS}": always(9),
        }, 160, 300, TARGET | {"engine": "spark", "query_name": "clicks", "severity": "critical"},
        "clicks: no micro-batch for 1m 40s, and records wait"),
    Case("RtaNoData", {'rta_freshness_seconds{table="clicks"}': since(60, 900), f"rta_query_running{QUERY}": always(1)}, 670, 900,
        TARGET | OF_A_TABLE | {"severity": "warning"}, "clicks: no event for 10m 10s"),
    Case("RtaLateShare", {
            'rta_events_consumed_total{table="clicks"}': lambda second: 10 * second,
            'rta_events_total{table="clicks",outcome="used"}': lambda second: 10 * second - (100 if second >= 600 else 0),
            'rta_events_total{table="clicks",outcome="late"}': lambda second: 100 if second >= 600 else 0,
        }, 600, 900, OF_A_TABLE | {"severity": "warning"}, "clicks: more than one event in a hundred was late"),
    Case("RtaDeadLetters", {'rta_dead_letters{topic="clicks"}': between(60, 300, 3)}, 60, 300,
        TARGET | {"topic": "clicks", "severity": "warning"}, "clicks has 3 dead letters that were not sent back"),
    Case("RtaStateGrowing", {  # over one and a half times of an hour ago from 4,610 on
            f"{SPARK}states_rowsTotal{DRIVER}": lambda second: 2_000 if second >= 2 * HOUR else 10_000 + 5 * max(second - HOUR, 0),
        }, 6410, 2 * HOUR, TARGET | {"app_id": "local-1", "query_name": "clicks", "severity": "warning"},
        "the state of clicks has 24050 rows, and grows"),
    Case("RtaEventsDoNotAddUp", {'rta_flawed_batches_total{table="clicks"}': between(60, 300, 1)}, 60, 300,
        TARGET | OF_A_TABLE | {"severity": "critical"}, "the events of clicks do not add up"),
    Case("RtaEventsDoNotAddUp", {
            'rta_events_consumed_total{table="clicks"}': always(10), 'rta_events_total{table="clicks",outcome="used"}': between(60, 300, 7, well=8),
            'rta_events_total{table="clicks",outcome="duplicate"}': always(2),
        }, 60, 300, OF_A_TABLE | {"severity": "critical"}, "the events of clicks do not add up"),
    Case("RtaEventsLost", {'rta_events_lost_total{table="clicks"}': between(60, 300, 5)}, 60, 300,
        TARGET | OF_A_TABLE | {"severity": "critical"}, "Kafka has deleted 5 events before clicks has read them"),
    Case("RtaJobFailed", {'rta_job_failed{job="nightly"}': between(60, 300, 1)}, 60, 300,
        TARGET | {"job": "nightly", "severity": "warning"}, "the newest run of nightly did not succeed"),
    Case("RtaJobLate", {
            'rta_job_overdue_seconds{job="nightly"}': since(60, 600), 'rta_job_never_started{job="nightly"}': always(0),
            'rta_job_never_started{job="new"}': always(1),
        }, 370, 600, TARGET | {"job": "nightly", "severity": "warning"}, "nightly is due for 5m 10s, and has not begun"),
    Case("RtaJobNeverStarted", {
            'rta_job_overdue_seconds{job="new"}': since(60, 600), 'rta_job_never_started{job="new"}': always(1),
            'rta_job_never_started{job="nightly"}': always(0),
        }, 370, 600, TARGET | {"job": "new", "severity": "warning"}, "new has a schedule, and has never begun"),
)  # fmt: skip
QUIET: Final[Series] = {
    "up": always(1), 'rta_up{part="kafka"}': always(1),
    # Long ago, and it has read all: fewer events than it could take, or none.
    f"rta_query_running{QUERY}": always(0), f"rta_query_last_commit_timestamp_seconds{QUERY}": always(0), 'rta_freshness_seconds{table="clicks"}': lambda second: second,
    'rta_query_running{query_name="idle",engine="spark"}': always(1), 'rta_query_last_commit_timestamp_seconds{query_name="idle",engine="spark"}': always(0),
    f"kafka_consumergroup_lag{CLICKS}": always(9), 'kafka_consumergroup_lag{consumergroup="idle",topic="t",partition="0"}': always(0),
    'spark_structured_streaming_driver_inputRate_total{app_id="local-1",query_name="idle"}': always(9),
    'spark_structured_streaming_driver_processingRate_total{app_id="local-1",query_name="idle"}': always(8),
    # It catches up; another one grows, and is not far behind yet.
    'kafka_consumergroup_group_lag_seconds{cluster_name="c",group="clicks",topic="t",partition="0"}': always(900), f"rta_query_growing{QUERY}": always(0),
    'kafka_consumergroup_group_lag_seconds{cluster_name="c",group="idle",topic="t",partition="0"}': always(50), 'rta_query_growing{query_name="idle",engine="spark"}': always(1),
    # It has doubled at once, and stays so; small, and it grows.
    f"{SPARK}states_rowsTotal{DRIVER}": lambda second: 20_000 if second < HOUR else 40_000, 'spark_structured_streaming_driver_states_rowsTotal{app_id="local-1",query_name="idle"}': lambda second: second,
    # One late event in two hundred.
    'rta_events_consumed_total{table="clicks"}': lambda second: 200 * second, 'rta_events_total{table="clicks",outcome="used"}': lambda second: 199 * second,
    'rta_events_total{table="clicks",outcome="late"}': lambda second: second, 'rta_flawed_batches_total{table="clicks"}': always(0),
    'rta_events_lost_total{table="clicks"}': always(0), 'rta_dead_letters{topic="clicks"}': always(0),
    'rta_job_failed{job="nightly"}': always(0), 'rta_job_overdue_seconds{job="nightly"}': always(200), 'rta_job_never_started{job="nightly"}': always(0),
}  # fmt: skip


def scraped(name: str) -> str:
    """Return a series as Prometheus has it: with what it adds; a series of ours has its own job, by `honor_labels`."""
    metric, _, labels = name.partition("{")
    own = dict(re.findall(r'(\w+)="([^"]*)"', labels))
    assert metric == "up" or set(own) == set(FAMILIES[metric][0].split()), name
    return metric + "{" + ",".join(f'{key}="{value}"' for key, value in (TARGET | own).items()) + "}"  # fmt: skip


def group(series: Series, end: int, checks: Mapping[str, Any]) -> dict[str, Any]:
    """Return a test of promtool: what is scraped until a second, and what is to hold."""
    values = {scraped(name): " ".join(f"{value(second):g}" for second in range(0, end + STEP, STEP)) for name, value in series.items()}  # fmt: skip
    return {
        "interval": f"{STEP}s",
        "input_series": [{"series": name, "values": each} for name, each in values.items()],
        **checks,
    }


def judged(folder: Path, *groups: dict[str, Any]) -> None:
    """Let promtool test the rules."""
    tests = {"rule_files": [str(RULES)], "evaluation_interval": f"{STEP}s", "tests": list(groups)}
    (folder / "cases.yml").write_text(yaml.safe_dump(tests))
    answer = subprocess.run(["promtool", "test", "rules", folder / "cases.yml"], text=True, capture_output=True, check=False)  # fmt: skip
    assert answer.returncode == 0, answer.stdout + answer.stderr


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.alert)
def test_each_rule_fires_for_its_fault_and_is_resolved(case: Case, tmp_path: Path) -> None:
    """After its `for` and not before, once, without a gap, no other rule beside it; with the fault it is over."""

    def seen(second: int, *, firing: bool) -> dict[str, Any]:
        alert = {"exp_labels": dict(case.labels), "exp_annotations": {"summary": case.says}}
        return {"eval_time": f"{second}s", "alertname": case.alert, "exp_alerts": [alert] if firing else []}  # fmt: skip

    end = case.resolved + 120
    looks = [
        seen(case.fires - STEP, firing=False),
        seen(case.fires, firing=True),
        seen(case.resolved, firing=False),
        seen(end, firing=False),
    ]
    whole = {
        "expr": f'sum by (alertname) (count_over_time(ALERTS{{alertstate="firing"}}[{end}s]))',
        "eval_time": f"{end}s",
        "exp_samples": [{"labels": f'{{alertname="{case.alert}"}}', "value": (case.resolved - case.fires) / STEP}],
    }  # fmt: skip
    judged(tmp_path, group(case.series, end, {"alert_rule_test": looks, "promql_expr_test": [whole]}))  # fmt: skip


def test_two_quiet_hours_fire_none(tmp_path: Path) -> None:
    """What is amiss in one respect only is no fault: a query that is stopped, one with nothing to do, a large state that stays."""
    end = 2 * HOUR
    never = {"expr": f'count_over_time(ALERTS{{alertstate="firing"}}[{end}s])', "eval_time": f"{end}s", "exp_samples": []}  # fmt: skip
    judged(tmp_path, group(QUIET, end, {"promql_expr_test": [never]}))


def test_each_rule_has_a_case_and_series_in_the_quiet_hours() -> None:
    """A rule that is added without one fails here."""
    rules = [rule for each in yaml.safe_load(RULES.read_text())["groups"] for rule in each["rules"]]
    assert len(rules) == 13
    assert {rule["alert"] for rule in rules} == {case.alert for case in CASES}
    asked = {name for rule in rules for name in re.findall(r"\b(?:rta|kafka|spark)_\w+", rule["expr"])}  # fmt: skip
    assert {name.partition("{")[0] for name in QUIET} == asked | {"up"}
