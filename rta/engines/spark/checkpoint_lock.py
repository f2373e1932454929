"""One query at a time on a checkpoint: a lock that is held until the query ends, or the JVM that ran it.

Spark does not refuse a second query. In one session it stops the first one; in two processes both continue until one of them
finds a file that the other has written. So the JVM locks a file beside the checkpoint before it runs a query. The operating
system holds the lock exactly as long as the JVM can write to the checkpoint, even if its notebook was killed a moment ago.

A checkpoint on another file system (hdfs:, s3a:) has its lock under RTA_HOME, so it excludes only queries of this machine and
this home. Queries of two machines are told apart by Spark and the ledger: one of them fails.

Beside the lock another process can leave a request to stop the query. The thread that waits for the query's end sees it.
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

from rta.dataframes.internals import gone, java_class, own_jvm
from rta.engines.spark import checkpoints
from rta.engines.spark.left_progress import LeftProgress, forget, leave, left
from rta.errors import QueryError
from rta.settings import private_folder, settings
from rta.setup.processes import runs

if TYPE_CHECKING:
    from pyspark.sql import SparkSession
    from pyspark.sql.streaming.query import StreamingQuery

_PATIENCE: Final = 3.0  # seconds: a query that has just ended releases its lock in milliseconds, on a busy machine in a second
_LOOK: Final = 1.0  # seconds between two looks for a request to stop
_DYING: Final = 120.0  # seconds that a JVM may take to end once its notebook is gone
_one_at_a_time: Final = threading.Lock()
# For each block of none_left_behind() that this thread is in: the queries that were started in it.
_begun_in: Final[ContextVar[tuple[list[StreamingQuery], ...]]] = ContextVar("begun", default=())
# Lock file → a query that was started here, and the thread that waits for its end.
_holding: Final[dict[Path, tuple[StreamingQuery, threading.Thread]]] = {}
# Lock file → the process at whose request the query that was started here last was stopped.
_stopped_by: Final[dict[Path, int]] = {}


@contextmanager
def locked(session: SparkSession, checkpoint: str, table: str, *, waited_for: bool = False) -> Iterator[None]:  # fmt: skip
    """Lock a checkpoint while the block starts a query on it with begun(), and until that query ends.

    If the block fails, its query is stopped and the lock is released.

    A caller that waited for the query is told if it fails; of any other failures_left() tells.

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
            file = _lock_file(checkpoint)
            application = session.sparkContext.applicationId
            holding = threading.Thread(target=_let_go, args=(query, application, opened, file), kwargs={"waited_for": waited_for}, daemon=True)  # fmt: skip
            _stopped_by.pop(file, None)
            holding.start()
            _holding[file] = query, holding
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
    except BaseException as failure:
        for query in here:
            try:
                stop(query)
            except (Py4JError, OSError) as error:
                failure.add_note(f"its query {query.name} may go on: {error}")
        raise
    finally:
        _begun_in.reset(around)


def stop(query: StreamingQuery) -> None:
    """Stop a query; one whose JVM is gone has ended with it.

    Raises:
        Py4JError: The JVM lives and gave no answer, or OSError: the query may go on.

    Example:
        >>> query = begun(spark.readStream.format("rate").load().writeStream.format("noop").start)
        >>> stop(query)
        >>> query.isActive
        False
    """
    from py4j.protocol import Py4JError

    try:
        query.stop()
    except (Py4JError, OSError):
        if not gone(own_jvm()):
            raise


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


def _let_go(query: StreamingQuery, application: str, opened: Any, file: Path, *, waited_for: bool) -> None:  # fmt: skip
    """Wait until a query ends, leave its progress and its failure for others, and release its lock; stop it if another process asks for it."""
    from rta.engines.spark.query_errors import sentence_of

    told, jvm = "", own_jvm()
    while not _over(query, jvm):
        # The disk is full, say, or a request is none: others know less, and the lock is held all the same.
        with suppress(Exception):
            told = leave(query, application, file, told)
        with suppress(Exception):
            if by := _asked_by(file):
                _stopped_by[file] = by
                query.stop()  # it may take longer than Spark waits: it is asked again
    with suppress(OSError):
        _request(file).unlink(missing_ok=True)
    with suppress(OSError):
        forget(file)
    with suppress(Exception):  # the JVM is gone, and nobody knows why
        if (why := sentence_of(query)) and not waited_for:
            file.write_text(json.dumps(_holder(file) | {"failure": why}))
    with suppress(Exception):  # the JVM is gone, and its lock with it
        opened.close()


def _over(query: StreamingQuery, jvm: Any) -> bool:
    """Wait a moment for the end of a query, and return whether it has ended; a call that got no answer is no end."""
    from py4j.protocol import Py4JError

    try:
        return bool(query.awaitTermination(_LOOK))  # type: ignore[arg-type]
    except (Py4JError, OSError):
        return gone(jvm)
    except Exception:  # noqa: BLE001 - it has failed; the caller that waits for it is told why
        return True


def _request(file: Path) -> Path:
    """Return the file by which another process asks to stop the query that holds a lock."""
    return file.with_name(f"{file.name}.stop")


def _asked_by(file: Path) -> int | None:
    """Return the process that asks to stop the query that holds a lock. A request that was meant for an earlier one is none."""
    try:
        asked = json.loads(_request(file).read_text())
    except (FileNotFoundError, ValueError):  # none, or it is being written
        return None
    return int(asked["by"]) if asked["holder"] == _holder(file) else None


def stop_elsewhere(table: str, *, patience: float = 60) -> bool:
    """Ask the process that runs the query of a table to stop it, and wait until it has.

    Args:
        table: The table.
        patience: Seconds to wait; the running micro-batch is interrupted, and is repeated by the next start.

    Returns:
        Whether a query ran.

    Raises:
        QueryError: If the process does not answer: it is gone and its JVM is about to end, or its Python hangs.

    Example:
        >>> stop_elsewhere("doc_unlocked")
        False
    """
    found = [(file, holder) for file, holder in _held() if holder["table"] == table]
    for file, holder in found:
        _request(file).write_text(json.dumps({"by": os.getpid(), "holder": holder}))
        deadline = time.monotonic() + patience
        while _is_locked(file) and _holder(file) == holder:
            if time.monotonic() > deadline:
                _request(file).unlink(missing_ok=True)
                raise QueryError(
                    f"the query that fills {table!r} does not stop",
                    found=f"process {holder['pid']} has not answered for {patience:,.0f} s",
                    fix=f"stop it there, or end the process: kill {holder['pid']}",
                )
            time.sleep(0.05)
    return bool(found)


def stopped_by(checkpoint: str) -> int | None:
    """Return the process at whose request the query of this process that has ended was stopped; None if it was not."""
    released(checkpoint)
    return _stopped_by.get(_lock_file(checkpoint))


def started_here() -> list[StreamingQuery]:
    """List the queries that hold a lock of this process or have held it, the newest of each checkpoint: also one that has failed."""
    return [query for query, _ in _holding.values()]


def working() -> list[Mapping[str, Any]]:
    """List the locks that are held under this RTA_HOME: `table`, `pid` of the process that started the query, `since`.

    >>> [lock for lock in working() if lock["table"] == "doc_unlocked"]
    []
    """
    return [holder for _, holder in _held()]


def failures_left() -> dict[str, str]:
    """Return table → why its query has failed, of each that does not run any more and nobody waited for, until it starts again.

    >>> "doc_unlocked" in failures_left()
    False
    """
    ended = [file for file in _files() if not _is_locked(file)]
    # Who has deleted the checkpoint begins anew.
    found = [_holder(file) for file in ended if file.suffix != ".lock" or file.with_suffix("").exists()]  # fmt: skip
    return {holder["table"]: holder["failure"] for holder in found if "failure" in holder}


def progress_left() -> dict[str, LeftProgress]:
    """Return table → the newest progress of the query that fills it now, as its process left it within the last second.

    >>> "doc_unlocked" in progress_left()
    False
    """
    found = {holder["table"]: left(file) for file, holder in _held()}
    return {table: each for table, each in found.items() if each is not None}


def _held() -> list[tuple[Path, dict[str, Any]]]:
    """List the lock files that are held under this RTA_HOME, and who holds them."""
    held = [(file, _holder(file)) for file in _files() if _is_locked(file)]
    return [(file, holder) for file, holder in held if "table" in holder]


def _files() -> list[Path]:
    """List the lock files of this RTA_HOME."""
    found = [*settings().home.glob("checkpoints/*.lock"), *settings().home.glob("locks/*")]
    return [file.resolve() for file in found if file.exists()]


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
