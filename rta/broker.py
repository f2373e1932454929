"""The embedded Apache Kafka: one real broker (KRaft) for all notebooks and jobs of a user.

It outlives the process that started it; the next one finds it by `<home>/broker/broker.json` and
makes sure that the process it names is really that broker. One lock lets two kernels start at once.
One node is not safe against power loss: Kafka trusts its replicas, and here there are none.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from fcntl import LOCK_EX, flock
from pathlib import Path
from typing import Final
from uuid import uuid4

from rta.errors import BrokerError, SetupError
from rta.jars import kafka_jars
from rta.jvm import find_java
from rta.progress import step
from rta.settings import private_folder, settings

KAFKA_PORT: Final = 9092  # what every Kafka example says; another free port where it is taken

# C1 only and the serial collector: half a second faster to the open port, and half the memory.
JVM_OPTIONS: Final = (
    "-Xms64m",
    "-Xmx256m",
    "-XX:TieredStopAtLevel=1",
    "-XX:+UseSerialGC",
    "-Djava.awt.headless=true",
)

# Kept by size, never by age: history replayed today carries timestamps of years ago.
SERVER_PROPERTIES: Final = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "inter.broker.listener.name": "PLAINTEXT",
    "num.network.threads": "2",
    "num.io.threads": "4",
    "num.partitions": "4",
    "auto.create.topics.enable": "false",
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "4",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "group.initial.rebalance.delay.ms": "0",
    "log.retention.ms": "-1",
    "log.retention.bytes": str(1024**3),
    "log.segment.bytes": str(128 * 1024**2),
    "log.cleaner.dedupe.buffer.size": str(8 * 1024**2),
}

LOG4J: Final = """status = error
appender.file.type = RollingFile
appender.file.name = file
appender.file.fileName = {folder}/broker.log
appender.file.filePattern = {folder}/broker.log.%i
appender.file.layout.type = PatternLayout
appender.file.layout.pattern = %d %p %m (%c)%n
appender.file.policies.type = Policies
appender.file.policies.size.type = SizeBasedTriggeringPolicy
appender.file.policies.size.size = 5MB
appender.file.strategy.type = DefaultRolloverStrategy
appender.file.strategy.max = 2
rootLogger.level = warn
rootLogger.appenderRef.file.ref = file
"""


_children: Final[
    list[subprocess.Popen[bytes]]
] = []  # kept: a Popen that is forgotten while it runs warns


@dataclass(frozen=True)
class Broker:
    """A running embedded Apache Kafka."""

    pid: int
    started: float  # the process's own start time, seconds since the epoch: a pid alone is reused
    bootstrap: str
    folder: str


def bootstrap() -> str:
    """Return the bootstrap servers: RTA_KAFKA_BOOTSTRAP, or the embedded broker, started on first need."""
    return settings().kafka_bootstrap or up().bootstrap


def status() -> Broker | None:
    """Return the running embedded broker, or None.

    >>> up() == status()
    True
    """
    import psutil

    try:
        broker = Broker(**json.loads(_state_file().read_text()))
        process = psutil.Process(broker.pid)
        same = (
            abs(process.create_time() - broker.started) < 1
            and process.status() != psutil.STATUS_ZOMBIE
        )
    except (FileNotFoundError, ValueError, TypeError, psutil.NoSuchProcess):
        return None
    return broker if same else None


def up(*, timeout: float = 60) -> Broker:
    """Start the embedded broker, or adopt the one that runs; return when it answers.

    timeout: seconds to wait for the port. Raises SetupError (no Java, no jars) and BrokerError
    (it ended, or did not answer) with the end of its log.
    """
    with _locked():
        running = status()
        if running is None:
            with step("starting Apache Kafka"):
                running = _start(timeout)
        return running


def down(*, timeout: float = 30) -> bool:
    """Stop the embedded broker cleanly; return whether there was one to stop. Data is kept."""
    import psutil

    with _locked():
        running = status()
        if running is None:
            return False
        process = psutil.Process(running.pid)
        process.terminate()
        try:
            process.wait(timeout)
        except psutil.TimeoutExpired:
            process.kill()
            process.wait(timeout)
        _state_file().unlink(missing_ok=True)
        return True


def _start(timeout: float) -> Broker:
    """Format the storage once, start the JVM and wait for its port."""
    folder = _folder()
    command = [str(find_java().executable), *JVM_OPTIONS, f"-Dlog4j2.configurationFile={folder}/log4j2.properties",
               "-cp", os.pathsep.join(map(str, kafka_jars()))]  # fmt: skip
    port = _free_port(preferred=_last_port() or KAFKA_PORT)
    _write_configuration(folder, port)
    properties = str(folder / "server.properties")
    if not (folder / "data" / "meta.properties").exists():
        _format(command, properties)
    with (folder / "console.log").open("w") as console:
        process = subprocess.Popen(
            [*command, "kafka.Kafka", properties],
            stdin=subprocess.DEVNULL, stdout=console, stderr=console, cwd=folder,
            start_new_session=True,  # Ctrl-C in a terminal, or a kernel's end, is not the broker's end
        )  # fmt: skip
    _children.append(process)
    _wait_for_port(process, port, timeout)
    import psutil

    broker = Broker(
        process.pid, psutil.Process(process.pid).create_time(), f"127.0.0.1:{port}", str(folder)
    )
    _state_file().write_text(json.dumps(asdict(broker)))
    return broker


def _write_configuration(folder: Path, port: int) -> None:
    """Write server.properties and the log's configuration."""
    controller = _free_port()
    properties = SERVER_PROPERTIES | {
        "listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{port}",
        "controller.quorum.voters": f"1@127.0.0.1:{controller}",
        "log.dirs": str(folder / "data"),
    }
    text = "".join(f"{name}={value}\n" for name, value in properties.items())
    (folder / "server.properties").write_text(text)
    (folder / "log4j2.properties").write_text(LOG4J.format(folder=folder))


def _format(command: list[str], properties: str) -> None:
    """Give the data folder its cluster id: Kafka's own first step."""
    arguments = ["kafka.tools.StorageTool", "format", "-t", _cluster_id(), "-c", properties]
    answer = subprocess.run(
        [*command, *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    if answer.returncode != 0:
        raise BrokerError("Kafka cannot format its data folder", found=_first_words(answer.stderr + answer.stdout),
                          do="free disk space, or remove the folder `broker/data` under RTA_HOME")  # fmt: skip


def _first_words(output: str) -> str:
    """Return the lines of a Java tool's output that are no stack trace."""
    lines = [
        line
        for line in output.splitlines()
        if line.strip() and not line.startswith(("\tat ", "\t..."))
    ]
    return " | ".join(lines)[:400]


def _cluster_id() -> str:
    """Make a random id in Kafka's form: 16 bytes in URL-safe base64, no dash first."""
    from base64 import urlsafe_b64encode

    return "A" + urlsafe_b64encode(uuid4().bytes).decode().rstrip("=")[1:]


def _wait_for_port(process: subprocess.Popen[bytes], port: int, timeout: float) -> None:
    """Wait on the socket: a Kafka client that meets a closed port backs off for seconds."""
    deadline = time.monotonic() + timeout
    while process.poll() is None and time.monotonic() < deadline:
        with socket.socket() as probe:
            probe.settimeout(1)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    ended = process.poll() is not None
    if not ended:
        process.kill()
        process.wait()
    log = "".join((_folder() / name).read_text(errors="replace")[-600:] for name in ("console.log", "broker.log")
                  if (_folder() / name).exists())  # fmt: skip
    what = (
        "Kafka ended while it started"
        if ended
        else f"Kafka did not open its port within {timeout:g} s"
    )
    raise BrokerError(
        what,
        found=log.strip() or "an empty log",
        do="see `rta doctor`; the log is broker.log under RTA_HOME",
    )


def _free_port(preferred: int | None = None) -> int:
    """Return a free loopback port: the preferred one if nobody has it."""
    for port in (preferred, 0) if preferred else (0,):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise SetupError("no free port on 127.0.0.1", do="close a program that listens there")


def _last_port() -> int | None:
    """Return the port of the last start, so that clients meet the broker again after a restart."""
    try:
        lines = (_folder() / "server.properties").read_text().splitlines()
    except FileNotFoundError:
        return None
    advertised = next(line for line in lines if line.startswith("advertised.listeners="))
    return int(advertised.rpartition(":")[2])


def _folder() -> Path:
    """Return the broker's own folder."""
    private_folder(settings().home)
    return private_folder(settings().home / "broker")


def _state_file() -> Path:
    """Name the file that says which process is the broker."""
    return _folder() / "broker.json"


@contextmanager
def _locked() -> Iterator[None]:
    """Let one process at a time start or stop the broker; the lock dies with its holder."""
    with (_folder() / "lock").open("w") as lock:
        flock(lock, LOCK_EX)
        yield
