"""The newest progress of a query, left beside its lock, so that other processes know what Spark tells of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rta.files import write_whole

if TYPE_CHECKING:
    from pyspark.sql.streaming.query import StreamingQuery


@dataclass(frozen=True)
class LeftProgress:
    """What a query of another process has left: the id of its Spark application, and Spark's progress."""

    application: str
    progress: Mapping[str, Any]


def leave(query: StreamingQuery, application: str, lock: Path, before: str) -> str:
    """Write the newest progress of a query, completely or not at all; return it as text.

    Args:
        query: The query.
        application: The id of its Spark application.
        lock: The file that it has locked.
        before: What this returned last: the same is not written again.
    """
    last = query.lastProgress
    if last is None or (text := last.json) == before:
        return before
    write_whole(_file(lock), json.dumps({"application": application, "progress": json.loads(text)}))
    return text


def left(lock: Path) -> LeftProgress | None:
    """Return what the query that holds a lock has left; None before its first micro-batch.

    >>> left(Path("/tmp/doc-no-lock")) is None
    True
    """
    try:
        found = json.loads(_file(lock).read_text())
    except FileNotFoundError:
        return None
    return LeftProgress(found["application"], found["progress"])


def forget(lock: Path) -> None:
    """Remove it: the query has ended."""
    _file(lock).unlink(missing_ok=True)


def _file(lock: Path) -> Path:
    return lock.with_name(f"{lock.name}.progress")
