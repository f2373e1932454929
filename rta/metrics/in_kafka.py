"""What Kafka tells: how far its topics go, what groups have committed, how old unread records are, which dead letters are open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from time import time
from typing import TYPE_CHECKING

from rta.errors import BrokerError
from rta.kafka import broker, topics
from rta.kafka.client import administrator
from rta.metrics.observation import ObservedGroup, Places
from rta.metrics.open_dead_letters import OpenDeadLetters, queues_among
from rta.metrics.stored import Offsets
from rta.metrics.unread import OldestUnread, Reader
from rta.settings import settings

if TYPE_CHECKING:
    from kafka import KafkaAdminClient


@dataclass(frozen=True)
class InKafka:
    """What Kafka tells; lag and lag_seconds: query → (topic, partition) → records, or the age of the oldest in seconds."""

    lag: Mapping[str, Places] = field(default_factory=dict)
    lag_seconds: Mapping[str, Places] = field(default_factory=dict)
    groups: Sequence[ObservedGroup] = ()
    dead_letters: Mapping[str, int] = field(default_factory=dict)


class KafkaLook:
    """Looks at Kafka again and again, and reads no record twice."""

    def __init__(self) -> None:
        self._reader = Reader()
        self._unread, self._dead = OldestUnread(self._reader), OpenDeadLetters(self._reader)

    def look(self, reached: Mapping[str, Offsets]) -> InKafka:
        """Look at Kafka now; it never starts the embedded broker.

        Args:
            reached: Query → topic → partition → the next offset that it reads.

        Raises:
            BrokerError: If Kafka is away.
        """
        if not settings().kafka_bootstrap and broker.status() is None:
            raise BrokerError("the embedded broker does not run", fix="start it: rta up")
        with administrator() as admin:
            committed = _committed(admin)
            names = set(admin.list_topics())
        wanted = {
            topic for offsets in (*reached.values(), *committed.values()) for topic in offsets
        }
        ranges = topics.ranges(names & {*wanted, *queues_among(names)})
        dead = self._dead.counts({name: ranges[name] for name in queues_among(ranges)})
        all_read = {**committed, **reached}
        behind = {
            name: _behind(offsets, ranges, of_group=name not in reached)
            for name, offsets in all_read.items()
        }
        positions = {
            (name, *place): _position(offsets, ranges, place)
            for name, offsets in all_read.items()
            for place, records in behind[name].items()
            if records > 0
        }
        oldest = self._unread.timestamps({(topic, p, at): ranges[topic][p][1] for (_, topic, p), at in positions.items()})  # fmt: skip
        now = time() * 1000
        seconds = {
            name: {
                place: max(now - oldest.get((*place, positions[name, *place]), now), 0) / 1000
                if records > 0
                else 0.0
                for place, records in lag.items()
            }
            for name, lag in behind.items()
        }
        groups = [ObservedGroup(name, behind[name], seconds[name]) for name in committed if name not in reached]  # fmt: skip
        return InKafka(
            {name: behind[name] for name in reached}, {name: seconds[name] for name in reached}, groups, dead,
        )  # fmt: skip

    def close(self) -> None:
        """Close its consumer."""
        self._reader.close()


def _committed(admin: KafkaAdminClient) -> dict[str, dict[str, dict[int, int]]]:
    """Return group → topic → partition → the offset that it has committed, by one request for all groups of a coordinator."""
    names = [each["group_id"] for each in admin.list_groups()]
    found: dict[str, dict[str, dict[int, int]]] = {}
    for group, offsets in (admin.list_group_offsets(names) if names else {}).items():
        for place, at in offsets.items():
            if at.offset >= 0:
                found.setdefault(group, {}).setdefault(place.topic, {})[place.partition] = at.offset
    return found


def _behind(
    offsets: Offsets, ranges: Mapping[str, Mapping[int, tuple[int, int]]], *, of_group: bool
) -> dict[tuple[str, int], float]:
    """Return the unread records of each partition of the topics that are still there.

    A query reads all partitions of its topics, also one that is new; of a group it is known only where it has committed.
    """
    return {
        (topic, p): max(end - max(reached.get(p, 0), first), 0)
        for topic, reached in offsets.items()
        for p, (first, end) in ranges.get(topic, {}).items()
        if p in reached or not of_group
    }


def _position(
    offsets: Offsets, ranges: Mapping[str, Mapping[int, tuple[int, int]]], place: tuple[str, int]
) -> int:
    """Return the offset of the first unread record that is still there."""
    topic, partition = place
    return max(offsets[topic].get(partition, 0), ranges[topic][partition][0])
