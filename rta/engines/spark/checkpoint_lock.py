"""One query at a time on a checkpoint: a claim that ends with the query, or with the JVM that ran it.

Spark does not refuse the second query. In one session it stops the first one; in two processes both go
on, until one of them finds that the other has written its file. So the JVM that is to run a query locks
a file beside the checkpoint first. The lock is the operating system's: it is there as long as the JVM
can still write to the checkpoint, also where its notebook was killed a moment ago, and no longer.

A checkpoint on another file system (hdfs:, s3a:) has its claim under RTA_HOME: it holds for the queries
of this machine and home. Between machines there is what Spark and the ledger do: one of the two fails.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from rta.engines.spark import checkpoints
from rta.errors import QueryError
from rta.settings import private_folder, settings
from rta.setup.processes import runs

if TYPE_CHECKING:
    from pyspark.sql import SparkSession
    from pyspark.sql.streaming.query import StreamingQuery

_PATIENCE: Final = 3.0  # seconds: a query that has just ended lets go within milliseconds, on a busy machine in a second
_DYING: Final = 120.0  # seconds that a JVM may take to end once its notebook is gone
_one_at_a_time: Final = threading.Lock()
# By the claim's file: a query that was started here, and the thread that waits for its end.
_holding: Final[dict[Path, tuple[StreamingQuery, threading.Thread]]] = {}


def while_claimed(
    session: SparkSession, checkpoint: str, table: str, start: Callable[[], StreamingQuery]
) -> StreamingQuery:
    """Claim a checkpoint, start a query on it, and let go when that query ends.

    Raises:
        QueryError: if another query works on it: in which process, and since when.

    >>> stream = spark.readStream.format("rate").load().writeStream.format("noop")
    >>> query = while_claimed(spark, "/tmp/doc-claimed", "doc_claimed", stream.start)
    >>> refuse_claimed("/tmp/doc-claimed", "doc_claimed")
    Traceback (most recent call last):
    rta.errors.QueryError: another query fills table 'doc_claimed'; found: process ... (this one), since ...
    >>> query.stop()
    >>> refuse_claimed("/tmp/doc-claimed", "doc_claimed")
    """
    opened = _locked(session, checkpoint, table)
    try:
        query = start()
    except BaseException:
        opened.close()
        raise
    holding = threading.Thread(target=_let_go, args=(query, opened), daemon=True)
    holding.start()
    _holding[_claim_file(checkpoint)] = query, holding
    return query


def begun(start: Callable[[], StreamingQuery]) -> StreamingQuery:
    """Start a query of Spark; the Stop button meanwhile waits until it can stop that query: Spark would go on starting it.

    >>> query = begun(spark.readStream.format("rate").load().writeStream.format("noop").start)
    >>> query.stop()
    """
    if threading.current_thread() is not threading.main_thread():  # no button stops any other
        return start()
    pressed: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: pressed.append(number))
    try:
        query = start()
    finally:
        signal.signal(signal.SIGINT, before or signal.default_int_handler)
    if pressed:
        query.stop()
        signal.raise_signal(signal.SIGINT)
    return query


def released(checkpoint: str) -> None:
    """Return when a query of this process that has ended has let go of the checkpoint."""
    from py4j.protocol import Py4JError

    query, holding = _holding.get(_claim_file(checkpoint), (None, None))
    if query is None or holding is None:
        return
    try:
        runs_on = query.isActive
    except (Py4JError, OSError):  # its JVM is gone
        runs_on = False
    if not runs_on:
        holding.join(_DYING)


def refuse_claimed(checkpoint: str | Path, table: str) -> None:
    """Raise QueryError where a query works on the checkpoint; one that has just ended gets a moment to let go.

    >>> refuse_claimed("/tmp/doc-unclaimed", "doc_unclaimed")
    """
    released(str(checkpoint))
    file, began = _claim_file(str(checkpoint)), time.monotonic()
    while _is_locked(file):
        holder = _holder(file)
        if time.monotonic() - began > (_PATIENCE if _lives(holder) else _DYING):
            raise QueryError(
                f"another query fills table {table!r}",
                found=_described(holder),
                fix="stop it, or wait for its end; rta.read() needs no query",
            )
        time.sleep(0.02)


def _locked(session: SparkSession, checkpoint: str, table: str) -> Any:
    """Lock the claim's file in the JVM; return what to close in order to let go."""
    file, jvm = _claim_file(checkpoint), cast("Any", session._jvm)
    with _one_at_a_time:  # a JVM that opens a locked file again and closes it loses the lock
        while True:
            refuse_claimed(checkpoint, table)
            opened = jvm.java.io.RandomAccessFile(str(file), "rw")
            if opened.getChannel().tryLock() is not None:
                break
            opened.close()  # another process was faster
        since = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"
        file.write_text(json.dumps({"table": table, "pid": os.getpid(), "since": since}))
        _list(file)
        return opened


def _let_go(query: StreamingQuery, opened: Any) -> None:
    """Wait for the end of a query, and close what it holds."""
    with suppress(Exception):  # why it ended is told to the one who waits for it, not here
        query.awaitTermination()
    with suppress(Exception):  # the JVM is gone, and its lock with it
        opened.close()


def working() -> list[Mapping[str, Any]]:
    """List the claims that are held under this RTA_HOME: table, pid of the process that started the query, since.

    >>> [claim for claim in working() if claim["table"] == "doc_unclaimed"]
    []
    """
    files = [*settings().home.glob("checkpoints/*.claim"), *settings().home.glob("claims/*")]
    held = [_holder(file) for file in files if file.exists() and _is_locked(file)]
    return [claim for claim in held if "table" in claim]


def _list(file: Path) -> None:
    """Leave a link to a claim that lies elsewhere, so that working() finds it."""
    home = private_folder(settings().home).resolve()
    if file.parent not in (home / "checkpoints", home / "claims"):
        link = private_folder(home / "claims") / sha256(str(file).encode()).hexdigest()[:32]
        with suppress(FileExistsError):
            link.symlink_to(file)


def _claim_file(checkpoint: str) -> Path:
    """Name the file that stands for a checkpoint, however its place is written."""
    place = checkpoints.located(checkpoint)
    if checkpoints.remote(place):
        claims = private_folder(private_folder(settings().home) / "claims")
        return claims / sha256(place.encode()).hexdigest()[:32]
    path = Path(place).resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.with_name(f"{path.name}.claim")


def _is_locked(file: Path) -> bool:
    """Try the lock: with the same kind as Java's, which are the process's, not the file handle's."""
    with file.open("a") as tried:
        try:
            fcntl.lockf(tried, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


def _holder(file: Path) -> dict[str, Any]:
    """Read who holds the lock; nothing where it is being written."""
    try:
        return dict(json.loads(file.read_text()))
    except ValueError:
        return {}


def _described(holder: dict[str, Any]) -> str:
    """Say which process it is."""
    gone = "" if _lives(holder) else ", which is gone, but its JVM has not ended yet"
    which = " (this one)" if holder.get("pid") == os.getpid() else gone
    return f"process {holder.get('pid')}{which}, since {holder.get('since')}"


def _lives(holder: dict[str, Any]) -> bool:
    """Tell whether the notebook that started the query is still there."""
    return runs(holder.get("pid", 0))
