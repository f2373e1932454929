"""A spare driver: a JVM that is started and warm before anybody needs it, kept by `rta up --spare` for the next session.

A keeper (rta.dataframes.spare_keeper) starts the JVM and holds the pipe at whose end a driver's JVM ends. A session that asks for it
gets the address and that pipe, over a socket in a folder of this user alone, and from then on the JVM is its own: it serves one
session, and ends with its process, however that dies. So no session sees what another one has left in a JVM.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rta.errors import SetupError
from rta.files import write_whole
from rta.settings import private_folder, settings
from rta.setup.processes import end, launched_apart, one_at_a_time, recorded, started, still_running

if TYPE_CHECKING:
    import psutil

UNKNOWN_EXIT: Final = 256  # no exit code of a process: only its parent learns that
MEMORY: Final = 3 * 1024**3  # bytes: what must be free before a spare driver is started
_PATIENCE: Final = 10.0  # seconds for an answer of the keeper
_LONGEST: Final = 65_536  # bytes of a message
# What differs between a terminal and a kernel, and means nothing to a JVM.
_MEANINGLESS: Final = (
    "JPY_", "JUPYTER", "IPY", "PYDEVD", "KERNEL_", "MPL", "CLICOLOR", "FORCE_COLOR", "TERM", "COLORTERM", "LS_COLORS", "PAGER",
    "GIT_PAGER", "LINES", "COLUMNS", "MAKE", "MFLAGS", "PWD", "OLDPWD", "SHLVL", "_", "RTA_RUN_ID",
    "SPARK_AUTH_SOCKET_TIMEOUT", "SPARK_BUFFER_SIZE",  # PySpark sets them when a session begins
)  # fmt: skip


@dataclass(frozen=True)
class Spare:
    """A keeper, and the spare driver that it has ready, if it has one."""

    keeper: int
    started: float  # seconds from the machine's start to the process's: pids are reused
    driver: int | None = None
    socket: str = ""

    def __str__(self) -> str:
        return f"ready (pid {self.driver})" if self.driver else "not ready yet"


@dataclass
class Lent:
    """The process of a driver that another process has started; it stands where PySpark has a Popen."""

    process: psutil.Process
    stdin: Any  # the pipe: the JVM ends when nobody holds it any more
    port: int
    secret: str = field(repr=False)

    @property
    def pid(self) -> int:
        """Its id."""
        return self.process.pid

    def kill(self) -> None:
        """End it the hard way."""
        self.process.kill()

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end. Raises subprocess.TimeoutExpired."""
        if still_running([self.process], patience=float("inf") if timeout is None else timeout):
            raise subprocess.TimeoutExpired("java", timeout or 0)
        return UNKNOWN_EXIT


def needs(properties: Mapping[str, str]) -> dict[str, str]:
    """Return what a driver's JVM must have been started with, to serve a session with these properties.

    Spark SQL's own are set when the session begins. Of the environment there is only a hash: it may hold secrets.

    >>> sorted(needs({"spark.driver.memory": "2g", "spark.sql.shuffle.partitions": "4"}))
    ['environment', 'python', 'spark.driver.memory']
    """
    import pyspark

    own = {name: value for name, value in os.environ.items() if not name.startswith(_MEANINGLESS)}
    # A terminal and a kernel may call the same Python by another name: python, or python3.
    workers = own.get("PYSPARK_PYTHON")
    if workers and Path(workers).parent == Path(sys.executable).parent:
        own["PYSPARK_PYTHON"] = os.path.realpath(workers)
    environment = hashlib.sha256(json.dumps(own, sort_keys=True).encode()).hexdigest()
    python = f"{sys.prefix} {sys.version_info[:3]} pyspark {pyspark.__version__}"
    kept = {
        name: value
        for name, value in properties.items()
        if not name.startswith(("spark.sql.", "spark.app."))
    }
    return kept | {"environment": environment, "python": python}


def claim(wanted: Mapping[str, str]) -> Lent | None:
    """Take the spare driver; None if there is none, it was started otherwise, or another session is just taking it.

    >>> claim({}) is None
    True
    """
    import psutil

    found = status()
    if found is None or found.driver is None:
        return None
    with suppress(OSError, ValueError, KeyError, psutil.NoSuchProcess):  # it has just gone
        process = psutil.Process(found.driver)
        with socket.socket(socket.AF_UNIX) as asking:
            asking.settimeout(_PATIENCE)
            asking.connect(found.socket)
            asking.sendall(json.dumps(dict(wanted)).encode() + b"\n")
            answer, pipes, *_ = socket.recv_fds(asking, _LONGEST, 1)
        if pipes:
            told = json.loads(answer)
            return Lent(process, os.fdopen(pipes[0], "wb"), told["port"], told["secret"])
    return None


def answered(asking: socket.socket, mine: Mapping[str, str], *, port: int, secret: str, pipe: int) -> bool:  # fmt: skip
    """Answer one session that asks for the driver; return whether it has it now."""
    asking.settimeout(_PATIENCE)
    with suppress(OSError, ValueError), asking, asking.makefile("rb") as lines:
        if json.loads(lines.readline(_LONGEST)) == mine:
            answer = json.dumps({"port": port, "secret": secret}).encode()
            socket.send_fds(asking, [answer], [pipe])
            return True
    return False


def status() -> Spare | None:
    """Return the keeper that runs for this RTA_HOME; None if there is none.

    >>> status() is None
    True
    """
    return recorded(_file(), Spare, pid="keeper")


def keep() -> Spare:
    """Start a keeper if none runs; it gets its driver ready in about half a minute, and this does not wait for it.

    Raises:
        SetupError: If too little memory is free.
    """
    import psutil

    folder = private_folder(_file().parent)
    with one_at_a_time(folder / "lock"):
        if found := status():
            return found
        if (free := psutil.virtual_memory().available) < MEMORY:
            raise SetupError("too little memory is free for a spare driver", found=f"{free / 1e9:.1f} of {MEMORY / 1e9:.1f} GB", fix="leave out --spare")  # fmt: skip
        command = [sys.executable, "-P", "-m", "rta.dataframes.spare_keeper"]
        return noted(launched_apart(command, cwd=folder, output=folder / "keeper.log").pid)


def noted(keeper: int, driver: int | None = None, at: str = "") -> Spare:
    """Note in a file which keeper runs, and what it has ready."""
    import psutil

    spare = Spare(keeper, started(psutil.Process(keeper)), driver, at)
    write_whole(_file(), json.dumps(vars(spare)))
    return spare


def stop(*, patience: float = 60.0) -> bool:
    """End the keeper, and with it the driver that nobody has taken; return whether there was one."""
    with one_at_a_time(private_folder(_file().parent) / "lock"):
        found = status()
        if found is None:
            return False
        end(found.keeper, patience=patience)
        _file().unlink(missing_ok=True)
        return True


def console() -> Path:
    """Name the file with what the spare driver printed outside its log."""
    return _file().with_name("console.log")


def _file() -> Path:
    return settings().home / "spare" / "spare.json"
