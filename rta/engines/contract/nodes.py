"""A plan of Spark as a tree of nodes, and the error that says what in it only Spark can run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rta.errors import QueryError

Node = Mapping[str, Any]


def refused(what: str) -> QueryError:
    """Return the error that says what only Spark can do."""
    return QueryError(
        "this analysis runs on Spark only", found=what,
        fix='use engine="spark"; the other engines take filter, withColumn and one groupBy(window, keys).agg(…) of sum, count, min, max, avg; Flink takes session windows, too',
    )  # fmt: skip


def tree(flat: Iterator[Any]) -> Node:
    """Return the next node with its children as `of`, and the class's own name as `name`; the node's name stays as `called`."""
    node = dict(next(flat))
    node["called"] = node.get("name")
    node["name"] = node["class"].rpartition(".")[2]
    node["of"] = [tree(flat) for _ in range(node["num-children"])]
    return node


def inside(node: Node) -> Iterator[Node]:
    """Yield a node and all that is inside it."""
    yield node
    for each in node["of"]:
        yield from inside(each)
