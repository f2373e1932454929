"""What rta takes from inside kafka-python, one test for each: an upgrade of it fails here, and nowhere else first."""

import os
import socket
import ssl
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from kafka import TopicPartition
from kafka.errors import InvalidTimestampError, KafkaConnectionError, KafkaTimeoutError
from kafka.future import Future

from rta.errors import BrokerError, RefusedError
from rta.kafka import client, internals, topics
from rta.kafka.paced import bounded_producer
from tests.support.waiting import HANG, joined, until

pytestmark = pytest.mark.kafka
NOBODY = "127.0.0.1:1"  # no broker: the connection is refused


def admin_thread() -> threading.Thread:
    """Return the thread of the admin client that is lent now."""
    with client.administrator() as admin:
        thread = admin._net._io_thread
        assert isinstance(thread, threading.Thread)
        return thread


def test_one_admin_client_serves_all_threads(topic: Callable[..., str]) -> None:
    """Sixteen at once ask two hundred questions of one client; more in flight than kafka-python's five is no error."""
    name, thread = topic(), admin_thread()
    with ThreadPoolExecutor(16) as pool:
        assert set(pool.map(topics.topic_id, [name] * 200)) == {topics.topic_id(name)}
    assert admin_thread() is thread


def test_an_admin_client_is_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """After an error, another address, a lost connection, and a while without use; the old one is closed."""
    first = admin_thread()
    with pytest.raises(ZeroDivisionError), client.administrator():
        raise ZeroDivisionError
    second = admin_thread()
    with monkeypatch.context() as patch:
        patch.setenv("RTA_KAFKA_BOOTSTRAP", NOBODY)
        with pytest.raises(BrokerError):
            topics.list_topics()
    third = admin_thread()
    with client.administrator() as admin:
        admin.list_topics()
        for connection in list(admin._manager._conns.values()):
            admin._net.run(connection.close)
        assert internals.has_lost_a_connection(admin)
    del admin
    third.join(HANG)  # at once, without another question: it would try to connect for ever
    fourth = admin_thread()
    monkeypatch.setattr(client, "_KEPT", 0.0)
    fifth = admin_thread()
    threads = [first, second, third, fourth, fifth]
    assert len(set(threads)) == len(threads)
    for old in threads[:-1]:
        old.join(HANG)
        assert not old.is_alive()


def test_a_client_is_closed_only_once_nobody_uses_it(topic: Callable[..., str]) -> None:
    """An error in one thread takes nothing from another that is in the middle of its question."""
    name = topic()
    with client.administrator() as admin:
        with pytest.raises(ZeroDivisionError), client.administrator():
            raise ZeroDivisionError
        assert admin.describe_topics([name])[0]["name"] == name
        thread = admin._net._io_thread
    thread.join(HANG)
    assert not thread.is_alive()


def test_a_fork_has_a_client_of_its_own(topic: Callable[..., str]) -> None:
    """A child asks by itself, and its end closes nothing of the parent's."""
    name, thread = topic(), admin_thread()
    child = os.fork()
    if not child:
        right = topics.description(name).partitions == 2
        os._exit(0 if right and len(client._shared) == 2 else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert topics.description(name).partitions == 2
    assert admin_thread() is thread


def test_a_client_that_cannot_be_made_leaves_no_thread() -> None:
    """kafka-python alone leaves its thread behind."""
    from kafka import KafkaAdminClient

    before = set(threading.enumerate())
    options = {"bootstrap_servers": NOBODY, "kafka_client": internals.network_client}
    with pytest.raises(KafkaTimeoutError):
        KafkaAdminClient(**options, bootstrap_timeout_ms=300)
    for left in set(threading.enumerate()) - before:
        left.join(HANG)
        assert not left.is_alive()


def test_asking_for_a_topic_makes_none() -> None:
    """A consumer's question is no order: kafka-python alone loses its option on the way."""
    with closing(client.consumer()) as reader:
        assert reader.partitions_for_topic("nobody-made-this") == set()
    assert "nobody-made-this" not in [topic.name for topic in topics.list_topics()]


def test_the_first_refusal_ends_a_bootstrap() -> None:
    """A refusal is not tried again until the time is out."""
    from kafka import KafkaAdminClient

    def refusing(**configs: Any) -> Any:
        made = internals.network_client(**configs)
        made._manager._keep(ssl.SSLError("[SSL: CERTIFICATE_VERIFY_FAILED] certificate has expired"))  # fmt: skip
        return made

    with pytest.raises(ssl.SSLError, match="has expired"):
        KafkaAdminClient(
            bootstrap_servers=NOBODY, kafka_client=refusing, bootstrap_timeout_ms=int(HANG * 1000)
        )


def test_an_answer_is_read_before_the_end_of_its_connection() -> None:
    """What arrives together with the end counts; the end comes with the next read."""
    end = KafkaConnectionError("closed")
    reads = iter([(b"answer", end), (b"", end)])
    read = internals._answer_first(lambda: next(reads))
    assert [read(), read()] == [(b"answer", None), (b"", end)]


def test_a_file_that_is_not_pem_is_refused() -> None:
    """And TLS always checks the broker's certificate and name."""
    with pytest.raises(RefusedError, match="is not valid PEM"):
        internals.tls(Path(__file__), None, None)
    context = internals.tls(None, None, None)
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED


def test_a_failed_handshake_closes_its_socket() -> None:
    """kafka-python alone forgets it."""
    ours, theirs = socket.socketpair()
    theirs.sendall(b"this is no TLS at all")
    wrapped = internals.tls(None, None, None).wrap_socket(
        ours, server_hostname="kafka", do_handshake_on_connect=False
    )
    with closing(theirs), pytest.raises(ssl.SSLError):
        wrapped.do_handshake()
    assert wrapped.fileno() == -1


def test_any_record_goes_out_and_comes_back(topic: Callable[..., str]) -> None:
    """Null value, null key, null header, and a header whose name is not UTF-8."""

    class Bytes(str):
        """A name that is sent as other bytes than its text."""

        __slots__ = ()

        def encode(self, *_how: Any) -> bytes:
            return b"\xffname"

    name = topic(partitions=1)
    with closing(client.producer(enable_idempotence=False)) as producer:
        client.send(producer, name, None, None, [("a", None), ("b", b"")])
        client.send(producer, name, b"v", None, [(Bytes("name"), b"1")])
        producer.flush(HANG)
    with closing(client.consumer()) as reader:
        first, second = client.until(reader, TopicPartition(name, 0), 0, 2)
    assert (first.key, first.value, list(first.headers)) == (None, None, [("a", None), ("b", b"")])
    assert (second.value, list(second.headers)) == (b"v", [("\ufffdname", b"1")])


def test_a_refused_event_takes_nothing_with_it(topic: Callable[..., str]) -> None:
    """One of ten events has a time that Kafka refuses: the nine others arrive, each once, in order."""
    name = topic(partitions=1)
    options = {"linger_ms": 200, "enable_idempotence": True, **internals.ONE_AT_A_TIME}
    with closing(client.producer(**options)) as producer:
        internals.split_rejected_batches(producer)
        answers = [
            client.send(producer, name, b"%d" % n, timestamp_ms=4 * 10**12 if n == 4 else None)
            for n in range(10)
        ]
        for number, answer in enumerate(answers):
            if number == 4:
                with pytest.raises(InvalidTimestampError):
                    answer.get(HANG)
            else:
                answer.get(HANG)
    with closing(client.consumer()) as reader:
        found = [record.value for record in client.until(reader, TopicPartition(name, 0), 0, 9)]
    assert found == [b"%d" % n for n in range(10) if n != 4]


def test_the_end_of_a_producer_waits_for_events_alone(topic: Callable[..., str]) -> None:
    """Each event has its answer; a request that is never answered, here a planted one, holds nobody up."""
    name = topic(partitions=1)
    sent: list[Any] = []

    def send() -> None:
        with bounded_producer(HANG) as producer:
            sent.append(client.send(producer, name, b"event"))
            until(lambda: sent[0].is_done)
            [connection] = producer._sender._client._manager._conns.values()
            connection.in_flight_requests.append((0, Future(), 0.0, 0.0, None))

    sending = threading.Thread(target=send, daemon=True)
    sending.start()
    joined(sending, hang=HANG / 2)  # a connection is idle after nine minutes: then it would go on
    assert [each.value.offset for each in sent] == [0]


def test_an_abandoned_producer_does_not_wait(topic: Callable[..., str]) -> None:
    """Its close() returns though an event is out, and its thread ends."""
    name, before = topic(partitions=1), set(threading.enumerate())
    producer = client.producer(linger_ms=60_000, enable_idempotence=False)
    waiting = client.send(producer, name, b"out")
    internals.abandon(producer)
    producer.close()
    assert not waiting.succeeded()
    for left in set(threading.enumerate()) - before:
        left.join(HANG)
        assert not left.is_alive()


def test_only_an_idempotent_producer_with_one_request_is_changed() -> None:
    """Any other has nothing that ends, or numbers behind the refused ones."""
    plain = SimpleNamespace(config={"enable_idempotence": False, **internals.ONE_AT_A_TIME})
    many = SimpleNamespace(
        config={"enable_idempotence": True, "max_in_flight_requests_per_connection": 5}
    )
    for producer in (plain, many):
        internals.split_rejected_batches(producer)
        assert set(vars(producer)) == {"config"}
