"""The consumer groups of the cluster, and their lag."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from rta.errors import TopicError
from rta.html import Facts
from rta.kafka.client import administrator
from rta.names import checked

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Lag:
    """The lag of a consumer group on one partition, in records."""

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
        state: Its state, in Kafka's words.
        topics: The topics that it has committed offsets of.
        lag: Its lag over all of them, in records.
    """

    name: str
    state: str
    topics: tuple[str, ...]
    lag: int


def lag(group: str, *, missing_ok: bool = True) -> Facts[Lag]:
    """Return the lag of a consumer group, by topic and partition.

    Args:
        group: The id of the consumer group.
        missing_ok: Accept a group that does not exist.

    Returns:
        One entry for each partition; none if the group has never committed.

    Raises:
        TopicError: If there is no such group, unless missing_ok; the message lists the groups that there are.

    >>> lag("doc-nobody")
    []
    """
    from kafka import OffsetSpec

    committed = _committed(checked("group", group))
    if not (committed or missing_ok):
        known = [each.name for each in groups()]
        if group not in known:
            found = ", ".join(known) or "no group at all"
            raise TopicError(f"there is no consumer group {group!r}", found=found, fix="correct the name")  # fmt: skip
    with administrator() as admin:
        wanted = dict.fromkeys(committed, OffsetSpec.LATEST)
        latest = admin.list_partition_offsets(wanted) if committed else {}
    rows = [
        Lag(tp.topic, tp.partition, at.offset, latest[tp].offset, latest[tp].offset - at.offset)
        for tp, at in committed.items()
    ]
    return Facts(sorted(rows, key=lambda row: (row.topic, row.partition)))


def groups() -> list[Group]:
    """List the consumer groups of the cluster by name. Queries of Spark commit no offsets to Kafka, so they are in no group.

    >>> "doc-nobody" in [group.name for group in groups()]
    False
    """
    with administrator() as admin:
        found = {each["group_id"]: each["group_state"] for each in admin.list_groups()}
    return [_group(name, state) for name, state in sorted(found.items())]


def _group(name: str, state: str) -> Group:
    rows = lag(name)
    return Group(name, state, tuple(sorted({row.topic for row in rows})), sum(row.lag for row in rows))  # fmt: skip


def _committed(group: str) -> dict[Any, Any]:
    """Return a group's committed offsets."""

    def ask() -> dict[Any, Any]:
        with administrator() as admin:
            return dict(admin.list_group_offsets(group).get(group, {}))

    return when_coordinated(ask)


def when_coordinated(ask: Callable[[], Answer], *, patience: float = 60) -> Answer:
    """Ask about a group until somebody coordinates it: a new broker must first create the topic that stores offsets.

    >>> when_coordinated(lambda: 42)
    42
    """
    deadline = time.monotonic() + patience
    while True:
        try:
            # After an error it is another admin client, which asks again who coordinates the group.
            return ask()
        except uncoordinated():
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def uncoordinated() -> tuple[type[Exception], ...]:
    """Return the errors that say that nobody coordinates a group yet, or another broker does now.

    >>> len(uncoordinated())
    3
    """
    from kafka.errors import (
        CoordinatorLoadInProgressError,
        CoordinatorNotAvailableError,
        NotCoordinatorError,
    )

    return CoordinatorNotAvailableError, CoordinatorLoadInProgressError, NotCoordinatorError
