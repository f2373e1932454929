"""What readers of a table saw before its interval was accounted for: taken back in the checkpoint, and brought again.

In real-time mode Spark writes an interval's offsets when it ends. Killed in the middle, it would cut the interval anew, its
watermark would move at another event, and it might call events late that readers have seen counted. So before a table
that was filled in real time is filled on, whatever its ledger lacks is taken back in the checkpoint, and one micro-batch takes
all that is in the topic. It begins with the watermark of the last accounted interval, which is the oldest one that any of those
results was made with: it counts each event that they counted. So no value goes back, and the figures in the
ledger are those of the rows.
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

# Each version of the state has a name of its own then: one that was taken back is never mistaken for the one made anew.
_FORMAT: Final = "spark.sql.streaming.stateStore.checkpointFormatVersion"


def roll_back(session: SparkSession, checkpoint: str, table: str, known: Sequence[Batch]) -> None:
    """Let a checkpoint end with the last of the batches that the ledger has.

    A checkpoint of another query stays as it is: rta.engines.spark.start_checks refuses it.

    Raises:
        QueryError: if the checkpoint no longer knows that batch: then a table was restored that is too old for it.
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
            f"the checkpoint is too far ahead of table {table!r} to go back",
            found=f"{checkpoint}: it no longer knows batch {last}, the last in the table",
            fix=checkpoints.START_OVER,
        )
    # Commits first: death in between leaves a batch that is planned only, which Spark and the next call can take.
    for folder in ("commits", "offsets"):
        for number in range(checkpoints.newest(session, checkpoint, folder), last, -1):
            system, place = file_system(session, f"{checkpoint}/{folder}/{number}")
            system.delete(place, False)  # noqa: FBT003 - recursive: Java takes no names


@contextmanager
def named_state(session: SparkSession) -> Iterator[None]:
    """Start micro-batches in the form of state that real-time mode asks for, so that each may go on where the other ended."""
    before = session.conf.get(_FORMAT, None)
    session.conf.set(_FORMAT, "2")
    try:
        yield
    finally:
        session.conf.unset(_FORMAT) if before is None else session.conf.set(_FORMAT, before)
