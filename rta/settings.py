"""The settings: RTA_* environment variables, read here and nowhere else.

| variable             | meaning                                                   | default                      |
|----------------------|-----------------------------------------------------------|------------------------------|
| RTA_HOME             | broker data, checkpoints, job runs, the SQLite database   | $XDG_DATA_HOME/rta           |
| RTA_CACHE            | the verified jars                                         | $XDG_CACHE_HOME/rta          |
| RTA_DATA             | the data sets                                             | data/ beside the package     |
| RTA_KAFKA_BOOTSTRAP  | a cluster to use; no broker is started then               | the embedded broker          |
| RTA_SPARK_MASTER     | a Spark master                                            | local[16] (slots are threads)|
| RTA_DATABASE_URL     | the serving database (a secret: it may hold a password)   | SQLite in RTA_HOME           |
| RTA_FLINK_GATEWAY    | the SQL gateway of your own Flink; none is started then   | the local Flink              |
| RTA_FLINK_REST       | the REST API of its JobManager                            | as its gateway tells it      |
| RTA_FLINK_STATE      | a folder that all of it reaches: file:///…, s3://…        | none                         |
| RTA_JAVA_HOME        | the Java to use, before JAVA_HOME and PATH                | JAVA_HOME, then PATH         |
| RTA_CLASS_DATA       | "off": do not build the class-data archive automatically  | "auto": see rta.setup.class_data |
| RTA_RUN_ID           | set by a job for its notebook: the run of its batches     | none                         |
| RTA_SCHEDULED_FOR    | set by a scheduled run for its notebook: its moment       | none                         |

A secured cluster (RTA_KAFKA_…; the files are PEM, on a path that each Spark executor can read, too):

| variable             | meaning                                                   | default                      |
|----------------------|-----------------------------------------------------------|------------------------------|
| …SECURITY_PROTOCOL   | PLAINTEXT, SSL, SASL_SSL or SASL_PLAINTEXT                | PLAINTEXT                    |
| …SASL_MECHANISM      | SCRAM-SHA-512, SCRAM-SHA-256 or PLAIN                     | SCRAM-SHA-512                |
| …SASL_USERNAME       | our user name                                             | none                         |
| …SASL_PASSWORD       | its password (a secret)                                   | none                         |
| …SSL_CAFILE          | the certificate authorities that we trust                 | those of Python and of Java  |
| …SSL_CERTFILE        | our own certificate, with its chain                       | none                         |
| …SSL_KEYFILE         | its private key (PKCS #8, not encrypted)                  | none                         |
"""

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Literal, get_args, get_origin

from rta.errors import InputError

_OURS: Final = ("RTA_", "XDG_", "JAVA_HOME", "HOME")
# Neither has a place for a user: what stands in a URL is shown in errors, tables and logs.
_DOOR: Final = re.compile(
    r"https?://(\[[0-9A-Fa-f:]+\]|[A-Za-z0-9_.-]+)(:\d{1,5})?(/[A-Za-z0-9._~-]+)*/?"
)
_STORAGE: Final = re.compile(
    r"(file|hdfs|viewfs|s3|s3a|s3p|gs|oss|abfss?|wasbs?)://([A-Za-z0-9._-]+@)?[A-Za-z0-9._-]*(:\d{1,5})?(/[A-Za-z0-9._~=%+-]+)+/?"
)


class Secret:
    """A text that no repr, log or error shows; `get_secret_value()` returns it.

    >>> Secret("planted")
    Secret(***)
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def get_secret_value(self) -> str:
        """Return the text itself."""
        return self._text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __bool__(self) -> bool:
        return bool(self._text)

    def __repr__(self) -> str:
        return "Secret(***)"


def _xdg(variable: str, default: str) -> Callable[[], Path]:
    """Return a function that returns the user's folder for data or caches."""
    return lambda: Path(os.environ.get(variable) or Path.home() / default) / "rta"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings as the environment has them."""

    home: Path = field(default_factory=_xdg("XDG_DATA_HOME", ".local/share"))
    cache: Path = field(default_factory=_xdg("XDG_CACHE_HOME", ".cache"))
    data: Path = Path(__file__).resolve().parent.parent / "data"
    kafka_bootstrap: str | None = None
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_SSL", "SASL_PLAINTEXT"] = "PLAINTEXT"
    kafka_sasl_mechanism: Literal["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"] | None = None
    kafka_sasl_username: str | None = None
    kafka_sasl_password: Secret | None = None
    kafka_ssl_cafile: Path | None = None
    kafka_ssl_certfile: Path | None = None
    kafka_ssl_keyfile: Path | None = None
    spark_master: str = "local[16]"
    database_url: Secret | None = None
    flink_gateway: str | None = None
    flink_rest: str | None = None
    flink_state: str | None = None
    java_home: Path | None = None
    class_data: Literal["auto", "off"] = "auto"
    run_id: str | None = None
    scheduled_for: str | None = None

    def __post_init__(self) -> None:
        """Raise InputError if variables contradict each other: a protection that is ignored is worse than none."""
        for wrong, what, fix in (*self._contradictions(), *self._of_flink()):
            if wrong:
                raise InputError(what, fix=fix)

    def _contradictions(self) -> Iterator[tuple[bool, str, str]]:
        """Yield each rule of a secured cluster: whether it is broken, what is wrong, what to do."""
        protocol = self.kafka_security_protocol
        sasl = {"MECHANISM": self.kafka_sasl_mechanism, "USERNAME": self.kafka_sasl_username,
                "PASSWORD": self.kafka_sasl_password}  # fmt: skip
        files = {"CAFILE": self.kafka_ssl_cafile, "CERTFILE": self.kafka_ssl_certfile,
                 "KEYFILE": self.kafka_ssl_keyfile}  # fmt: skip
        unused = f"is set, but RTA_KAFKA_SECURITY_PROTOCOL is {protocol}"
        yield (protocol != "PLAINTEXT" and not self.kafka_bootstrap,
               f"RTA_KAFKA_SECURITY_PROTOCOL is {protocol}, but no cluster is named", "set RTA_KAFKA_BOOTSTRAP")  # fmt: skip
        for name, value in sasl.items():
            yield (value is not None and "SASL" not in protocol, f"RTA_KAFKA_SASL_{name} {unused}",
                   "set it to SASL_SSL")  # fmt: skip
            yield (not value and "SASL" in protocol and name != "MECHANISM",
                   f"{protocol} needs a user and a password", f"set RTA_KAFKA_SASL_{name}")  # fmt: skip
        for name, file in files.items():
            yield (file is not None and not protocol.endswith("SSL"), f"RTA_KAFKA_SSL_{name} {unused}",
                   "set it to SSL or SASL_SSL")  # fmt: skip
        for name in ("CERTFILE", "KEYFILE"):
            yield (not files[name] and bool(files["CERTFILE"] or files["KEYFILE"]),
                   "a client certificate and its key belong together", f"set RTA_KAFKA_SSL_{name}")  # fmt: skip

    def _of_flink(self) -> Iterator[tuple[bool, str, str]]:
        """Yield the rules of a person's own Flink in the same form; none shows the value, which may hold a password."""
        for name, value in (("GATEWAY", self.flink_gateway), ("REST", self.flink_rest)):
            yield (value is not None and not _DOOR.fullmatch(value),
                   f"RTA_FLINK_{name} is no plain URL of HTTP", "give it like http://flink:8083, without user, password or query")  # fmt: skip
        yield (self.flink_state is not None and not _STORAGE.fullmatch(self.flink_state),
               "RTA_FLINK_STATE is no URI of a folder", "give it like file:///mnt/flink or s3://bucket/flink, without a password")  # fmt: skip
        for name, value in (("REST", self.flink_rest), ("STATE", self.flink_state)):
            yield (value is not None and not self.flink_gateway,
                   f"RTA_FLINK_{name} is set, but no Flink of your own is named", "set RTA_FLINK_GATEWAY")  # fmt: skip


def settings() -> Settings:
    """Return the settings as the environment has them now.

    Raises:
        InputError: if a variable has a value of the wrong form.

    >>> settings().kafka_security_protocol
    'PLAINTEXT'
    """
    environment = ((name.upper(), value) for name, value in os.environ.items())
    return _read(tuple(pair for pair in environment if pair[0].startswith(_OURS)))


@lru_cache(maxsize=4)  # a query asks for them thirty times
def _read(environment: tuple[tuple[str, str], ...]) -> Settings:
    """Return variables as settings: an empty one is not set, RTA_JAVA_HOME comes before JAVA_HOME."""
    java = {"RTA_JAVA_HOME": dict(environment).get("JAVA_HOME")}
    given = java | {name: text for name, text in environment if text}
    read: dict[str, Any] = {
        each.name: _typed(variable, each.type, text)
        for each in fields(Settings)
        if (text := given.get(variable := f"RTA_{each.name.upper()}"))
    }
    return Settings(**read)


def _typed(variable: str, kind: Any, text: str) -> Any:
    """Return the text of a variable as its type; raise InputError if it has the wrong form."""
    kinds = [kind, *get_args(kind)]
    words = next((get_args(each) for each in kinds if get_origin(each) is Literal), (text,))
    wrong = None if text in words else f"choose from {', '.join(words)}"
    if "_SSL_" in variable and not Path(text).is_file():
        wrong = "there is no such file"
    if wrong:
        raise InputError(
            f"{variable} is wrong: {wrong}", found=repr(text), fix=f"correct {variable}"
        )
    return Path(text) if Path in kinds else Secret(text) if Secret in kinds else text


def private_folder(path: Path) -> Path:
    """Create a folder, and missing ones above it, that only their owner can enter (mode 0700); return it."""
    # mkdir(parents=True) would leave those above open to others.
    for folder in (*reversed(path.parents), path):
        if not folder.exists():
            folder.mkdir(exist_ok=True, mode=0o700)
    return path
