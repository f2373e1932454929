"""The offsets of a Spark query as a consumer group, so that Kafka's own tools show its lag. Spark commits none."""

from __future__ import annotations

import time
from collections.abc import Mapping
from threading import Event, Thread
from typing import TYPE_CHECKING, Any, Final

from rta.dataframes.internals import gone, own_jvm
from rta.errors import InputError, QueryError, RtaError, TopicError
from rta.html import Marked, card, described
from rta.kafka.client import administrator
from rta.kafka.consumer_groups import uncoordinated, when_coordinated
from rta.monitor.query_health import in_table, read_until
from rta.names import checked

if TYPE_CHECKING:
    from pyspark.sql.streaming.query import StreamingQuery

Offsets = Mapping[str, Mapping[int, int]]
_AGAIN: Final = 3600.0  # seconds after which the same offsets are committed again: Kafka forgets a group that is silent for a week


class PublishedOffsets:
    """The offsets of a query in a consumer group; publish_offsets() makes it.

    Attributes:
        group: The consumer group.
        committed: Topic → partition → the offset that was committed last: the next one that the query reads.
        error: Why the last commit failed; None if it did not. It is tried again.
    """

    def __init__(self, query: StreamingQuery, group: str, every: float) -> None:
        self.group, self.committed = group, dict[str, dict[int, int]]()
        self.error: str | None = None
        self._query, self._every, self._at = query, every, 0.0
        self._stopped = Event()
        self._commit(_read(query))
        self._thread = Thread(target=self._run, daemon=True, name=f"offsets to {group}")

    def start(self) -> PublishedOffsets:
        """Commit in a thread, until the query ends or stop()."""
        self._thread.start()
        return self

    def stop(self) -> None:
        """Commit no more; the group stays as it is, and the query goes on."""
        self._stopped.set()
        self._thread.join()

    def __repr__(self) -> str:
        return described(self._facts())

    def _repr_html_(self) -> str:
        return card(
            self._facts(), f"`rta.lag({self.group!r})` shows its lag, and so do Kafka's tools"
        )

    def _facts(self) -> list[tuple[str, object]]:
        going = self._thread.is_alive()
        state = Marked(self.error or ("committed after each micro-batch" if going else "ended"), "bad" if self.error else "good" if going else "idle")  # fmt: skip
        offsets = "; ".join(f"{topic} " + " ".join(f"{p}:{at:,}" for p, at in ends.items()) for topic, ends in self.committed.items())  # fmt: skip
        return [("group", self.group), ("state", state), ("offsets", offsets or "none yet")]

    def _run(self) -> None:
        from py4j.protocol import Py4JError

        ended, jvm = False, own_jvm()
        while not ended:
            ended = self._stopped.wait(self._every)
            try:
                ended = (
                    ended or not self._query.isActive
                )  # asked first: then what follows is its last word
                self._commit(_read(self._query))
            except (Py4JError, OSError):
                ended = ended or gone(jvm)
            except RtaError as error:
                self.error = str(error)

    def _commit(self, read: Offsets) -> None:
        """Commit what is new; raise if Kafka refuses it."""
        now = {topic: dict(ends) for topic, ends in read.items() if ends}
        if now and (now != self.committed or time.monotonic() - self._at > _AGAIN):
            committed(self.group, now)
            self.committed, self._at = now, time.monotonic()
        self.error = None


def publish_offsets(
    query: StreamingQuery, *, group: str | None = None, every: float = 1.0
) -> PublishedOffsets:
    """Commit the offsets of a Spark query as those of a consumer group, so that ordinary Kafka tools show its lag.

    What is committed is exactly the offsets after the last completed micro-batch, each time there is a new one, and a last time when
    the query ends. Spark does not read them: the query continues from its checkpoint, whatever happens to the group.

    Args:
        query: The query.
        group: The consumer group; by default the name of the query. It must have no members: a consumer that joins it would read on from
            the query's offsets.
        every: Seconds from one look at the query's progress to the next.

    Returns:
        What was committed: group, committed, error, stop().

    Raises:
        InputError: If the group has members, or the query has no name and none is given.
        QueryError: If the query reads no topic.

    Example:
        >>> _ = rta.publish(rta.user_events(spark, rows=100), "doc-published-offsets", partitions=1)
        >>> query = rta.follow("doc-published-offsets", rta.transforms.totals, table="doc_published", key=["window", "user_id"], event=rta.USER_EVENTS)
        >>> published = publish_offsets(query, group="doc-published")
        >>> query.processAllAvailable(); query.stop(); published.stop()
        >>> [(each.committed, each.lag) for each in rta.lag("doc-published")]
        [(100, 0)]
    """
    name = group or query.name
    if not name:
        raise InputError("the query has no name, so its group has none", fix="give group=")
    if not every > 0:
        raise InputError("every is a time above 0", found=every, fix="give seconds")
    _refuse_members(checked("group", name))
    if query.lastProgress and not _read(query):
        raise QueryError(f"query {name!r} reads no topic", fix="only what reads Kafka has offsets")
    return PublishedOffsets(query, name, every).start()


def committed(group: str, offsets: Offsets) -> None:
    """Commit offsets for a consumer group that has no members.

    Raises:
        InputError: If it has members.
        TopicError: If a topic is gone.
    """
    from kafka import TopicPartition
    from kafka.errors import NoError, UnknownTopicOrPartitionError
    from kafka.structs import OffsetAndMetadata

    wanted = {
        TopicPartition(topic, partition): OffsetAndMetadata(at, "", -1)
        for topic, ends in offsets.items()
        for partition, at in ends.items()
    }

    def commit() -> Mapping[Any, Any]:
        with administrator() as admin:
            answers = dict(admin.alter_group_offsets(group, wanted))
        for answer in answers.values():  # they are returned, not raised
            if issubclass(answer, uncoordinated()):
                raise answer
        return answers

    answers = when_coordinated(commit)
    failed = {place: answer for place, answer in answers.items() if answer is not NoError}
    if any(answer is UnknownTopicOrPartitionError for answer in failed.values()):
        gone = sorted({place.topic for place in failed})
        raise TopicError("the topic of a query is gone", found=", ".join(gone), fix="stop the query")  # fmt: skip
    if failed:
        _refuse_members(group)
        why = sorted({answer.__name__ for answer in failed.values()})
        raise InputError(f"Kafka refuses offsets of group {group!r}", found=", ".join(why), fix="give another group=")  # fmt: skip


def _refuse_members(group: str) -> None:
    """Raise InputError if a consumer is in a group."""
    with administrator() as admin:
        state = next((each["group_state"] for each in admin.list_groups() if each["group_id"] == group), None)  # fmt: skip
    if state not in (None, "", "Empty", "Dead"):
        raise InputError(
            f"consumer group {group!r} has members", found=f"state {state}",
            fix="give another group=: the offsets of a group with members are theirs",
        )  # fmt: skip


def _read(query: StreamingQuery) -> Offsets:
    """Return the offsets after the last completed micro-batch: of its progress, before the first of this run those of its table."""
    return read_until(query.lastProgress or {}) or in_table(query.name)
