"""The clients that reach Kafka: the embedded broker, or the cluster that RTA_KAFKA_… name, with TLS and a password.

One place says it to Spark (options that begin with `kafka.`) and to kafka-python (arguments), and opens every client of
kafka-python: the admin client of the process, consumers and producers that change no byte of a record.
"""

from __future__ import annotations

import functools
import os
import threading
import time
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from rta.errors import BrokerError, InputError
from rta.kafka.auth_errors import refusals_said
from rta.kafka.broker import Broker, bootstrap, up
from rta.settings import Settings, settings

if TYPE_CHECKING:
    from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
    from kafka.future import Future

_SCRAM: Final = "org.apache.kafka.common.security.scram.ScramLoginModule"
_PLAIN: Final = "org.apache.kafka.common.security.plain.PlainLoginModule"
_FILES: Final = "org.apache.kafka.common.config.provider.DirectoryConfigProvider"


_KEPT: Final = 10.0
"""Seconds without use after which the admin client is made anew: a new one finds out in 5 s that Kafka is silent, an old one in 30."""


class _Masked(str):
    """A password that kafka-python can use, and does not show where it logs its configuration."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"


READING: Final = {"kafka.allow.auto.create.topics": "false"}
"""For Spark's source: reading makes no topic."""
WRITING: Final = {"kafka.metadata.max.idle.ms": "5000"}
"""For Spark's sink. Its client cannot leave that, and Spark keeps it for ten minutes: it would ask for a topic that was deleted since, and
so make it again. It forgets a topic to which nothing was sent for five seconds, the least that Kafka takes."""


def spark_options() -> dict[str, str]:
    """Return what Spark's Kafka source and sink need to reach the cluster.

    The private key stays in its file: Kafka's own client reads it there.

    >>> spark_options()
    {'kafka.bootstrap.servers': '127.0.0.1:...'}
    """
    options = {"bootstrap.servers": bootstrap()}
    chosen = settings()
    if chosen.kafka_security_protocol != "PLAINTEXT":
        options |= {"security.protocol": chosen.kafka_security_protocol, **_java_tls(chosen), **_java_sasl(chosen)}  # fmt: skip
    return {f"kafka.{name}": value for name, value in options.items()}


def client_options() -> dict[str, Any]:
    """Return what a client of kafka-python needs to reach the cluster.

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
    """The admin client of this process. It is closed at exit, or once it was replaced and the last who uses it is done."""

    def __init__(self, cluster: tuple[Settings, str | Broker]) -> None:
        from kafka import KafkaAdminClient

        options = client_options()
        lossy = functools.partial(options["kafka_client"], _drop)
        try:
            self.client = KafkaAdminClient(
                **options | {"kafka_client": lossy}, bootstrap_timeout_ms=5_000, request_timeout_ms=30_000, reconnect_backoff_max_ms=1_000,
                max_in_flight_requests_per_connection=1_000,  # by default a sixth thread is told that no node is ready
            )  # fmt: skip
        except ValueError as error:
            raise InputError(
                "no address of a Kafka broker", found=options["bootstrap_servers"],
                fix="correct RTA_KAFKA_BOOTSTRAP: host:port, and a comma between several",
            ) from error  # fmt: skip
        self.cluster, self.used = cluster, time.monotonic()
        weakref.finalize(self, _close, self.client, os.getpid())

    def serves(self, cluster: tuple[Settings, str | Broker]) -> bool:
        """Tell whether it reaches this cluster as one that is made now would."""
        from rta.kafka.internals import has_lost_a_connection

        idle = time.monotonic() - self.used
        return self.cluster == cluster and idle < _KEPT and not has_lost_a_connection(self.client)


_shared: Final[dict[int, _SharedAdmin]] = {}
"""Process → its client: after a fork the parent's is not ours."""


def _drop() -> None:
    """Take the client from the cache if it lost a connection, so that it is closed: else it would try again for ever.

    On a thread of its own: the client's own, which calls this, cannot wait for its own end.
    """
    threading.Thread(target=_shared.pop, args=(os.getpid(), None), daemon=True).start()


def _close(client: KafkaAdminClient, process: int) -> None:
    """Close a client in the process that made it: its connections are not those of a fork."""
    if process == os.getpid():
        client.close()


@contextmanager
def administrator() -> Iterator[KafkaAdminClient]:
    """Lend the admin client of this process; any thread may use it.

    It is made anew if the broker restarted, if it lost a connection, if a RTA_… variable changed, after an error, after a
    fork, and if nobody used it for a while.

    Raises:
        BrokerError: if Kafka is away, or goes away.
        RefusedError: if Kafka refuses us.
        InputError: if the address is none.

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
        with refusals_said():
            if lent is None or not lent.serves(cluster):
                lent = _shared[process] = _SharedAdmin(cluster)  # of two made at once, the later
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


PATIENCE: Final = 30.0  # seconds without a record that is there
COMMITTED: Final = {"isolation_level": "read_committed"}
"""For a consumer that must not see what a transaction has not committed; by default it sees all, as Spark does."""


def consumer(**options: Any) -> KafkaConsumer:
    """Open a consumer that joins no group and commits nothing; options: for KafkaConsumer.

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


def until(reader: KafkaConsumer, place: TopicPartition, first: int, end: int) -> Iterator[Any]:
    """Read one partition between two offsets, alone; the reader is assigned to it.

    Raises:
        BrokerError: if nothing comes for half a minute: kafka-python alone waits for ever for a broker that went away.
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
    """Hand any record to a producer of producer(); where: partition and timestamp_ms, as for KafkaProducer.send."""
    from rta.kafka.internals import Headers

    return producer.send(topic, value=(value,), key=key, headers=Headers(headers), **where)


def mechanism(chosen: Settings) -> str:
    """Return the SASL mechanism: SCRAM-SHA-512 if none is named."""
    return chosen.kafka_sasl_mechanism or "SCRAM-SHA-512"


def _java_tls(chosen: Settings) -> dict[str, str]:
    """Return the names of the PEM files as Kafka's Java client takes them."""
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
    """Return the login as Kafka's Java client takes it."""
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
    """Quote a text as JAAS reads it."""
    for plain, escaped in (("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n"), ("\r", "\\r")):
        text = text.replace(plain, escaped)
    return f'"{text}"'
