"""The consumer groups of the cluster, and how far each is behind."""

from __future__ import annotations

from dataclasses import dataclass

from rta.errors import TopicError
from rta.kafka import topics
from rta.kafka.client import administrator


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


def groups() -> list[Group]:
    """List the consumer groups of the cluster, by name. Spark's own queries commit no offsets, so they are in none.

    >>> "doc-nobody" in [group.name for group in groups()]
    False
    """
    with administrator() as admin:
        found = {each["group_id"]: each["group_state"] for each in admin.list_groups()}
    return [_group(name, state) for name, state in sorted(found.items())]


def group_lag(name: str) -> list[topics.Lag]:
    """Return how far a group is behind, by topic and partition.

    Raises:
        TopicError: if there is no such group; the message lists those that there are.

    >>> group_lag("doc-nobody")
    Traceback (most recent call last):
    rta.errors.TopicError: there is no consumer group 'doc-nobody'; found: ...
    """
    rows = topics.lag(name)
    known = [group.name for group in groups()] if not rows else [name]
    if name not in known:
        found = ", ".join(known) or "no group at all"
        raise TopicError(
            f"there is no consumer group {name!r}", found=found, fix="correct the name"
        )
    return rows


def _group(name: str, state: str) -> Group:
    rows = topics.lag(name)
    return Group(name, state, tuple(sorted({row.topic for row in rows})), sum(row.lag for row in rows))  # fmt: skip
