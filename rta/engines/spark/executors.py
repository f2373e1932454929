"""Where Spark's executors run: a path on this machine's disk means something on this machine only.

Executors write a query's state and an archive's files themselves. On another machine a local path is that machine's own disk: the
query would run, and the next start would find half of it. A cluster on this machine, or a disk that machines share, is well.
"""

from __future__ import annotations

import socket
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rta.engines.spark import checkpoints
from rta.errors import QueryError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_SHARED: Final = {"nfs", "nfs4", "cifs", "smb3", "ceph", "glusterfs", "lustre", "gpfs", "beegfs", "9p", "virtiofs"}  # fmt: skip


def require_shared(session: SparkSession, place: str) -> None:
    """Refuse a place on this machine's disk for what executors on other machines would write.

    >>> require_shared(spark, "/tmp/doc-checkpoint")
    """
    if str(session.sparkContext.master).startswith("local") or checkpoints.remote(place):
        return
    others = elsewhere(_hosts(session), _here(session))
    if others and _file_system(Path(place)) not in _SHARED:
        raise QueryError(
            "Spark's executors run on other machines, where a path on this one's disk is another disk",
            found=f"executors on {', '.join(others)}; {place}",
            fix="set RTA_HOME to a folder on a disk that all of them share, or give checkpoint= on hdfs:, s3a: and the like",
        )


def elsewhere(hosts: Iterable[str], here: Collection[str]) -> list[str]:
    """Name the hosts that are not this machine, under any of its names and addresses.

    >>> elsewhere(["127.0.0.1", "worker-2", "laptop", "worker-1"], {"127.0.0.1", "laptop"})
    ['worker-1', 'worker-2']
    """
    return sorted({host for host in hosts if not {host, _address(host)} & set(here)})


def _hosts(session: SparkSession) -> list[str]:
    """Return where the executors run. A small job waits for the first of them, as the query would."""
    session.sparkContext.parallelize([0], 1).count()
    tracker: Any = session.sparkContext._jsc.sc().statusTracker()
    return [info.host() for info in tracker.getExecutorInfos()]


def _here(session: SparkSession) -> set[str]:
    """Return the names and addresses of this machine, as far as it knows them."""
    import psutil

    addresses = {a.address for each in psutil.net_if_addrs().values() for a in each}
    names = {"localhost", socket.gethostname(), socket.getfqdn(), session.conf.get("spark.driver.host") or ""}  # fmt: skip
    return addresses | names


def _address(host: str) -> str:
    """Return the address of a host; its name if nobody knows it."""
    try:
        return socket.gethostbyname(host)
    except OSError:
        return host


def _file_system(place: Path) -> str:
    """Return the kind of file system on which a place lies, or would lie."""
    import psutil

    mounted = {Path(each.mountpoint): each.fstype for each in psutil.disk_partitions(all=True)}
    real = place.resolve()
    return next((mounted[at] for at in (real, *real.parents) if at in mounted), "")
