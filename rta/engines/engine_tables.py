"""The tables that engines beside Spark fill: by which engine, from which process, and what that has told last.

Beside the state of the query its process leaves a file, once a second, so that others know how it does. A second file asks it to stop.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from rta.errors import QueryError
from rta.files import write_whole
from rta.names import checked
from rta.settings import private_folder, settings
from rta.setup.processes import recorded

_LOOK: Final = 0.05  # seconds between two looks whether a query has stopped
_SUFFIX: Final = ".engine"


@dataclass(frozen=True)
class ToldQuery:
    """What the process of a query has told last.

    Args:
        table: The table that it fills.
        engine: The engine.
        pid: The id of the process.
        started: When that started, see rta.setup.processes.started().
        since: When the query was started, as a text.
        state: "running" or "failed".
        error: Why it has failed.
        native: The engine's own address of it.
        restarts: How often its engine has died and was started again.
        progress: See EngineQuery.lastProgress.
    """

    table: str
    engine: str
    pid: int
    started: float
    since: str
    state: str
    error: str | None
    native: str
    restarts: int
    progress: Mapping[str, Any] = field(default_factory=dict)


def state_of(table: str) -> Path:
    """Return the folder of an engine's state for a table."""
    return private_folder(settings().home / "checkpoints") / f"{checked('table', table)}{_SUFFIX}"


def engine_of(table: str) -> str | None:
    """Return the engine beside Spark that fills a table; None if none does.

    >>> engine_of("never_followed")
    """
    told = settings().home / "checkpoints" / f"{checked('table', table)}{_SUFFIX}" / "engine"
    return told.read_text() if told.exists() else None


def engine_tables() -> dict[str, str]:
    """Return table → the engine beside Spark that fills it, or has filled it.

    >>> "never_followed" in engine_tables()
    False
    """
    found = settings().home.glob(f"checkpoints/*{_SUFFIX}/engine")
    return {path.parent.name.removesuffix(_SUFFIX): path.read_text() for path in found}


def tell(told: ToldQuery) -> None:
    """Leave for others how a query does, completely or not at all."""
    write_whole(_file(told.table), json.dumps(asdict(told), default=str))


def told(table: str) -> ToldQuery | None:
    """Return what the process of a query has told last; None if none fills the table now.

    >>> told("never_followed")
    """
    return recorded(_file(table), ToldQuery)


def untell(table: str, since: str) -> None:
    """Remove what this process has told of a query: it fills the table no longer.

    >>> untell("never_followed", "2024-11-15 10:00:00 UTC")
    """
    if (found := told(table)) and (found.pid, found.since) == (os.getpid(), since):
        _file(table).unlink(missing_ok=True)
        _request(table).unlink(missing_ok=True)


def elsewhere(table: str) -> ToldQuery | None:
    """Return the running query that fills a table from another process; None if there is none.

    >>> elsewhere("never_followed")
    """
    found = told(table)
    return found if found and found.pid != os.getpid() and found.state == "running" else None


def refuse_elsewhere(table: str) -> None:
    """Raise QueryError if a query of another process fills a table.

    >>> refuse_elsewhere("never_followed")
    """
    if found := elsewhere(table):
        raise QueryError(
            f"another query fills table {table!r}", found=f"process {found.pid}, since {found.since}",
            fix=f"stop it: rta.queries()[{table!r}].stop(); rta.read() needs no query",
        )  # fmt: skip


def stop_elsewhere(table: str, *, patience: float = 180) -> bool:
    """Ask the other process that fills a table to stop its query, and wait until it has.

    Returns:
        Whether there was one.

    Raises:
        QueryError: It does not answer within `patience` seconds.

    >>> stop_elsewhere("never_followed")
    False
    """
    if (found := elsewhere(table)) is None:
        return False
    _request(table).write_text(json.dumps({"pid": found.pid, "since": found.since}))
    deadline = time.monotonic() + patience
    while (now := elsewhere(table)) and (now.pid, now.since) == (found.pid, found.since):
        if time.monotonic() > deadline:
            _request(table).unlink(missing_ok=True)
            raise QueryError(
                f"the query that fills {table!r} does not stop", found=f"process {found.pid} has not answered for {patience:,.0f} s",
                fix=f"stop it there, or end the process: kill {found.pid}",
            )  # fmt: skip
        time.sleep(_LOOK)
    return True


def asked_to_stop(table: str, since: str) -> bool:
    """Tell whether another process asks this one to stop its query. A request that was meant for an earlier one is none.

    >>> asked_to_stop("never_followed", "2024-11-15 10:00:00 UTC")
    False
    """
    with suppress(FileNotFoundError, ValueError):  # none, or it is being written
        return bool(json.loads(_request(table).read_text()) == {"pid": os.getpid(), "since": since})
    return False


def _file(table: str) -> Path:
    return state_of(table) / "process.json"


def _request(table: str) -> Path:
    return state_of(table) / "stop.json"
