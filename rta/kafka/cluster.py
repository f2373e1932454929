"""How clients reach Kafka: the embedded broker, or the cluster that RTA_KAFKA_… name, with TLS and a password.

One place says it to Spark (options that begin with `kafka.`) and to kafka-python (arguments).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from rta.errors import BrokerError, InputError
from rta.kafka.auth_errors import refusals_said
from rta.kafka.broker import bootstrap
from rta.settings import Settings, settings

_SCRAM: Final = "org.apache.kafka.common.security.scram.ScramLoginModule"
_PLAIN: Final = "org.apache.kafka.common.security.plain.PlainLoginModule"
_FILES: Final = "org.apache.kafka.common.config.provider.DirectoryConfigProvider"


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
    {'bootstrap_servers': '127.0.0.1:...', 'kafka_client': <function client at ...>}
    """
    from rta.kafka import connections

    options: dict[str, Any] = {"bootstrap_servers": bootstrap(), "kafka_client": connections.client}
    chosen = settings()
    if chosen.kafka_security_protocol == "PLAINTEXT":
        return options
    options["security_protocol"] = chosen.kafka_security_protocol
    if chosen.kafka_security_protocol.endswith("SSL"):
        files = chosen.kafka_ssl_cafile, chosen.kafka_ssl_certfile, chosen.kafka_ssl_keyfile
        options["ssl_context"] = connections.tls(*files)
    if chosen.kafka_sasl_password:
        options |= {
            "sasl_mechanism": mechanism(chosen),
            "sasl_plain_username": chosen.kafka_sasl_username,
            "sasl_plain_password": _Masked(chosen.kafka_sasl_password.get_secret_value()),
        }
    return options


@contextmanager
def administrator() -> Iterator[Any]:
    """Lend an admin client and close it; a broker that is away, or goes away, becomes one sentence.

    Raises BrokerError where it is away, RefusedError where it refuses us, InputError for an address that is none.

    >>> with administrator() as admin:
    ...     admin.describe_topics(["doc-no-such-topic"])[0]["name"]
    'doc-no-such-topic'
    """
    from kafka import KafkaAdminClient
    from kafka.errors import BrokerResponseError, RequestTimedOutError, RetriableError

    options, admin = client_options(), None
    try:
        with refusals_said():
            admin = KafkaAdminClient(
                **options, bootstrap_timeout_ms=5_000, request_timeout_ms=30_000,
                reconnect_backoff_max_ms=1_000,
            )  # fmt: skip
            yield admin
    except RetriableError as error:
        if isinstance(error, BrokerResponseError) and not isinstance(error, RequestTimedOutError):
            raise  # an answer, not silence
        raise BrokerError(
            "Kafka does not answer", found=f"{options['bootstrap_servers']} ({type(error).__name__})",
            fix="see `rta status`; check RTA_KAFKA_BOOTSTRAP and RTA_KAFKA_SECURITY_PROTOCOL if you set them",
        ) from error  # fmt: skip
    except ValueError as error:
        if admin:
            raise
        raise InputError(
            "no address of a Kafka broker", found=options["bootstrap_servers"],
            fix="correct RTA_KAFKA_BOOTSTRAP: host:port, and a comma between several",
        ) from error  # fmt: skip
    finally:
        if admin:
            admin.close()


def mechanism(chosen: Settings) -> str:
    """Return the SASL mechanism: SCRAM-SHA-512 where none is named."""
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
