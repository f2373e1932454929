"""Apache Flink as an engine: see rta.engines.portable.Engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rta.engines import portable
from rta.engines.contract.description import Description
from rta.engines.contract.traits import Traits
from rta.engines.flink import cluster, job
from rta.engines.flink.statements import Wiring, unsupported
from rta.engines.flink.translation import select
from rta.engines.jvm import event_json
from rta.events.event_types import EventType
from rta.kafka import client

if TYPE_CHECKING:
    from rta.engines.portable import Asked

__all__ = ["TRAITS", "definition", "forget", "processes", "start", "unsupported"]
TRAITS: Final = Traits(
    guarantee="exactly once",
    late="counted: a group takes events for ever, and its state is kept for ever",
    latency="a checkpoint: a second",
)
_MOST_TASKS: Final = 2  # side by side
_LONGEST: Final = "transaction.max.timeout.ms"
_KAFKAS_LONGEST: Final = 900_000  # milliseconds, by default


def start(asked: Asked) -> job.FlinkJob:
    """Start a job from its newest checkpoint or savepoint, or find the one that runs."""
    told = event_json(asked.event, asked.max_skew)
    wired = Wiring(
        asked.source.name, asked.results, asked.event, told, client.java_options("properties."), _longest_transaction(),
        "earliest" if asked.earliest else asked.start,
    )  # fmt: skip
    tasks = min(_MOST_TASKS, asked.source.partitions)
    return job.start(asked.query, wired, state=asked.state, name=asked.table, parallelism=tasks)


def definition(query: Description, _event: EventType) -> str:
    """Return the Flink SQL that an analysis becomes."""
    return select(query)


def processes() -> list[int]:
    """Return the id of Flink's JVM, if it runs."""
    return [running.pid] if (running := cluster.status()) else []


def forget(table: str) -> None:
    """Cancel the job of a table, if one runs."""
    if (running := cluster.status()) and (found := job.running(running, job.Launch(table, (), portable.state_of(table), 0))):  # fmt: skip
        found.cancel()


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
