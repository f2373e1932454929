"""The Flink that runs analyses: a person's own, which RTA_FLINK_GATEWAY names (rta.engines.flink.own), or the local one (rta.engines.flink.local)."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

from rta.engines.flink import local, own
from rta.engines.flink.gateway import Session
from rta.engines.flink.local import Cluster
from rta.errors import SetupError
from rta.settings import settings

__all__ = ["Cluster", "down", "opened", "status", "up"]


def status() -> Cluster | None:
    """Return your own Flink, or the local one; None if it does not run.

    >>> up() == status()
    True
    """
    if not settings().flink_gateway:
        return local.status()
    with suppress(SetupError):
        return own.found()
    return None


def up(*, timeout: float = 180) -> Cluster:
    """Start the local Flink if it does not run, and wait until it answers. Its first start fetches 180 MB.

    If RTA_FLINK_GATEWAY names a Flink of your own, nothing is started: it is looked at, whether it has what is needed.

    Args:
        timeout: Seconds to wait.

    Raises:
        SetupError: There is no Java that fits, the jars cannot be fetched, or it did not start; your own Flink does not answer, or
            lacks the connector of Kafka or rta's format.

    Example:
        >>> up() == status()
        True
    """
    if not settings().flink_gateway:
        return local.up(timeout=timeout)
    yours = own.found()
    opened(yours).close()
    return yours


def down(*, timeout: float = 60) -> bool:
    """Stop the local Flink; its jobs go on where they were when their tables are followed again. A Flink of your own is left alone.

    Args:
        timeout: Seconds after which it is killed.

    Returns:
        Whether there was one to stop.

    Example:
        >>> down(), status()
        (True, None)
    """
    return local.down(timeout=timeout)


def opened(at: Cluster, properties: Mapping[str, str] | None = None) -> Session:
    """Open a session that reads events as rta does, on the local Flink or a person's own.

    Raises:
        SetupError: It lacks the connector of Kafka, or rta's format.
    """
    session = Session(at.gateway, {"table.local-time-zone": "UTC"} | dict(properties or {}))
    if not at.ours:
        own.prepare(session)
    return session
