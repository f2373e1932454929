"""A machine that sleeps, as a laptop does whose lid is shut: its Spark goes on when it wakes."""

import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from pyspark.sql import SparkSession

import rta
from tests.support.truth import child
from tests.support.waiting import suspended

pytestmark = pytest.mark.kafka
ASLEEP = (
    5.0  # seconds, more than Spark waits for a heartbeat here; by default it waits for two minutes
)


def test_f78_the_machine_sleeps_longer_than_spark_waits_for_a_heartbeat(
    spark: SparkSession, topic: Callable[..., str], tmp_path: Path
) -> None:
    """Its only executor is the driver itself, which is not lost: no block of it is, and it does not end a minute later."""
    name = topic(partitions=1)
    with child("sleep_with_the_machine", name, RTA_HOME=str(tmp_path)) as sleeper:
        assert sleeper.stdin is not None
        assert sleeper.stdout is not None
        driver = psutil.Process(int(sleeper.stdout.readline()))
        for turn in range(1, 4):
            suspended(driver)
            time.sleep(ASLEEP)
            driver.resume()
            rta.publish(rta.user_events(spark, rows=10, first_row=10 * turn), name)
            sleeper.stdin.write("drain\n")
            sleeper.stdin.flush()
            assert sleeper.stdout.readline() == f"{10 * turn}\n"
        sleeper.stdin.close()
    assert sleeper.returncode == 0
    log = (tmp_path / "spark.log").read_text()
    assert "no recent heartbeats" not in log
