"""Whether a checkpoint is whole, and belongs to its table and topic: said before a query starts, not guessed after.

Spark numbers micro-batches, and the ledger knows those that are in the table. A checkpoint that lags
behind the ledger (restored from an older copy) would cut batches of known numbers anew, and the ledger
would take them for those it has: their events would be missing. One that is ahead (the table was
dropped, or restored) would never bring back what it has consumed. Both look well to Spark.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rta.engines.spark import checkpoints
from rta.errors import QueryError
from rta.setup.causes import cause
from rta.store.ledger import Batch

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


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

    jvm: Any = spark()._jvm
    system, place = checkpoints.opened(spark(), f"{checkpoint}/state")
    if system.getScheme() != "file":  # too much to read elsewhere, and HDFS checks by itself
        return None
    files = system.listFiles(place, True)  # noqa: FBT003 - recursive: Java takes no names
    while files.hasNext():
        path = files.next().getPath()
        stream = system.open(path)
        try:
            jvm.org.apache.commons.io.IOUtils.consume(stream)
        except Py4JJavaError as error:
            return f"{path.toUri().getPath()}: {cause(str(error.java_exception))}"
        finally:
            stream.close()
    return None
