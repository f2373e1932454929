"""The faults themselves. Each returns what was really done, in words."""

from __future__ import annotations

import subprocess
import time
from typing import Final

from rta.dataframes import session
from rta.dataframes.internals import own_jvm
from rta.engines.following import restart
from rta.engines.spark.starting import kept_here
from rta.errors import BrokerError, QueryError
from rta.kafka import broker
from rta.setup.processes import still_running

# A program of its own, in a session of its own, holds the broker: it goes on even if this kernel dies or is interrupted meanwhile.
_HOLD: Final = (
    'for _ in $(seq "$4"); do kill -STOP "$1"; sleep "$2"; kill -CONT "$1"; sleep "$3"; done'
)
_REST: Final = 0.05  # seconds that a slow network passes on what has waited
_DYING: Final = 30.0  # seconds


def kill_broker() -> str:
    """Kill the embedded broker, and start it as the next call of rta would."""
    import psutil

    process = psutil.Process(_own_broker().pid)
    process.kill()
    still_running([process], patience=_DYING)
    began = time.monotonic()
    broker.up()
    return f"SIGKILL to the broker; up again after {time.monotonic() - began:.1f} s"


def hold_broker(seconds: float, *, delay: float | None = None) -> str:
    """Hold the broker's process, once or by turns: to its clients it is silent, and no connection breaks.

    Args:
        seconds: How long.
        delay: How long in each turn; by default all the time.
    """
    turns = 1 if delay is None else max(1, round(seconds / (delay + _REST)))
    held, rest = delay or seconds, _REST if delay else 0
    pid = _own_broker().pid
    command = ["sh", "-c", _HOLD, "sh", *(f"{each:g}" for each in (held, rest))]
    command[4:4] = [str(pid)]
    subprocess.Popen([*command, str(turns)], start_new_session=True).wait()
    if delay is None:
        return f"the broker held for {seconds:g} s: silent, no connection broken"
    return f"the broker held for {held:g} s, {turns} times: each answer waits"


def kill_driver() -> str:
    """Kill the JVM of this session, start another like it, and each of its queries where it was."""
    queries = restartable()
    process = own_jvm()
    assert process is not None  # noqa: S101 - restartable() has looked
    process.kill()
    process.wait(_DYING)
    began = time.monotonic()
    session.again()
    started = time.monotonic() - began
    for table in queries:
        restart(table)
    more = f" and {len(queries) - 1} more" if queries[1:] else ""
    return f"SIGKILL to the JVM; another after {started:.1f} s, then its query{more}"


def restartable() -> list[str]:
    """Return the tables whose queries run in this session.

    Raises:
        QueryError: If the JVM is not ours, or has a query that could not be started again.
    """
    if own_jvm() is None:
        raise QueryError("the driver's JVM is not of this session alone", found="PYSPARK_GATEWAY_PORT names it", fix="kill it where it was started")  # fmt: skip
    running = session.running()
    names = [each.name or str(each.id) for each in running.streams.active] if running else []
    if others := sorted({*names} - {*kept_here()}):
        raise QueryError(
            "queries would end that cannot be started again", found=", ".join(others),
            fix="stop them first; rta.live(…) of a streaming frame has such a query",
        )  # fmt: skip
    return names


def _own_broker() -> broker.Broker:
    """Return the embedded broker: the process is known by its id and its start, so it is no other."""
    if found := broker.status():
        return found
    raise BrokerError("the embedded broker does not run", fix="rta.up()")
