"""The local Flink: one JVM with a cluster and its SQL gateway, for all notebooks and jobs of a user, on the loopback interface.

Like the embedded broker it outlives the process that started it, and `<home>/flink/cluster.json` names it. Flink has no login: any user
of this machine can send SQL to its ports, and read what this user can read.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from rta.errors import QueryError, SetupError
from rta.html import card, described
from rta.progress import step
from rta.settings import private_folder, settings
from rta.setup.processes import end, launched_apart, one_at_a_time, recorded, started

_MAIN: Final = "rta.FlinkLocal"
_MEMORY: Final = "768m"
_SLOTS: Final = 16  # each job takes as many as its parallelism
_TAKEN: Final = "BindException"  # in the console
_ANSWER: Final = (
    10.0  # seconds for one, while it starts: another program that has taken the port may give none
)
# What Flink's own start script opens for Kryo, RMI and its memory: without these its jobs fail with InaccessibleObjectException.
_OPENED: Final = (
    "lang", "net", "io", "nio", "lang.reflect", "text", "time", "util", "util.concurrent", "util.concurrent.atomic", "util.concurrent.locks",
)  # fmt: skip
_JVM_OPTIONS: Final = (
    f"-Xmx{_MEMORY}", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:+ExitOnOutOfMemoryError", "-Djava.awt.headless=true",
    "--add-exports=java.rmi/sun.rmi.registry=ALL-UNNAMED", "--add-exports=java.security.jgss/sun.security.krb5=ALL-UNNAMED",
    *(f"--add-opens=java.base/java.{name}=ALL-UNNAMED" for name in _OPENED), "--add-opens=java.base/sun.nio.ch=ALL-UNNAMED",
)  # fmt: skip


@dataclass(frozen=True)
class Cluster:
    """A running Flink: its REST API knows jobs and metrics, its SQL gateway takes statements.

    Args:
        pid: Of the local one's process; None if it is a person's own.
        started: Seconds from the machine's start to the process's, for pids are reused; None, too, if it is a person's own.
        rest: The address of its REST API.
        gateway: The address of its SQL gateway.
    """

    pid: int | None
    started: float | None
    rest: str
    gateway: str

    @property
    def ours(self) -> bool:
        """Whether rta has started it, and may stop it."""
        return self.pid is not None

    def _facts(self) -> tuple[list[tuple[str, object]], str]:
        if not self.ours:
            return [("Flink", f"{self.rest} (your own)"), ("SQL gateway", self.gateway)], '`rta.follow(…, engine="flink")` keeps a table with it'  # fmt: skip
        then = '`rta.follow(…, engine="flink")` keeps a table with it, `rta.engines.flink.down()` stops it'
        return [("Flink", f"{self.rest} (process {self.pid})"), ("SQL gateway", self.gateway)], then

    def __repr__(self) -> str:
        return described(*self._facts())

    def _repr_html_(self) -> str:
        return card(*self._facts())


def status() -> Cluster | None:
    """Return the local Flink; None if it does not run.

    >>> up(timeout=180) == status()
    True
    """
    return recorded(_state_file(), Cluster)


def up(*, timeout: float) -> Cluster:
    """Start the local Flink if it does not run, and wait so many seconds until it answers.

    Raises:
        SetupError: There is no Java that fits, the jars cannot be fetched, or it did not start.
    """
    with one_at_a_time(_folder() / "lock"):
        running = status()
        if running is None:
            from rta.jvm import engines_jar
            from rta.setup.jars import flink_jars

            jars = [engines_jar(), *flink_jars()]
            with step("starting Apache Flink"):
                running = started_with(jars, timeout=timeout)
        return running


def down(*, timeout: float) -> bool:
    """Stop the local Flink, by force after so many seconds; return whether there was one.

    >>> down(timeout=60), status()
    (True, None)
    """
    with one_at_a_time(_folder() / "lock"):
        running = status()
        if running is None or running.pid is None:
            return False
        end(running.pid, patience=timeout)
        _state_file().unlink(missing_ok=True)
        return True


def started_with(jars: Sequence[Path], *, timeout: float) -> Cluster:
    """Write the configuration, start the JVM, and wait until its gateway answers; once more if a port was taken in the last moment."""
    try:
        return _started(jars, timeout)
    except SetupError:
        if _TAKEN not in _read("console.log"):
            raise
        return _started(jars, timeout)


def _started(jars: Sequence[Path], timeout: float) -> Cluster:
    import psutil

    from rta.kafka.broker_config import free_port
    from rta.setup.java import find_java, log_to_file

    folder = _folder()
    shutil.rmtree(folder / "tmp", ignore_errors=True)  # copies of jars stay there after a kill
    rest, gateway = free_port(), free_port()
    configuration = private_folder(folder / "conf") / "config.yaml"
    configuration.write_text("".join(f"{name}: {value}\n" for name, value in _configuration(folder, rest, gateway).items()))  # fmt: skip
    command = [str(find_java().executable), *_JVM_OPTIONS, log_to_file(folder, "flink"), "-cp", os.pathsep.join(map(str, jars)), _MAIN]  # fmt: skip
    environment = os.environ | {"FLINK_CONF_DIR": str(configuration.parent)}
    process = launched_apart(command, cwd=folder, output=folder / "console.log", env=environment)
    cluster = Cluster(process.pid, started(psutil.Process(process.pid)), f"http://127.0.0.1:{rest}", f"http://127.0.0.1:{gateway}")  # fmt: skip
    _wait(process, cluster, timeout)
    _state_file().write_text(json.dumps(asdict(cluster)))
    return cluster


def _wait(process: subprocess.Popen[bytes], cluster: Cluster, timeout: float) -> None:
    """Wait until both doors answer. Raises SetupError if it ends before, or the time is over."""
    from rta.engines.flink.gateway import call

    deadline = time.monotonic() + timeout
    while process.poll() is None and time.monotonic() < deadline:
        with suppress(QueryError):
            if call("GET", f"{cluster.rest}/overview", patience=_ANSWER)["taskmanagers"]:
                call("GET", f"{cluster.gateway}/v4/info", patience=_ANSWER)
                return
        time.sleep(0.1)
    ended = process.poll() is not None
    if not ended:
        process.kill()
        process.wait()
    what = "Flink ended while it started" if ended else f"Flink did not answer within {timeout:g} s"
    raise SetupError(what, found=_last_words(), fix="see `rta doctor`; the logs are flink.log and console.log in flink/ under RTA_HOME")  # fmt: skip


def _configuration(folder: Path, rest: int, gateway: int) -> Mapping[str, object]:
    """Return Flink's configuration. A global rest.bind-port would be taken for the gateway's, so it is left out."""
    local = ("rest.address", "rest.bind-address", "jobmanager.rpc.address", "jobmanager.bind-host", "taskmanager.host",
             "taskmanager.bind-host", "sql-gateway.endpoint.rest.address", "sql-gateway.endpoint.rest.bind-address")  # fmt: skip
    return dict.fromkeys(local, "127.0.0.1") | {
        "execution.target": "remote", "parallelism.default": 2, "rest.port": rest, "sql-gateway.endpoint.rest.port": gateway,
        "taskmanager.numberOfTaskSlots": _SLOTS, "io.tmp.dirs": private_folder(folder / "tmp"),
        "web.refresh-interval": 500, "taskmanager.memory.managed.size": "128m", "taskmanager.memory.network.max": "64m",
    }  # fmt: skip


def _last_words() -> str:
    """Return the cause that Flink's console names, or the last lines of console and log."""
    from rta.engines.flink.gateway import CAUSE, cause

    console, log = (_read(name) for name in ("console.log", "flink.log"))
    if CAUSE in console:
        return cause(console)
    lines = [line.strip() for each in (console, log) for line in each.strip().splitlines()[-2:]]
    return " | ".join(lines)[-400:] or "an empty log"


def _read(name: str) -> str:
    file = _folder() / name
    return file.read_text(errors="replace") if file.exists() else ""


def _folder() -> Path:
    """Return Flink's own folder."""
    return private_folder(private_folder(settings().home) / "flink")


def _state_file() -> Path:
    return _folder() / "cluster.json"
