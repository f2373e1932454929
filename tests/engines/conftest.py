"""One Flink for a process of tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rta.engines import flink


@pytest.fixture(scope="session")
def _flink_ends(home: object) -> Iterator[None]:
    """Stop Flink at the end."""
    yield
    flink.down()


@pytest.fixture(scope="module")
def cluster(_flink_ends: None) -> flink.Cluster:
    """Lend the one real Flink, which an earlier file may have stopped."""
    return flink.up()
