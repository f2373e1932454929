"""F29 with a clock that really jumps: Kafka and Spark under libfaketime."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Final

import pytest

from rta.kafka import broker
from rta.setup.java import find_java
from rta.store import database
from rta.testing import oracle
from tests.support.schedule import killed
from tests.support.truth import child, late_places, true_totals
from tests.support.waiting import finished

pytestmark = [pytest.mark.kafka, pytest.mark.soak]

# What waits for a while (monotonic clock) is left alone: a real jump does not touch it either.
FAKED: Final = """#!/bin/sh
export FAKETIME_TIMESTAMP_FILE='{clock}' FAKETIME_NO_CACHE=1
export FAKETIME_DONT_FAKE_MONOTONIC=1 FAKETIME_FORCE_MONOTONIC_FIX=0
LD_PRELOAD='{library}' exec '{java}' "$@"
"""


@pytest.fixture
def clock(tmp_path: Path) -> Path:
    """Give a clock to set, "+1h" say; the Java beside it lives by it."""
    places = (*Path("/usr/lib").glob("*/faketime"), Path("/usr/lib64/faketime"), Path("/usr/local/lib/faketime"))  # fmt: skip
    found = [place / "libfaketimeMT.so.1" for place in places if place.is_dir()]
    assert found, "F29 needs libfaketime: install it (Debian: apt install libfaketime)"
    file, java = tmp_path / "clock", tmp_path / "java" / "bin" / "java"
    file.write_text("+0s")
    java.parent.mkdir(parents=True)
    java.write_text(FAKED.format(clock=file, library=found[0], java=find_java().executable))
    java.chmod(0o700)
    return file


def test_f29_the_clock_of_kafka_and_spark_jumps(
    clock: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An hour forth, two back, one forth, under a running query: totals, lateness, accounting are the oracle's."""
    monkeypatch.setenv("RTA_HOME", str(tmp_path / "home"))  # and so a Kafka of its own
    monkeypatch.setenv("RTA_JAVA_HOME", str(clock.parent / "java"))
    jumping = child("publish_and_follow_by_turns")
    try:
        assert jumping.stdin is not None
        assert jumping.stdout is not None
        told = []
        for jump in ("+0s", "+1h", "-1h", "+0s"):
            clock.write_text(jump)
            jumping.stdin.write("\n")
            jumping.stdin.flush()
            told.append(int(jumping.stdout.readline()))
        finished(jumping)
        assert told[1] - told[0] > 3_500
        assert told[2] - told[1] < -3_500
        late = late_places(
            "jumps", "jumps", delay=timedelta(minutes=10), window=timedelta(minutes=5)
        )
        assert len(late) > 10
        oracle.check_accounted("jumps", "jumps", late=len(late), used=560 - len(late))
        places = ", ".join(map(str, sorted(late)))
        on_time = f'SELECT * FROM events WHERE (partition, "offset") NOT IN ({places})'
        assert oracle.differences(true_totals("jumps", on_time), "jumps") == []
        stamps = [raw.timestamp for raw in oracle.read_topic("jumps")]
        assert max(stamps) - min(stamps) > 7_000_000
    finally:
        if jumping.poll() is None:
            killed(jumping)
        database.engine().dispose()
        broker.down()


def test_f29_a_publisher_two_hours_ahead(clock: Path, topic: Callable[..., str]) -> None:
    """Spark's page of Java becomes one sentence, and nothing is on the topic."""
    name = topic(partitions=1)
    clock.write_text("+2h")
    ahead = child("publish_ahead", name, RTA_JAVA_HOME=str(clock.parent / "java"))
    try:
        said, trace = finished(ahead)
    finally:
        if ahead.poll() is None:
            killed(ahead)
    assert said.startswith("Kafka refuses the record's time: over an hour ahead"), trace
    assert "3,6" in said
    assert oracle.read_topic(name) == []
