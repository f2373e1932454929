"""Everything that uses private parts of kafka-python. Each function has a contract test, so an upgrade fails there.

What it is for, with kafka-python 3.0:

- It tries a refused connection again until its time is up, and then says only that; if an answer arrives together with the
  end of the connection, it reads only the end; and it leaks the thread of a client that could not be created, and the socket
  of a failed handshake.
- It sends no null header and no record without key and value, and stops for ever at a header whose name is not UTF-8. Java's
  client, and so Spark, reads such a name with U+FFFD in place of the invalid bytes; so does this module.
- If Kafka refuses a batch, its idempotent producer ends, and all events in flight get the same error. Here a refused batch is
  halved until the refused event is alone (kafka-python itself does so only if a batch is too large), and the sequence numbers
  of the refused event, which Kafka has not used, go to the next batch. This is correct with one request in flight: no later
  request has higher numbers.
- Its producer waits for ever for a broker that stays away.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from kafka.consumer.fetcher import Fetcher
from kafka.errors import CorruptRecordError
from kafka.net.compat import KafkaNetClient
from kafka.net.manager import KafkaConnectionManager
from kafka.net.selector import NetworkSelector
from kafka.record.default_records import DefaultRecordBatch
from kafka.serializer import Serializer

from rta.kafka.auth_errors import raising_refused, refusal

if TYPE_CHECKING:
    from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer

_Read = Callable[[], tuple[bytes, Exception | None]]
ONE_AT_A_TIME: Final = {"max_in_flight_requests_per_connection": 1}
"""The option that split_rejected_batches() requires of a producer."""


def network_client(on_loss: Callable[[], None] | None = None, **configs: Any) -> KafkaNetClient:
    """Return the network client of a KafkaAdminClient, KafkaConsumer or KafkaProducer: its `kafka_client`.

    Args:
        on_loss: Is called on the client's own thread if an established connection is lost.
        configs: As kafka-python gives them.
    """
    net = NetworkSelector(**configs)
    manager = _Connections(net, **configs)
    manager.on_loss = on_loss
    # A request for a topic must not create it. kafka-python 3.0.12 does not pass its own option on.
    manager.cluster.config["allow_auto_create_topics"] = False
    return KafkaNetClient(net=net, manager=manager, **configs)


class _Connections(KafkaConnectionManager):  # type: ignore[misc] # kafka-python has no types
    """The connections of one client. It gives up at the first refusal, as Kafka's Java client does."""

    refused: Exception | None = None
    lost = False
    on_loss: Callable[[], None] | None = None

    def bootstrap(self, *args: Any, **how: Any) -> None:
        try:
            super().bootstrap(*args, **how)
        except BaseException:
            if not self.cluster.brokers():  # it has never worked
                self.close()
                self._net.close()
            raise

    def get_connection(self, *args: Any, **how: Any) -> Any:
        if self.refused and not self.bootstrapped:
            raise self.refused
        known = set(self._conns)
        connection = super().get_connection(*args, **how)
        if connection.node_id not in known:
            connection.init_future.add_errback(self._keep)
            connection.close_future.add_both(self._note_loss)
        return connection

    def _note_loss(self, _how: Any) -> None:
        if self.bootstrapped and not self.closed:  # else it was closed on purpose
            self.lost = True
            if self.on_loss:
                self.on_loss()

    def _keep(self, error: Exception) -> None:
        if refusal(error):
            self.refused = error

    async def _build_transport(self, *args: Any, **how: Any) -> Any:
        transport = await super()._build_transport(*args, **how)
        transport._sock_recv = _answer_first(transport._sock_recv)
        return transport


def has_lost_a_connection(admin: KafkaAdminClient) -> bool:
    """Return whether a client of network_client() lost a connection: the leaders of partitions may have changed since."""
    return bool(admin._manager.lost)


def tls(authorities: Path | None, certificate: Path | None, key: Path | None) -> ssl.SSLContext:
    """Return a TLS context that always checks the broker's certificate and host name.

    Raises:
        RefusedError: if a file is not PEM.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.sslsocket_class = _Socket
    with raising_refused():
        if authorities:
            context.load_verify_locations(authorities)
        else:
            context.load_default_certs()
        if certificate:
            context.load_cert_chain(certificate, key)
    return context


class _Socket(ssl.SSLSocket):
    """A socket that closes if its handshake fails."""

    def do_handshake(self, block: bool = False) -> None:  # noqa: FBT001, FBT002 - as ssl has it
        try:
            super().do_handshake(block)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except BaseException:
            self.close()
            raise


def _answer_first(read: _Read) -> _Read:
    """Return what was read before the end of the connection; the next read returns the end again."""

    def reading() -> tuple[bytes, Exception | None]:
        answer, end = read()
        return answer, None if answer else end

    return reading


class Headers(list[tuple[str, bytes]]):
    """Headers that KafkaProducer.send accepts although it refuses null values; Unpack restores them.

    It is never true: else kafka-python asks a null value for its length, for a size that nobody reads.
    """

    def __init__(self, headers: Iterable[tuple[str, bytes | None]]) -> None:
        self.whole: list[Any] = list(headers)
        super().__init__((name, b"" if value is None else value) for name, value in self.whole)

    def __bool__(self) -> bool:
        return False


class Unpack(Serializer):  # type: ignore[misc] # kafka-python has no types
    """A serializer of values in a tuple: send() by itself refuses a record without key and value."""

    def serialize(self, _topic: str, headers: Any, data: tuple[bytes | None]) -> bytes | None:
        """Return the value, and restore the headers."""
        headers[:] = headers.whole
        return data[0]


def read_any_header(consumer: KafkaConsumer) -> None:
    """Let a consumer read records with any bytes as names of headers."""
    consumer._fetcher.PartitionRecords = _PartitionRecords


class _PartitionRecords(Fetcher.PartitionRecords):  # type: ignore[misc]
    """The records of one fetch, with any bytes as names of headers."""

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
    """A record batch with any bytes as names of headers."""

    __slots__ = ()

    def __next__(self) -> Any:
        try:
            return super().__next__()
        except CorruptRecordError as error:
            if not isinstance(error.__context__, UnicodeDecodeError):
                raise
        # This is slower, so only from the first such name on.
        self._buffer: Any = _Bytes(self._buffer)  # type: ignore[misc]
        return super().__next__()


class _Bytes(bytearray):
    """Bytes that decode invalid UTF-8, in parts, too."""

    def __getitem__(self, which: Any) -> Any:
        part = super().__getitem__(which)
        return _Bytes(part) if isinstance(which, slice) else part

    def decode(self, encoding: str = "utf-8", errors: str = "replace") -> str:
        return super().decode(encoding, errors)


def split_rejected_batches(producer: Any) -> None:
    """Let an idempotent producer with one request in flight go on after Kafka refused an event.

    >>> from types import SimpleNamespace
    >>> split_rejected_batches(SimpleNamespace(config={"enable_idempotence": False}))  # it goes on by itself
    """
    from kafka.errors import (
        InvalidRecordError,
        InvalidTimestampError,
        MessageSizeTooLargeError,
        RecordListTooLargeError,
    )

    config = producer.config
    if not config["enable_idempotence"] or not ONE_AT_A_TIME.items() <= config.items():
        return
    sender, numbers = producer._sender, producer._transaction_manager
    refusals = (InvalidRecordError, InvalidTimestampError, MessageSizeTooLargeError, RecordListTooLargeError)  # fmt: skip
    can_split, classify = sender._can_split, numbers.classify_batch_error

    def may_split(batch: Any, error: type[BaseException]) -> bool:
        same = MessageSizeTooLargeError if issubclass(error, refusals) else error
        return bool(can_split(batch, same))

    def not_fatal(error: BaseException, batch: Any, **facts: Any) -> str:
        if isinstance(error, refusals) and batch.records.base_sequence not in (None, -1):
            numbers.set_sequence_number(batch.topic_partition, batch.records.base_sequence)
            return str(numbers.ERROR_CLASS_RETRIABLE)  # no retry: this batch fails, and no other
        return str(classify(error, batch, **facts))

    sender._can_split, numbers.classify_batch_error = may_split, not_fatal


def abandon(producer: KafkaProducer) -> None:
    """Let close() of a producer not wait for answers; its close(timeout=…) would leave its thread running."""
    producer._sender.force_close()
