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
"""

from pathlib import Path
from typing import Any

from pydantic import AliasChoices, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from rta.errors import InputError


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
    spark_master: str = "local[16]"
    database_url: SecretStr | None = None
    java_home: Path | None = Field(
        default=None, validation_alias=AliasChoices("RTA_JAVA_HOME", "JAVA_HOME")
    )
    run_id: str | None = None


def settings(**overrides: Any) -> Settings:
    """Read the settings, with overrides for this one object.

    Raises InputError where a variable has a value of the wrong form.

    >>> settings(spark_master="local[2]").spark_master
    'local[2]'
    """
    try:
        return Settings(**overrides)
    except ValidationError as error:
        first = error.errors()[0]
        name = "RTA_" + "_".join(str(part) for part in first["loc"]).upper()
        raise InputError(
            f"{name} is wrong: {first['msg']}", found=repr(first["input"]), do=f"correct {name}"
        ) from None


def private_folder(path: Path) -> Path:
    """Make a folder that only its owner can read (mode 0700), and return it."""
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    return path
