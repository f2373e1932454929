"""How far somebody has come through a topic: how many of the events that are there now, and how many there are."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from rta.kafka import topics

Ranges = Mapping[int, tuple[int, int]]


def headway(topic: str, reached: Callable[[], Mapping[int, int]]) -> Callable[[], tuple[int, int]]:
    """Return a question for rta.progress.watched(): how many events were taken since it was first asked, and of how many.

    reached: partition → the next offset to take. What arrives later is not asked for.

    >>> _ = rta.publish(rta.user_events(spark, rows=10), "doc-headway", partitions=1)
    >>> places = iter([{0: 4}, {0: 9}])
    >>> ask = headway("doc-headway", lambda: next(places))
    >>> ask(), ask()
    ((0, 6), (5, 6))
    """
    known: dict[int, tuple[int, int]] = {}
    first = 0

    def ask() -> tuple[int, int]:
        nonlocal first
        if not known:
            known.update(topics.offsets(topic))
            first = passed(reached(), known)
            return 0, events(known) - first
        return passed(reached(), known) - first, events(known) - first

    return ask


def events(known: Ranges) -> int:
    """Count the offsets of a topic: partition → earliest and latest.

    >>> events({0: (2, 5), 1: (0, 1)})
    4
    """
    return sum(latest - earliest for earliest, latest in known.values())


def passed(reached: Mapping[int, int], known: Ranges) -> int:
    """Count the offsets of a topic that somebody has passed: those that are gone since do not count.

    >>> passed({0: 4}, {0: (2, 5), 1: (0, 1)})
    2
    """
    return sum(
        min(max(reached.get(p, 0), earliest), latest) - earliest
        for p, (earliest, latest) in known.items()
    )
