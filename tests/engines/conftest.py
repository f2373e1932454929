"""One Flink for a process of tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rta.engines import flink


@pytest.fixture(scope="session")
def cluster(home: object) -> Iterator[flink.Cluster]:
    """Lend the one real Flink."""
    yield flink.up()
    flink.down()
