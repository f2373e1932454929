"""Whether a query may start: its checkpoint is whole, on a disk that its executors share, and belongs to table, topic and transform.

Spark numbers micro-batches, and the ledger knows those that are in the table. A checkpoint that lags behind the ledger (restored
from an older copy) would cut batches of known numbers anew, and the ledger would take them for those it has: their events would
be missing. One that is ahead (the table was dropped, or restored) would never bring back what it has consumed. Spark sees neither.

Another transform must not go on with the state of the one before. Spark refuses another operator, or another type in its state; a
new filter, a wider window, another column in the same sum it does not see. So the fingerprint of the transform, its plan as
Spark's optimizer leaves it, is noted when a checkpoint begins, and compared at each start. Names of steps in between, their order,
comments, the allowed lateness and columns that the transform does not use make no difference. Not seen: what a Python UDF does
inside; a static frame's data.

Executors write a query's state and an archive's files themselves. On another machine a local path is that machine's own disk: the
query would run, and the next start would find half of it. A cluster on this machine, or a disk that machines share, is well.
"""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rta.dataframes.internals import analyzed, executor_hosts, java_class, walk
from rta.engines.spark import checkpoints
from rta.engines.spark.internals import file_system, optimized
from rta.engines.spark.lateness import Transform
from rta.errors import QueryError
from rta.setup.causes import cause
from rta.store.ledger import Batch

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

FILE: Final = "rta-transform"
# What differs from session to session: ids of columns, of variables, of objects.
_IDS: Final = re.compile(
    r"#\d+L?|(?<=lambda x)_\d+|(?<=_gen_alias)_\d+|(?<=_common_expr)_\d+|@[0-9a-f]{4,}"
)
_FRAME: Final = re.compile(r"^(CollectMetrics .*), \d+$")  # the number of the frame that observes
_NOW: Final = re.compile(r"\b(current_|localtimestamp|now\(|rand|uuid|shuffle)")
_WHOLE: Final = 2**31 - 1  # fields of a node to show
_SHARED: Final = {"nfs", "nfs4", "cifs", "smb3", "ceph", "glusterfs", "lustre", "gpfs", "beegfs", "9p", "virtiofs"}  # fmt: skip


def require_match(
    session: SparkSession, checkpoint: str, table: str, topic: str, known: Sequence[Batch]
) -> None:
    """Refuse a checkpoint that is damaged, is of another topic, or tells another story than the table's ledger.

    known: the batches that the table contains. Raises QueryError that names the file or the folder.
    """
    owner = checkpoints.query_id(session, checkpoint)
    if {batch.query_id for batch in known} - {owner}:
        raise QueryError(
            f"table {table!r} was filled by a query whose checkpoint is not here: starting over would count twice",
            found=f"{checkpoint} {'is missing' if owner is None else 'belongs to another query'}",
            fix=f"restore the checkpoint, or {_again(table)}",
        )  # fmt: skip
    if owner is not None:
        planned, committed = (
            checkpoints.newest(session, checkpoint, folder) for folder in ("offsets", "commits")
        )
        ends = _ends(session, checkpoint, planned, committed)
        _require_topic(ends, topic, table, checkpoint)
        _require_level(ends.get(topic, {}), (planned, committed), known, table, checkpoint)


def _ends(
    session: SparkSession, checkpoint: str, planned: int, committed: int
) -> dict[str, checkpoints.Offsets]:
    """Return where the last batch ends, once all files that Spark is going to start from are read."""
    if committed >= 0:
        checkpoints.require_commit(session, checkpoint, committed)
        ends = checkpoints.ends(session, checkpoint, committed)
    if planned < 0 or planned == committed:
        return ends if committed >= 0 else {}
    checkpoints.span(session, checkpoint, planned)  # it runs again, from where the one before ended
    return checkpoints.ends(session, checkpoint, planned)


def _require_topic(
    ends: dict[str, checkpoints.Offsets], topic: str, table: str, checkpoint: str
) -> None:
    """Refuse offsets of another topic: Spark would say that data was lost."""
    if ends and set(ends) != {topic}:
        raise QueryError(
            f"table {table!r} is filled from another topic than {topic!r}",
            found=f"{', '.join(sorted(ends))} in {checkpoint}",
            fix=f"drain that topic, or take another table for this one; {_again(table)}",
        )


def _require_level(
    ends: checkpoints.Offsets, levels: tuple[int, int], known: Sequence[Batch], table: str, checkpoint: str,
) -> None:  # fmt: skip
    """Refuse a checkpoint that has done more than the table contains, or less than it was about to do."""
    planned, committed = levels
    in_table = max((batch.batch_id for batch in known), default=-1)
    if committed > in_table:
        raise QueryError(
            f"the checkpoint is ahead of table {table!r}: what it has consumed is not there",
            found=f"{checkpoint}: {_batch(committed)} is done, the table has {_batch(in_table)}",
            fix=f"restore the table, or {_again(table)}",
        )
    cut_anew = any(b.batch_id == planned and b.end_offsets != ends for b in known)
    if in_table > planned or cut_anew:
        raise QueryError(
            f"the checkpoint is older than table {table!r}: batches that are in the table would be cut anew, and events lost",
            found=f"{checkpoint}: {_batch(planned)} is its last, the table has {_batch(in_table)}",
            fix=f"restore the newest copy of the checkpoint, or {_again(table)}",
        )  # fmt: skip


def _batch(number: int) -> str:
    return "no batch" if number < 0 else f"batch {number}"


def _again(table: str) -> str:
    return f"rta.reset({table!r}) drops both, and the next run rebuilds the table from the topic"


def damaged_state(checkpoint: str) -> str | None:
    """Name a file of the state whose checksum is wrong or that is empty; None where no checksum tells."""
    from py4j.protocol import Py4JJavaError

    from rta.dataframes.session import spark

    streams = java_class(spark(), checkpoints.IO)
    system, place = file_system(spark(), f"{checkpoint}/state")
    if system.getScheme() != "file":  # too much to read elsewhere, and HDFS checks by itself
        return None
    files = system.listFiles(place, True)  # noqa: FBT003 - recursive: Java takes no names
    while files.hasNext():
        path = files.next().getPath()
        stream = system.open(path)
        try:
            streams.consume(stream)
        except Py4JJavaError as error:
            return f"{path.toUri().getPath()}: {cause(str(error.java_exception))}"
        finally:
            stream.close()
    return None


def fingerprint(events: DataFrame, transform: Transform) -> list[str]:
    """Say what a transform does to such events: a line for each node of the optimized plan, the result first.

    >>> events = spark.createDataFrame([], "user_id INT, amount INT")
    >>> fingerprint(events, lambda rows: rows.where("amount > 1").select("user_id"))
    ['Project [user_id]', 'Filter (isnotnull(amount) AND (amount > 1))', 'LogicalRDD']
    """
    session: Any = events.sparkSession
    still = session.createDataFrame(session.sparkContext.emptyRDD(), events.schema)
    plan = analyzed(transform(still))
    lines = _lines(plan)
    # Where a plan has the current time, the optimizer would write that time there.
    return lines if any(map(_NOW.search, lines)) else _lines(optimized(session, plan))


def require_same(
    session: SparkSession, checkpoint: str, table: str, plan: list[str], *, begun: bool = True
) -> None:
    """Note the plan of the transform where a checkpoint begins; refuse another one where it goes on.

    begun: whether the table has something of this checkpoint. If it has nothing (the first start failed, and the transform was
    corrected since) another transform begins it anew.
    Raises QueryError with the first difference. Another Spark may word the same plan differently, so
    after an upgrade it is noted anew.
    """
    path = f"{checkpoint}/{FILE}"
    noted = checkpoints.read(session, path) if checkpoints.query_id(session, checkpoint) else None
    known = checkpoints.parsed(path, noted) if noted is not None else {}
    if known.get("spark") == session.version:
        if known["plan"] == plan:
            return
        if begun or checkpoints.newest(session, checkpoint, "commits") >= 0:
            raise QueryError(
                f"this transform is not the one that fills table {table!r}: it would go on with the other's state",
                found=_difference(known["plan"], plan),
                fix=f"use another table for it, or rta.reset({table!r}) and fill this one again",
            )
        checkpoints.remove(checkpoint)
    text = json.dumps({"spark": session.version, "plan": plan}, indent=1)
    checkpoints.write(session, path, text)


def _lines(plan: Any) -> list[str]:
    """Write a plan as lines, without what another session would write differently."""
    lines = [_FRAME.sub(r"\1", _IDS.sub("", node.simpleString(_WHOLE))) for node in walk(plan)]
    return ["LogicalRDD" if line.startswith("LogicalRDD ") else line for line in lines]


def _difference(noted: list[str], plan: list[str]) -> str:
    """Show where two plans begin to differ."""
    pairs = zip([*noted, "nothing"], [*plan, "nothing"], strict=False)
    was, now = next((old, new) for old, new in pairs if old != new)
    alike = next((at for at, (a, b) in enumerate(zip(was, now, strict=False)) if a != b), 0)
    same = max(alike - 20, 0)
    shown = [("…" if same else "") + line[same : same + 100] for line in (now, was)]
    return f"{shown[0]!r} instead of {shown[1]!r}"


def require_shared(session: SparkSession, place: str) -> None:
    """Refuse a place on this machine's disk for what executors on other machines would write.

    >>> require_shared(spark, "/tmp/doc-checkpoint")
    """
    if str(session.sparkContext.master).startswith("local") or checkpoints.remote(place):
        return
    session.sparkContext.parallelize([0], 1).count()  # waits for the first executor
    others = elsewhere(executor_hosts(session), _here(session))
    if others and _file_system(Path(place)) not in _SHARED:
        raise QueryError(
            "Spark's executors run on other machines, where a path on this one's disk is another disk",
            found=f"executors on {', '.join(others)}; {place}",
            fix="set RTA_HOME to a folder on a disk that all of them share, or give checkpoint= on hdfs:, s3a: and the like",
        )


def elsewhere(hosts: Iterable[str], here: Collection[str]) -> list[str]:
    """Name the hosts that are not this machine, under any of its names and addresses.

    >>> elsewhere(["127.0.0.1", "worker-2", "laptop", "worker-1"], {"127.0.0.1", "laptop"})
    ['worker-1', 'worker-2']
    """
    return sorted({host for host in hosts if not {host, _address(host)} & set(here)})


def _here(session: SparkSession) -> set[str]:
    """Return the names and addresses of this machine, as far as it knows them."""
    import psutil

    addresses = {a.address for each in psutil.net_if_addrs().values() for a in each}
    names = {"localhost", socket.gethostname(), socket.getfqdn(), session.conf.get("spark.driver.host") or ""}  # fmt: skip
    return addresses | names


def _address(host: str) -> str:
    """Return the address of a host; its name if nobody knows it."""
    try:
        return socket.gethostbyname(host)
    except OSError:
        return host


def _file_system(place: Path) -> str:
    """Return the kind of file system on which a place lies, or would lie."""
    import psutil

    mounted = {Path(each.mountpoint): each.fstype for each in psutil.disk_partitions(all=True)}
    real = place.resolve()
    return next((mounted[at] for at in (real, *real.parents) if at in mounted), "")
