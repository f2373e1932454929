"""kafka-python's network client, mended where it hides from its caller that Kafka refuses.

kafka-python 3.0 tries a refused connection again until its time is out, and then says only that the
time is out; of an answer that arrives together with the connection's end it reads only the end; and
it leaves behind the thread of a client that could not be made, and the socket of a failed handshake.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kafka.net.compat import KafkaNetClient
from kafka.net.manager import KafkaConnectionManager
from kafka.net.selector import NetworkSelector

from rta.kafka.auth_errors import refusal, refusals_said

_Read = Callable[[], tuple[bytes, Exception | None]]


def client(**configs: Any) -> KafkaNetClient:
    """Make the network client of a KafkaAdminClient, KafkaConsumer or KafkaProducer: its `kafka_client`."""
    net = NetworkSelector(**configs)
    manager = _Connections(net, **configs)
    # Asking for a topic makes none. kafka-python 3.0.12 loses its own option on the way here.
    manager.cluster.config["allow_auto_create_topics"] = False
    return KafkaNetClient(net=net, manager=manager, **configs)


class _Connections(KafkaConnectionManager):  # type: ignore[misc] # kafka-python has no types
    """The connections of one client, which gives up at the first refusal, as Kafka's own in Java does."""

    refused: Exception | None = None

    def bootstrap(self, *args: Any, **how: Any) -> None:
        try:
            super().bootstrap(*args, **how)
        except BaseException:
            if not self.cluster.brokers():  # not one that worked before
                self.close()
                self._net.close()
            raise

    def get_connection(self, *args: Any, **how: Any) -> Any:
        if self.refused and not self.bootstrapped:
            raise self.refused
        connection = super().get_connection(*args, **how)
        connection.init_future.add_errback(self._keep)
        return connection

    def _keep(self, error: Exception) -> None:
        if refusal(error):
            self.refused = error

    async def _build_transport(self, *args: Any, **how: Any) -> Any:
        transport = await super()._build_transport(*args, **how)
        transport._sock_recv = _answer_first(transport._sock_recv)
        return transport


def tls(authorities: Path | None, certificate: Path | None, key: Path | None) -> ssl.SSLContext:
    """Return how TLS is spoken: the broker's certificate and host name are checked, always.

    Raises RefusedError where a file is not PEM.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.sslsocket_class = _Socket
    with refusals_said():
        if authorities:
            context.load_verify_locations(authorities)
        else:
            context.load_default_certs()
        if certificate:
            context.load_cert_chain(certificate, key)
    return context


class _Socket(ssl.SSLSocket):
    """A socket that is closed where its handshake fails."""

    def do_handshake(self, block: bool = False) -> None:  # noqa: FBT001, FBT002 - as ssl has it
        try:
            super().do_handshake(block)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except BaseException:
            self.close()
            raise


def _answer_first(read: _Read) -> _Read:
    """Give what was read before the connection's end; the end comes again with the next read."""

    def reading() -> tuple[bytes, Exception | None]:
        answer, end = read()
        return answer, None if answer else end

    return reading
