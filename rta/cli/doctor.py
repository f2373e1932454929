"""Check everything that rta needs of this machine: a tick, or what is wrong and how to fix it."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from typing import Final

from rta.errors import RtaError, SetupError
from rta.kafka import broker
from rta.kafka.broker_config import KAFKA_PORT
from rta.settings import private_folder, settings
from rta.setup import class_data, jars
from rta.setup.java import find_java

GIB: Final = 1024**3
MEMORY_WANTED: Final = 3 * GIB  # Spark's driver 2 GiB, the broker 256 MiB, a kernel
DISK_WANTED: Final = 2 * GIB
_ENGINES: Final = {"flink": "1 GiB of memory for all its queries", "kafka_streams": "0.5 GiB of memory for each query"}  # fmt: skip


@dataclass(frozen=True)
class Check:
    """One check.

    Args:
        name: What was checked.
        ok: Whether it is as rta needs it.
        detail: What was found.
        fix: What to do, if it is not ok.
    """

    name: str
    ok: bool
    detail: str
    fix: str = ""

    def __str__(self) -> str:
        return f"{'✓' if self.ok else '✗'} {self.name:<9} {self.detail}" + (
            f"\n  {'':<9} → {self.fix}" if self.fix else ""
        )


def examine() -> Iterator[Check]:
    """Yield one check after the other; nothing is started or downloaded.

    >>> [check.name for check in examine()]
    ['java', 'memory', 'disk', 'jars', 'classes', 'broker', 'ports', 'database', 'streams', 'flink']
    """
    looks: dict[str, Callable[[], str]] = {
        "java": _java,
        "memory": _memory,
        "disk": _disk,
        "jars": _jars,
        "classes": _classes,
        "broker": _broker,
        "ports": _ports,
        "database": _database,
        "streams": _streams,
        "flink": _own_flink if settings().flink_gateway else _flink,
    }
    for name, look in looks.items():
        yield (check := _checked(name, look))
    if settings().flink_gateway and check.ok:
        of_flink = {"connector": _connector, "reach": _reach, "state": _state, "login": _login}
        for name, look in of_flink.items():
            yield _checked(name, look)


def _checked(name: str, look: Callable[[], str]) -> Check:
    try:
        return Check(name, ok=True, detail=look())
    except RtaError as error:
        found = "" if error.found is None else f" ({error.found})"
        return Check(name, ok=False, detail=f"{error.what}{found}", fix=error.fix or "")


def _java() -> str:
    java = find_java()
    return f"Java {java.version} at {java.executable}"


def _memory() -> str:
    import psutil

    free = psutil.virtual_memory().available
    if free < MEMORY_WANTED:
        raise SetupError(
            "there is too little free memory",
            found=f"{free / GIB:.1f} GiB of the {MEMORY_WANTED / GIB:.0f} GiB that Spark and Kafka need",
            fix="close programs, or start with rta.spark(conf={'spark.driver.memory': '1g'})",
        )
    return f"{free / GIB:.1f} GiB free"


def _disk() -> str:
    home = private_folder(settings().home)
    if home.stat().st_mode & 0o077:
        raise SetupError(
            "RTA_HOME is open to other users of this machine, and has your events in it", found=home, fix=f"chmod 700 {home}"
        )  # fmt: skip
    free = shutil.disk_usage(home).free
    if free < DISK_WANTED:
        raise SetupError(
            "the disk under RTA_HOME is nearly full",
            found=f"{free / GIB:.1f} GiB free at {home}",
            fix=f"free some space, or set RTA_HOME to a disk with {DISK_WANTED / GIB:.0f} GiB",
        )
    return f"{free / GIB:.1f} GiB free at {home}"


def _jars() -> str:
    import pyspark

    connectors, kafka = jars.pinned()
    if pyspark.__version__ not in connectors:
        jars.connector_jars(pyspark.__version__)  # raises the error about this pair of versions
    wanted = {**connectors[pyspark.__version__], **kafka}
    absent = jars.missing(wanted)
    cached = f"{len(wanted) - len(absent)} of {len(wanted)} jars in the cache, checksums right"
    return cached + ("; the others are downloaded when they are needed" if absent else "")


def _classes() -> str:
    """Return the state of the archive; Java and the jars that it needs have checks of their own."""
    try:
        find_java()
    except SetupError:
        return "class-data archive not built: it needs Java"
    absent = jars.missing(jars.pinned()[0].get(version("pyspark"), {}))
    return "class-data archive " + (
        "not built: it needs the jars" if absent else class_data.state()
    )


def _broker() -> str:
    chosen = settings()
    if chosen.kafka_bootstrap:
        from rta.kafka.topics import list_topics

        where = f"cluster {chosen.kafka_bootstrap}, {chosen.kafka_security_protocol}"
        return f"{where}, {len(list_topics())} topics"
    running = broker.status()
    return (
        f"running at {running.bootstrap}" if running else "not running; it starts when it is needed"
    )


def _ports() -> str:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", 0))
        except OSError as error:
            raise SetupError(
                "no port can be opened on 127.0.0.1",
                found=error,
                fix="repair the loopback interface",
            ) from None
    running = broker.status()
    with socket.socket() as probe:
        taken = probe.connect_ex(("127.0.0.1", KAFKA_PORT)) == 0
    if taken and not (running and running.bootstrap.endswith(f":{KAFKA_PORT}")):
        return f"{KAFKA_PORT} is taken by another program; Kafka takes a free port"
    return f"{KAFKA_PORT} is {'our broker' if taken else 'free for Kafka'}"


def _database() -> str:
    from rta.store import database, serving_tables

    tables = serving_tables.tables()
    return f"{database.engine().url.render_as_string(hide_password=True)}, {len(tables)} tables"


def _streams() -> str:
    return f"Kafka Streams starts with its query: {_engine('kafka_streams')}"


def _flink() -> str:
    from rta.engines.flink import cluster

    running = cluster.status()
    where = f"running at {running.rest}" if running else "not running; it starts when it is needed"
    return f"Flink {where}: {_engine('flink')}"


def _engine(name: str) -> str:
    """Say what an engine beside Spark needs of this machine, and what of it is there."""
    wanted = jars.engine_jars()[name]
    absent = len(jars.missing(wanted))
    fetched = f"; the others, of {jars.MEGABYTES[name]} MB in all, are fetched when it is first used" if absent else ""  # fmt: skip
    try:
        java = f"Java {find_java().version} fits"
    except SetupError:
        java = "it needs Java"
    return f"{_ENGINES[name]}, {java}, {len(wanted) - absent} of {len(wanted)} jars in the cache{fetched}"  # fmt: skip


def _own_flink() -> str:
    from rta.engines.flink import gateway, own

    at = own.found()
    told = gateway.call("GET", f"{at.rest}/overview")
    free = f"{told['taskmanagers']} TaskManagers, {told['slots-available']} of {told['slots-total']} slots free"  # fmt: skip
    return f"your own, {own.version(at.gateway)} (rta is tested with {own.TESTED}), gateway {at.gateway}, REST API {at.rest}, {free}"


def _connector() -> str:
    from rta.engines.flink import own
    from rta.engines.flink.gateway import Session

    with Session(own.found().gateway) as session:
        there = own.prepare(session)
    how = "on its classpath" if there else "added to each session, for the gateway reaches it here"
    return f"Flink's connector for Kafka is there; rta's jar is {how}"


def _reach() -> str:
    from rta.engines.flink import own

    chosen = settings()
    servers = chosen.kafka_bootstrap or getattr(broker.status(), "bootstrap", None)
    if servers is None:
        return "Kafka does not run: not checked whether Flink's TaskManagers reach it"
    own.require_kafka_within_reach(servers.split(","), str(chosen.flink_gateway))
    return f"Kafka is {servers}; not checked whether Flink's TaskManagers reach it: the first query shows it"


def _state() -> str:
    from rta.engines.flink.own import storage
    from rta.engines.flink.state import State

    root = storage("")
    here = State(settings().home, root).folder is not None
    seen = "is a folder here, too" if here else "is not on this machine: the newest checkpoint is asked of Flink, or noted at a stop"  # fmt: skip
    return f"{root} {seen}; not checked whether all of Flink reaches it"


def _login() -> str:
    return "Flink has no login: who reaches its gateway can send SQL and read what it reads; put a proxy before it"
