"""Kafka Streams as an engine: see rta.engines.portable.Engine.

It has no watermark, and a repartition topic mixes partitions that are read at different speeds, so events that are in time would be taken
for late. So only groups run here whose keys contain the message key: all events of a group are on one partition, in their order.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rta.engines import changelog
from rta.engines.contract.traits import Traits
from rta.engines.kafka_streams.program import Program
from rta.engines.kafka_streams.topology import definition, told, unsupported
from rta.errors import QueryError
from rta.kafka import client, topics
from rta.kafka.consumer_groups import when_coordinated
from rta.settings import private_folder
from rta.setup.jars import kafka_streams_jars
from rta.setup.java import find_java

if TYPE_CHECKING:
    from rta.engines.portable import Asked

__all__ = ["TRAITS", "definition", "forget", "left", "processes", "ready", "start", "unsupported"]
TRAITS: Final = Traits(
    guarantee="exactly once",
    late="left out and counted, each event, by the clock of its own partition",
    latency="a commit: a tenth of a second",
)
_MOST_THREADS: Final = 2
_INTERNAL: Final = ("groups", "counts")  # its stores, each with a changelog topic
CONFIG: Final[Mapping[str, str]] = {
    "commit.interval.ms": "100",  # so long a result may wait to be visible
    "statestore.cache.max.bytes": str(32 * 2**20),
    "consumer.auto.offset.reset": "none",  # events that retention took are an error, not a gap
    "consumer.fetch.max.wait.ms": "100",  # new events end the wait; an idle query and its broker cost half of what they do with 20
    "consumer.max.poll.records": "5000",
    "consumer.metadata.max.age.ms": "10000",  # so soon it sees that a topic has more partitions
    "consumer.max.partition.fetch.bytes": str(4 * 2**20),
    "producer.compression.type": "lz4",
}
_running: Final[dict[str, KafkaStreamsJob]] = {}
"""Application → the job that was started here."""


@dataclass
class KafkaStreamsJob:
    """A job: see rta.engines.engine_query.Job.

    Args:
        native: The program that runs.
        told: What it was told; passwords may be among it.
        folder: Its state and its log.
    """

    native: Program
    told: Mapping[str, Any] = field(repr=False)
    folder: Path
    engine: str = "kafka-streams"

    def active(self) -> bool:
        """Whether it runs."""
        return self.native.runs

    def lost(self) -> bool:
        """Whether its process has died without a word."""
        return self.native.died

    def start_again(self) -> None:
        """Start it again from its last commit."""
        self.native.stop()  # its pipes
        self.native = Program(self.told, self.folder)
        self.native.wait()

    def failure(self) -> str | None:
        """Why it has ended."""
        return self.native.failure()

    def stop(self) -> None:
        """Stop it once all that it has read is committed; the next start goes on there."""
        self.native.stop()
        _running.pop(self.native.application, None)

    def progress(self) -> Mapping[str, Any]:
        """Return what it has said last: its state, read, used, late, quarantined, written, event_time."""
        return dict(self.native.said)


def ready(_table: str) -> None:
    """Raise an error if its program cannot start here."""
    find_java()
    kafka_streams_jars()


def start(asked: Asked) -> KafkaStreamsJob:
    """Start the program where the last one stopped, or find the one that runs here.

    Raises:
        QueryError: It does not start, or the state is that of another query.
    """
    query = told(asked.query, asked.event, asked.max_skew) | {
        "source": asked.source.name, "partitions": asked.source.partitions, "output": asked.results, "application": asked.results,
    }  # fmt: skip
    folder = private_folder(asked.state)
    _require_same(folder / "kafka-streams.json", query, asked.table)
    running = _running.get(asked.results)
    if running and running.active():
        return running
    _begin(asked.results, asked.source.name, asked.start)
    threads = min(_MOST_THREADS, asked.source.partitions)
    # With a name of its own a program that was killed and comes back has its partitions at once.
    own = {"num.stream.threads": str(threads), "consumer.group.instance.id": asked.results}
    whole = {
        **query,
        "state_dir": str(folder / "streams"),
        "config": {**CONFIG, **own, **client.java_options()},
    }
    program = Program(whole, folder)
    program.wait()
    _running[asked.results] = job = KafkaStreamsJob(program, whole, folder)
    return job


def processes() -> list[int]:
    """Return the ids of the programs that this process has started and that run."""
    return [job.native.process.pid for job in _running.values() if job.active()]


def left(_table: str) -> None:
    """Return None: the program ends with the process that started it."""


def forget(table: str) -> None:
    """End the program of a table, and delete what Kafka has of it: the changelogs of its stores, and its consumer group."""
    from kafka.errors import GroupIdNotFoundError

    if (found := changelog.find(table)) is None:
        return
    if running := _running.get(found.topic):
        running.stop()
    for store in _INTERNAL:
        topics.delete_topic(f"{found.topic}-{store}-changelog", missing_ok=True)
    with client.administrator() as admin, suppress(GroupIdNotFoundError):
        admin.delete_groups([found.topic])


def _require_same(known: Path, query: Mapping[str, Any], table: str) -> None:
    """Refuse to go on with the state of another query."""
    wanted = json.dumps(query, sort_keys=True)
    if not known.exists():
        known.write_text(wanted)
        return
    before = json.loads(known.read_text())
    if before["partitions"] != query["partitions"]:
        raise QueryError(
            f"the topic of {table!r} has another number of partitions, and a message key is on another one than before",
            found=f"{query['partitions']} partitions, not {before['partitions']}", fix='use engine="flink" or engine="spark" with a new table',
        )  # fmt: skip
    if before != json.loads(wanted):
        raise QueryError(f"the state of {table!r} is that of another query", found=str(known), fix=f"rta.reset({table!r}), and fill it again")  # fmt: skip


def _begin(application: str, topic: str, start: Mapping[int, int]) -> None:
    """Tell Kafka where the application begins, if it never ran."""
    from kafka import TopicPartition
    from kafka.errors import NoError
    from kafka.structs import OffsetAndMetadata

    def tell() -> Mapping[Any, Any]:
        with client.administrator() as admin:
            if admin.list_group_offsets(application).get(application):
                return {}
            return admin.alter_group_offsets(  # type: ignore[no-any-return]
                application,
                {
                    TopicPartition(topic, p): OffsetAndMetadata(at, "", -1)
                    for p, at in start.items()
                },
            )

    for error in when_coordinated(tell).values():
        if error is not NoError:
            raise QueryError("Kafka does not take where the query begins", found=error.__name__, fix="follow it again")  # fmt: skip
