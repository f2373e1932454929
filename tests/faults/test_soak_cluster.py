"""A real Spark standalone cluster on this machine: a table as exact as on local threads, also where an executor is killed."""

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pyspark
import pytest
from pyspark.sql import SparkSession

import rta
from rta.kafka.broker_config import free_port
from rta.setup.java import find_java
from rta.store import ledger
from rta.testing import oracle
from tests.support.truth import child, true_totals
from tests.support.waiting import finished, until

pytestmark = [pytest.mark.kafka, pytest.mark.soak]


@pytest.fixture
def standalone(tmp_path: Path) -> Iterator[tuple[str, psutil.Process]]:
    """Start a master and a worker on loopback; give the master's URL, and the worker's process."""
    start = Path(pyspark.__file__).parent / "bin" / "spark-class"
    port = free_port()
    url = f"spark://127.0.0.1:{port}"
    home = {"JAVA_HOME": str(find_java().home), "SPARK_LOCAL_IP": "127.0.0.1", "SPARK_WORKER_DIR": str(tmp_path)}  # fmt: skip
    roles = {
        "Master": ["--host", "127.0.0.1", "--port", str(port), "--webui-port", "0"],
        "Worker": [url, "--host", "127.0.0.1", "--cores", "2", "--memory", "2g", "--webui-port", "0"],
    }  # fmt: skip
    running = []
    for role, arguments in roles.items():
        log = (tmp_path / f"{role}.log").open("w")
        command = [str(start), f"org.apache.spark.deploy.{role.lower()}.{role}", *arguments]
        running.append(subprocess.Popen(command, env=os.environ | home, stdout=log, stderr=log))
        log.close()
    until((lambda: "registered with master" in (tmp_path / "Worker.log").read_text()), running[1])
    yield url, psutil.Process(running[1].pid)
    for process in reversed(running):
        process.terminate()
        process.wait(60)


def _is_executor(process: psutil.Process) -> bool:
    """Tell an executor from the programs that start it, and from what has ended meanwhile."""
    with suppress(psutil.Error):
        return process.name() == "java" and "Executor" in " ".join(process.cmdline())
    return False


def test_f09_a_cluster_on_this_machine_and_an_executor_that_is_killed(
    spark: SparkSession, topic: Callable[..., str], standalone: tuple[str, psutil.Process]
) -> None:
    """20,000 events in ten micro-batches; after the second the executor is gone: the table is exact, and so is its accounting."""
    url, worker = standalone
    name = topic()
    rta.publish(rta.events.poisoned(rta.user_events(spark, rows=20_000), share=0.01), name)
    draining = child("drain_on_a_cluster", name, RTA_SPARK_MASTER=url)
    try:
        until(lambda: ledger.summed("clustered").batches >= 2, draining)
        [executor] = filter(_is_executor, worker.children(recursive=True))
        executor.kill()
        said = finished(draining)
    finally:
        draining.kill()
    assert "drained" in said[0], said
    assert oracle.differences(true_totals(name), "clustered") == []
    oracle.check_accounted("clustered", name)
