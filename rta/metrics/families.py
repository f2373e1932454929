"""One look at everything as metric families of prometheus_client: the names that boards of the field expect, and ours."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

from rta.metrics.observation import Observation, ObservedQuery, Places

if TYPE_CHECKING:
    from prometheus_client.core import Metric

_SPARK: Final = "spark_structured_streaming_driver_"
OUTCOMES: Final = ("used", "duplicate", "late", "quarantined")

FAMILIES: Final = {
    "rta_up": ("part", "1 if the part answered: database, kafka, and spark where this process has a session, engines where another one fills a table"),
    "rta_look_seconds": ("", "how long the look took that these figures are from"),
    _SPARK + "inputRate_total": ("app_id query_name", "events per second that arrive"),
    _SPARK + "processingRate_total": ("app_id query_name", "events per second that the query processes while it works"),
    _SPARK + "latency": ("app_id query_name", "duration of the last micro-batch in milliseconds"),
    _SPARK + "eventTime_watermark": ("app_id query_name", "the watermark in milliseconds since 1970"),
    _SPARK + "states_rowsTotal": ("app_id query_name", "rows of state"),
    _SPARK + "states_usedBytes": ("app_id query_name", "memory of the state in bytes"),
    "rta_query_running": ("query_name engine", "1 if the query runs, in whichever process"),
    "rta_query_growing": ("query_name engine", "1 if what is unread grew within the last minute, by more than the noise of batches"),
    "rta_query_events_per_second": ("query_name engine", "events per second that the query takes now"),
    "rta_query_state_bytes": ("query_name engine", "size of its state: Spark's in memory, Flink's in its newest checkpoint"),
    "rta_query_restarts_total": ("query_name engine", "how often an engine beside Spark has died and was started again, and has restored its job"),
    "rta_query_checkpoints_total": ("query_name engine", "checkpoints that Flink has completed since its job began"),
    "rta_query_last_commit_timestamp_seconds": ("query_name engine", "when the newest micro-batch was committed"),
    "kafka_consumergroup_lag": ("consumergroup topic partition", "records not yet read, of consumer groups and of queries by their name"),
    "kafka_consumergroup_group_lag_seconds": ("cluster_name group topic partition", "age of the oldest unread record by its Kafka timestamp; 0 if all is read"),
    "rta_events_total": ("table outcome", "where the events of a table went: used, duplicate, late or quarantined"),
    "rta_events_consumed_total": ("table", "events that were consumed for a table, counted on their own"),
    "rta_events_lost_total": ("table", "events that Kafka deleted before they were read"),
    "rta_flawed_batches_total": ("table", "micro-batches whose terms do not add up"),
    "rta_freshness_seconds": ("table", "seconds since the newest micro-batch with events was committed"),
    "rta_dead_letters": ("topic", "dead letters of a topic that were not sent back yet, each once"),
    "rta_job_runs_total": ("job state", "runs of a job in the history by how they ended; old runs that are removed are not counted"),
    "rta_job_last_end_timestamp_seconds": ("job", "when the newest run ended"),
    "rta_job_last_success_timestamp_seconds": ("job", "when the newest run that succeeded ended"),
    "rta_job_failed": ("job", "1 if the newest run did not succeed"),
    "rta_job_overdue_seconds": ("job", "how long ago the oldest scheduled moment was that has no run yet; 0 if there is none"),
    "rta_job_never_started": ("job", "1 if a schedule has the job, a moment of it has passed, and no run has ever begun"),
}  # fmt: skip
"""Name of a metric → the names of its labels, and what it is."""

Values = Sequence[object]


def families(seen: Observation) -> list[Metric]:
    """Return the metric families of a look.

    >>> from datetime import UTC, datetime
    >>> [family.name for family in families(Observation(datetime.now(UTC), up={"kafka": False}))]
    ['rta_up', 'rta_look_seconds']
    """
    found: dict[str, list[tuple[Values, float]]] = {}
    for name, labels, value in _samples(seen):
        if value is not None:
            found.setdefault(name, []).append((labels, float(value)))
    return [_family(name, found[name]) for name in FAMILIES if name in found]


def _family(name: str, samples: Iterable[tuple[Values, float]]) -> Metric:
    """Return a family with its samples; ours that end with _total are counters, Spark's are gauges by that name."""
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    labels, what = FAMILIES[name]
    counter = name.endswith("_total") and not name.startswith(_SPARK)
    kind = CounterMetricFamily if counter else GaugeMetricFamily
    family = kind(name.removesuffix("_total") if counter else name, what, labels=labels.split())
    for values, value in samples:
        family.add_metric([str(each) for each in values], value)
    return family


def _samples(seen: Observation) -> Iterator[tuple[str, Values, float | int | None]]:
    for part, up in seen.up.items():
        yield "rta_up", (part,), up
    yield "rta_look_seconds", (), seen.took
    for query in seen.queries:
        yield from _of_query(query)
        yield from _of_lag(query.name, query.lag, query.lag_seconds, seen.cluster)
    for group in seen.groups:
        yield from _of_lag(group.name, group.lag, group.lag_seconds, seen.cluster)
    for table in seen.tables:
        terms = table.accounting
        for outcome in OUTCOMES:
            yield "rta_events_total", (table.name, outcome), getattr(terms, outcome)
        yield "rta_events_consumed_total", (table.name,), terms.consumed
        yield "rta_events_lost_total", (table.name,), terms.lost
        yield "rta_flawed_batches_total", (table.name,), terms.flawed
        yield "rta_freshness_seconds", (table.name,), seen.seconds_since(table.committed_at)
    for topic, count in seen.dead_letters.items():
        yield "rta_dead_letters", (topic,), count
    for job in seen.jobs:
        for state, runs in job.runs.items():
            yield "rta_job_runs_total", (job.name, state), runs
        overdue = seen.seconds_since(job.due)
        yield (
            "rta_job_last_end_timestamp_seconds",
            (job.name,),
            _epoch(job.last_end),
        )
        yield (
            "rta_job_last_success_timestamp_seconds",
            (job.name,),
            _epoch(job.last_success),
        )
        yield "rta_job_failed", (job.name,), job.failed if job.last_state else None
        yield "rta_job_overdue_seconds", (job.name,), overdue or 0.0
        yield "rta_job_never_started", (job.name,), job.due is not None and not job.ever_started


def _of_query(query: ObservedQuery) -> Iterator[tuple[str, Values, float | int | None]]:
    labels, now, runs = (query.name, query.engine), query.vitals, query.state == "running"
    if runs and query.engine == "spark":
        sparks = query.application, query.name
        yield _SPARK + "inputRate_total", sparks, now.in_rate
        yield _SPARK + "processingRate_total", sparks, now.out_rate
        yield _SPARK + "latency", sparks, now.batch_ms
        yield _SPARK + "states_rowsTotal", sparks, now.state_rows
        yield _SPARK + "states_usedBytes", sparks, now.state_bytes
        yield _SPARK + "eventTime_watermark", sparks, _epoch(now.watermark, 1000)
    if runs:
        yield "rta_query_events_per_second", labels, now.in_rate
        yield "rta_query_state_bytes", labels, now.state_bytes
        yield "rta_query_restarts_total", labels, query.restarts
        yield "rta_query_checkpoints_total", labels, query.checkpoints
    yield "rta_query_running", labels, runs
    yield "rta_query_growing", labels, query.growing
    yield "rta_query_last_commit_timestamp_seconds", labels, _epoch(query.committed_at)


def _of_lag(name: str, lag: Places, seconds: Places, cluster: str) -> Iterator[tuple[str, Values, float]]:  # fmt: skip
    for (topic, partition), records in lag.items():
        yield "kafka_consumergroup_lag", (name, topic, partition), records
    for (topic, partition), age in seconds.items():
        yield "kafka_consumergroup_group_lag_seconds", (cluster, name, topic, partition), age


def _epoch(moment: dt.datetime | None, times: int = 1) -> float | None:
    """Return a moment in seconds since 1970, or in smaller units."""
    return None if moment is None else moment.timestamp() * times
