"""rta-engines.jar: the compiled classes of `src/`. `make java` builds it; a test holds the two together."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

SOURCES: Final = Path(__file__).with_name("src")


def engines_jar() -> Path:
    """Return the jar with rta's own classes for Flink and Kafka Streams.

    >>> engines_jar().name
    'rta-engines.jar'
    """
    return Path(__file__).with_name("rta-engines.jar")


def sources_sha256() -> str:
    """Return the hash of all sources, names included; the jar's manifest has the one that it was built from.

    >>> len(sources_sha256())
    64
    """
    found = hashlib.sha256()
    for path in sorted(each for each in SOURCES.rglob("*") if each.is_file()):
        found.update(f"{path.relative_to(SOURCES).as_posix()}\0".encode())
        found.update(hashlib.sha256(path.read_bytes()).digest())
    return found.hexdigest()
