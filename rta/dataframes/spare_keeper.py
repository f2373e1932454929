"""The process that keeps a spare driver: python -m rta.dataframes.spare_keeper. See rta.dataframes.spare_driver.

It starts a JVM, warms it with a small stream of its own, and hands it to the first session that fits. When the machine is at rest
again it begins anew, as a new program in the same process.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from pyspark.sql import DataFrame, SparkSession

from rta.dataframes import session, spare_driver

_AT_LEAST: Final = 30.0  # seconds that the session which has just begun has the machine for itself
_OTHERS: Final = ("RTA_CACHE", "RTA_DATA", "RTA_JAVA_HOME", "RTA_SPARK_MASTER")


def main() -> None:
    """Keep a spare driver until a session has it, then begin anew; end at SIGTERM, and the driver with it."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    spare_driver.noted(os.getpid())
    with TemporaryDirectory(prefix="rta-spare-") as folder:
        properties = session.properties()
        session.start(properties, console=spare_driver.console())
        running = SparkSession.builder.getOrCreate()
        gateway: Any = running.sparkContext._gateway
        mine = spare_driver.needs(properties)
        _warm(running)
        running.stop()
        _forget_places(gateway)
        _hand_over(gateway, mine, f"{folder}/socket")
    spare_driver.noted(os.getpid())
    _rest()
    os.execv(sys.executable, [sys.executable, "-P", "-m", "rta.dataframes.spare_keeper"])  # noqa: S606 - no shell: this program again


def _warm(running: SparkSession) -> None:
    """Run a small stream over a broker of its own: it loads and compiles what the first stream of a session needs."""
    from rta.dataframes.producer import publish
    from rta.dataframes.sources import read_stream
    from rta.events.event_types import USER_EVENTS
    from rta.events.synthetic import user_events
    from rta.kafka import broker
    from rta.transforms import totals

    with TemporaryDirectory(prefix="rta-warm-") as home, _at_home(Path(home)):
        try:
            publish(user_events(running, rows=2_000), "warm", key="user_id")
            events = read_stream("warm", event=USER_EVENTS, max_events_per_batch=500)
            written = totals(events).writeStream.outputMode("update").foreachBatch(_take)
            query = written.option("checkpointLocation", f"{home}/checkpoint").trigger(availableNow=True).start()  # fmt: skip
            query.awaitTermination()
        finally:
            broker.down()


def _take(rows: DataFrame, _: int) -> None:
    rows.collect()


@contextmanager
def _at_home(home: Path) -> Iterator[None]:
    """Let rta's settings be those of an empty folder, with a broker at a port that nobody wants."""
    from rta.kafka import broker, broker_config

    own = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith("RTA_") and name not in _OTHERS}  # fmt: skip
    os.environ["RTA_HOME"] = str(home)
    try:
        broker_config.write_configuration(broker._folder(), broker_config.free_port())
        yield
    finally:
        del os.environ["RTA_HOME"]
        os.environ.update(own)


def _forget_places(gateway: Any) -> None:
    """Let the JVM forget this process's folder, and give back the memory of the warming."""
    gateway.jvm.org.apache.hadoop.fs.FileSystem.closeAll()
    gateway.jvm.java.lang.System.gc()


def _hand_over(gateway: Any, mine: dict[str, str], at: str) -> None:
    """Wait until a session has taken the driver, or the driver has ended."""
    known = gateway.gateway_parameters
    pipe = gateway.proc.stdin.fileno()
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(at)
        door.listen()
        spare_driver.noted(os.getpid(), gateway.proc.pid, at)
        while not _ended(gateway.proc.pid):
            if select.select([door], [], [], 1.0)[0]:
                asking, _ = door.accept()
                if spare_driver.answered(asking, mine, port=known.port, secret=known.auth_token, pipe=pipe):  # fmt: skip
                    gateway.proc.stdin.close()  # from now on the session alone holds it
                    return


def _ended(driver: int) -> bool:
    """Tell whether the driver has ended; drivers of before are this process's children, too, and would stay as zombies."""
    with suppress(ChildProcessError):
        while child := os.waitpid(-1, os.WNOHANG)[0]:
            if child == driver:
                return True
    return False


def _rest() -> None:
    """Wait until the machine is at rest: warming takes twenty seconds of a core, which whoever has just begun needs more."""
    import psutil

    begun = time.monotonic()
    while (
        time.monotonic() - begun < _AT_LEAST
        or os.getloadavg()[0] > (os.cpu_count() or 1) / 2
        or psutil.virtual_memory().available < spare_driver.MEMORY
    ):
        time.sleep(1)
        _ended(0)


if __name__ == "__main__":
    main()
