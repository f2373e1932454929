"""A real Apache Kafka with TLS, SCRAM and ACLs, for the tests of secured clusters.

| listener | protocol | what is particular                                    |
|----------|----------|-------------------------------------------------------|
| INSIDE   | PLAINTEXT| for the tests' own set-up: everybody may do everything |
| MAIN     | SASL_SSL | as it should be                                       |
| OLD      | SASL_SSL | its certificate has expired                           |
| OTHER    | SASL_SSL | its certificate is for another host                   |
| MUTUAL   | SSL      | wants a certificate of the client                     |
| FAR      | PLAINTEXT| sends its clients to a port where tests put a proxy   |
"""

import base64
import os
import shutil
import subprocess
import textwrap
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, cast

import psutil
import pytest
from pyspark.sql import SparkSession

from rta.kafka.broker import _wait_for_port
from rta.kafka.broker_config import JVM_OPTIONS, SERVER_PROPERTIES, format_storage, free_port
from rta.setup.jars import kafka_jars
from rta.setup.java import find_java, log_to_file
from tests.support.waiting import HANG

USER: Final = "ana"
CORE: Final = "s3cretKafka7Zq"
PASSWORD: Final = f'pl@nt "{CORE}" \\ for=Kafka; {{x}} ü'  # whatever a quoting could get wrong
STORE: Final = "storepass"
NOON: Final = datetime(2024, 1, 1, 12, tzinfo=UTC)
EVENT: Final = {
    "event_id": "e",
    "user_id": 7,
    "action": "view",
    "amount": Decimal(1),
    "timestamp": NOON,
}
ALLOWED: Final = "sec-"  # ana may do everything with the topics and groups of this prefix
SEEN: Final = "seen-"  # ana may see, but not read, the topics of this prefix
PROTOCOLS: Final = {
    "INSIDE": "PLAINTEXT",
    "MAIN": "SASL_SSL",
    "OLD": "SASL_SSL",
    "OTHER": "SASL_SSL",
    "MUTUAL": "SSL",
    "FAR": "PLAINTEXT",
    "CONTROLLER": "PLAINTEXT",
}
CERTIFICATES: Final = {
    "MAIN": ["-ext", "san=ip:127.0.0.1", "-validity", "30"],
    "OLD": ["-ext", "san=ip:127.0.0.1", "-startdate", "-10d", "-validity", "5"],
    "OTHER": ["-ext", "san=dns:elsewhere.example", "-validity", "30"],
    "CLIENT": ["-validity", "30"],
}


@dataclass(frozen=True)
class Secured:
    """A running secured broker."""

    folder: Path
    pid: int
    ports: dict[str, int]
    proxy: int  # the port that FAR sends its clients to; nobody listens there

    def address(self, listener: str = "MAIN") -> str:
        """Return the bootstrap address of a listener."""
        return f"127.0.0.1:{self.ports[listener]}"

    def variables(self, listener: str = "MAIN", **changed: str) -> dict[str, str]:
        """Return the RTA_KAFKA_* variables that a person would set to use a listener as ana."""
        given = {"BOOTSTRAP": self.address(listener), "SECURITY_PROTOCOL": PROTOCOLS[listener]}
        if PROTOCOLS[listener] != "PLAINTEXT":
            given["SSL_CAFILE"] = str(self.folder / "ca.pem")
        if PROTOCOLS[listener].startswith("SASL"):
            given |= {"SASL_USERNAME": USER, "SASL_PASSWORD": PASSWORD}
        return {f"RTA_KAFKA_{name}": value for name, value in (given | changed).items()}

    @contextmanager
    def used(self, listener: str = "MAIN", **changed: str) -> Iterator[None]:
        """Let rta use a listener for a while."""
        with pytest.MonkeyPatch.context() as patch:
            for name in [name for name in os.environ if name.startswith("RTA_KAFKA_")]:
                patch.delenv(name)
            for name, value in self.variables(listener, **changed).items():
                patch.setenv(name, value)
            yield

    def client_pem(self, spark: SparkSession, folder: Path) -> tuple[Path, Path]:
        """Write the client's certificate and its key as PEM: only Java can open its key store."""
        store, java = self.folder / "CLIENT.p12", cast(Any, spark._jvm).java
        keys = java.security.KeyStore.getInstance("PKCS12")
        keys.load(java.io.FileInputStream(str(store)), _characters(spark, STORE))
        plain = java.lang.Class.forName("java.security.spec.PKCS8EncodedKeySpec")
        key = java.security.KeyFactory.getInstance("EC").getKeySpec(
            keys.getKey("CLIENT", _characters(spark, STORE)), plain
        )
        lines = textwrap.wrap(base64.b64encode(bytes(key.getEncoded())).decode(), 64)
        files = folder / "client.pem", folder / "client.key"
        files[0].write_text(_keytool(store, "-exportcert", "-rfc", "-alias", "CLIENT"))
        files[1].write_text(
            "\n".join(["-----BEGIN PRIVATE KEY-----", *lines, "-----END PRIVATE KEY-----", ""])
        )
        return files


def _characters(spark: SparkSession, text: str) -> Any:
    """Return a text as Java takes passwords."""
    gateway: Any = spark.sparkContext._gateway
    found = gateway.new_array(gateway.jvm.char, len(text))
    for place, character in enumerate(text):
        found[place] = character
    return found


@pytest.fixture(scope="session")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """Start the secured broker, give ana her rights, and stop it at the end."""
    folder = tmp_path_factory.mktemp("secured-kafka")
    _certify(folder)
    ports, proxy = {name: free_port() for name in PROTOCOLS}, free_port()
    properties = folder / "server.properties"
    text = "".join(f"{name}={value}\n" for name, value in _properties(folder, ports, proxy).items())
    properties.write_text(text)
    command = [str(find_java().executable), *JVM_OPTIONS, log_to_file(folder, "broker"),
               "-cp", os.pathsep.join(map(str, kafka_jars()))]  # fmt: skip
    format_storage(command, str(properties))
    with (folder / "console.log").open("w") as console:
        process = subprocess.Popen(
            [*command, "kafka.Kafka", str(properties)], stdin=subprocess.DEVNULL, stdout=console, stderr=console,
        )  # fmt: skip
    try:
        _wait_for_port(process, ports["INSIDE"], HANG)
        broker = Secured(folder, process.pid, ports, proxy)
        _allow(broker)
        yield broker
    finally:
        process.kill()
        process.wait(HANG)


def _run(command: Sequence[str]) -> str:
    """Run a tool of the JVM; its words are the failure's."""
    answer = subprocess.run(command, capture_output=True, text=True, timeout=HANG, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return answer.stdout


def _keytool(store: Path, *arguments: str) -> str:
    """Run the Java's own keytool on a key store."""
    keytool = str(find_java().home / "bin" / "keytool")
    quick = ["-J-XX:TieredStopAtLevel=1", "-J-XX:+UseSerialGC"]
    return _run([keytool, *arguments, "-keystore", str(store), "-storepass", STORE, *quick])


def _certify(folder: Path) -> None:
    """Make an authority and a certificate of it for each of CERTIFICATES: keystores, and ca.pem."""
    key = ["-keyalg", "EC", "-groupname", "secp256r1"]
    authority = folder / "ca.p12"
    _keytool(authority, "-genkeypair", "-alias", "ca", "-dname", "CN=ca", "-ext", "bc:c", "-validity", "30", *key)  # fmt: skip
    (folder / "ca.pem").write_text(_keytool(authority, "-exportcert", "-rfc", "-alias", "ca"))

    def certify(name: str) -> None:
        store = folder / f"{name}.p12"
        shutil.copy(authority, store)
        _keytool(store, "-genkeypair", "-alias", name, "-signer", "ca", "-dname", f"CN={name.lower()}",
                 *key, *CERTIFICATES[name])  # fmt: skip
        _keytool(store, "-delete", "-alias", "ca")

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(certify, CERTIFICATES))


def _properties(folder: Path, ports: dict[str, int], proxy: int) -> dict[str, str]:
    """Return the broker's configuration."""
    addresses = {name: f"{name}://127.0.0.1:{port}" for name, port in ports.items()}
    met = addresses | {"FAR": f"FAR://127.0.0.1:{proxy}"}
    clients = [address for name, address in met.items() if name != "CONTROLLER"]
    found = SERVER_PROPERTIES | {
        "listeners": ",".join(addresses.values()),
        "advertised.listeners": ",".join(clients),
        "listener.security.protocol.map": ",".join(map(":".join, PROTOCOLS.items())),
        "inter.broker.listener.name": "INSIDE",
        "controller.quorum.voters": f"1@127.0.0.1:{ports['CONTROLLER']}",
        "log.dirs": str(folder / "data"),
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS",
        "sasl.enabled.mechanisms": "SCRAM-SHA-512",
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(folder / "ca.pem"),
        "listener.name.mutual.ssl.client.auth": "required",
    }  # fmt: skip
    for name, protocol in PROTOCOLS.items():
        prefix = f"listener.name.{name.lower()}"
        if protocol.endswith("SSL"):
            store = folder / ("MAIN" if name == "MUTUAL" else name)
            found |= {f"{prefix}.ssl.keystore.location": f"{store}.p12", f"{prefix}.ssl.keystore.password": STORE,
                      f"{prefix}.ssl.key.password": STORE}  # fmt: skip
        if protocol.startswith("SASL"):
            module = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
            found[f"{prefix}.scram-sha-512.sasl.jaas.config"] = module
    return found


def _allow(broker: Secured) -> None:
    """Give ana, by password or by certificate, her rights."""
    from kafka import KafkaAdminClient
    from kafka.admin import ACL, ACLOperation, ACLPermissionType, ResourcePattern, ResourceType
    from kafka.admin import ACLResourcePatternType as Pattern
    from kafka.admin import UserScramCredentialUpsertion as Credential

    rights: list[tuple[Any, str, Any]] = [
        (ResourceType.TOPIC, ALLOWED, ACLOperation.ALL),
        (ResourceType.GROUP, ALLOWED, ACLOperation.ALL),
        (ResourceType.TOPIC, SEEN, ACLOperation.DESCRIBE),
    ]
    with KafkaAdminClient(bootstrap_servers=broker.address("INSIDE")) as admin:
        admin.alter_user_scram_credentials([Credential(USER, "SCRAM-SHA-512", PASSWORD)])
        admin.create_acls([
            ACL(f"User:{who}", "*", operation, ACLPermissionType.ALLOW, ResourcePattern(kind, prefix, Pattern.PREFIXED))
            for who in (USER, "CN=client")
            for kind, prefix, operation in rights
        ])  # fmt: skip


def listening(pid: int) -> set[str]:
    """Return the addresses on which a process, and what it has started, wait for connections."""
    process = psutil.Process(pid)
    return {
        connection.laddr.ip
        for each in [process, *process.children(recursive=True)]
        for connection in each.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
