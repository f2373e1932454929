"""Apache Flink as an engine: see rta.engines.portable.Engine."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from rta.engines import changelog
from rta.engines.contract.description import Description
from rta.engines.contract.traits import Traits
from rta.engines.engine_tables import engine_of, state_of
from rta.engines.flink import cluster, job
from rta.engines.flink.own import require_kafka_within_reach, storage
from rta.engines.flink.state import State
from rta.engines.flink.statements import Wiring, unsupported
from rta.engines.flink.translation import select
from rta.events.event_types import EventType
from rta.events.strict_json import event_json
from rta.kafka import client
from rta.settings import settings

if TYPE_CHECKING:
    from rta.engines.portable import Asked

__all__ = ["TRAITS", "definition", "forget", "left", "processes", "ready", "start", "unsupported"]
TRAITS: Final = Traits(
    guarantee="exactly once",
    late="counted: a group takes events for ever, and its state is kept for ever",
    latency="a checkpoint: a second",
)
_MOST_TASKS: Final = 2  # side by side
_LONGEST: Final = "transaction.max.timeout.ms"
_KAFKAS_LONGEST: Final = 900_000  # milliseconds, by default


def ready(table: str) -> None:
    """Raise an error if Flink cannot keep a table: a person's own lacks something, or the state of the table is that of another Flink."""
    results = changelog.find(table)
    if results and engine_of(table) == "flink":
        _state(table, results.topic).claim(table)
    at = cluster.up()
    if not at.ours:
        storage(table)
        require_kafka_within_reach(client.java_options()["bootstrap.servers"].split(","), at.gateway)  # fmt: skip


def start(asked: Asked) -> job.FlinkJob:
    """Start a job from its newest checkpoint or savepoint, or find the one that runs."""
    at, told = cluster.up(), event_json(asked.event, asked.max_skew, asked.query.paths)
    wired = Wiring(
        asked.source.name, asked.results, asked.event, told, client.java_options("properties."), _longest_transaction(),
        "earliest" if asked.earliest else asked.start,
    )  # fmt: skip
    tasks = min(_MOST_TASKS, asked.source.partitions)
    state = _state(asked.table, asked.results)
    return job.start(asked.query, wired, at=at, state=state, table=asked.table, parallelism=tasks)


def definition(query: Description, _event: EventType) -> str:
    """Return the Flink SQL that an analysis becomes."""
    return select(query)


def processes() -> list[int]:
    """Return the id of the local Flink's JVM, if it runs; a person's own has none here."""
    running = cluster.status()
    return [running.pid] if running and running.pid is not None else []


def left(table: str) -> job.FlinkJob | None:
    """Return the job of a table if one runs, whoever has started it: Flink goes on without."""
    running, results = cluster.status(), changelog.find(table)
    if running is None or results is None:
        return None
    state = _state(table, results.topic)
    return job.running(running, job.Launch(results.topic, table, (), state, 0))


def forget(table: str) -> None:
    """Cancel the job of a table, if one runs, and remove its state where this machine reaches it."""
    if (results := changelog.find(table)) is None:
        return
    state = _state(table, results.topic)
    state.claim(table)
    if (running := cluster.status()) is None:
        if not state.local:
            logging.getLogger("rta").warning("%s: your own Flink does not answer; if it comes back, cancel the job %s there", table, results.topic)  # fmt: skip
    elif found := job.running(running, job.Launch(results.topic, table, (), state, 0)):
        found.cancel()
    state.remove()


def _state(table: str, results: str) -> State:
    """Return where the state of a table is: under RTA_HOME for the local Flink, under RTA_FLINK_STATE for a person's own."""
    notes = state_of(table)
    return State(notes, storage(results) if settings().flink_state else notes.as_uri())


def _longest_transaction() -> int:
    """Return how many milliseconds a transaction may stay open: what the broker says, or Kafka's default if it does not tell this user."""
    from kafka.admin import ConfigResource, ConfigResourceType
    from kafka.errors import KafkaError

    with client.administrator() as admin:
        [broker, *_] = admin.describe_cluster()["brokers"]
        resource = ConfigResource(ConfigResourceType.BROKER, str(broker["broker_id"]), {_LONGEST: None})  # fmt: skip
        try:
            found = admin.describe_configs([resource], config_filter="all")
        except KafkaError:
            return _KAFKAS_LONGEST
    [told] = found["broker"].values()
    return int(told[_LONGEST]["value"])
