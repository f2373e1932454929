"""Send each bad event of a topic to its dead letter queue once, however many tables are filled from the topic.

bad events of a micro-batch ── those that were not recorded ── <topic>.dlq ── record their offsets

The offsets are recorded in the serving database once Kafka has the dead letters. After a death between the two they are sent again:
delivery is at least once, and readers of the queue take each origin once. One row of the record is a run of consecutive offsets, so
a flood of bad events is one row. It is valid as long as the topic, the queue and the dead letters exist: a queue that was deleted, or
has lost its oldest records, is filled again.
"""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

import sqlalchemy as sa

from rta.dlq.queue import opened, send
from rta.kafka.topics import offsets, topic_id
from rta.names import checked
from rta.retries import retried
from rta.settings import private_folder, settings
from rta.store import database
from rta.store.catalog import SENT

if TYPE_CHECKING:
    from pyspark.sql import DataFrame
    from sqlalchemy import Connection, Engine

PATIENCE: Final = 30.0  # seconds for another query that sends, and for a database that is away
Places = Mapping[int, set[int]]  # partition → offsets


def send_once(bad: DataFrame, topic: str, identity: str, *, on: Engine, few: bool = False) -> None:
    """Send bad events of a topic to its dead letter queue, unless a query has sent them already.

    Args:
        bad: The columns of sources.quarantined().
        topic: The topic that they come from.
        identity: The topic's id.
        on: The database with the record.
        few: Whether they fit into memory; then the topic is read for them once, not twice.

    >>> from rta.dataframes import sources
    >>> _ = rta.publish(spark.createDataFrame([("{}",)], ["value"]), "doc-once", partitions=1)
    >>> for _ in range(2):
    ...     send_once(sources.quarantined("doc-once", event=rta.USER_EVENTS), "doc-once", topic_id("doc-once"), on=database.engine())
    >>> rta.kafka.offsets("doc-once.dlq")
    {0: (0, 1)}
    """
    if few:
        bad = bad.sparkSession.createDataFrame(bad.toArrow(), bad.schema).coalesce(1)  # in order
    if not (found := _places(bad)):
        return
    with _alone(topic):
        queue = opened(topic)
        spans = offsets(queue).values()
        key = {"topic": topic, "topic_id": identity, "queue_id": topic_id(queue)}
        kept_from, end = sum(first for first, _ in spans), sum(last for _, last in spans)
        with database.reading(on) as connection:
            noted = {p: _noted(connection, key, kept_from, p, found[p]) for p in found}
        fresh = {p: found[p] - noted[p] for p in found}
        if not any(fresh.values()):
            return
        send(bad if fresh == found else _only(bad, fresh), topic)
        retried(lambda: _note(on, key, kept_from, fresh, end), patience=PATIENCE)


def _places(bad: DataFrame) -> dict[int, set[int]]:
    """Return the offsets of the bad events."""
    places = bad.select("partition", "offset").toArrow().to_pandas()
    found: dict[int, set[int]] = places.groupby("partition")["offset"].agg(set).to_dict()
    return found


def _only(bad: DataFrame, places: Places) -> DataFrame:
    """Keep the events at these offsets."""
    from pyspark.sql import functions as F

    pairs = [(partition, offset) for partition, offsets in places.items() for offset in offsets]
    kept = bad.sparkSession.createDataFrame(pairs, "partition int, offset bigint")
    return bad.join(F.broadcast(kept), ["partition", "offset"], "left_semi")


def runs(offsets: Iterable[int]) -> list[tuple[int, int]]:
    """Return the runs of consecutive offsets: the first, and the one after the last.

    >>> runs({7, 3, 4, 5})
    [(3, 6), (7, 8)]
    """
    found: list[tuple[int, int]] = []
    for offset in sorted(offsets):
        if found and found[-1][1] == offset:
            found[-1] = (found[-1][0], offset + 1)
        else:
            found.append((offset, offset + 1))
    return found


def _noted(
    connection: Connection, key: Mapping[str, str], kept_from: int, partition: int, offsets: set[int]
) -> set[int]:  # fmt: skip
    """Return which of these offsets were sent and are still in the queue. Runs do not overlap, so at most one begins before them."""
    same = sa.and_(
        *(SENT.c[name] == value for name, value in key.items()),
        SENT.c.partition == partition, SENT.c.queue_end >= kept_from,
    )  # fmt: skip
    low, high = min(offsets), max(offsets)
    before = sa.select(sa.func.max(SENT.c.first)).where(same, SENT.c.first <= low).scalar_subquery()
    query = sa.select(SENT.c.first, SENT.c.end).where(
        same, SENT.c.first >= sa.func.coalesce(before, low), SENT.c.first <= high
    )
    return {at for first, end in connection.execute(query) for at in range(max(first, low), min(end, high + 1))}  # fmt: skip


def _note(on: Engine, key: Mapping[str, str], kept_from: int, sent: Places, queue_end: int) -> None:
    """Record what was sent, and delete what is no longer valid."""
    others = [SENT.c[name] != key[name] for name in ("topic_id", "queue_id")]
    gone = sa.or_(*others, SENT.c.queue_end < kept_from)
    rows = [
        {**key, "partition": partition, "first": first, "end": end, "queue_end": queue_end}
        for partition, offsets in sent.items()
        for first, end in runs(offsets)
    ]
    with database.writing(on) as connection:
        connection.execute(SENT.delete().where(SENT.c.topic == key["topic"], gone))
        connection.execute(_insert(connection), rows)


def _insert(connection: Connection) -> sa.Insert:
    """Return an INSERT that skips existing rows: two machines may send the same events at the same time."""
    if connection.dialect.name == "sqlite":
        from sqlalchemy.dialects.sqlite import insert
    else:
        from sqlalchemy.dialects.postgresql import insert  # type: ignore[assignment]
    return insert(SENT).on_conflict_do_nothing()


@contextmanager
def _alone(topic: str) -> Iterator[None]:
    """Let one query of this machine at a time check, send and record.

    After PATIENCE the block runs all the same: an event may then be in the queue twice, but is never missing.
    """
    folder = private_folder(settings().home / "queues")
    deadline = time.monotonic() + PATIENCE
    with (folder / f"{checked('topic', topic)}.lock").open("w") as file:
        while time.monotonic() < deadline:
            with suppress(BlockingIOError):
                # The lock belongs to this file handle: it excludes other threads, too, and ends with its holder.
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            time.sleep(0.05)
        yield
