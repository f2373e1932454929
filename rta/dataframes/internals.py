"""Spark's private API as far as several rooms need it: plans, Java classes, the gateway to the JVM.

Each function has a contract test (tests/dataframes/test_internals.py), so an upgrade of Spark that changes one of them fails there.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from subprocess import Popen, TimeoutExpired
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from pyspark import SparkConf
    from pyspark.sql import DataFrame, SparkSession

    from rta.dataframes.spare_driver import Lent

_CONNECTS: Final = 5  # attempts to connect a thread with the JVM
_DYING: Final = 1.0  # seconds in which a killed JVM has ended, as a rule


def java_class(session: SparkSession, name: str) -> Any:
    """Return a class of the JVM by its full name, in one call: `_jvm.org.apache…` asks the JVM at each dot."""
    from py4j.java_gateway import JavaClass

    return JavaClass(name, session._jvm._gateway_client)  # type: ignore[union-attr]


def java_session(session: SparkSession) -> Any:
    """Return the session as the JVM has it."""
    return session._jsparkSession


def walk(plan: Any) -> Iterator[Any]:
    """Yield the nodes of one of Spark's plans, from the result down to the source."""
    yield plan
    for child in each(plan.children()):
        yield from walk(child)


def each(sequence: Any) -> Iterator[Any]:
    """Iterate over a Scala sequence; by its iterator it would take twice as many calls to the JVM."""
    return map(sequence.apply, range(sequence.size()))


def scala_sequence(session: SparkSession, items: Sequence[Any]) -> Any:
    """Make a Scala sequence of objects of the JVM."""
    return session._jvm.PythonUtils.toSeq(list(items))  # type: ignore[union-attr]


def execution(frame: DataFrame) -> Any:
    """Return Spark's QueryExecution of a frame."""
    return frame._jdf.queryExecution()


def analyzed(frame: DataFrame) -> Any:
    """Return Spark's analyzed plan of a frame."""
    return execution(frame).analyzed()


def optimized(session: SparkSession, plan: Any) -> Any:
    """Optimize an analyzed plan."""
    return java_session(session).sessionState().optimizer().execute(plan)


def streams_of(frame: DataFrame) -> list[str]:
    """Return what a streaming frame reads: topics by name, other sources by their format."""
    relations = (node for node in walk(analyzed(frame)) if node.nodeName() == "StreamingRelationV2")
    return [node.extraOptions().get("subscribe") or node.sourceName() for node in relations]


def framed(session: SparkSession, plan: Any) -> DataFrame:
    """Make a DataFrame of one of Spark's plans."""
    from pyspark.sql import DataFrame

    dataset = java_class(session, "org.apache.spark.sql.classic.Dataset")
    return DataFrame(dataset.ofRows(java_session(session), plan), session)


def jobs_of(session: SparkSession, group: str) -> list[int]:
    """Return the ids of the jobs of a group that Spark remembers, in one call: PySpark asks the JVM for each of them."""
    context: Any = session.sparkContext
    jobs = context._jsc.statusTracker().getJobIdsForGroup(group)
    return list(json.loads(java_class(session, "java.util.Arrays").toString(jobs)))


def stage(session: SparkSession, number: int) -> Any:
    """Return what Spark knows of the last attempt of a stage; None if it has skipped the stage, or has forgotten it."""
    from py4j.protocol import Py4JJavaError

    context: Any = session.sparkContext
    try:
        return context._jsc.sc().statusStore().lastStageAttempt(number)
    except Py4JJavaError as error:
        if "NoSuchElementException" in str(error.java_exception.getClass()):
            return None
        raise


def executor_hosts(session: SparkSession) -> list[str]:
    """Return where the executors run."""
    context: Any = session.sparkContext
    return [info.host() for info in context._jsc.sc().statusTracker().getExecutorInfos()]


def has_class(session: SparkSession, name: str) -> bool:
    """Return whether the driver's JVM finds a class."""
    from py4j.protocol import Py4JJavaError

    thread = java_class(session, "java.lang.Thread").currentThread()
    try:
        thread.getContextClassLoader().loadClass(name)
    except Py4JJavaError:
        return False
    return True


def launch(conf: SparkConf, console: Path) -> Any:
    """Start the driver's JVM, with what it prints in a file, or take the one that the environment names; return the gateway to it.

    PySpark leaves a JVM behind for ever if it is interrupted while it waits for one, so that is ended here.
    """
    import psutil
    from pyspark.java_gateway import launch_gateway

    earlier = own_jvm()
    try:
        with console.open("w") as output:
            gateway = launch_gateway(conf, popen_kwargs={"stdout": output, "stderr": output})  # type: ignore[no-untyped-call]  # fmt: skip
    except BaseException:
        for child in psutil.Process().children():  # the broker may be starting beside it
            with suppress(psutil.Error):
                command = " ".join(child.cmdline())
                new = earlier is None or child.pid != earlier.pid
                if new and ("spark-submit" in command or "SparkSubmit" in command):
                    child.kill()
        raise
    return _prepared(gateway)


def attach(driver: Lent) -> Any:
    """Return the gateway to a driver that another process has started, as if this one had; relative paths are this process's."""
    from pyspark.java_gateway import launch_gateway

    door = {"PYSPARK_GATEWAY_PORT": str(driver.port), "PYSPARK_GATEWAY_SECRET": driver.secret}
    os.environ.update(door)  # where PySpark looks
    try:
        gateway: Any = launch_gateway()  # type: ignore[no-untyped-call]
    finally:
        for name in door:
            del os.environ[name]
    gateway.proc = driver
    _prepared(gateway).jvm.java.lang.System.setProperty("user.dir", os.getcwd())  # noqa: PTH109 - a text
    return gateway


def _prepared(gateway: Any) -> Any:
    """Return a gateway of this process, with what each of ours has."""
    number_proxies_from(gateway, os.getpid() << 32)
    connect_again(gateway)
    return gateway


def number_proxies_from(gateway: Any, first: int) -> None:
    """Give the Python objects that the JVM is to call, as foreachBatch() does, ids of this process alone.

    A JVM that is lent to one kernel after another tells the present one, by its id, that an object of an earlier one may be
    forgotten. Each would number its objects from 0, and the present kernel would forget its own.
    """
    gateway.gateway_property.pool.next_id = first


def connect_again(gateway: Any) -> None:
    """Let a thread that needs a new connection to the JVM try several times: nothing was asked before it has one.

    On KeyboardInterrupt, Py4J has the JVM close the connection that waited, and all idle ones; on a busy machine it can hit the
    new one, by which the interrupted query was to be stopped.
    """
    from py4j.protocol import Py4JNetworkError

    client = gateway._gateway_client
    connect = client._create_new_connection

    def connected() -> Any:
        for _ in range(_CONNECTS - 1):
            with suppress(Py4JNetworkError):
                return connect()
        return connect()

    client._create_new_connection = connected


def end_jvm(session: SparkSession, *, patience: float | None = None) -> None:
    """Stop a session and its JVM, and wait for the end of the JVM, for `patience` seconds at most."""
    gateway: Any = session.sparkContext._gateway
    session.stop()
    gateway.shutdown()
    gateway.proc.stdin.close()  # the JVM ends when this closes
    gateway.proc.wait(patience)


def exit_code(*, patience: float = 0) -> int | None:
    """Return the exit code of the JVM that this process has started; None if it lives, or there is none.

    Args:
        patience: Seconds to wait for its end.
    """
    return _waited(own_jvm(), patience)


def gone(jvm: Popen[bytes] | Lent | None) -> bool:
    """Return whether a JVM of own_jvm() is gone, once a call to it has failed; if others use it, too, that call is the proof.

    >>> gone(None), gone(own_jvm())
    (True, False)
    """
    return jvm is None or _waited(jvm, _DYING) is not None


def _waited(jvm: Popen[bytes] | Lent | None, patience: float) -> int | None:
    """Wait for the end of a JVM; return its exit code, None if it lives on, or there is none."""
    try:
        return jvm.wait(patience) if jvm else None
    except TimeoutExpired:
        return None


def own_jvm() -> Popen[bytes] | Lent | None:
    """Return the JVM of this process's session, started here or taken from the keeper; None if there is none, or others use it, too."""
    from pyspark import SparkContext

    return getattr(SparkContext._gateway, "proc", None)


def forget_session() -> None:
    """Forget a session whose JVM has ended: PySpark would go on using it."""
    from pyspark import SparkContext
    from pyspark.sql import SparkSession

    SparkContext._active_spark_context = SparkContext._gateway = SparkContext._jvm = None
    SparkSession._instantiatedSession = SparkSession._activeSession = None
