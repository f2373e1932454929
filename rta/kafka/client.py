"""Clients of the embedded broker, or of the cluster in the RTA_KAFKA_… variables, with TLS and a password.

The connection is described here alone, for Spark (options that begin with `kafka.`) and for kafka-python (arguments). All
clients of kafka-python are opened here, too: the admin client of the process, consumers and producers, which change no byte
of a record.
"""

from __future__ import annotations

import functools
import os
import threading
import time
import weakref
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from rta.errors import BrokerError, InputError
from rta.kafka.auth_errors import raising_refused
from rta.kafka.broker import Broker, bootstrap, up
from rta.settings import Settings, settings
from rta.urls import shown

if TYPE_CHECKING:
    from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
    from kafka.future import Future

_SCRAM: Final = "org.apache.kafka.common.security.scram.ScramLoginModule"
_PLAIN: Final = "org.apache.kafka.common.security.plain.PlainLoginModule"
_FILES: Final = "org.apache.kafka.common.config.provider.DirectoryConfigProvider"


_KEPT: Final = 10.0
"""Seconds without use after which the admin client is replaced: a new one notices in 5 s that Kafka is silent, an old one in 30."""


class _Masked(str):
    """A password that kafka-python can use, but cannot show when it logs its configuration."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"


READING: Final = {"kafka.allow.auto.create.topics": "false"}
"""For Spark's source: reading creates no topic."""
WRITING: Final = {"kafka.metadata.max.idle.ms": "5000"}
"""For Spark's sink. Spark keeps its producer for ten minutes. A producer that asks about a topic that was deleted meanwhile creates it
again, and that cannot be switched off. So it forgets a topic after five seconds without a record, the least that Kafka accepts."""


def java_options(prefix: str = "") -> dict[str, str]:
    """Return the properties by which Kafka's Java client reaches the cluster, each name behind a prefix.

    The private key stays in its file; the client reads it there.

    >>> java_options("properties.")
    {'properties.bootstrap.servers': '127.0.0.1:...'}
    """
    options = {"bootstrap.servers": bootstrap()}
    chosen = settings()
    if chosen.kafka_security_protocol != "PLAINTEXT":
        options |= {"security.protocol": chosen.kafka_security_protocol, **_java_tls(chosen), **_java_sasl(chosen)}  # fmt: skip
    return {f"{prefix}{name}": value for name, value in options.items()}


def spark_options() -> dict[str, str]:
    """Return the options by which Spark's Kafka source and sink reach the cluster.

    >>> spark_options()
    {'kafka.bootstrap.servers': '127.0.0.1:...'}
    """
    return java_options("kafka.")


def client_options() -> dict[str, Any]:
    """Return the arguments by which a client of kafka-python reaches the cluster.

    >>> client_options()
    {'bootstrap_servers': '127.0.0.1:...', 'kafka_client': <function network_client at ...>}
    """
    from rta.kafka import internals

    options: dict[str, Any] = {
        "bootstrap_servers": bootstrap(),
        "kafka_client": internals.network_client,
    }
    chosen = settings()
    if chosen.kafka_security_protocol == "PLAINTEXT":
        return options
    options["security_protocol"] = chosen.kafka_security_protocol
    if chosen.kafka_security_protocol.endswith("SSL"):
        files = chosen.kafka_ssl_cafile, chosen.kafka_ssl_certfile, chosen.kafka_ssl_keyfile
        options["ssl_context"] = internals.tls(*files)
    if chosen.kafka_sasl_password:
        options |= {
            "sasl_mechanism": mechanism(chosen),
            "sasl_plain_username": chosen.kafka_sasl_username,
            "sasl_plain_password": _Masked(chosen.kafka_sasl_password.get_secret_value()),
        }
    return options


class _SharedAdmin:
    """The admin client of this process. It is closed at exit, or once it is replaced and its last user is done."""

    def __init__(self, cluster: tuple[Settings, str | Broker]) -> None:
        from kafka import KafkaAdminClient

        options = client_options()
        lossy = functools.partial(options["kafka_client"], _drop)
        try:
            self.client = KafkaAdminClient(
                **options | {"kafka_client": lossy}, bootstrap_timeout_ms=5_000, request_timeout_ms=30_000, reconnect_backoff_max_ms=1_000,
                max_in_flight_requests_per_connection=1_000,  # by default a sixth thread gets the error that no node is ready
            )  # fmt: skip
        except ValueError as error:
            raise InputError(
                "this is not the address of a Kafka broker", found=shown(options["bootstrap_servers"]),
                fix="correct RTA_KAFKA_BOOTSTRAP: host:port, several with commas between them",
            ) from error  # fmt: skip
        self.cluster, self.used = cluster, time.monotonic()
        weakref.finalize(self, _close, self.client, os.getpid())

    def serves(self, cluster: tuple[Settings, str | Broker]) -> bool:
        """Return whether it is as good as a new one for this cluster."""
        from rta.kafka.internals import has_lost_a_connection

        idle = time.monotonic() - self.used
        return self.cluster == cluster and idle < _KEPT and not has_lost_a_connection(self.client)


_shared: Final[dict[int, _SharedAdmin]] = {}
"""Process → its client: after a fork, the client of the parent cannot be used."""


def _drop() -> None:
    """Remove a client that lost a connection from the cache, so that it is closed: it would try again for ever.

    The client's own thread calls this, and cannot wait for its own end; so another thread does it.
    """
    threading.Thread(target=_shared.pop, args=(os.getpid(), None), daemon=True).start()


def _close(client: KafkaAdminClient, process: int) -> None:
    """Close a client, but only in the process that made it: a fork shares its connections."""
    if process == os.getpid():
        client.close()


@contextmanager
def administrator() -> Iterator[KafkaAdminClient]:
    """Lend the admin client of this process; any thread may use it.

    It is replaced if the broker restarted, a connection was lost, a RTA_… variable changed, after an error, after a fork, and
    if nobody used it for 10 s.

    Raises:
        BrokerError: if Kafka is away, or goes away.
        RefusedError: if Kafka refuses us.
        InputError: if the address is not one of a broker.

    Example:
        >>> with administrator() as admin:
        ...     admin.describe_topics(["doc-no-such-topic"])[0]["name"]
        'doc-no-such-topic'
    """
    from kafka.errors import BrokerResponseError, RequestTimedOutError, RetriableError

    broker, process = settings().kafka_bootstrap or up(), os.getpid()
    cluster = settings(), broker
    lent = _shared.get(process)
    try:
        with raising_refused():
            if lent is None or not lent.serves(cluster):
                lent = _shared[process] = _SharedAdmin(
                    cluster
                )  # if two threads make one, the later counts
            lent.used = time.monotonic()
            yield lent.client
    except BaseException as error:
        _shared.pop(process, None)
        if not isinstance(error, RetriableError):
            raise
        if isinstance(error, BrokerResponseError) and not isinstance(error, RequestTimedOutError):
            raise  # an answer, not silence
        raise BrokerError(
            "Kafka does not answer", found=f"{broker if isinstance(broker, str) else broker.bootstrap} ({type(error).__name__})",
            fix="see `rta status`; check RTA_KAFKA_BOOTSTRAP and RTA_KAFKA_SECURITY_PROTOCOL if you set them",
        ) from error  # fmt: skip
    finally:
        del lent  # a traceback that keeps this frame would keep the client open


PATIENCE: Final = 30.0  # seconds to wait for a record that the topic has
COMMITTED: Final = {"isolation_level": "read_committed"}
"""For a consumer that must not see uncommitted records; by default it sees all, as Spark does."""


def consumer(**options: Any) -> KafkaConsumer:
    """Return a consumer that joins no group and commits nothing; options: for KafkaConsumer.

    >>> reader = consumer()
    >>> reader.partitions_for_topic("doc-no-such-topic"), reader.close()
    (set(), None)
    """
    from kafka import KafkaConsumer

    from rta.kafka.internals import read_any_header

    alone = {"group_id": None, "enable_auto_commit": False, "reconnect_backoff_max_ms": 1_000}
    opened = KafkaConsumer(**client_options(), **alone | options)
    read_any_header(opened)
    return opened


def read_from(reader: KafkaConsumer, offsets: Mapping[TopicPartition, int]) -> None:
    """Assign partitions to a reader, each from its offset on; also one that was paused: kafka-python remembers that through assign()."""
    reader.assign(list(offsets))
    reader.resume(*offsets)
    for place, offset in offsets.items():
        reader.seek(place, offset)


def until(reader: KafkaConsumer, place: TopicPartition, first: int, end: int) -> Iterator[Any]:
    """Yield the records of one partition between two offsets; the reader is assigned to it.

    Raises:
        BrokerError: if no record comes for 30 s; kafka-python itself waits for ever for a broker that went away.
    """
    return until_each(reader, {place: (first, end)})


def until_each(
    reader: KafkaConsumer, ranges: Mapping[TopicPartition, tuple[int, int]]
) -> Iterator[Any]:
    """Yield the records of each partition between its two offsets, as they come; the reader is assigned to all of them.

    Raises:
        BrokerError: as until().
    """
    left = {place: end for place, (first, end) in ranges.items() if first < end}
    read_from(reader, {place: ranges[place][0] for place in left})
    deadline = time.monotonic() + PATIENCE
    while left:
        for place, records in (came := reader.poll(timeout_ms=500, max_records=100)).items():
            yield from (record for record in records if record.offset < left.get(place, 0))
        if came:
            deadline = time.monotonic() + PATIENCE
        elif time.monotonic() > deadline:
            place = next(iter(left))
            raise BrokerError(
                "Kafka does not answer", found=f"no record of {place.topic} for {PATIENCE:.0f} s",
                fix="see `rta status`, then run it again",
            )  # fmt: skip
        for place in [place for place, end in left.items() if reader.position(place) >= end]:
            del left[place]
            reader.pause(place)


def producer(**options: Any) -> KafkaProducer:
    """Return a producer for send(); options: for KafkaProducer."""
    from kafka import KafkaProducer

    from rta.kafka.internals import Unpack

    return KafkaProducer(**client_options() | options, value_serializer=Unpack())


def send(
    producer: KafkaProducer,
    topic: str,
    value: bytes | None,
    key: bytes | None = None,
    headers: Iterable[tuple[str, bytes | None]] = (),
    **where: Any,
) -> Future:
    """Send any record by a producer of producer(); where: partition and timestamp_ms, as for KafkaProducer.send."""
    from rta.kafka.internals import Headers

    return producer.send(topic, value=(value,), key=key, headers=Headers(headers), **where)


def mechanism(chosen: Settings) -> str:
    """Return the SASL mechanism, by default SCRAM-SHA-512."""
    return chosen.kafka_sasl_mechanism or "SCRAM-SHA-512"


def _java_tls(chosen: Settings) -> dict[str, str]:
    """Return the PEM files as options of Kafka's Java client."""
    options: dict[str, str] = {}
    if chosen.kafka_ssl_cafile:
        options |= {"ssl.truststore.type": "PEM", "ssl.truststore.location": str(chosen.kafka_ssl_cafile.absolute())}  # fmt: skip
    if chosen.kafka_ssl_certfile and chosen.kafka_ssl_keyfile:
        own = {"certificate.chain": chosen.kafka_ssl_certfile, "key": chosen.kafka_ssl_keyfile}
        options |= {"config.providers": "file", "config.providers.file.class": _FILES, "ssl.keystore.type": "PEM"}  # fmt: skip
        options |= {
            f"ssl.keystore.{name}": f"${{file:{file.absolute().parent}:{file.name}}}"
            for name, file in own.items()
        }
    return options


def _java_sasl(chosen: Settings) -> dict[str, str]:
    """Return the login as options of Kafka's Java client."""
    if not chosen.kafka_sasl_password:
        return {}
    module = _PLAIN if mechanism(chosen) == "PLAIN" else _SCRAM
    user = _quoted(chosen.kafka_sasl_username or "")
    password = _quoted(chosen.kafka_sasl_password.get_secret_value())
    return {
        "sasl.mechanism": mechanism(chosen),
        "sasl.jaas.config": f"{module} required username={user} password={password};",
    }


def _quoted(text: str) -> str:
    """Return a text in the quotes of JAAS."""
    for plain, escaped in (("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n"), ("\r", "\\r")):
        text = text.replace(plain, escaped)
    return f'"{text}"'
