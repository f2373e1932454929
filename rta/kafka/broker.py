"""The embedded Apache Kafka: one real broker (KRaft) for all notebooks and jobs of a user.

It outlives the process that started it. Others find it by `<home>/broker/broker.json`, and check that the process named there
is really that broker. A lock makes it safe to start it from two kernels at once. It is not safe against power loss: Kafka
relies on replicas, and a single node has none.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from contextvars import copy_context
from dataclasses import asdict, dataclass
from pathlib import Path

from rta.html import card, described
from rta.kafka.broker_config import (
    JVM_OPTIONS,
    KAFKA_PORT,
    PortTakenError,
    format_storage,
    free_port,
    last_port,
    not_started,
    write_configuration,
)
from rta.progress import step
from rta.settings import private_folder, settings
from rta.setup.jars import kafka_jars
from rta.setup.java import find_java, log_to_file
from rta.setup.processes import end, launched_apart, one_at_a_time, recorded, started


@dataclass(frozen=True)
class Broker:
    """A running embedded Apache Kafka."""

    pid: int
    started: float  # seconds from the machine's start to the process's: pids are reused
    bootstrap: str
    folder: str

    def _facts(self) -> tuple[list[tuple[str, object]], str]:
        at = f"{self.bootstrap} (process {self.pid})"
        then = "`rta.publish(events, topic)` makes a topic, `rta.kafka.list_topics()` shows what there is, `rta.down()` stops it"
        return [("Kafka", at), ("topics in", self.folder)], then

    def __repr__(self) -> str:
        return described(*self._facts())

    def _repr_html_(self) -> str:
        return card(*self._facts())


def bootstrap() -> str:
    """Return the bootstrap servers: RTA_KAFKA_BOOTSTRAP, or those of the embedded broker, which is started if necessary.

    >>> bootstrap().startswith("127.0.0.1:")
    True
    """
    return settings().kafka_bootstrap or up().bootstrap


def status() -> Broker | None:
    """Return the embedded broker; None if it does not run.

    >>> up() == status()
    True
    """
    return recorded(_state_file(), Broker)


def up(*, timeout: float = 180) -> Broker:
    """Start the embedded broker if it does not run, and wait until it answers.

    Args:
        timeout: Seconds to wait for its port.

    Raises:
        SetupError: If Java or jars are missing.
        BrokerError: If it ended or did not answer; the message has the end of its log.

    >>> up().bootstrap == bootstrap()
    True
    """
    with one_at_a_time(_folder() / "lock"):
        running = status()
        if running is None:
            with step("starting Apache Kafka"):
                running = _start(timeout)
        return running


@contextmanager
def starting(*, if_it_holds_topics: bool = False) -> Iterator[None]:
    """Start the embedded broker while the block runs; after the block it is up.

    Args:
        if_it_holds_topics: Start it only if it ran before, and ignore a failure: whoever needs it first starts it again.

    Raises:
        SetupError: As up() does, but after the block; an error of the block comes first.
        BrokerError: The same.

    >>> with starting():
    ...     pass
    >>> status() is not None
    True
    """
    if settings().kafka_bootstrap or (if_it_holds_topics and not _storage().exists()) or status():
        yield
        return
    with ThreadPoolExecutor(1) as pool:
        # The context tells IPython to which cell an output belongs.
        started = pool.submit(copy_context().run, up)
        yield
        if not if_it_holds_topics:
            started.result()


def down(*, timeout: float = 120) -> bool:
    """Stop the embedded broker cleanly. Topics are kept.

    Args:
        timeout: Seconds after which it is killed.

    Returns:
        Whether there was a broker to stop.

    >>> down(), status()
    (True, None)
    """
    with one_at_a_time(_folder() / "lock"):
        running = status()
        if running is None:
            return False
        end(running.pid, patience=timeout)
        _state_file().unlink(missing_ok=True)
        return True


def _start(timeout: float) -> Broker:
    """Format the storage once, start the JVM and wait for its port."""
    folder = _folder()
    command = [str(find_java().executable), *JVM_OPTIONS, log_to_file(folder, "broker"),
               "-cp", os.pathsep.join(map(str, kafka_jars()))]  # fmt: skip
    port = free_port(preferred=last_port(folder) or KAFKA_PORT)
    if not _storage().exists():
        write_configuration(folder, port)
        format_storage(command, str(folder / "server.properties"))
    try:
        process = _launched(command, folder, port, timeout)
    except PortTakenError:
        # Another program took the port meanwhile: two brokers that start at once both try 9092.
        if not _state_file().exists():  # else clients wait at the port of the killed broker
            port = free_port()
        process = _launched(command, folder, port, timeout)
    import psutil

    broker = Broker(
        process.pid, started(psutil.Process(process.pid)), f"127.0.0.1:{port}", str(folder)
    )
    _state_file().write_text(json.dumps(asdict(broker)))
    return broker


def _launched(
    command: list[str], folder: Path, port: int, timeout: float
) -> subprocess.Popen[bytes]:
    """Start the JVM, and return once its port is open; raise PortTakenError if another program has the port."""
    write_configuration(folder, port)
    whole = [*command, "kafka.Kafka", str(folder / "server.properties")]
    process = launched_apart(whole, cwd=folder, output=folder / "console.log")
    _wait_for_port(process, port, timeout)
    return process


def _wait_for_port(process: subprocess.Popen[bytes], port: int, timeout: float) -> None:
    """Wait until the port is open: a Kafka client that finds it closed waits for seconds before it tries again."""
    deadline = time.monotonic() + timeout
    while process.poll() is None and time.monotonic() < deadline:
        if _listens(process.pid, port):
            return
        time.sleep(0.05)
    ended = process.poll() is not None
    if not ended:
        process.kill()
        process.wait()
    raise not_started(_folder(), port, None if ended else timeout)


def _listens(pid: int, port: int) -> bool:
    """Return whether this process has the port; another program may have taken it."""
    import psutil

    with suppress(psutil.Error):  # it has just ended
        sockets = psutil.Process(pid).net_connections("tcp")
        return any(
            each.status == psutil.CONN_LISTEN and each.laddr.port == port for each in sockets
        )
    return False


def _folder() -> Path:
    """Return the broker's own folder."""
    private_folder(settings().home)
    return private_folder(settings().home / "broker")


def _storage() -> Path:
    """Return the path of the file that exists once the storage is formatted."""
    return settings().home / "broker" / "data" / "meta.properties"


def _state_file() -> Path:
    """Return the path of the file that names the broker's process."""
    return _folder() / "broker.json"
