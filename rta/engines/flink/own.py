"""A person's own Flink, by the address of its SQL gateway: found, looked at, and given what rta's statements need.

    RTA_FLINK_GATEWAY  ──►  SQL gateway  ──►  its configuration  ──►  the JobManager's REST API, or RTA_FLINK_REST
    RTA_FLINK_STATE    ──►  a folder or bucket where all of that Flink keeps checkpoints

It is not ours: nothing of it is started, stopped or configured, and its jobs have names that no other job has.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from rta.engines.flink.gateway import Session, call
from rta.engines.flink.local import Cluster
from rta.engines.flink.translation import table, text
from rta.errors import QueryError, SetupError
from rta.jvm import engines_jar
from rta.jvm.jar import sources_sha256
from rta.settings import settings
from rta.setup.jars import engine_jars

TESTED: Final = "2.2"
_PROMPT: Final = 10.0  # seconds for an answer that needs no work
_PROBE: Final = "rta_probe"
_CONNECTORS: Final = ("flink-sql-connector-kafka", "flink-connector-base")
SHARED: Final = "set RTA_FLINK_STATE to a folder that its JobManager and all its TaskManagers reach: file:///… on a shared disk, or s3://…"  # fmt: skip


def found() -> Cluster:
    """Return the Flink that RTA_FLINK_GATEWAY names.

    Raises:
        SetupError: Its gateway or its REST API does not answer, or speaks an older language.
    """
    gateway = str(settings().flink_gateway).rstrip("/")
    try:
        if "V4" not in call("GET", f"{gateway}/api_versions", patience=_PROMPT).get("versions", ()):
            raise SetupError("your own Flink is too old", found=version(gateway), fix=f"use Flink {TESTED}, which rta is tested with")  # fmt: skip
        with Session(gateway) as session:
            told = session.told()
    except QueryError as error:
        raise SetupError(f"no SQL gateway at RTA_FLINK_GATEWAY: {error.what}", found=error.found, fix="start it (bin/sql-gateway.sh start), or correct RTA_FLINK_GATEWAY") from None  # fmt: skip
    rest = (settings().flink_rest or rest_of(told, gateway)).rstrip("/")
    try:
        call("GET", f"{rest}/overview", patience=_PROMPT)["taskmanagers"]
    except (QueryError, KeyError, TypeError) as error:
        said = error.found if isinstance(error, QueryError) else rest
        raise SetupError("your own Flink's REST API does not answer", found=said, fix="start the cluster, or set RTA_FLINK_REST to the address of its JobManager") from None  # fmt: skip
    return Cluster(None, None, rest, gateway)


def version(gateway: str) -> str:
    """Return the version of the Flink behind a gateway."""
    return str(call("GET", f"{gateway}/v1/info", patience=_PROMPT)["version"])


def rest_of(told: Mapping[str, str], gateway: str) -> str:
    """Return the address of the REST API from the configuration that a gateway has.

    What is the loopback interface there is the gateway's own machine.

    >>> rest_of({"rest.address": "jobmanager", "rest.port": "8081"}, "http://flink:8083")
    'http://jobmanager:8081'
    >>> rest_of({"jobmanager.rpc.address": "localhost", "security.ssl.rest.enabled": "true"}, "https://flink:8083")
    'https://flink:8081'
    """
    host = told.get("rest.address") or told.get("jobmanager.rpc.address") or "localhost"
    if loopback(host):
        host = urlsplit(gateway).hostname or host
    scheme = "https" if told.get("security.ssl.rest.enabled", "").lower() == "true" else "http"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{told.get('rest.port') or 8081}"


def prepare(session: Session) -> bool:
    """Let a session read events as rta does: with the connector of Kafka, and rta's format, which is added if the gateway reaches the jar.

    Returns:
        Whether rta's jar was on its classpath, and need not be added.

    Raises:
        SetupError: Flink lacks one of them.
    """
    options = {
        "connector": "kafka", "topic": "rta", "properties.bootstrap.servers": "127.0.0.1:1", "scan.startup.mode": "earliest-offset",
        "scan.bounded.mode": "latest-offset", "format": "rta-json", "rta-json.event": "{}", "rta-json.sources": sources_sha256(),
    }  # fmt: skip
    session.sql(table(_PROBE, {"rta_reason": "STRING"}, options))
    lacks = lacking(session)
    there = lacks is None
    if lacks and "'rta-json'" in lacks:
        try:
            session.sql(f"ADD JAR {text(str(engines_jar()))}")
        except QueryError as error:
            lacks = str(error.found)
        else:
            lacks = lacking(session)
    if lacks is None:
        return there
    if "'kafka'" in lacks:
        raise SetupError("your own Flink has no connector for Kafka", found=lacks, fix=f"put {' and '.join(connectors())} into its lib/, and start it again")  # fmt: skip
    raise SetupError("your own Flink cannot read events as rta does", found=lacks, fix=f"copy {engines_jar()} into lib/ of its gateway, its JobManager and its TaskManagers, and start it again")  # fmt: skip


def lacking(session: Session) -> str | None:
    """Return what Flink misses to read events as rta does; None if nothing. A plan is made, nothing runs, Kafka is not asked."""
    try:
        session.sql(f"EXPLAIN SELECT * FROM `{_PROBE}`")  # noqa: S608 - a constant
    except QueryError as error:
        return str(error.found)
    return None


def connectors() -> list[str]:
    """Return the jars that a Flink of one's own needs for Kafka.

    >>> connectors()
    ['flink-connector-base-2.2.1.jar', 'flink-sql-connector-kafka-5.0.0-2.2.jar']
    """
    parts = [each.split(":") for each in engine_jars()["flink"]]
    return [f"{name}-{number}.jar" for _, name, number in parts if name in _CONNECTORS]


def storage(name: str) -> str:
    """Return the URI of the folder where a job keeps its state.

    Raises:
        SetupError: RTA_FLINK_STATE is not set.
    """
    if (root := settings().flink_state) is None:
        raise SetupError("it is not said where your own Flink keeps its state", fix=SHARED)
    return f"{root.rstrip('/')}/{name}"


def require_kafka_within_reach(servers: Sequence[str], gateway: str) -> None:
    """Refuse a Kafka on this machine's loopback interface for a Flink on another machine. Raises SetupError.

    >>> require_kafka_within_reach(["127.0.0.1:9092"], "http://localhost:8083")
    >>> require_kafka_within_reach(["127.0.0.1:9092"], "http://192.0.2.1:8083")
    Traceback (most recent call last):
    rta.errors.SetupError: your own Flink is on another machine, and cannot reach this Kafka; found: 127.0.0.1:9092; fix: set RTA_KAFKA_BOOTSTRAP to a Kafka that this machine and its TaskManagers reach
    """
    inside = [each for each in servers if loopback(each.rpartition(":")[0])]
    if inside and not here(urlsplit(gateway).hostname or ""):
        raise SetupError("your own Flink is on another machine, and cannot reach this Kafka", found=inside[0], fix="set RTA_KAFKA_BOOTSTRAP to a Kafka that this machine and its TaskManagers reach")  # fmt: skip


def loopback(host: str) -> bool:
    """Whether a host is the loopback interface.

    >>> loopback("localhost"), loopback("127.0.1.1"), loopback("[::1]"), loopback("flink")
    (True, True, True, False)
    """
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def here(host: str) -> bool:
    """Whether a host is this machine.

    >>> here("127.0.0.1"), here("192.0.2.1")
    (True, False)
    """
    import psutil

    if loopback(host):
        return True
    own = {each.address for addresses in psutil.net_if_addrs().values() for each in addresses}
    try:
        return any(str(told[4][0]) in own for told in socket.getaddrinfo(host, None))
    except OSError:
        return False
