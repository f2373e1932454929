"""Topics, their partitions and their offsets."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rta.errors import InputError, TopicError
from rta.html import Facts
from rta.kafka.auth_errors import denied
from rta.kafka.client import administrator
from rta.names import checked

if TYPE_CHECKING:
    from kafka import KafkaAdminClient


@dataclass(frozen=True)
class Topic:
    """A topic; `events` counts offsets, so it is exact if nothing was compacted."""

    name: str
    partitions: int
    events: int


@dataclass(frozen=True)
class TopicDescription:
    """What Kafka tells of a topic at one moment: asked for once, and handed down to all who need a part of it.

    Args:
        name: The topic.
        id: Kafka's own id; a topic that was deleted and created again has another.
        ranges: Partition → its earliest offset, and its latest: the next to be written.
        rights: What this user may do, such as "READ"; None if the broker is too old to tell.
    """

    name: str
    id: str
    ranges: Mapping[int, tuple[int, int]]
    rights: frozenset[str] | None

    @property
    def partitions(self) -> int:
        """Return the number of its partitions."""
        return len(self.ranges)

    @property
    def events(self) -> int:
        """Return the number of its offsets: its events, if nothing was compacted.

        >>> TopicDescription("t", "an-id", {0: (2, 5), 1: (0, 1)}, None).events
        4
        """
        return sum(latest - earliest for earliest, latest in self.ranges.values())

    def passed(self, reached: Mapping[int, int]) -> int:
        """Return how many of its offsets a reader has passed; those that were deleted since do not count.

        Args:
            reached: Partition → the next offset to read.

        Example:
            >>> TopicDescription("t", "an-id", {0: (2, 5), 1: (0, 1)}, None).passed({0: 4})
            2
        """
        return sum(
            min(max(reached.get(p, 0), earliest), latest) - earliest
            for p, (earliest, latest) in self.ranges.items()
        )

    def require(self, right: str) -> None:
        """Raise RefusedError if this user lacks a right, such as "READ"."""
        if self.rights is not None and right not in self.rights:
            raise denied(self.name)


def create_topic(
    name: str,
    *,
    partitions: int = 4,
    replication_factor: int | None = None,
    exist_ok: bool = True,
    config: Mapping[str, str] | None = None,
) -> Topic:
    """Create a topic, or return the one that exists.

    Args:
        name: The topic.
        partitions: The number of its partitions.
        replication_factor: By default 3, or the number of brokers if there are fewer. (Kafka's own default is 1.)
        exist_ok: Accept a topic that exists already.
        config: Its settings, by Kafka's own names.

    Raises:
        TopicError: if it exists with another number of partitions, or at all with exist_ok=False.

    >>> create_topic("doc-topics", partitions=2)
    Topic(name='doc-topics', partitions=2, events=0)
    """
    from kafka.errors import InvalidConfigurationError, TopicAlreadyExistsError

    checked("topic", name)
    if partitions < 1:
        raise InputError("a topic needs at least one partition", found=partitions, fix="ask for 1")
    with administrator() as admin:
        replicas = replication_factor or _replicas(len(admin.describe_cluster()["brokers"]))
        wanted = {"num_partitions": partitions, "replication_factor": replicas, "configs": dict(config or {})}  # fmt: skip
        try:
            admin.create_topics({name: wanted}, wait_for_metadata=True)
        except TopicAlreadyExistsError:
            if not exist_ok:
                raise TopicError(
                    f"topic {name!r} exists already", fix="choose another name, or delete_topic()"
                ) from None
        except InvalidConfigurationError as error:
            why = re.search(r"error_message='([^']*)", str(error))
            raise InputError(
                f"Kafka refuses the configuration of topic {name!r}",
                found=why[1] if why else dict(config or {}), fix="correct it",
            ) from None  # fmt: skip
    topic = describe_topic(name)
    if topic.partitions != partitions:
        raise TopicError(
            f"topic {name!r} exists with another number of partitions",
            found=f"{topic.partitions}, not {partitions}",
            fix=f"ask for partitions={topic.partitions}, or use another topic",
        )
    return topic


def ensure_topic(
    name: str, *, partitions: int = 4, right: str | None = None, config: Mapping[str, str] | None = None
) -> None:  # fmt: skip
    """Create a topic if it is missing; leave one that exists as it is.

    Args:
        name: The topic.
        partitions: The number of partitions of a new topic.
        right: "READ" or "WRITE", if the caller needs it.
        config: The settings of a new topic, by Kafka's own names.

    Raises:
        RefusedError: if this user lacks the right.

    Example:
        >>> ensure_topic("doc-ensured", partitions=2)
        >>> ensure_topic("doc-ensured", partitions=3)
        >>> len(offsets("doc-ensured"))
        2
    """
    try:
        offsets(name, right=right)
    except TopicError:
        create_topic(name, partitions=partitions, config=config)


def _replicas(brokers: int) -> int:
    """Return the number of replicas of a topic: three survive the loss of a broker while another one restarts.

    >>> _replicas(1), _replicas(2), _replicas(5)
    (1, 2, 3)
    """
    return min(3, max(brokers, 1))


def delete_topic(name: str, *, missing_ok: bool = False) -> None:
    """Delete a topic and all its events.

    Raises:
        TopicError: if there is none, unless missing_ok.

    >>> _ = create_topic("doc-deleted", partitions=1)
    >>> delete_topic("doc-deleted")
    >>> delete_topic("doc-deleted", missing_ok=True)
    """
    from kafka.errors import UnknownTopicOrPartitionError

    with administrator() as admin:
        try:
            admin.delete_topics([checked("topic", name)])
        except UnknownTopicOrPartitionError:
            if not missing_ok:
                raise missing(name) from None


def list_topics() -> Facts[Topic]:
    """List the topics of the cluster by name, without Kafka's internal ones.

    >>> _ = create_topic("doc-listed", partitions=1)
    >>> "doc-listed" in [topic.name for topic in list_topics()]
    True
    """
    with administrator() as admin:
        names = sorted(name for name in admin.list_topics() if not name.startswith("__"))
    return Facts(_topic(name, found) for name, found in ranges(names).items())


def ranges(names: Collection[str]) -> dict[str, dict[int, tuple[int, int]]]:
    """Return topic → partition → its earliest offset, and its latest, of many topics at once; one that is not there is left out.

    >>> ranges(["doc-no-such-topic"])
    {}
    """
    with administrator() as admin:
        described = admin.describe_topics(sorted(names)) if names else []
        places = {
            each["name"]: [partition["partition_index"] for partition in each["partitions"]]
            for each in described
            if not each.get(
                "error_code"
            )  # else it was deleted meanwhile, or this user may not see it
        }
        found = _ranges(admin, places)
    return {name: found[name] for name in sorted(found)}


def topic_config(name: str) -> dict[str, str]:
    """Return the settings of a topic that differ from the broker's defaults.

    Raises:
        TopicError: if there is no such topic.

    >>> _ = create_topic("doc-config", partitions=1, config={"retention.ms": "60000"})
    >>> topic_config("doc-config")
    {'retention.ms': '60000'}
    """
    from kafka.admin import ConfigResource, ConfigResourceType

    resource = ConfigResource(ConfigResourceType.TOPIC, checked("topic", name))
    with administrator() as admin:
        _described(admin, name)
        found = admin.describe_configs([resource])["topic"][name]
    return {setting: fact["value"] for setting, fact in sorted(found.items())}


def _topic(name: str, ranges: Mapping[int, tuple[int, int]]) -> Topic:
    return Topic(name, len(ranges), sum(latest - earliest for earliest, latest in ranges.values()))


def _ranges(
    admin: KafkaAdminClient, places: Mapping[str, Sequence[int]]
) -> dict[str, dict[int, tuple[int, int]]]:
    """Return topic → partition → the earliest offset, and the next to be written, by two requests for all of them."""
    from kafka import OffsetSpec, TopicPartition

    wanted = [TopicPartition(name, p) for name, partitions in places.items() for p in partitions]
    first, last = (
        admin.list_partition_offsets(dict.fromkeys(wanted, spec)) if wanted else {}
        for spec in (OffsetSpec.EARLIEST, OffsetSpec.LATEST)
    )  # fmt: skip
    return {
        name: {p: (first[at].offset, last[at].offset) for p in sorted(partitions) for at in [TopicPartition(name, p)]}
        for name, partitions in places.items()
    }  # fmt: skip


def describe_topic(name: str) -> Topic:
    """Return the partitions and the number of events of a topic.

    Raises:
        TopicError: if there is none.

    >>> _ = create_topic("doc-describe", partitions=2)
    >>> describe_topic("doc-describe").partitions
    2
    """
    return _topic(name, offsets(name))


def description(name: str) -> TopicDescription:
    """Describe a topic as it is now.

    Args:
        name: The topic.

    Raises:
        TopicError: if there is no such topic.
        RefusedError: if this user may not see it.

    Example:
        >>> _ = create_topic("doc-description", partitions=2)
        >>> topic = description("doc-description")
        >>> topic.partitions, topic.events, topic.ranges
        (2, 0, {0: (0, 0), 1: (0, 0)})
        >>> topic.require("READ")
    """
    checked("topic", name)
    with administrator() as admin:
        found = _described(admin, name)
        partitions = [partition["partition_index"] for partition in found["partitions"]]
        ranges = _ranges(admin, {name: partitions})[name]
    rights = found.get("authorized_operations")
    return TopicDescription(
        name, str(found["topic_id"]), ranges, None if rights is None else frozenset(rights)
    )


def offsets(name: str, *, right: str | None = None) -> dict[int, tuple[int, int]]:
    """Return partition → its earliest offset, and its latest: the next to be written.

    Args:
        name: The topic.
        right: "READ" or "WRITE", if the caller needs it.

    Raises:
        TopicError: if there is no such topic.
        RefusedError: if this user may not see it, or lacks the right.

    Example:
        >>> _ = create_topic("doc-offsets", partitions=2)
        >>> offsets("doc-offsets")
        {0: (0, 0), 1: (0, 0)}
    """
    topic = description(name)
    if right:
        topic.require(right)
    return dict(topic.ranges)


def headway(topic: str, reached: Callable[[], Mapping[int, int]]) -> Callable[[], tuple[int, int]]:
    """Return a function for rta.progress.watched(): how many events were read since its first call, and of how many.

    Events that arrive after the first call are not counted.

    Args:
        topic: The topic.
        reached: Returns partition → the next offset to read.

    Example:
        >>> _ = rta.publish(rta.user_events(spark, rows=10), "doc-headway", partitions=1)
        >>> places = iter([{0: 4}, {0: 9}])
        >>> ask = headway("doc-headway", lambda: next(places))
        >>> ask(), ask()
        ((0, 6), (5, 6))
    """
    begun: list[tuple[TopicDescription, int]] = []

    def ask() -> tuple[int, int]:
        now = reached()
        if not begun:
            there = description(topic)
            begun.append((there, there.passed(now)))
        [(there, first)] = begun
        return there.passed(now) - first, there.events - first

    return ask


def topic_id(name: str) -> str:
    """Return Kafka's own id of a topic; one that was deleted and created again has another.

    Raises:
        TopicError: if there is no such topic.

    >>> _ = create_topic("doc-id", partitions=1)
    >>> topic_id("doc-id") == topic_id("doc-id")
    True
    """
    with administrator() as admin:
        return str(_described(admin, checked("topic", name))["topic_id"])


def missing(name: str) -> TopicError:
    """Return the error for a topic that does not exist, with the names that look like it."""
    with administrator() as admin:
        known = sorted(topic for topic in admin.list_topics() if not topic.startswith("__"))
    near = difflib.get_close_matches(name, known, n=3) or known[:5]
    return TopicError(
        f"there is no topic {name!r}",
        found=f"topics: {', '.join(near)}" if near else "no topics at all",
        fix="publish to it first (rta.publish or `rta publish`), or correct the name",
    )


def _described(admin: KafkaAdminClient, name: str) -> dict[str, Any]:
    """Return Kafka's own description of a topic."""
    from kafka.errors import NoError, TopicAuthorizationFailedError

    described = admin.describe_topics([name])
    code = described[0].get("error_code") if described else None
    if code == TopicAuthorizationFailedError.errno:
        raise denied(name)
    if code != NoError.errno:
        raise missing(name)
    return dict(described[0])
