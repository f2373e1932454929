"""Every consumer and producer of kafka-python that rta opens: it changes no byte of a record.

kafka-python alone sends no null header and no record without key and value, and stops for ever at a header whose name is
not UTF-8. Java's client, and so Spark, reads such a name with U+FFFD for what is none; so it is here.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

from kafka import KafkaConsumer, TopicPartition
from kafka.consumer.fetcher import Fetcher
from kafka.errors import CorruptRecordError
from kafka.record.default_records import DefaultRecordBatch
from kafka.serializer import Serializer

from rta.errors import BrokerError
from rta.kafka.cluster import client_options

if TYPE_CHECKING:
    from kafka import KafkaProducer
    from kafka.future import Future

PATIENCE: Final = 30.0  # seconds without a record that is there
COMMITTED: Final = {"isolation_level": "read_committed"}
"""For a consumer that must not see what a transaction has not committed; by default it sees all, as Spark does."""


def consumer(**options: Any) -> KafkaConsumer:
    """Open a consumer that joins no group and commits nothing; options: for KafkaConsumer.

    >>> reader = consumer()
    >>> reader.partitions_for_topic("doc-no-such-topic"), reader.close()
    (set(), None)
    """
    alone = {"group_id": None, "enable_auto_commit": False, "reconnect_backoff_max_ms": 1_000}
    opened = KafkaConsumer(**client_options(), **alone | options)
    opened._fetcher.PartitionRecords = _PartitionRecords
    return opened


def until(reader: KafkaConsumer, place: TopicPartition, first: int, end: int) -> Iterator[Any]:
    """Read one partition between two offsets, alone; the reader is assigned to it.

    Raises BrokerError if nothing comes for half a minute: kafka-python alone waits for ever for a broker that went away.
    """
    reader.assign([place])
    reader.seek(place, first)
    deadline = time.monotonic() + PATIENCE
    while reader.position(place) < end:
        if records := reader.poll(timeout_ms=500, max_records=100).get(place):
            yield from (record for record in records if record.offset < end)
            deadline = time.monotonic() + PATIENCE
        elif time.monotonic() > deadline:
            raise BrokerError(
                "Kafka does not answer", found=f"no record of {place.topic} for {PATIENCE:.0f} s",
                fix="see `rta status`, then run it again",
            )  # fmt: skip


def producer(**options: Any) -> KafkaProducer:
    """Open a producer for send(); options: for KafkaProducer."""
    import kafka

    settings = {**client_options(), **options}
    return kafka.KafkaProducer(**settings, value_serializer=_Unpack())


def send(
    producer: KafkaProducer,
    topic: str,
    value: bytes | None,
    key: bytes | None = None,
    headers: Iterable[tuple[str, bytes | None]] = (),
    **where: Any,
) -> Future:
    """Hand any record to a producer of producer(); where: partition and timestamp_ms, as for KafkaProducer.send."""
    return producer.send(topic, value=(value,), key=key, headers=_Headers(headers), **where)


class _Headers(list[tuple[str, bytes]]):
    """Headers that pass KafkaProducer.send, which refuses a null value, and become themselves in its serializer.

    It is never true: kafka-python would ask a null value for its length, for a size that nobody reads.
    """

    def __init__(self, headers: Iterable[tuple[str, bytes | None]]) -> None:
        self.whole: list[Any] = list(headers)
        super().__init__((name, b"" if value is None else value) for name, value in self.whole)

    def __bool__(self) -> bool:
        return False


class _Unpack(Serializer):  # type: ignore[misc] # kafka-python has no types
    """Takes the value out of a tuple: send() alone refuses a record without key and value."""

    def serialize(self, _topic: str, headers: Any, data: tuple[bytes | None]) -> bytes | None:
        headers[:] = headers.whole
        return data[0]


class _PartitionRecords(Fetcher.PartitionRecords):  # type: ignore[misc]
    """The records of one fetch, read whatever their headers are called."""

    def _unpack_records(self, tp: Any, records: Any, *how: Any) -> Any:
        return super()._unpack_records(tp, _Batches(records), *how)


class _Batches:
    """The record batches of a fetch."""

    def __init__(self, records: Any) -> None:
        self.records = records

    def next_batch(self) -> Any:
        batch = self.records.next_batch()
        if isinstance(batch, DefaultRecordBatch):
            batch.__class__ = _Batch
        return batch


class _Batch(DefaultRecordBatch):  # type: ignore[misc]
    """A record batch in which a header's name may be any bytes."""

    __slots__ = ()

    def __next__(self) -> Any:
        try:
            return super().__next__()
        except CorruptRecordError as error:
            if not isinstance(error.__context__, UnicodeDecodeError):
                raise
        # Slower, so only once such a name is met.
        self._buffer: Any = _Bytes(self._buffer)  # type: ignore[misc]
        return super().__next__()


class _Bytes(bytearray):
    """Bytes whose parts are decoded whatever they are."""

    def __getitem__(self, which: Any) -> Any:
        part = super().__getitem__(which)
        return _Bytes(part) if isinstance(which, slice) else part

    def decode(self, encoding: str = "utf-8", errors: str = "replace") -> str:
        return super().decode(encoding, errors)
