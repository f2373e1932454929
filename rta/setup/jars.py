"""The pinned jars: resolved by name, checked by sha256, cached once for each user."""

import hashlib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from rta.errors import SetupError
from rta.progress import progress
from rta.settings import private_folder, settings
from rta.setup.processes import one_at_a_time

MEGABYTES: Final = {"flink": 179, "kafka_streams": 98}
"""Engine → what its jars weigh, which are fetched when it is first used."""
LOCK_FILE: Final = Path(__file__).with_name("jars.lock")


def pinned() -> tuple[dict[str, dict[str, str]], dict[str, str]]:
    """Return the connectors by PySpark version and the Kafka server: coordinate → sha256.

    >>> connectors, kafka = pinned()
    >>> sorted(connectors)
    ['4.3.0']
    """
    lock = _lock()
    return lock["connector"], lock["kafka"]


def connector_jars(pyspark_version: str) -> list[Path]:
    """Return the verified jars of the Kafka connector that works with this PySpark.

    Raises:
        SetupError: If no connector was tested with this PySpark, a jar cannot be fetched, or its checksum is wrong.
    """
    connectors, _ = pinned()
    if pyspark_version not in connectors:
        known = ", ".join(sorted(connectors))
        raise SetupError(
            "no Kafka connector is known to work with this PySpark",
            found=f"PySpark {pyspark_version}",
            fix=f"install one of: {known}",
        )
    return verified(connectors[pyspark_version], what="Spark's Kafka connector")


def kafka_jars() -> list[Path]:
    """Return the verified jars of the Apache Kafka server."""
    _, kafka = pinned()
    return verified(kafka, what="Apache Kafka")


def flink_jars() -> list[Path]:
    """Return the verified jars of Apache Flink: 180 MB, fetched when it is first used."""
    return verified(engine_jars()["flink"], what="Apache Flink")


def kafka_streams_jars() -> list[Path]:
    """Return the verified jars of Kafka Streams: 100 MB, fetched when it is first used."""
    return verified(engine_jars()["kafka_streams"], what="Kafka Streams")


def engine_jars() -> dict[str, dict[str, str]]:
    """Return the pinned jars of the engines beside Spark: engine → coordinate → sha256.

    >>> {engine: len(jars) for engine, jars in engine_jars().items()}
    {'flink': 44, 'kafka_streams': 11}
    """
    lock = _lock()
    return {engine: lock[engine] for engine in ("flink", "kafka_streams")}


def verified(artifacts: Mapping[str, str], *, what: str = "jars") -> list[Path]:
    """Resolve `group:artifact:version` coordinates to jars in the cache, and check each sha256.

    Every call checks every jar (a fifth of a second for all of Kafka). A damaged jar in the cache is fetched again; a fetched jar
    with a wrong checksum is deleted and refused.
    """
    folder = _folder()
    with one_at_a_time(folder / ".lock"):
        for coordinate in progress(missing(artifacts), f"fetching {what}", unit="jar"):
            _fetch(folder, coordinate, artifacts[coordinate])
    return [_cached(folder, coordinate) for coordinate in artifacts]


def missing(artifacts: Mapping[str, str]) -> list[str]:
    """Return the coordinates whose jar is not in the cache, or is damaged."""
    return [c for c, sha256 in artifacts.items() if _sha256(_cached(_folder(), c)) != sha256]


def _lock() -> dict[str, Any]:
    """Return the tables of the lock file."""
    return tomllib.loads(LOCK_FILE.read_text())


def _folder() -> Path:
    """Return the cache of jars, shared by all projects of a user."""
    return private_folder(settings().cache / "jars")


def _cached(folder: Path, coordinate: str) -> Path:
    """Return the path of a jar in the cache, which has Maven's layout."""
    group, artifact, version = coordinate.split(":")
    return folder.joinpath(*group.split("."), artifact, version, f"{artifact}-{version}.jar")


def _fetch(folder: Path, coordinate: str, sha256: str) -> None:
    """Download one jar; keep it only if its checksum is right."""
    from jgo.maven import MavenContext

    group, artifact, version = coordinate.split(":")
    target = _cached(folder, coordinate)
    target.unlink(missing_ok=True)
    context = MavenContext(repo_cache=folder, local_repos=[])
    try:
        path = Path(context.project(group, artifact).at_version(version).artifact().resolve())
    except Exception as error:
        raise SetupError(
            f"{coordinate} cannot be fetched",
            found=f"{type(error).__name__}: {str(error)[:200]}",
            fix="connect to a network that reaches Maven Central, or copy a filled RTA_CACHE folder to this machine",
        ) from error
    found = _sha256(path)
    if found != sha256:
        path.unlink(missing_ok=True)
        raise SetupError(
            f"{coordinate} has the wrong checksum and was refused",
            found=f"sha256 {found}, not {sha256}",
            fix="check what your network serves instead of Maven Central; nothing was kept",
        )


def _sha256(path: Path) -> str | None:
    """Return the hash of a file; None if it is missing."""
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
