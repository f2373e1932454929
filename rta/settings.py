"""One frozen settings object: the RTA_* variables, read here and nowhere else.

| variable             | meaning                                                   | default                      |
|----------------------|-----------------------------------------------------------|------------------------------|
| RTA_HOME             | broker data, checkpoints, job runs, the SQLite database   | $XDG_DATA_HOME/rta           |
| RTA_CACHE            | the verified jars                                         | $XDG_CACHE_HOME/rta          |
| RTA_DATA             | the data sets                                             | data/ beside the package     |
| RTA_KAFKA_BOOTSTRAP  | a cluster to use; nothing is started then                 | the embedded broker          |
| RTA_SPARK_MASTER     | a Spark master                                            | local[16] (slots are threads)|
| RTA_DATABASE_URL     | the serving database (a secret: it may hold a password)   | SQLite in RTA_HOME           |
| RTA_JAVA_HOME        | the Java to use, before JAVA_HOME and PATH                | JAVA_HOME, then PATH         |
| RTA_RUN_ID           | set by a job for its notebook: joins batches to their run | none                         |

A cluster that is secured (RTA_KAFKA_…; the files are PEM, and lie where each Spark executor finds them, too):

| variable             | meaning                                                   | default                      |
|----------------------|-----------------------------------------------------------|------------------------------|
| …SECURITY_PROTOCOL   | PLAINTEXT, SSL, SASL_SSL or SASL_PLAINTEXT                | PLAINTEXT                    |
| …SASL_MECHANISM      | SCRAM-SHA-512, SCRAM-SHA-256 or PLAIN                     | SCRAM-SHA-512                |
| …SASL_USERNAME       | who we are, by password                                   | none                         |
| …SASL_PASSWORD       | a secret                                                  | none                         |
| …SSL_CAFILE          | the authorities whose certificates we trust               | those of Python and of Java  |
| …SSL_CERTFILE        | our own certificate, with its chain                       | none                         |
| …SSL_KEYFILE         | its private key (PKCS #8, not encrypted)                  | none                         |
"""

import os
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Literal, Self

from pydantic import AliasChoices, Field, FilePath, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from rta.errors import InputError

_OURS: Final = ("RTA_", "XDG_", "JAVA_HOME", "HOME")


class _Xdg(BaseSettings):
    """Where the operating system wants data and caches of a user."""

    model_config = SettingsConfigDict(frozen=True, env_ignore_empty=True)

    xdg_data_home: Path = Field(default_factory=lambda: Path.home() / ".local/share")
    xdg_cache_home: Path = Field(default_factory=lambda: Path.home() / ".cache")


class Settings(BaseSettings):
    """The facts that the environment decides; frozen once read."""

    model_config = SettingsConfigDict(
        env_prefix="RTA_", frozen=True, env_ignore_empty=True, populate_by_name=True
    )

    home: Path = Field(default_factory=lambda: _Xdg().xdg_data_home / "rta")
    cache: Path = Field(default_factory=lambda: _Xdg().xdg_cache_home / "rta")
    data: Path = Path(__file__).resolve().parent.parent / "data"
    kafka_bootstrap: str | None = None
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_SSL", "SASL_PLAINTEXT"] = "PLAINTEXT"
    kafka_sasl_mechanism: Literal["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"] | None = None
    kafka_sasl_username: str | None = None
    kafka_sasl_password: SecretStr | None = None
    kafka_ssl_cafile: FilePath | None = None
    kafka_ssl_certfile: FilePath | None = None
    kafka_ssl_keyfile: FilePath | None = None
    spark_master: str = "local[16]"
    database_url: SecretStr | None = None
    java_home: Path | None = Field(
        default=None, validation_alias=AliasChoices("RTA_JAVA_HOME", "JAVA_HOME")
    )
    run_id: str | None = None

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        """Refuse variables that contradict each other: a protection that is ignored is worse than none."""
        for wrong, what, do in self._contradictions():
            if wrong:
                raise InputError(what, do=do)
        return self

    def _contradictions(self) -> Iterator[tuple[bool, str, str]]:
        """Yield each rule for a secured cluster: is it broken, what is wrong, what to do."""
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
                   "a certificate of our own and its key belong together", f"set RTA_KAFKA_SSL_{name}")  # fmt: skip


def settings(**overrides: Any) -> Settings:
    """Read the settings, with overrides for this one object.

    Raises InputError where a variable has a value of the wrong form.

    >>> settings(spark_master="local[2]").spark_master
    'local[2]'
    """
    if overrides:
        return _read(overrides)
    return _as_of(tuple(item for item in os.environ.items() if item[0].upper().startswith(_OURS)))


@lru_cache(maxsize=4)
def _as_of(_environment: tuple[tuple[str, str], ...]) -> Settings:
    """Read the settings once for each state of the environment: a query asks for them thirty times."""
    return _read({})


def _read(overrides: Mapping[str, Any]) -> Settings:
    """Read the settings, and say in a sentence what is wrong with a variable."""
    try:
        return Settings(**overrides)
    except ValidationError as error:
        first = error.errors()[0]
        told = first.get("ctx", {}).get("error")
        if isinstance(told, InputError):
            raise told from None
        name = "RTA_" + "_".join(str(part) for part in first["loc"]).upper()
        raise InputError(
            f"{name} is wrong: {first['msg']}", found=repr(first["input"]), do=f"correct {name}"
        ) from None


def private_folder(path: Path) -> Path:
    """Make a folder that only its owner can enter (mode 0700), and those above it that are missing; return it."""
    # mkdir(parents=True) would leave those above open.
    for folder in (*reversed(path.parents), path):
        if not folder.exists():
            folder.mkdir(exist_ok=True, mode=0o700)
    return path
