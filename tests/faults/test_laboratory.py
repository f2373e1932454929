"""F47: faults on purpose, rta.lab(): the broker and the driver are killed, the network is cut and slow; all comes back, nothing is lost."""

from __future__ import annotations

import json
from collections.abc import Iterator

import psutil
import pytest
from pyspark.sql import SparkSession

import rta
from rta.display.feeds import TableFeed
from rta.display.live_view import LiveView
from rta.errors import InputError
from rta.kafka import broker
from rta.laboratory import Experiment, Laboratory
from rta.testing import oracle
from tests.support.truth import KEY, true_totals
from tests.support.truth import child as started
from tests.support.waiting import HANG, finished

pytestmark = pytest.mark.kafka


@pytest.fixture
def laboratory(spark: SparkSession, request: pytest.FixtureRequest) -> Iterator[Laboratory]:
    """Open a laboratory of a table over 200 events, beside a view."""
    name = request.node.name.replace("_", "-")
    rta.publish(rta.user_events(spark, rows=200), name, key="user_id", partitions=2)
    query = rta.follow(name, rta.transforms.totals, table="f47", key=KEY, event=rta.USER_EVENTS)
    query.processAllAvailable()
    view = LiveView(TableFeed("f47")).start()
    try:
        yield rta.lab("f47", view, patience=HANG)
        assert query.isActive
        assert oracle.differences(true_totals(name), "f47") == []
        oracle.check_accounted("f47", name, late=0, duplicate=0, quarantined=0)
    finally:
        broker.up()
        view.stop()
        query.stop()
        rta.reset("f47")


def require_recovered(done: Experiment, laboratory: Laboratory, events: int = 20) -> None:
    """Assert that it came back with all that was sent, and that the view has its marks."""
    assert done.as_expected, done
    assert (done.sent, done.counted.used, done.lost) == (events, events, 0)
    assert done.seconds
    assert laboratory._view
    assert [each["label"] for each in laboratory._view.snapshot().marks] == [done.name, "recovered"]


def test_f47_kill_the_broker(laboratory: Laboratory) -> None:
    """Another process at the same address; the query is the same."""
    with pytest.raises(InputError, match=r"would not be late; found: 0 of 5, 0:00:01 behind .*; fix: give a longer `by`"):  # fmt: skip
        laboratory.late(by="1 second")
    before = broker.up()
    done = laboratory.kill_broker()
    after = broker.status()
    assert after
    assert (after.pid != before.pid, after.bootstrap) == (True, before.bootstrap)
    assert done.done.startswith("SIGKILL to the broker; up again after ")
    require_recovered(done, laboratory)


def test_f47_cut_and_slow_the_network(laboratory: Laboratory) -> None:
    """The broker is silent for a while: it is the same process, and goes on; then each answer waits."""
    before = broker.up()
    done = laboratory.cut_network(2)
    assert done.seconds
    assert done.seconds >= 2
    require_recovered(done, laboratory)
    done = laboratory.slow_network(2, 0.3, events=30)
    assert done.as_expected, done
    assert broker.status() == before
    assert psutil.Process(before.pid).status() != psutil.STATUS_STOPPED


def test_f47_kill_the_driver(spark: SparkSession) -> None:
    """In a process of its own: the JVM is another, the query goes on where it was, the view sees it."""
    rta.publish(rta.user_events(spark, rows=200), "f47-driver", key="user_id", partitions=2)
    with started("experiment_with_the_driver", "f47-driver", RTA_KAFKA_BOOTSTRAP="") as program:
        said, trace = finished(program)
    assert program.returncode == 0, trace
    told = json.loads(said.splitlines()[-1])
    assert told == {
        "expected": {"used": 20}, "counted": 20, "lost": 0, "as_expected": True, "recovered": True, "other": "running",
        "another_jvm": True, "partitions": "1", "marks": ["driver killed", "recovered"], "view": "running", "refused": True,
    }  # fmt: skip
    assert oracle.differences(true_totals("f47-driver"), "f47_driver") == []
    oracle.check_accounted("f47_driver", "f47-driver", used=220)
