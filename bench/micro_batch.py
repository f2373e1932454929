"""What a micro-batch costs that has next to nothing to do: Spark alone, the query by hand, rta.

Each drains a small topic of its own by a hundred events; the first micro-batches, in which classes load, are left out.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Final
from uuid import uuid4

from bench.child import Setup, timed
from bench.drain import KEY, totals_by_hand, upserting

if TYPE_CHECKING:
    from pyspark.sql import DataFrame
    from pyspark.sql.streaming.query import StreamingQuery

EVENTS: Final = 8_000
EACH: Final = 100  # events of a micro-batch
WARM: Final = 30  # micro-batches that are not counted
NOW: Final = {"availableNow": True}


def spark(setup: Setup, scratch: Path) -> None:
    """Let Spark compute the answer of each micro-batch, and do nothing with it."""
    _told(setup, lambda own: _by_spark(own, scratch, lambda frame, _: frame.toArrow() and None))


def hand(setup: Setup, scratch: Path) -> None:
    """Upsert the answer of each micro-batch into SQLite, and account for nothing."""
    with closing(sqlite3.connect(scratch / "hand.db", check_same_thread=False)) as database:
        upsert = upserting(database)
        _told(setup, lambda own: _by_spark(own, scratch, upsert))
        [[stored]] = database.execute("SELECT SUM(event_count) FROM totals").fetchall()
        assert stored == EVENTS, stored


def rta(setup: Setup, _: Path) -> None:
    """Keep a table up to date as a notebook would."""
    import rta

    table = f"bench_{uuid4().hex[:8]}"

    def followed(own: Setup) -> StreamingQuery:
        return rta.follow(
            own.topic, rta.transforms.totals, table=table, key=KEY, event=rta.USER_EVENTS, max_events_per_batch=EACH, trigger=NOW,
        )  # fmt: skip

    _told(setup, followed)
    assert rta.accounting(table).consumed == EVENTS
    rta.reset(table)


def _by_spark(own: Setup, scratch: Path, sink: Callable[[DataFrame, int], None]) -> StreamingQuery:
    import rta

    answer = totals_by_hand(rta.spark(), own, maxOffsetsPerTrigger=str(EACH))
    writer = answer.writeStream.outputMode("update").option("checkpointLocation", str(scratch / "checkpoint"))  # fmt: skip
    return writer.trigger(availableNow=True).foreachBatch(sink).start()


def _told(setup: Setup, start: Callable[[Setup], StreamingQuery]) -> None:
    """Drain a topic of its own, and tell the medians of what its micro-batches took."""
    import rta

    own = replace(setup, topic=f"micro-batch-{uuid4().hex[:8]}")
    rta.publish(rta.user_events(rta.spark(), rows=EVENTS), own.topic, key="user_id", partitions=1)

    def drained() -> StreamingQuery:
        query = start(own)
        query.awaitTermination()
        return query

    phase, query = timed(f"{EACH} events each", drained)
    took = [each["durationMs"] for each in query.recentProgress if each["numInputRows"]]
    assert len(took) == EVENTS // EACH, len(took)
    rta.kafka.delete_topic(own.topic)
    phase.tell(
        fault="",
        figures={
            "batch_ms": median(each["triggerExecution"] for each in took[WARM:]),
            "sink_ms": median(each["addBatch"] for each in took[WARM:]),
        },
    )
