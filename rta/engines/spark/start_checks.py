"""Check that a query may start: its checkpoint is intact, on a disk that its executors share, and belongs to table, topic and transform.

Spark numbers micro-batches, and the ledger has the numbers of those in the table. With a checkpoint behind the ledger (restored from
an older copy) Spark would give known numbers to other batches, and the ledger would skip them: their events would be missing. With
one ahead of the ledger (the table was dropped or restored) what was consumed would never come again. Spark notices neither.

A transform must not continue with the state of another one. Spark refuses another operator, or another type in the state. It does
not notice a new filter, a wider window, or another column in the same sum. So the fingerprint of the transform, its plan after
Spark's optimizer, is written when a checkpoint begins and compared at each start. Names of intermediate steps, their order,
comments, the allowed lateness and columns that the transform does not use make no difference. A change inside a Python UDF, or in
the data of a static frame, is not noticed.

Executors write the state of a query and the files of an archive themselves. On another machine a local path is a path on that
machine's disk: the query would run, and the next start would find half of the files. A cluster on this machine, or a disk that the
machines share, works.
"""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rta.dataframes.internals import analyzed, each, executor_hosts, java_class, optimized, walk
from rta.engines.spark import checkpoints
from rta.engines.spark.internals import aggregates, file_system
from rta.engines.spark.lateness import Frames, Transform, applied
from rta.engines.spark.query_sources import ONLY
from rta.errors import QueryError
from rta.setup.causes import cause
from rta.store.ledger import Batch

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from rta.engines.spark.query_sources import Sources

FILE: Final = "rta-transform"
STATE: Final = "state: "  # begins the lines of a fingerprint that say what is kept
KEEPS_STATE: Final = re.compile(r"Aggregate|Deduplicate|Join|SessionWindow|TransformWithState|FlatMapGroups")  # fmt: skip
# What differs between sessions: ids of columns, variables and objects.
_IDS: Final = re.compile(
    r"#\d+L?|(?<=lambda x)_\d+|(?<=_gen_alias)_\d+|(?<=_common_expr)_\d+|@[0-9a-f]{4,}"
)
_FRAME: Final = re.compile(r"^(CollectMetrics .*), \d+$")  # the number of the frame that observes
_NOW: Final = re.compile(r"\b(current_|localtimestamp|now\(|rand|uuid|shuffle)")
_WHOLE: Final = 2**31 - 1  # fields of a node to show
_SHARED: Final = {"nfs", "nfs4", "cifs", "smb3", "ceph", "glusterfs", "lustre", "gpfs", "beegfs", "9p", "virtiofs"}  # fmt: skip


def require_match(
    session: SparkSession, checkpoint: str, table: str, topics: Collection[str], known: Sequence[Batch]
) -> None:  # fmt: skip
    """Refuse a checkpoint that is damaged, of other topics, or at odds with the table's ledger.

    Args:
        session: The session.
        checkpoint: Its location.
        table: The table.
        topics: The topics that the query reads.
        known: The entries of the newest batch of each query in the table.

    Raises:
        QueryError: It names the file or folder.
    """
    owner = checkpoints.query_id(session, checkpoint)
    if {batch.query_id for batch in known} - {owner}:
        raise QueryError(
            f"table {table!r} was filled by a query whose checkpoint is not here: starting over would count events twice",
            found=f"{checkpoint} {'is missing' if owner is None else 'belongs to another query'}",
            fix=f"restore the checkpoint, or {_again(table)}",
        )  # fmt: skip
    if owner is not None:
        planned, committed = (
            checkpoints.newest(session, checkpoint, folder) for folder in ("offsets", "commits")
        )
        ends = _ends(session, checkpoint, planned, committed)
        _require_topics(session, ends, topics, table, checkpoint)
        _require_level(ends, (planned, committed), known, table, checkpoint)


def _ends(
    session: SparkSession, checkpoint: str, planned: int, committed: int
) -> dict[str, checkpoints.Offsets]:
    """Read all files from which Spark is going to start; return where the last batch ends."""
    if committed >= 0:
        checkpoints.require_commit(session, checkpoint, committed)
        ends = checkpoints.ends(session, checkpoint, committed)
    if planned < 0 or planned == committed:
        return ends if committed >= 0 else {}
    # This batch runs again, from the end of the one before.
    checkpoints.spans(session, checkpoint, planned)
    return checkpoints.ends(session, checkpoint, planned)


def _require_topics(
    session: SparkSession, ends: Mapping[str, checkpoints.Offsets], topics: Collection[str], table: str, checkpoint: str
) -> None:  # fmt: skip
    """Refuse offsets of other topics: Spark would report lost data. Where sources have names, the fingerprint says whether that is meant."""
    if ends and set(ends) != {*topics} and not checkpoints.names_its_sources(session, checkpoint):
        raise QueryError(
            f"table {table!r} is filled from another topic than {', '.join(map(repr, topics))}",
            found=f"{', '.join(sorted(ends))} in {checkpoint}",
            fix=f"drain that topic, or use another table for this one; {_again(table)}",
        )


def _require_level(
    ends: Mapping[str, checkpoints.Offsets], levels: tuple[int, int], known: Sequence[Batch], table: str, checkpoint: str,
) -> None:  # fmt: skip
    """Refuse a checkpoint that is ahead of the table or behind it."""
    planned, committed = levels
    in_table = max((batch.batch_id for batch in known), default=-1)
    if committed > in_table:
        raise QueryError(
            f"the checkpoint is ahead of table {table!r}: events that it has consumed are missing there",
            found=f"{checkpoint}: {_batch(committed)} is done, the table has {_batch(in_table)}",
            fix=f"restore the table, or {_again(table)}",
        )
    cut_anew = any(b.batch_id == planned and b.end_offsets != ends.get(b.topic, {}) for b in known)
    if in_table > planned or cut_anew:
        raise QueryError(
            f"the checkpoint is older than table {table!r}: new batches would have numbers that are in the table, and events would be lost",
            found=f"{checkpoint}: {_batch(planned)} is its last, the table has {_batch(in_table)}",
            fix=f"restore the newest copy of the checkpoint, or {_again(table)}",
        )  # fmt: skip


def _batch(number: int) -> str:
    return "no batch" if number < 0 else f"batch {number}"


def _again(table: str) -> str:
    return f"rta.reset({table!r}) drops both, and the next run rebuilds the table from the topic"


def damaged_state(checkpoint: str) -> str | None:
    """Return a file of the state that is empty or whose checksum is wrong; None if there is none, or no checksum to check."""
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


def fingerprint(
    events: DataFrame | Frames, transform: Transform, without: Collection[str] = ()
) -> list[str]:
    """Describe what a transform does to events: one line for each node of the optimized plan, the result first.

    Args:
        events: The events, or those of several topics by name.
        transform: The transform.
        without: Names of topics that are left out: what the transform does to those that remain.

    >>> events = spark.createDataFrame([], "user_id INT, amount INT")
    >>> fingerprint(events, lambda rows: rows.where("amount > 1").select("user_id"))
    ['Project [user_id]', 'Filter (isnotnull(amount) AND (amount > 1))', 'LogicalRDD']
    >>> fingerprint(events, lambda rows: rows.groupBy("user_id").count())[-1]
    'state: Aggregate by user_id of count(1)'
    """
    from pyspark.sql import DataFrame

    frames = {ONLY: events} if isinstance(events, DataFrame) else events
    still = {name: emptied(frame) for name, frame in frames.items()}
    # Spark's optimizer leaves out of a union what is known to be empty.
    still |= {name: frame.where("false") for name, frame in still.items() if name in without}
    plan = analyzed(applied(transform, still))
    lines = _lines(plan)
    # The optimizer would replace the current time by a constant.
    session = next(iter(frames.values())).sparkSession
    now = any(map(_NOW.search, lines))
    return [*(lines if now else _lines(optimized(session, plan))), *map(STATE.__add__, _states(plan))]  # fmt: skip


def _states(plan: Any) -> list[str]:
    """Say what each operator of a plan that may keep state keeps: an aggregate may give its counts in another form."""
    found = []
    for node in walk(plan):
        if node.nodeName() == "Aggregate":
            keys = sorted(_IDS.sub("", key.toString()) for key in each(node.groupingExpressions()))
            kept = {_IDS.sub("", one.toString()) for e in each(node.aggregateExpressions()) for one in aggregates(e)}  # fmt: skip
            found.append(f"Aggregate by {', '.join(keys)} of {', '.join(sorted(kept))}")
        elif KEEPS_STATE.match(node.nodeName()):
            found.append(_IDS.sub("", node.simpleString(_WHOLE)))
    return found


def emptied(frame: DataFrame) -> DataFrame:
    """Return a static frame without rows that has the columns of a frame.

    >>> emptied(spark.range(3)).count()
    0
    """
    session: Any = frame.sparkSession
    empty: DataFrame = session.createDataFrame(session.sparkContext.emptyRDD(), frame.schema)
    return empty


def require_same(
    session: SparkSession, checkpoint: str, table: str, plan: Fingerprint, *, begun: bool = True
) -> None:
    """Write the fingerprint of the transform to a new checkpoint; refuse another transform for an existing one.

    Another version of Spark may describe the same plan differently, so after an upgrade the fingerprint is written again.

    Args:
        session: The session.
        checkpoint: Its location.
        table: The table.
        plan: The fingerprint of the transform.
        begun: Whether the table contains something of this checkpoint. If not (the first start failed, and the transform was corrected)
            another transform starts it again.

    Raises:
        QueryError: If the transform is another one; it shows the first difference.
    """
    known = _noted(session, checkpoint) if checkpoints.query_id(session, checkpoint) else {}
    if known.get("spark") == session.version:
        lines = without_state(plan.lines)
        if without_state(known["plan"]) == lines:
            return
        if begun or checkpoints.newest(session, checkpoint, "commits") >= 0:
            raise QueryError(
                f"this transform is not the one that fills table {table!r}: it would continue with the state of the other one",
                found=_difference(without_state(known["plan"]), lines),
                fix=f"rta.explain_change({table!r}, …) says what it means; use another table for it, or rta.reset({table!r}) and fill this one again",
            )  # fmt: skip
        checkpoints.remove(checkpoint)
    write_plan(checkpoint, plan)


def without_state(plan: Sequence[str]) -> list[str]:
    """Leave out what a fingerprint says of state only; that of an older rta does not say it."""
    return [line for line in plan if not line.startswith(STATE)]


@dataclass(frozen=True)
class Fingerprint:
    """What a transform does.

    Args:
        lines: The fingerprint, with the topics if there are several.
        without: Of each topic of several what the transform does without it.
    """

    lines: list[str]
    without: Mapping[str, list[str]] = field(default_factory=dict)

    @staticmethod
    def of(frames: Frames, transform: Transform, sources: Sources) -> Fingerprint:
        """Return the fingerprint of a transform of some topics."""
        several = {} if len(sources) == 1 else {source.topic: fingerprint(frames, transform, [name]) for name, source in sources.items()}  # fmt: skip
        return Fingerprint(with_topics(fingerprint(frames, transform), sources), several)


def write_plan(checkpoint: str, plan: Fingerprint) -> None:
    """Write the fingerprint of a transform to a checkpoint."""
    from rta.dataframes.session import spark

    noted = {"spark": spark().version, "plan": plan.lines, "without": plan.without}
    checkpoints.write(spark(), f"{checkpoint}/{FILE}", json.dumps(noted, indent=1))


def noted_plan(checkpoint: str, table: str) -> Fingerprint:
    """Read the fingerprint of the transform that fills a table.

    Raises:
        QueryError: If none is noted, or another version of Spark has written it.
    """
    from rta.dataframes.session import spark

    known = _noted(spark(), checkpoint)
    if known.get("spark") != spark().version:
        raise QueryError(
            f"no transform is noted for table {table!r}", found=f"{checkpoint}: {known.get('spark', 'nothing')}",
            fix="give the old transform itself instead of the table's name",
        )  # fmt: skip
    return Fingerprint(list(known["plan"]), known.get("without", {}))


def _noted(session: SparkSession, checkpoint: str) -> dict[str, Any]:
    path = f"{checkpoint}/{FILE}"
    noted = checkpoints.read(session, path)
    return checkpoints.parsed(path, noted) if noted is not None else {}


def with_topics(plan: list[str], sources: Sources) -> list[str]:
    """Add to a fingerprint which topic is which: the frames of two topics may look alike."""
    several = sources.items() if ONLY not in sources else ()
    return [*plan, *(f"{name}: {source.topic}" for name, source in several)]


def _lines(plan: Any) -> list[str]:
    """Return the lines of a plan, without what differs between sessions."""
    lines = [_FRAME.sub(r"\1", _IDS.sub("", node.simpleString(_WHOLE))) for node in walk(plan)]
    return ["LogicalRDD" if line.startswith("LogicalRDD ") else line for line in lines]


def _difference(noted: list[str], plan: list[str]) -> str:
    """Show the first difference of two plans."""
    pairs = zip([*noted, "nothing"], [*plan, "nothing"], strict=False)
    was, now = next((old, new) for old, new in pairs if old != new)
    alike = next((at for at, (a, b) in enumerate(zip(was, now, strict=False)) if a != b), 0)
    same = max(alike - 20, 0)
    shown = [("…" if same else "") + line[same : same + 100] for line in (now, was)]
    return f"{shown[0]!r} instead of {shown[1]!r}"


def require_shared(session: SparkSession, place: str) -> None:
    """Refuse a location on this machine's disk if executors on other machines would write to it.

    >>> require_shared(spark, "/tmp/doc-checkpoint")
    """
    if str(session.sparkContext.master).startswith("local") or checkpoints.remote(place):
        return
    session.sparkContext.parallelize([0], 1).count()  # waits for the first executor
    others = elsewhere(executor_hosts(session), _here(session))
    if others and _file_system(Path(place)) not in _SHARED:
        raise QueryError(
            "Spark's executors run on other machines, where this path is on another disk",
            found=f"executors on {', '.join(others)}; {place}",
            fix="set RTA_HOME to a folder on a disk that all of them share, or give a checkpoint= on hdfs:, s3a: or the like",
        )


def elsewhere(hosts: Iterable[str], here: Collection[str]) -> list[str]:
    """Return the hosts that are not this machine, under any of its names and addresses.

    >>> elsewhere(["127.0.0.1", "worker-2", "laptop", "worker-1"], {"127.0.0.1", "laptop"})
    ['worker-1', 'worker-2']
    """
    return sorted({host for host in hosts if not {host, _address(host)} & set(here)})


def _here(session: SparkSession) -> set[str]:
    """Return the known names and addresses of this machine."""
    import psutil

    addresses = {a.address for each in psutil.net_if_addrs().values() for a in each}
    names = {"localhost", socket.gethostname(), socket.getfqdn(), session.conf.get("spark.driver.host") or ""}  # fmt: skip
    return addresses | names


def _address(host: str) -> str:
    """Return the address of a host, or its name if it has no known address."""
    try:
        return socket.gethostbyname(host)
    except OSError:
        return host


def _file_system(place: Path) -> str:
    """Return the type of the file system that a path is on, or would be on."""
    import psutil

    mounted = {Path(each.mountpoint): each.fstype for each in psutil.disk_partitions(all=True)}
    real = place.resolve()
    return next((mounted[at] for at in (real, *real.parents) if at in mounted), "")
