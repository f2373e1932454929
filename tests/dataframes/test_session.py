"""The Spark session: tuned, quiet, on loopback, with its connector or refused."""

from contextlib import suppress

import psutil
import pytest
from pyspark.sql import SparkSession

from rta.dataframes import session
from rta.errors import InputError
from tests.support.truth import child
from tests.support.waiting import finished


@pytest.mark.usefixtures("as_delivered")
def test_the_defaults_are_in_force(spark: SparkSession) -> None:
    """Every default of the table arrives in the session."""
    for name, value in session.DEFAULTS.items():
        assert spark.conf.get(name) == value, name
    assert spark.sparkContext.master == "local[4]", "RTA_SPARK_MASTER of the test run"
    assert session.spark().sparkContext is spark.sparkContext


def test_a_default_can_be_overridden_in_a_running_session(spark: SparkSession) -> None:
    """A property that Spark lets change is changed."""
    session.spark(conf={"spark.sql.shuffle.partitions": "3"})
    assert spark.conf.get("spark.sql.shuffle.partitions") == "3"
    session.spark(
        conf={"spark.sql.shuffle.partitions": session.DEFAULTS["spark.sql.shuffle.partitions"]}
    )


def test_spark_listens_on_loopback_only(spark: SparkSession) -> None:
    """No socket of the driver's JVM is open to other machines."""
    from pyspark import SparkContext

    gateway = SparkContext._gateway
    assert gateway is not None
    process = psutil.Process(gateway.proc.pid)
    family = [process, *process.children(recursive=True)]
    listening = set()
    for each in family:
        with suppress(psutil.NoSuchProcess):  # a `chmod` of the JVM that has ended meanwhile
            found = each.net_connections("inet")
            listening |= {c.laddr.ip for c in found if c.status == "LISTEN"}
    assert listening
    assert listening <= {"127.0.0.1", "::ffff:127.0.0.1", "::1"}


def test_a_session_without_the_connector_is_refused() -> None:
    """Somebody else's plain session in this process: one sentence with the fix; and its end."""
    with child("refuse_a_plain_session") as process:
        said, trace = finished(process)
    assert process.returncode == 0, trace
    assert "has no Kafka connector" in said
    assert "call its stop()" in said


def test_a_jvm_that_cannot_start_gives_its_last_words() -> None:
    """A heap that no machine has: the reason stands in the error, not in a Java wall."""
    with child("start_without_memory") as process:
        said, trace = finished(process)
    assert process.returncode == 0, trace
    assert "Spark did not start" in said
    assert "heap" in said


def test_spark_connect_is_refused_plainly() -> None:
    """A Connect address gets a sentence, since foreachBatch would run elsewhere."""
    with pytest.raises(InputError, match="Spark Connect is not supported"):
        session.spark(master="sc://127.0.0.1")
