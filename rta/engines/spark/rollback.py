"""Roll a checkpoint back to the last interval in the ledger, so that a micro-batch accounts for what readers already saw.

In real-time mode Spark writes the offsets of an interval when the interval ends. After a kill in the middle it would choose other
offsets, its watermark would move at another event, and it might drop events as late that readers have seen counted. So before a
query continues a table that was filled in real time, whatever the ledger does not have is removed from the checkpoint, and one
micro-batch takes everything that is in the topic. It begins with the watermark of the last interval in the ledger, the oldest with
which any of those results was computed, so it counts each event that they counted. No value decreases, and the ledger agrees with
the rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from rta.engines.spark import checkpoints
from rta.engines.spark.internals import file_system
from rta.errors import QueryError
from rta.store.ledger import Batch

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

# In format 2 each version of the state has a unique name, so one that was rolled back is never taken for its successor.
_FORMAT: Final = "spark.sql.streaming.stateStore.checkpointFormatVersion"


def roll_back(session: SparkSession, checkpoint: str, table: str, known: Sequence[Batch]) -> None:
    """Remove from a checkpoint all batches after the last one in the ledger.

    A checkpoint of another query is left as it is: rta.engines.spark.start_checks refuses it.

    Raises:
        QueryError: If the checkpoint no longer has that batch: the table was restored from a copy that is too old.
    """
    if {batch.query_id for batch in known} - {checkpoints.query_id(session, checkpoint)}:
        return
    last = max((batch.batch_id for batch in known), default=-1)
    newest = checkpoints.newest(session, checkpoint, "offsets")
    if (
        last >= 0
        and newest > last
        and not checkpoints.read(session, f"{checkpoint}/offsets/{last}")
    ):
        raise QueryError(
            f"the checkpoint is too far ahead of table {table!r} to be rolled back",
            found=f"{checkpoint}: it no longer has batch {last}, the last in the table",
            fix=checkpoints.START_OVER,
        )
    # Commits first: a death in between leaves a batch that is only planned, which Spark and the next call accept.
    for folder in ("commits", "offsets"):
        for number in range(checkpoints.newest(session, checkpoint, folder), last, -1):
            system, place = file_system(session, f"{checkpoint}/{folder}/{number}")
            system.delete(place, False)  # noqa: FBT003 - recursive: Java takes no names


@contextmanager
def named_state(session: SparkSession) -> Iterator[None]:
    """Start micro-batches with the state format of real-time mode, so that each mode can continue where the other ended."""
    before = session.conf.get(_FORMAT, None)
    session.conf.set(_FORMAT, "2")
    try:
        yield
    finally:
        session.conf.unset(_FORMAT) if before is None else session.conf.set(_FORMAT, before)
