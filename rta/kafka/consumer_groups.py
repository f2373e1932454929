"""The consumer groups of the cluster, and how far each is behind."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from rta.errors import TopicError
from rta.html import Facts
from rta.kafka.client import administrator
from rta.names import checked


@dataclass(frozen=True)
class Lag:
    """How far one consumer group is behind on one partition, in records."""

    topic: str
    partition: int
    committed: int
    latest: int
    lag: int


@dataclass(frozen=True)
class Group:
    """A consumer group.

    Args:
        name: Its id.
        state: As Kafka calls it.
        topics: Those that it has committed.
        lag: In records, over all that it has committed.
    """

    name: str
    state: str
    topics: tuple[str, ...]
    lag: int


def lag(group: str) -> Facts[Lag]:
    """Return how far a consumer group is behind, by topic and partition.

    Args:
        group: The id of the consumer group.

    Returns:
        One entry a partition; none if the group has never committed.

    >>> lag("doc-nobody")
    []
    """
    from kafka import OffsetSpec

    committed = _committed(checked("group", group))
    with administrator() as admin:
        latest = (
            admin.list_partition_offsets(dict.fromkeys(committed, OffsetSpec.LATEST))
            if committed
            else {}
        )
    rows = [
        Lag(tp.topic, tp.partition, at.offset, latest[tp].offset, latest[tp].offset - at.offset)
        for tp, at in committed.items()
    ]
    return Facts(sorted(rows, key=lambda row: (row.topic, row.partition)))


def groups() -> list[Group]:
    """List the consumer groups of the cluster, by name. Spark's own queries commit no offsets, so they are in none.

    >>> "doc-nobody" in [group.name for group in groups()]
    False
    """
    with administrator() as admin:
        found = {each["group_id"]: each["group_state"] for each in admin.list_groups()}
    return [_group(name, state) for name, state in sorted(found.items())]


def group_lag(name: str) -> Facts[Lag]:
    """Return how far a group is behind, by topic and partition.

    Raises:
        TopicError: if there is no such group; the message lists those that there are.

    >>> group_lag("doc-nobody")
    Traceback (most recent call last):
    rta.errors.TopicError: there is no consumer group 'doc-nobody'; found: ...
    """
    rows = lag(name)
    known = [group.name for group in groups()] if not rows else [name]
    if name not in known:
        found = ", ".join(known) or "no group at all"
        raise TopicError(
            f"there is no consumer group {name!r}", found=found, fix="correct the name"
        )
    return rows


def _group(name: str, state: str) -> Group:
    rows = lag(name)
    return Group(name, state, tuple(sorted({row.topic for row in rows})), sum(row.lag for row in rows))  # fmt: skip


def _committed(group: str, *, patience: float = 60) -> dict[Any, Any]:
    """Return a group's committed offsets; a young broker first has to make the topic that keeps them."""
    from kafka.errors import (
        CoordinatorLoadInProgressError,
        CoordinatorNotAvailableError,
        NotCoordinatorError,
    )

    young = CoordinatorNotAvailableError, CoordinatorLoadInProgressError, NotCoordinatorError
    deadline = time.monotonic() + patience
    while True:
        try:
            with (
                administrator() as admin
            ):  # after an error another one, which asks anew who coordinates the group
                return dict(admin.list_group_offsets(group).get(group, {}))
        except young:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
