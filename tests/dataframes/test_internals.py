"""What rta takes from inside Spark, one test each: an upgrade that changes one of them fails here."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pyspark
import pytest
from pyspark import SparkContext
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from rta.dataframes import internals


def test_java_class(spark: SparkSession) -> None:
    """A class by its name: constructed, and asked for what is static."""
    assert internals.java_class(spark, "java.io.File")("folder/x").getName() == "x"
    assert internals.java_class(spark, "java.lang.Integer").parseInt("7") == 7


def test_java_session(spark: SparkSession) -> None:
    """The JVM's session runs SQL of its own."""
    assert internals.java_session(spark).sql("SELECT 1").count() == 1


def test_each_and_scala_sequence(spark: SparkSession) -> None:
    """A list becomes a Scala sequence, and can be walked again."""
    assert list(internals.each(internals.scala_sequence(spark, ["a", "b"]))) == ["a", "b"]


def test_analyzed_and_walk(spark: SparkSession) -> None:
    """A plan is a tree of named nodes, the result first."""
    counted = spark.range(3).groupBy("id").count()
    names = [node.nodeName() for node in internals.walk(internals.analyzed(counted))]
    assert names == ["Aggregate", "Range"]
    assert internals.execution(counted).optimizedPlan().nodeName() == "Aggregate"


def test_streams_of(spark: SparkSession) -> None:
    """Topics by name, other sources by their format; none of a static frame."""
    kafka = spark.readStream.format("kafka").option("kafka.bootstrap.servers", "127.0.0.1:1")
    both = kafka.option("subscribe", "clicks").load().select("timestamp")
    both = both.union(spark.readStream.format("rate").load().select("timestamp"))
    assert internals.streams_of(both) == ["clicks", "rate"]
    assert internals.streams_of(spark.range(3)) == []


def test_framed(spark: SparkSession) -> None:
    """A node of a plan is a frame again."""
    counted = spark.range(3).groupBy("id").count()
    below = internals.framed(spark, internals.analyzed(counted).child())
    assert below.columns == ["id"]
    assert below.count() == 3


def test_jobs_of_and_stage(spark: SparkSession, tmp_path: Path) -> None:
    """A stage that ran has its CPU time, bytes and attempts; one that never was is None."""
    spark.sparkContext.setJobGroup("contract", "")
    spark.range(9).agg(F.sum("id")).collect()
    tracker = spark.sparkContext.statusTracker()
    assert internals.jobs_of(spark, "contract") == list(tracker.getJobIdsForGroup("contract"))
    assert internals.jobs_of(spark, "nobody's") == []
    info = tracker.getJobInfo(max(internals.jobs_of(spark, "contract")))
    assert info is not None
    told = internals.stage(spark, max(info.stageIds))
    assert told.executorCpuTime() > 0
    assert (told.inputBytes(), told.attemptId(), told.numFailedTasks()) == (0, 0, 0)
    assert (told.numTasks(), told.numCompleteTasks()) == (1, 1)
    spark.range(9).write.parquet(str(tmp_path / "nine"))
    spark.read.parquet(str(tmp_path / "nine")).agg(F.sum("id")).collect()
    jobs = filter(None, map(tracker.getJobInfo, internals.jobs_of(spark, "contract")))
    told_of_all = [internals.stage(spark, number) for job in jobs for number in job.stageIds]
    assert max(each.inputRecords() for each in told_of_all if each) == 9
    assert internals.stage(spark, 10**6) is None


def test_executor_hosts(spark: SparkSession) -> None:
    """A local master has its one executor here."""
    assert internals.executor_hosts(spark) == ["127.0.0.1"]


def test_has_class(spark: SparkSession) -> None:
    """The connector is there; what nobody wrote is not."""
    assert internals.has_class(spark, "org.apache.spark.sql.kafka010.KafkaSourceProvider")
    assert not internals.has_class(spark, "org.example.Nothing")


def test_launch() -> None:
    """PySpark's launcher takes what Popen takes, so that the JVM's noise can go into a file."""
    from inspect import signature

    from pyspark.java_gateway import launch_gateway

    assert {"conf", "popen_kwargs"} <= set(signature(launch_gateway).parameters)


def test_attach() -> None:
    """PySpark's launcher takes address and secret from the environment; tests/faults/test_spare_driver.py does it."""
    from inspect import getsource

    from pyspark.java_gateway import launch_gateway

    assert {"PYSPARK_GATEWAY_PORT", "PYSPARK_GATEWAY_SECRET"} <= set(
        getsource(launch_gateway).split('"')
    )


def test_number_proxies_from() -> None:
    """Objects that the JVM calls are numbered from there on."""
    from py4j.java_gateway import PythonProxyPool

    pool = PythonProxyPool()
    internals.number_proxies_from(
        SimpleNamespace(gateway_property=SimpleNamespace(pool=pool)), 7 << 32
    )
    assert pool.put(object()) == f"p{7 << 32}"


def test_exit_code(spark: SparkSession, monkeypatch: pytest.MonkeyPatch) -> None:
    """The JVM that lives has none; one that has ended has its own."""
    assert internals.exit_code() is None
    assert SparkContext._gateway is not None
    assert SparkContext._gateway.proc.pid > 0
    with subprocess.Popen([sys.executable, "-c", "raise SystemExit(3)"]) as process:
        monkeypatch.setattr(SparkContext, "_gateway", SimpleNamespace(proc=process))
        assert internals.exit_code(patience=60) == 3


def test_forget_session(spark: SparkSession, monkeypatch: pytest.MonkeyPatch) -> None:
    """PySpark keeps the session under these names, and nowhere else."""
    kept = (SparkContext, "_active_spark_context"), (SparkContext, "_gateway"), (SparkContext, "_jvm"), (SparkSession, "_instantiatedSession")  # fmt: skip
    for home, name in (*kept, (SparkSession, "_activeSession")):
        assert hasattr(home, name), f"{name} in PySpark {pyspark.__version__}"
        monkeypatch.setattr(home, name, getattr(home, name))  # put back behind the test
    internals.forget_session()
    assert [getattr(home, name) for home, name in kept] == [None] * 4


def test_optimized(spark: SparkSession) -> None:
    """The optimizer takes an analyzed plan."""
    frame = spark.range(3).select("id").select("id")
    assert internals.optimized(spark, internals.analyzed(frame)).nodeName() == "Range"


def test_connect_again(spark: SparkSession, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread of its own has its own connection; one that Py4J has closed by mistake is made again, up to five times."""
    from py4j.clientserver import ClientServerConnection
    from py4j.protocol import Py4JNetworkError

    authenticate, failures = ClientServerConnection._authenticate_connection, iter(range(4))

    def closed_first(connection: ClientServerConnection) -> None:
        if next(failures, None) is not None:
            raise Py4JNetworkError("Answer from Java side is empty")
        authenticate(connection)

    monkeypatch.setattr(ClientServerConnection, "_authenticate_connection", closed_first)
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(spark.range(3).count).result() == 3
    assert next(failures, None) is None
    failures = iter(range(5))
    with ThreadPoolExecutor(1) as pool, pytest.raises(Py4JNetworkError):
        pool.submit(spark.range(3).count).result()


def test_gone() -> None:
    """A JVM that lives is not, one that has ended is, and of one that others use, too, the failed call is the proof."""
    assert not internals.gone(internals.own_jvm())
    assert internals.gone(None)
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        ended.wait()
        assert internals.gone(ended)
