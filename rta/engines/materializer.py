"""Fill a table, its ledger and the dead letter queue from the topics that an engine writes: see rta.engines.contract.outputs.

It reads committed records alone, and writes rows and position in one transaction, so a table has each result exactly once, whatever was
killed meanwhile: the engine, the broker, this process.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from rta.dlq import queue
from rta.engines import changelog
from rta.engines.changelog import Gone, Results
from rta.engines.contract.outputs import BAD, COUNTS
from rta.errors import QueryError, RtaError
from rta.kafka import client, topics
from rta.kafka.paced import bounded_producer
from rta.retries import retried
from rta.store import database, ledger
from rta.store.ledger import Batch

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from rta.kafka.topics import TopicDescription
    from rta.store.serving_tables import Table

_POLL: Final = 100  # milliseconds
_ANSWER: Final = 60.0  # seconds until Kafka has answered
_ENTER: Final = 5.0  # seconds between two entries in the ledger while events arrive
# Offsets at a topic's end of which one is a record, unless all are marks of transactions.
_LAST: Final = 100
_TOPICS: Final = ("", COUNTS, BAD)
TERMS: Final = ("consumed", "used", "late", "quarantined")
# The newest record of each partition is all that is needed; and bad events are few.
_COMPACT: Final = {"cleanup.policy": "compact", "retention.ms": "-1"}
_KEEP: Final = {"retention.ms": "-1", "retention.bytes": str(2**30)}


@dataclass(frozen=True)
class Target:
    """What is filled, and from where.

    Args:
        table: The serving table.
        results: The topic of the results, opened.
        source: The topic of the events.
        start: partition → the offset where the query began.
        database: Where the table is.
        run_id: The run of a job, if it is one.
    """

    table: Table
    results: Results
    source: TopicDescription
    start: Mapping[int, int]
    database: Engine
    run_id: str | None = None


def opened(results: Results, on: Engine) -> Results:
    """Create the three topics if they do not exist, and record the position to continue from."""
    topics.create_topic(results.topic + COUNTS, partitions=1, config=_COMPACT)
    topics.create_topic(results.topic + BAD, partitions=1, config=_KEEP)
    return changelog.opened(results, on=on)


@dataclass
class Materializer:
    """A thread that fills a table until it is stopped.

    Attributes:
        counts: partition → what the engine has said of it last.
        positions: Of each of the three topics the next offset to read.
        rows: Those written that are in no entry of the ledger yet.
        failure: Why the thread has ended, if it has failed.
    """

    target: Target
    counts: dict[int, dict[str, int]] = field(default_factory=dict)
    bad: list[dict[str, Any]] = field(default_factory=list)
    positions: dict[str, int] = field(default_factory=dict)
    rows: int = 0
    failure: Exception | None = None
    # partition → the offset of a record that is there
    _ahead: dict[int, int] = field(default_factory=dict)
    _stop: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def counted(self) -> dict[int, int]:
        """Return partition → the offset after the newest event that the engine has counted."""
        return dict(self.target.start) | {p: told["next"] for p, told in self.counts.items()}

    @property
    def events(self) -> int:
        """Return how many events are counted; what was counted before this process is known from the ledger at once."""
        return max(
            self._known.consumed, sum(told["consumed"] for told in list(self.counts.values()))
        )

    def start(self) -> None:
        """Begin."""
        self._written = self.target.results.position or 0
        self._read_ledger()
        self._thread = threading.Thread(target=self._guarded, daemon=True, name=f"{self.target.table.name} materializer")  # fmt: skip
        self._thread.start()

    def stop(self) -> None:
        """End it, and enter into the ledger what the engine has counted."""
        self._stop.set()
        self._thread.join()
        self.check()
        self.enter(final=True)

    def check(self) -> None:
        """Raise the error of the thread, if there was one."""
        if self.failure is not None:
            raise self.failure

    # ---------------------------------------------------------------- reading

    def _guarded(self) -> None:
        try:
            self._work()
        except Exception as error:  # noqa: BLE001 - raised by check()
            self.failure = error if isinstance(error, RtaError) else QueryError(
                f"table {self.target.table.name!r} cannot be filled", found=f"{type(error).__name__}: {str(error)[:300]}",
                fix="check that Kafka and the database answer, and follow it again: it goes on where it was",
            )  # fmt: skip

    def _work(self) -> None:
        from kafka import TopicPartition

        places = {
            suffix: TopicPartition(self.target.results.topic + suffix, 0) for suffix in _TOPICS
        }
        results, counts, bad = places.values()
        entered = time.monotonic()
        with closing(client.consumer(**client.COMMITTED, auto_offset_reset="none")) as reader:
            reader.assign([*places.values()])
            reader.seek(results, self._written)
            reader.seek_to_beginning(counts, bad)
            while not self._stop.is_set():
                found = reader.poll(timeout_ms=_POLL)
                with self._lock:
                    self._note(found.get(counts, ()), found.get(bad, ()))
                # Beyond the marks of transactions, which are no records.
                now = {suffix: reader.position(place) for suffix, place in places.items()}
                self._take(found.get(results, ()), now[""])
                self.positions = now
                if time.monotonic() - entered > _ENTER:
                    self.enter()
                    entered = time.monotonic()

    def _note(self, counts: Iterable[Any], bad: Iterable[Any]) -> None:
        for record in counts:
            if record.value is not None:
                told = json.loads(record.value)
                self.counts[told["partition"]] = told
        self.bad += [json.loads(record.value) for record in bad]

    def _take(self, records: Iterable[Any], position: int) -> None:
        values = [Gone(record.key) if record.value is None else record.value for record in records]  # fmt: skip
        if values:
            write = partial(
                changelog.take, self.target.database, self.target.table, None, values, position, since=self._written,
            )  # fmt: skip
            rows = retried(write, patience=database.PATIENCE)
            with self._lock:
                self.rows += rows
            self._written = position

    # ---------------------------------------------------------------- the ledger

    def reached(self, ends: Mapping[int, int]) -> bool:
        """Tell whether the engine has counted all events before these offsets, and their results are in the table."""
        counted = self.counted
        for partition, end in ends.items():
            done = counted.get(partition, 0)
            if done < end and self._uncounted(partition, done, end):
                return False
        # What was counted was written before: its results are below the present end, perhaps not committed yet.
        return all(
            self.positions.get(suffix, -1) >= topics.offsets(self.target.results.topic + suffix)[0][1]
            for suffix in _TOPICS
        )  # fmt: skip

    def _uncounted(self, partition: int, done: int, end: int) -> bool:
        """Tell whether there is a record between these offsets: all may be marks of transactions. One that is known is not looked for."""
        if self._ahead.get(partition, -1) < done:
            self._ahead[partition] = _some_record(self.target.source.name, partition, done, end)
        return done <= self._ahead[partition]

    def enter(self, *, final: bool = False) -> None:
        """Enter into the ledger what the engine has counted since the last entry; bad events go to the dead letter queue before.

        Args:
            final: Nothing more comes. Before, counts whose bad events are not there yet wait for them.
        """
        with self._lock:  # the thread does it, and who waits for a result
            start, end = self._entered, self._entered | {p: told["next"] for p, told in self.counts.items()}  # fmt: skip
            if end == start:
                return
            bad = [each for each in self.bad if start.get(each["partition"], 0) <= each["offset"] < end.get(each["partition"], 0)]  # fmt: skip
            batch = self._batch(start, end, len(bad))
            if batch.doubt and not final:
                return
            _send(self.target.source.name, bad)
            with database.writing(self.target.database) as connection:
                ledger.enter(connection, self.target.table.name, batch)
            self.rows -= batch.rows
            self._read_ledger()

    def _batch(self, start: Mapping[int, int], end: Mapping[int, int], bad: int) -> Batch:
        """Return the entry for the events between these offsets, of which so many are told to be bad."""
        topic = self.target.source.name
        terms = {
            term: sum(told[term] for told in self.counts.values()) - getattr(self._known, term)
            for term in TERMS
        }
        if terms["consumed"] != sum(end[p] - start.get(p, 0) for p in end):
            # Gaps, of transactions or compaction, or a fault of the engine: the topic is counted.
            terms["consumed"] = sum(_records(topic, p, start.get(p, 0), end[p]) for p in end)
        return Batch(
            self.target.results.topic, self._known.batches, topic, start, end, **terms,
            run_id=self.target.run_id, table=self.target.table.name, rows=self.rows,
            doubt=None if bad == terms["quarantined"] else f"{bad:,} bad events were told, {terms['quarantined']:,} counted",
        )  # fmt: skip

    def _read_ledger(self) -> None:
        """Read how far the ledger has this query: another process may have entered something."""
        table, database_, query = self.target.table.name, self.target.database, self.target.results.topic  # fmt: skip
        ends = [batch.end_offsets for batch in ledger.newest(table, on=database_) if batch.query_id == query]  # fmt: skip
        self._entered = dict(self.target.start) | dict(ends[0] if ends else {})
        self._known = ledger.summed(table, query_id=query, on=database_)


def _some_record(topic: str, partition: int, first: int, end: int) -> int:
    """Return the offset of a record between two offsets, of the last ones if there is one; -1 if there is none."""
    from kafka import TopicPartition

    with closing(client.consumer(auto_offset_reset="none")) as reader:
        for begin in dict.fromkeys((max(first, end - _LAST), first)):
            records = client.until(reader, TopicPartition(topic, partition), begin, end)
            if (found := next(records, None)) is not None:
                return int(found.offset)
    return -1


def _records(topic: str, partition: int, first: int, end: int) -> int:
    """Count the records between two offsets by reading them."""
    from kafka import TopicPartition

    if first >= end:
        return 0
    with closing(client.consumer(auto_offset_reset="none")) as reader:
        return sum(1 for _ in client.until(reader, TopicPartition(topic, partition), first, end))


def _send(topic: str, bad: Iterable[Mapping[str, Any]]) -> None:
    """Send bad events to the dead letter queue of their topic, unchanged, with reason and origin."""
    from kafka import TopicPartition

    if not (told := list(bad)):
        return
    to = queue.opened(topic)
    with (
        closing(client.consumer(auto_offset_reset="none")) as reader,
        bounded_producer(_ANSWER) as producer,
    ):
        sent = []
        for each in told:
            place = TopicPartition(topic, each["partition"])
            for record in client.until(reader, place, each["offset"], each["offset"] + 1):
                headers = queue.headers_of(record, each["reason"])
                sent.append(client.send(producer, to, record.value, record.key, headers))
    for future in sent:  # the producer has waited for their answers
        future.get(timeout=0)
