"""An analyzed plan of Spark as a tree in Python, so that the JVM is asked once for each node.

What is below a source is rta's own reading, no part of the transform, and left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from rta.dataframes.internals import each
from rta.dataframes.sources import OBSERVED
from rta.engines.spark.query_sources import ONLY

OBSERVED_COPIES: Final = "rta_source:copies"
"""The metric of a transform that removes copies by itself: the counts {"duplicate", "reached", "passed"}."""

PROCESSOR: Final = "TransformWithStateInPySpark"
DROPS: Final = {"Deduplicate", "DeduplicateWithinWatermark"}
MAY_KEEP: Final = {"Aggregate", "Join", PROCESSOR, *DROPS}
"""Operators that keep state if their input is a stream; a join, if both of its inputs are."""


@dataclass(frozen=True, eq=False)
class Node:
    """A node of a plan.

    Args:
        plan: The node as Spark has it.
        name: What Spark calls it.
        streaming: Whether a stream is below it.
        topic: The topic that it reads: rta counts its events there.
        below: Its inputs; none at a source.
    """

    plan: Any
    name: str
    streaming: bool
    topic: str | None
    below: tuple[Node, ...]

    @staticmethod
    def of(plan: Any) -> Node:
        """Read a plan.

        >>> from rta.dataframes.internals import analyzed
        >>> [node.name for node in Node.of(analyzed(spark.range(3).where("id > 1"))).walk()]
        ['Filter', 'Range']
        """
        name = str(plan.nodeName())
        topic = _topic(str(plan.name())) if name == "CollectMetrics" else None
        below = () if topic is not None else tuple(map(Node.of, each(plan.children())))
        streaming = any(child.streaming for child in below) if below else bool(plan.isStreaming())
        return Node(plan, name, streaming, topic, below)

    @property
    def keeps(self) -> bool:
        """Whether it keeps state."""
        streams = [child.streaming for child in self.below]
        return self.name in MAY_KEEP and (all(streams) if self.name == "Join" else any(streams))

    def walk(self) -> Iterator[Node]:
        """Yield it and what is below it, from the result down."""
        yield self
        for child in self.below:
            yield from child.walk()

    def topics(self, *, streaming: bool = True) -> frozenset[str]:
        """Return the topics that are read below; a source that is not rta's own has no name.

        Args:
            streaming: Whether only streams count; the topics of static frames are then left out.
        """
        ends = [
            node for node in self.walk() if not node.below and (node.streaming or not streaming)
        ]
        found = frozenset(ONLY if node.topic is None else node.topic for node in ends)
        return found - {ONLY} or found

    def arriving(self) -> frozenset[str]:
        """Return the topics whose events are in its rows without having passed an operator that keeps state."""
        if not self.streaming or self.keeps:
            return frozenset()
        if not self.below:
            return self.topics()
        return frozenset[str]().union(*(child.arriving() for child in self.below))

    def copies_of(self, *, streaming: bool = True) -> str | None:
        """Return the topic of which it drops duplicate events; None if its rows are no events: those of a join, or of an aggregate."""
        if self.name not in DROPS:
            return None
        topics = self.topics(streaming=streaming)
        like = all(node.name in DROPS for node in self.walk() if node.keeps)
        return next(iter(topics)) if like and len(topics) == 1 else None


def stateful(root: Node) -> list[Node]:
    """List the operators that keep state if their input is a stream, from the result down."""
    return [node for node in root.walk() if node.name in MAY_KEEP]


def _topic(metric: str) -> str | None:
    """Return the topic whose events an observation counts, by its name; None if it counts something else."""
    kind, _, topic = metric.partition(":")
    return topic.partition(":")[0] if kind == OBSERVED and metric != OBSERVED_COPIES else None
