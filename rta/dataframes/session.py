"""spark(): one real SparkSession, tuned for streaming, on this machine or on the master of RTA_SPARK_MASTER."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rta.dataframes import spare_driver
from rta.dataframes.internals import attach, exit_code, forget_session, has_class, launch
from rta.errors import InputError, SetupError
from rta.jvm import engines_jar
from rta.jvm.spark_reader import CATALOG
from rta.kafka import broker
from rta.progress import step
from rta.settings import private_folder, settings
from rta.setup import class_data, python_log
from rta.setup.causes import cause
from rta.setup.jars import connector_jars
from rta.setup.java import find_java, log_to_file

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

# Each can be overridden: spark(conf={...}). Figures behind them are in bench/ and ARCHITECTURE.md.
DEFAULTS: Final[Mapping[str, str]] = {
    "spark.sql.session.timeZone": "UTC",
    # Each is a state store that commits in each micro-batch: no more than can work at once. Frozen into a stateful
    # checkpoint at its first start, so a checkpoint keeps its number on another machine.
    "spark.sql.shuffle.partitions": str(min(4, max(2, os.cpu_count() or 2))),
    "spark.sql.streaming.stateStore.providerClass": "org.apache.spark.sql.execution.streaming.state.RocksDBStateStoreProvider",
    "spark.sql.streaming.stateStore.rocksdb.changelogCheckpointing.enabled": "true",
    # Else a query that waits for events asks Kafka for new offsets a hundred times a second: 0.4 of a core for nothing.
    "spark.sql.streaming.pollingDelay": "100ms",
    "spark.sql.streaming.stopTimeout": "120s",  # stop() may block for ever on Kafka
    "spark.shuffle.streaming.networkBufferMaxWaitTimeMs": "1",  # real-time mode: else up to 100 ms
    # Else any other job that holds the slots while an interval begins fails the query for ever; rta counts them beforehand.
    "spark.scheduler.pipelinedGroup.slotCheck.enabled": "false",
    "spark.sql.execution.arrow.pyspark.enabled": "true",
    "spark.driver.memory": "2g",
    "spark.executor.heartbeatInterval": "1s",  # how far a long task is; by default it tells every 10 s
    "spark.ui.showConsoleProgress": "false",
    # The driver grows with what the UI keeps.
    "spark.ui.retainedJobs": "50",
    "spark.ui.retainedStages": "50",
    "spark.ui.retainedTasks": "500",
    "spark.sql.ui.retainedExecutions": "20",
    "spark.sql.streaming.ui.retainedQueries": "10",
    "spark.sql.streaming.ui.retainedProgressUpdates": "50",
}

# For files on this machine. Without Hadoop's native library, Spark's default way of renaming a file of a checkpoint starts the program
# `readlink` four times, and Hadoop's way of writing a file starts `chmod` twice: sixty processes in each micro-batch.
# A local rename is atomic either way.
LOCAL_FILES: Final[Mapping[str, str]] = {
    "spark.hadoop.fs.file.impl": "rta.ForklessFileSystem",
    "spark.sql.streaming.checkpointFileManagerClass": "org.apache.spark.sql.execution.streaming.checkpointing.FileSystemBasedCheckpointFileManager",
}

LOOPBACK: Final[Mapping[str, str]] = {
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
}

# A machine that has slept: Spark would take its only executor, which is the driver itself, for lost, and end it some minutes later.
ONE_PROCESS: Final[Mapping[str, str]] = {"spark.storage.blockManagerHeartbeatTimeoutMs": "3650d"}

# A JVM never compiles a method of over 8,000 bytes of bytecode, and what Spark generates for events with many fields is longer:
# interpreted, Avro is read four times slower.
_HUGE_METHODS: Final = "-XX:-DontCompileHugeMethods"

_asked: Final[dict[str, Any]] = {}
"""The arguments that the session of this process was started with, for one that replaces it."""


def spark(
    *, app_name: str = "rta", master: str | None = None, conf: Mapping[str, str] | None = None
) -> SparkSession:
    """Return the SparkSession of this process, with Kafka's connector; start it if there is none.

    If the embedded broker has topics and does not run, it starts beside Spark: it will be needed next. Spark's messages go to
    `spark.log` and `spark-python.log` under RTA_HOME.

    Args:
        app_name: The application's name.
        master: A Spark master URL; by default RTA_SPARK_MASTER, else local[16]: slots are threads, and real-time mode needs one
            for each Kafka partition and shuffle partition.
        conf: Spark properties that override `DEFAULTS`.

    Raises:
        SetupError: There is no Java that fits, there are no jars, no connector is known for this PySpark, or a session without the
            connector runs already.
        InputError: The master is a Spark Connect server.

    Example:
        >>> spark().range(3).count()
        3
    """
    from pyspark import SparkContext
    from pyspark.sql import SparkSession

    master = master or settings().spark_master
    if master.startswith("sc://"):
        raise InputError(
            "Spark Connect is not supported", found=master,
            fix="use a master such as local[16] or spark://host:7077; streams are written through foreachBatch on the driver",
        )  # fmt: skip
    if ended():
        forget_session()
    if SparkContext._active_spark_context is None:
        wanted = properties(app_name=app_name, master=master, conf=conf)
        with broker.starting(if_it_holds_topics=True), step("starting Spark"):
            start(wanted, console=_console())
            session = SparkSession.builder.getOrCreate()
        _asked.update(app_name=app_name, master=master, conf=dict(conf or {}))
        unarchived = "SharedArchiveFile" not in wanted["spark.driver.extraJavaOptions"]
        if unarchived and settings().class_data == "auto":
            class_data.build_at_exit()
        return session
    session = SparkSession.builder.config(map=dict(conf or {})).getOrCreate()
    _asked.setdefault("conf", {}).update(conf or {})
    _require_connector(session)
    return session


def again() -> SparkSession:
    """Start a session as the one of this process was started whose JVM has ended; one that lives is returned.

    >>> again() is spark
    True
    """
    return spark(**_asked)


def running() -> SparkSession | None:
    """Return the session of this process, from any of its threads; None if there is none, or its JVM has ended. None is started.

    >>> running() is spark
    True
    """
    if "pyspark.sql" not in sys.modules or ended():
        return None
    from pyspark import SparkContext
    from pyspark.sql import SparkSession

    started = getattr(
        SparkContext._active_spark_context, "_jsc", None
    )  # one that just starts has none
    return SparkSession.builder.getOrCreate() if started else None


def properties(
    *, app_name: str = "rta", master: str | None = None, conf: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Return the Spark properties that a session of spark() starts with; see there.

    >>> properties(conf={"spark.driver.memory": "1g"})["spark.driver.memory"]
    '1g'
    """
    import pyspark

    master = master or settings().spark_master
    jars = [str(jar) for jar in [*connector_jars(pyspark.__version__), engines_jar()]]
    own = {"spark.app.name": app_name, "spark.master": master, **CATALOG}
    return {**own, **DEFAULTS, **_placed(master, jars), **(conf or {})}


def _placed(master: str, jars: list[str]) -> dict[str, str]:
    """Return the properties that depend on where Spark runs."""
    folder = private_folder(settings().home)
    java_options = [log_to_file(folder, "spark"), "-Duser.timezone=UTC", "-XX:+UseParallelGC"]
    # After an OutOfMemoryError a JVM lacks threads, and nobody notices: better it ends, and says why.
    java_options += ["-XX:+ExitOnOutOfMemoryError", _HUGE_METHODS, *class_data.options()]
    placed = {
        "spark.driver.extraJavaOptions": " ".join(f"'{option}'" for option in java_options),
        "spark.sql.warehouse.dir": str(folder / "warehouse"),
    }
    if master.startswith("local"):
        return (
            placed
            | {**LOOPBACK, **LOCAL_FILES, **ONE_PROCESS}
            | {"spark.driver.extraClassPath": os.pathsep.join(jars)}
        )
    return placed | {"spark.jars": ",".join(jars), "spark.executor.extraJavaOptions": _HUGE_METHODS}


def start(wanted: Mapping[str, str], *, console: Path) -> None:
    """Start Spark with these properties, in the spare driver or a new JVM, with its messages in a file instead of the notebook."""
    from pyspark import SparkConf, SparkContext

    os.environ["JAVA_HOME"] = str(find_java().home)
    if wanted["spark.master"].startswith("local"):
        os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"  # the UI binds to every address otherwise
        # Else the first python3 of the PATH would run UDFs.
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    conf = SparkConf().setAll(list(wanted.items()))
    try:
        gateway = _taken(wanted, console) or launch(conf, console)
        python_log.to_file(settings().home)
        with _same_interrupts():
            SparkContext(conf=conf, gateway=gateway)
    except Exception as error:
        found = _last_words() or cause(str(error))
        small = "raise spark.driver.memory; " if "DRIVER_MEMORY" in found else ""
        fix = f"{small}see `rta doctor`; the log is spark-console.log under RTA_HOME"
        raise SetupError("Spark did not start", found=found, fix=fix) from error


def _taken(wanted: Mapping[str, str], console: Path) -> Any:
    """Return the gateway to the spare driver, if there is one that fits and lives."""
    from py4j.protocol import Py4JError

    if "PYSPARK_GATEWAY_PORT" in os.environ:  # somebody has chosen a JVM
        return None
    spare = spare_driver.claim(spare_driver.needs(wanted))
    if spare is None:
        return None
    try:
        spare_driver.console().replace(console)
        return attach(spare)
    except (Py4JError, OSError) as error:
        logging.getLogger("rta").warning("the spare driver has just ended, so another one starts: %s", error)  # fmt: skip
        return None


@contextmanager
def _same_interrupts() -> Iterator[None]:
    """Keep PySpark from replacing what Ctrl-C does: it would cancel all jobs, and those of running queries with them."""
    before = signal.getsignal(signal.SIGINT)
    yield
    if signal.getsignal(signal.SIGINT) is not before:
        signal.signal(signal.SIGINT, before)


def _require_connector(session: SparkSession) -> None:
    """Refuse a session that was started by somebody else without Kafka's connector."""
    if not has_class(session, "org.apache.spark.sql.kafka010.KafkaSourceProvider"):
        raise SetupError(
            "the Spark session that runs in this process has no Kafka connector",
            found=f"application {session.sparkContext.appName!r}",
            fix="call its stop() (or restart the kernel), then rta.spark() before any other session",
        )


def ended(*, patience: float = 0) -> str | None:
    """Say how the JVM of this process's session ended; None if it lives, or there was none.

    Args:
        patience: Seconds to wait for its end.

    >>> ended() is None
    True
    """
    code = exit_code(patience=patience)
    if code is None:
        return None
    how = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
    if code == spare_driver.UNKNOWN_EXIT:
        how = "it has ended"
    return ": ".join(filter(None, (how, _last_words())))


def _console() -> Path:
    """Return the file with what the JVM printed outside its log."""
    return settings().home / "spark-console.log"


def _last_words() -> str:
    """Return the lines of the JVM's console that say why it ended."""
    console = _console()
    lines = console.read_text(errors="replace").splitlines() if console.exists() else []
    return " | ".join(line for line in lines if "WARNING" not in line)[-400:]
