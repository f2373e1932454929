"""The configuration of the embedded broker: KRaft storage and server.properties, on the loopback interface."""

from __future__ import annotations

import shutil
import socket
import subprocess
from base64 import urlsafe_b64encode
from pathlib import Path
from typing import Final
from uuid import uuid4

from rta.errors import BrokerError, SetupError

FULL: Final = 16 * 2**20  # bytes; with less free disk Kafka does not start
KAFKA_PORT: Final = 9092  # the port of every Kafka example; if it is taken, another one

# C1 only and the serial collector: the port is open half a second earlier, with half the memory.
JVM_OPTIONS: Final = (
    "-Xms64m",
    "-Xmx256m",
    "-XX:TieredStopAtLevel=1",
    "-XX:+UseSerialGC",
    "-Djava.awt.headless=true",
)

# Retention by size, never by age: a replay today has timestamps of years ago.
SERVER_PROPERTIES: Final = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "inter.broker.listener.name": "PLAINTEXT",
    "num.network.threads": "2",
    "num.io.threads": "4",
    "num.partitions": "4",
    "auto.create.topics.enable": "true",  # for producers that are not ours; none of our readers creates a topic
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "4",
    "transaction.max.timeout.ms": str(
        7 * 86_400_000
    ),  # a job of Flink that is away for a night finds its transactions again
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


def write_configuration(folder: Path, port: int) -> None:
    """Write server.properties."""
    controller = free_port()
    properties = SERVER_PROPERTIES | {
        "listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{port}",
        "controller.quorum.voters": f"1@127.0.0.1:{controller}",
        "log.dirs": str(folder / "data"),
    }
    text = "".join(f"{name}={value}\n" for name, value in properties.items())
    (folder / "server.properties").write_text(text)


def format_storage(command: list[str], properties: str) -> None:
    """Format the data folder with a new cluster id, as Kafka requires before its first start."""
    arguments = ["kafka.tools.StorageTool", "format", "-t", _cluster_id(), "-c", properties]
    answer = subprocess.run(
        [*command, *arguments], capture_output=True, text=True, timeout=300, check=False
    )
    if answer.returncode != 0:
        raise BrokerError("Kafka cannot format its data folder", found=" | ".join(_messages(answer.stderr + answer.stdout))[:400],
                          fix="free disk space, or remove the folder `broker/data` under RTA_HOME")  # fmt: skip


class PortTakenError(BrokerError):
    """Another program took the port just before Kafka started."""


def not_started(folder: Path, port: int, patience: float | None) -> BrokerError:
    """Return the error for a Kafka that ended while it started, or did not open its port within `patience` seconds."""
    found = _last_words(folder) or "an empty log"
    fix = "see `rta doctor`; the log is broker.log under RTA_HOME"
    if "Address already in use" in found:
        fix = f"port {port} was free a moment ago: run it again, and Kafka takes another one"
        return PortTakenError("Kafka ended while it started", found=found, fix=fix)
    # A full disk is an I/O error in Java, or a fault in memory that is mapped to a file.
    free = shutil.disk_usage(folder / "data").free
    if free < FULL:
        found = f"{free / 2**20:.1f} MB of disk free; {found}"
        fix = "free disk space under RTA_HOME, then `rta up`: what was acknowledged is kept"
    if patience is None:
        return BrokerError("Kafka ended while it started", found=found, fix=fix)
    return BrokerError(f"Kafka did not open its port within {patience:g} s", found=found, fix=fix)


def _last_words(folder: Path) -> str:
    """Return the last message of Kafka's console and of its log."""
    logs = [folder / name for name in ("console.log", "broker.log")]
    texts = [log.read_text(errors="replace")[-20_000:] for log in logs if log.exists()]
    return " | ".join(message for text in texts for message in _messages(text)[-1:])[-400:]


def _messages(output: str) -> list[str]:
    """Return the lines of a Java program's output without its stack traces."""
    return [line.strip() for line in output.splitlines() if line.strip() and line[0] != "\t"]


def _cluster_id() -> str:
    """Return a random id in Kafka's form: 16 bytes in URL-safe base64, not starting with a dash."""
    return "A" + urlsafe_b64encode(uuid4().bytes).decode().rstrip("=")[1:]


def free_port(preferred: int | None = None) -> int:
    """Return a free loopback port: the preferred one, if it is free."""
    for port in (preferred, 0) if preferred else (0,):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise SetupError("no free port on 127.0.0.1", fix="close a program that listens there")


def last_port(folder: Path) -> int | None:
    """Return the port of the last start, so that clients find the broker again after a restart."""
    try:
        lines = (folder / "server.properties").read_text().splitlines()
    except FileNotFoundError:
        return None
    advertised = next(line for line in lines if line.startswith("advertised.listeners="))
    return int(advertised.rpartition(":")[2])
