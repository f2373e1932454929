"""What a wiring costs: CPU time, bytes read, bytes on disk, lines of code."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rta.architectures.archives import archive_folder, archived, archived_from
from rta.architectures.base import Wiring
from rta.architectures.batch_views import QUERY
from rta.dataframes.task_metrics import Spent, spent
from rta.engines.spark.lateness import Transform
from rta.settings import settings
from rta.store.ledger import Batch

if TYPE_CHECKING:
    import pandas as pd


def stored_bytes(wired: Wiring) -> int:
    """Sum the bytes that lie in archive and checkpoints; the tables in the database are not in it."""
    checkpoints = settings().home / "checkpoints"
    places = [checkpoints / part for part in (wired.view.parts if wired.view else ())]
    if wired.architecture != "kappa":
        places.append(archive_folder(wired.topic))
    files = [
        path for place in places if place.exists() for path in place.rglob("*") if path.is_file()
    ]
    return sum(_size(path) for path in files)


def cpu_seconds(wired: Wiring, batches: Iterable[Batch]) -> float:
    """Sum what Spark's tasks have spent in this process on the tables of some batches, and on the archive."""
    return sum(each.cpu_s for each in _spent(wired, batches))


def bytes_read(wired: Wiring, batches: Sequence[Batch], records: pd.DataFrame) -> int:
    """Sum the bytes that some batches of a wiring have read.

    Of the topic: keys and values of the events in its micro-batches, and once those that the archive has. Of the archive's
    files: what Spark says of its tasks in this process.
    records: partition, offset, bytes of each event of the topic.
    """
    ranges = [
        (batch.start_offsets, batch.end_offsets)
        for batch in batches
        if not batch.query_id.startswith(f"{QUERY} ")
    ]
    if wired.architecture != "kappa" and (ends := archived(wired.topic)):
        ranges.append((archived_from(wired.topic), ends))
    files = sum(each.file_bytes for each in _spent(wired, batches))
    return files + sum(_between(records, start, end) for start, end in ranges)


def _spent(wired: Wiring, batches: Iterable[Batch]) -> list[Spent]:
    owners = {batch.table for batch in batches}
    if wired.architecture != "kappa":
        owners.add(f"archive of {wired.topic}")
    return [spent(owner) for owner in owners]


def _between(records: pd.DataFrame, start: Mapping[int, int], end: Mapping[int, int]) -> int:
    """Sum the bytes of the records between two offsets of each partition."""
    first, last = (records["partition"].map(each).fillna(0) for each in (dict(start), dict(end)))
    here = (records["offset"] >= first) & (records["offset"] < last)
    return int(records.loc[here, "bytes"].sum())


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # Spark has just swept it
        return 0


def lines_of(transform: Transform) -> int | None:
    """Count the lines of the function that are neither empty nor comment nor its docstring; None where there is no source."""
    import ast
    import textwrap

    plain = getattr(transform, "func", transform)
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(plain)))
    except (OSError, TypeError, SyntaxError):
        return None
    [function] = tree.body[:1]
    if isinstance(function, ast.FunctionDef) and ast.get_docstring(function):
        function.body = function.body[1:]
    return len(ast.unparse(function).splitlines())
