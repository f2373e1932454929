"""One query at a time on a checkpoint: a lock that is held until the query ends, or the JVM that ran it.

Spark does not refuse a second query. In one session it stops the first one; in two processes both continue until one of them
finds a file that the other has written. So the JVM locks a file beside the checkpoint before it runs a query. The operating
system holds the lock exactly as long as the JVM can write to the checkpoint, even if its notebook was killed a moment ago.

A checkpoint on another file system (hdfs:, s3a:) has its lock under RTA_HOME, so it excludes only queries of this machine and
this home. Queries of two machines are told apart by Spark and the ledger: one of them fails.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rta.dataframes.internals import java_class
from rta.engines.spark import checkpoints
from rta.errors import QueryError
from rta.settings import private_folder, settings
from rta.setup.processes import runs

if TYPE_CHECKING:
    from pyspark.sql import SparkSession
    from pyspark.sql.streaming.query import StreamingQuery

_PATIENCE: Final = 3.0  # seconds: a query that has just ended releases its lock in milliseconds, on a busy machine in a second
_DYING: Final = 120.0  # seconds that a JVM may take to end once its notebook is gone
_one_at_a_time: Final = threading.Lock()
# For each block of none_left_behind() that this thread is in: the queries that were started in it.
_begun_in: Final[ContextVar[tuple[list[StreamingQuery], ...]]] = ContextVar("begun", default=())
# Lock file → a query that was started here, and the thread that waits for its end.
_holding: Final[dict[Path, tuple[StreamingQuery, threading.Thread]]] = {}


@contextmanager
def locked(session: SparkSession, checkpoint: str, table: str) -> Iterator[None]:
    """Lock a checkpoint while the block starts a query on it with begun(), and until that query ends.

    If the block fails, its query is stopped and the lock is released.

    Raises:
        QueryError: If another query works on the checkpoint; it says in which process, and since when.

    Example:
        >>> stream = spark.readStream.format("rate").load().writeStream.format("noop")
        >>> with locked(spark, "/tmp/doc-locked", "doc_locked"):
        ...     query = begun(stream.start)
        >>> refuse_locked("/tmp/doc-locked", "doc_locked")
        Traceback (most recent call last):
        rta.errors.QueryError: another query fills table 'doc_locked'; found: process ... (this one), since ...
        >>> query.stop()
        >>> refuse_locked("/tmp/doc-locked", "doc_locked")
    """
    opened = _locked(session, checkpoint, table)
    try:
        with none_left_behind() as started:
            yield
            [query] = started
            holding = threading.Thread(target=_let_go, args=(query, opened), daemon=True)
            holding.start()
            _holding[_lock_file(checkpoint)] = query, holding
    except BaseException:
        opened.close()
        raise


@contextmanager
def none_left_behind() -> Iterator[list[StreamingQuery]]:
    """Stop the queries that this block has started with begun() if it fails or is interrupted.

    Yields:
        The list of these queries, which begun() fills.

    Example:
        >>> with none_left_behind():
        ...     query = begun(spark.readStream.format("rate").load().writeStream.format("noop").start)
        ...     raise ValueError
        Traceback (most recent call last):
        ValueError
        >>> query.isActive
        False
    """
    from py4j.protocol import Py4JError

    here: list[StreamingQuery] = []
    around = _begun_in.set((*_begun_in.get(), here))
    try:
        yield here
    except BaseException:
        for query in here:
            with suppress(Py4JError, OSError):  # its JVM is gone, and the query with it
                query.stop()
        raise
    finally:
        _begun_in.reset(around)


def begun(start: Callable[[], StreamingQuery]) -> StreamingQuery:
    """Start a query of Spark. An interrupt waits until none_left_behind() knows the query: Spark would continue to start it.

    >>> query = begun(spark.readStream.format("rate").load().writeStream.format("noop").start)
    >>> query.stop()
    """
    if (
        threading.current_thread() is not threading.main_thread()
    ):  # only the main thread is interrupted
        return _noted(start())
    pressed: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: pressed.append(number))
    try:
        query = _noted(start())
    finally:
        signal.signal(signal.SIGINT, before or signal.default_int_handler)
    if pressed:
        query.stop()
        signal.raise_signal(signal.SIGINT)
    return query


def _noted(query: StreamingQuery) -> StreamingQuery:
    """Add a query to the list of each block that this thread is in."""
    for block in _begun_in.get():
        block.append(query)
    return query


def released(checkpoint: str) -> None:
    """Wait until a query of this process that has ended has released the checkpoint."""
    from py4j.protocol import Py4JError

    query, holding = _holding.get(_lock_file(checkpoint), (None, None))
    if query is None or holding is None:
        return
    try:
        runs_on = query.isActive
    except (Py4JError, OSError):  # its JVM is gone
        runs_on = False
    if not runs_on:
        holding.join(_DYING)


def refuse_locked(checkpoint: str | Path, table: str) -> None:
    """Raise QueryError if a query works on the checkpoint. One that has just ended gets a moment to release it.

    >>> refuse_locked("/tmp/doc-unlocked", "doc_unlocked")
    """
    released(str(checkpoint))
    file, began = _lock_file(str(checkpoint)), time.monotonic()
    while _is_locked(file):
        holder = _holder(file)
        pid = holder.get("pid", 0)
        lives = runs(pid)
        if time.monotonic() - began > (_PATIENCE if lives else _DYING):
            here = " (this one)" if pid == os.getpid() else ""
            gone = "" if lives else ", which is gone, but its JVM has not ended yet"
            raise QueryError(
                f"another query fills table {table!r}",
                found=f"process {pid}{here}{gone}, since {holder.get('since')}",
                fix="stop it, or wait until it ends; rta.read() needs no query",
            )
        time.sleep(0.02)


def _locked(session: SparkSession, checkpoint: str, table: str) -> Any:
    """Lock the file in the JVM; return the Java object that releases the lock when it is closed."""
    file = _lock_file(checkpoint)
    access_file = java_class(session, "java.io.RandomAccessFile")
    with _one_at_a_time:  # a JVM that opens a locked file again and closes it loses the lock
        while True:
            refuse_locked(checkpoint, table)
            opened = access_file(str(file), "rw")
            if opened.getChannel().tryLock() is not None:
                break
            opened.close()  # another process was faster
        since = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"
        file.write_text(json.dumps({"table": table, "pid": os.getpid(), "since": since}))
        _list(file)
        return opened


def _let_go(query: StreamingQuery, opened: Any) -> None:
    """Wait until a query ends, and release its lock."""
    with suppress(Exception):  # the caller that waits for the query is told why it ended
        query.awaitTermination()
    with suppress(Exception):  # the JVM is gone, and its lock with it
        opened.close()


def working() -> list[Mapping[str, Any]]:
    """List the locks that are held under this RTA_HOME: `table`, `pid` of the process that started the query, `since`.

    >>> [lock for lock in working() if lock["table"] == "doc_unlocked"]
    []
    """
    files = [*settings().home.glob("checkpoints/*.lock"), *settings().home.glob("locks/*")]
    held = [_holder(file) for file in files if file.exists() and _is_locked(file)]
    return [holder for holder in held if "table" in holder]


def _list(file: Path) -> None:
    """Create a link to a lock outside of RTA_HOME, so that working() finds it."""
    home = private_folder(settings().home).resolve()
    if file.parent not in (home / "checkpoints", home / "locks"):
        link = private_folder(home / "locks") / sha256(str(file).encode()).hexdigest()[:32]
        with suppress(FileExistsError):
            link.symlink_to(file)


def _lock_file(checkpoint: str) -> Path:
    """Return the lock file of a checkpoint; it is the same however the path is written."""
    place = checkpoints.located(checkpoint)
    if checkpoints.remote(place):
        locks = private_folder(private_folder(settings().home) / "locks")
        return locks / sha256(place.encode()).hexdigest()[:32]
    path = Path(place).resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.with_name(f"{path.name}.lock")


def _is_locked(file: Path) -> bool:
    """Tell whether a process holds the lock. It is tried as Java does, with a lock of the process, not of the file handle."""
    with file.open("a") as tried:
        try:
            fcntl.lockf(tried, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


def _holder(file: Path) -> dict[str, Any]:
    """Read who holds the lock; empty while the file is being written."""
    try:
        return dict(json.loads(file.read_text()))
    except ValueError:
        return {}
