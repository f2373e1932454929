"""Read a Spark checkpoint: which query owns it, and what each micro-batch reads.

Spark writes the offsets of a micro-batch before it runs, and reads them back after a crash, so they are the only truth about what
a batch with a given id contains. The format is Spark's own, version 1 (`offsets/N`: a version line, a line of metadata, a line for
each source) or 2 (the same, with the name of the source before its offsets).
"""

from __future__ import annotations

import json
import os
import posixpath
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from rta.dataframes.internals import java_class
from rta.engines.spark.internals import file_system
from rta.errors import InputError, QueryError, RtaError
from rta.setup.causes import cause
from rta.urls import shown

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

Offsets = dict[int, int]  # partition → offset
IO: Final = "org.apache.commons.io.IOUtils"


@dataclass(frozen=True)
class Span:
    """The part of a topic that one micro-batch reads: for each partition from `start` to before `end`.

    An event is late in this batch if its window ended at or before `watermark`, the watermark of the batch before. (Spark uses two:
    this one to drop late events, the newer one to evict state.)
    """

    topic: str
    start: Offsets
    end: Offsets
    watermark: datetime | None

    @property
    def events(self) -> int:
        """The number of its offsets, which is that of its events if none was deleted."""
        return sum(end - self.start[partition] for partition, end in self.end.items())


def located(checkpoint: str | Path) -> str:
    """Normalize the location of a checkpoint: an absolute path on this machine, or the URL of another file system.

    Raises:
        InputError: A URL has a password, which locks, logs and errors would show.

    >>> located("file:///tmp/doc//totals/"), located("S3A://bucket/totals/")
    ('/tmp/doc/totals', 's3a://bucket/totals')
    """
    place = re.sub(r"^file:(//(localhost)?(?=/))?", "", str(checkpoint), flags=re.IGNORECASE)
    if not remote(place):
        return os.path.abspath(place)  # noqa: PTH100 - as Spark does it: `..` by name, not through symlinks
    url = urlsplit(place)
    if url.password is not None:
        raise InputError(
            "the location of a checkpoint has a password", found=shown(place),
            fix="give it to Hadoop instead: rta.spark(conf={'spark.hadoop.fs.s3a.secret.key': …})",
        )  # fmt: skip
    host = f"//{url.netloc}" if url.netloc else ""
    return f"{url.scheme}:{host}{posixpath.normpath(url.path) if url.path else ''}"


def remote(place: str) -> bool:
    """Tell whether a location is on another file system: it begins with a scheme.

    >>> remote("hdfs://node/totals"), remote("/tmp/totals")
    (True, False)
    """
    return re.match(r"[a-zA-Z][a-zA-Z0-9+.-]+:", place) is not None


def remove(checkpoint: str | Path) -> None:
    """Delete a checkpoint with all its files, on any file system; do nothing if there is none.

    Raises:
        QueryError: If it cannot be deleted.

    >>> remove("/tmp/doc-no-checkpoint")
    """
    from py4j.protocol import Py4JJavaError
    from pyspark.errors import PySparkException

    from rta.dataframes.session import spark

    place = located(checkpoint)
    try:
        if remote(place):  # Hadoop knows every file system that Spark does
            system, path = file_system(spark(), place)
            if system.exists(path) and not system.delete(path, True):  # noqa: FBT003 - recursive: Java takes no names
                raise OSError(f"{system.getScheme()} does not say why")
        elif Path(place).exists():
            shutil.rmtree(place)
    except (OSError, Py4JJavaError, PySparkException) as error:
        raise QueryError(
            "a checkpoint cannot be deleted", found=f"{place}: {cause(str(error))}",
            fix="delete it there, then call this again",
        ) from error  # fmt: skip


@contextmanager
def taken_back(
    session: SparkSession, checkpoint: str, brought: Callable[[], object]
) -> Iterator[None]:
    """Delete the checkpoint that a start has created, if the start fails without a result.

    Args:
        session: The session.
        checkpoint: Its location.
        brought: Tells whether there is a result.
    """
    system, place = file_system(session, checkpoint)
    new = not system.exists(place)
    try:
        yield
    except BaseException as error:
        if new:
            try:
                if not brought():
                    remove(checkpoint)
            except RtaError as also:  # must not hide why the start failed
                error.add_note(f"its checkpoint is still there: {also}")
        raise


def query_id(session: SparkSession, checkpoint: str) -> str | None:
    """Return the id of the query that owns the checkpoint; None if none ever started.

    Raises:
        QueryError: If the file with the id is damaged.
    """
    path = f"{checkpoint}/metadata"
    text = read(session, path)
    if text is None:
        return None
    identity = parsed(path, text).get("id")
    if not isinstance(identity, str):
        raise damaged(path, text)
    return identity


def newest(session: SparkSession, checkpoint: str, folder: str) -> int:
    """Return the number of the newest file in `offsets` or `commits`, whose names are numbers; -1 if there is none."""
    system, place = file_system(session, f"{checkpoint}/{folder}")
    if not system.exists(place):
        return -1
    names = [status.getPath().getName() for status in system.listStatus(place)]
    return max((int(name) for name in names if name.isdecimal()), default=-1)


def ends(session: SparkSession, checkpoint: str, batch_id: int) -> dict[str, Offsets]:
    """Return topic → partition → the offset before which a micro-batch ends.

    Raises:
        QueryError: If the file is missing or damaged.
    """
    return _offset_file(session, checkpoint, batch_id).offsets


def require_commit(session: SparkSession, checkpoint: str, batch_id: int) -> None:
    """Raise QueryError if the file that commits a micro-batch is damaged."""
    path = f"{checkpoint}/commits/{batch_id}"
    version, _, content = (read(session, path) or "").partition("\n")
    if not re.fullmatch(r"v\d+", version):
        raise damaged(path, version + content)
    parsed(path, content)


def spans(
    session: SparkSession,
    checkpoint: str,
    batch_id: int,
    seen: dict[int, OffsetFile] | None = None,
) -> dict[str, Span]:
    """Return what a micro-batch reads: topic → span. Spark writes the file before the batch runs, so foreachBatch may ask for its own.

    Args:
        session: The session.
        checkpoint: Its location.
        batch_id: The micro-batch.
        seen: The offsets of the micro-batch before, if this run of the query has read them; replaced by those of this one.

    Raises:
        QueryError: If a file is missing or damaged.
    """
    seen = {} if seen is None else seen
    before = seen.get(batch_id - 1)
    seen.clear()
    end = seen[batch_id] = _offset_file(session, checkpoint, batch_id)
    if batch_id > 0:
        before = before or _offset_file(session, checkpoint, batch_id - 1)
        start, watermark_ms = before.offsets, before.watermark_ms
    else:
        start, watermark_ms = _initial(session, checkpoint), 0
    watermark = datetime.fromtimestamp(watermark_ms / 1000, UTC) if watermark_ms else None
    if batch_id > 0 and set(end.offsets) - set(start):  # a topic that was added
        start = _initial(session, checkpoint) | start
    # A new partition starts at 0.
    return {
        topic: Span(topic, {p: start.get(topic, {}).get(p, 0) for p in ends}, ends, watermark)
        for topic, ends in end.offsets.items()
    }


def span(session: SparkSession, checkpoint: str, batch_id: int) -> Span:
    """Return what a micro-batch of a query that reads one topic reads, see spans()."""
    [only] = spans(session, checkpoint, batch_id).values()
    return only


@dataclass(frozen=True)
class OffsetFile:
    """What Spark writes before a micro-batch runs: its watermark, and the offsets where it ends."""

    watermark_ms: int
    offsets: dict[str, Offsets]
    named: bool = False


def names_its_sources(session: SparkSession, checkpoint: str) -> bool | None:
    """Tell whether a checkpoint knows its sources by name, so that a topic may be added or removed; None if it has not begun."""
    last = newest(session, checkpoint, "offsets")
    return None if last < 0 else _offset_file(session, checkpoint, last).named


def has_read(session: SparkSession, checkpoint: str, source: str) -> bool:
    """Tell whether a checkpoint knows where a source began."""
    system, place = file_system(session, f"{checkpoint}/sources/{source}")
    return bool(system.exists(place))


def _offset_file(session: SparkSession, checkpoint: str, batch_id: int) -> OffsetFile:
    """Read `offsets/N`."""
    path = f"{checkpoint}/offsets/{batch_id}"
    text = read(session, path)
    if text is None:
        raise QueryError("the checkpoint lacks a file that Spark wrote", found=path, fix=START_OVER)
    try:
        version, metadata, *sources = text.splitlines()
        named = version == "v2"
        if version not in ("v1", "v2") or not sources:
            raise ValueError(f"version {version}, {len(sources)} sources")
        lines = [line.partition(":")[2] for line in sources] if named else sources
        return OffsetFile(int(json.loads(metadata)["batchWatermarkMs"]), _offsets(lines), named)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise damaged(path, text) from None


def _initial(session: SparkSession, checkpoint: str) -> dict[str, Offsets]:
    """Read the offsets from which the first micro-batch started, those of each source."""
    system, place = file_system(session, f"{checkpoint}/sources")
    numbers = [each.getPath().getName() for each in system.listStatus(place)] if system.exists(place) else []  # fmt: skip
    found: dict[str, Offsets] = {}
    for number in numbers or ["0"]:
        path = f"{checkpoint}/sources/{number}/0"
        text = read(session, path)
        if text is None:
            raise QueryError(
                "the checkpoint lacks a file that Spark wrote", found=path, fix=START_OVER
            )
        try:
            found |= _offsets([text[text.index("{") :]])
        except (ValueError, AttributeError):
            raise damaged(path, text) from None
    return found


def _offsets(lines: Sequence[str]) -> dict[str, Offsets]:
    """Parse Kafka's offsets, a line for each source: {"topic": {"partition": offset}}; a source that has none yet has a dash."""
    return {
        topic: {int(p): int(o) for p, o in partitions.items()}
        for line in lines if line != "-"
        for topic, partitions in json.loads(line).items()
    }  # fmt: skip


def parsed(path: str, text: str) -> dict[str, Any]:
    """Parse JSON. Raises QueryError if it is damaged."""
    try:
        return dict(json.loads(text))
    except (ValueError, TypeError):
        raise damaged(path, text) from None


def read(session: SparkSession, path: str) -> str | None:
    """Read a small file through Hadoop, which knows every file system that Spark does; None if it is missing.

    Raises:
        QueryError: If its checksum is wrong.
    """
    from py4j.protocol import Py4JJavaError

    system, place = file_system(session, path)
    if not system.exists(place):
        return None
    stream = system.open(place)
    try:
        return str(java_class(session, IO).toString(stream, "UTF-8"))
    except Py4JJavaError as error:
        raise damaged(path, cause(str(error.java_exception))) from error
    finally:
        stream.close()


def write(session: SparkSession, path: str, text: str) -> None:
    """Write a small file to a checkpoint."""
    system, place = file_system(session, path)
    stream = system.create(place, True)  # noqa: FBT003 - overwrite: Java takes no names
    try:
        java_class(session, IO).write(text, stream, "UTF-8")
    finally:
        stream.close()


START_OVER = "restore it from a copy, or start over with rta.reset(table), which rebuilds the table from the topic"


def damaged(path: str, found: str) -> QueryError:
    """Return the error for a file that is not in Spark's format."""
    return QueryError(
        "a file of the checkpoint is damaged", found=f"{path}: {found[:80]!r}", fix=START_OVER
    )
