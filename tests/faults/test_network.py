"""F34: the network between us and Kafka is silent, slow, or breaks; afterwards all is there, once, without help."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import Any, Final

import pytest
from pyspark.sql import SparkSession

import rta
from rta.store import ledger
from rta.testing import oracle
from tests.support.proxy import Proxy, proxy
from tests.support.secured import Secured
from tests.support.truth import KEY, true_totals
from tests.support.waiting import HANG, joined, until

HOW: Final[dict[str, Any]] = {"key": KEY, "event": rta.USER_EVENTS}


def silent(network: Proxy) -> None:
    """Pass nothing for five seconds."""
    network.passing = False
    time.sleep(5)
    network.passing = True


def slow(network: Proxy) -> None:
    """Pass each piece half a second later, for five seconds."""
    network.delay = 0.5
    time.sleep(5)
    network.delay = 0


def broken(network: Proxy) -> None:
    """Reset all connections, and each new one for three seconds."""
    network.refusing = True
    network.reset()
    time.sleep(3)
    network.refusing = False


def forgotten(network: Proxy) -> None:
    """Never pass anything again on the connections of this moment, and tell nobody; new ones work."""
    network.silence()


@pytest.mark.parametrize(
    "fault",
    [broken, *(pytest.param(each, marks=pytest.mark.soak) for each in (silent, slow, forgotten))],
)
def test_f34_the_network_fails_for_a_while(
    spark: SparkSession,
    secured: Secured,
    tmp_path: Path,
    fault: Callable[[Proxy], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A producer and a query go on by themselves, and what was acknowledged is in the table, once."""
    name, table, log = f"far-{fault.__name__}", f"far_{fault.__name__}", tmp_path / "acknowledged"
    with secured.used("INSIDE"):
        rta.kafka.create_topic(name, partitions=2)
        rta.publish(rta.user_events(spark, rows=100), name, key="user_id")
    with proxy(secured.proxy, secured.ports["FAR"]) as network:
        with secured.used("FAR"):
            query = rta.follow(name, rta.transforms.totals, table=table, **HOW)
            query.processAllAvailable()
            assert network.passed
            sender = Thread(
                target=rta.kafka.publish_paced, args=(rta.user_events(spark, rows=200, first_row=100), name),
                kwargs={"key": "user_id", "rate": 50, "log": log, "timeout": HANG},
            )  # fmt: skip
            sender.start()
            until(lambda: log.exists() and '"ok"' in log.read_text())
            fault(network)
            began = time.monotonic()
            joined(sender)
            until(lambda: ledger.summed(table).consumed >= 300)
            took = time.monotonic() - began
        query.stop()
        assert query.exception() is None
    with secured.used("INSIDE"):
        assert oracle.differences(true_totals(name), table) == []
        there = {(record.partition, record.offset) for record in oracle.read_topic(name)}
    answers = [json.loads(line) for line in log.read_text().splitlines()]
    sure = {(each["partition"], each["offset"]) for each in answers if each["outcome"] == "ok"}
    assert sure <= there
    assert rta.accounting(table).balanced
    assert rta.accounting(table).consumed == len(there)
    with capsys.disabled():
        print(f" {fault.__name__}: {took:.1f} s ", end="")
