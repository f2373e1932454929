"""How large: kernel, Spark's JVM and broker, at rest and under load."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

from bench.child import Setup, timed

MB: Final = 1e6
AT_REST: Final = "import rta; spark = rta.spark(); spark.range(3).count()"
UNDER_LOAD: Final = """
drained = rta.drain({topic!r}, rta.transforms.totals, table={table!r}, key=["window", "user_id"], event=rta.USER_EVENTS)
rta.reset({table!r})
assert drained.accounting.used == {events}, drained
"""


def kernel(setup: Setup, _: Path) -> None:
    """Ask a real Jupyter kernel to start Spark, and then to drain the topic."""
    load = UNDER_LOAD.format(topic=setup.topic, table="bench_load", events=setup.events)
    with _kernel() as (manager, client):
        for name, code in (("at rest", AT_REST), ("under load, peaks", load)):
            phase, (reply, peaks) = timed(name, partial(_watched, manager, client, code))
            fault = "" if reply["status"] == "ok" else f"{reply['ename']}: {reply['evalue'][:200]}"
            phase.tell(fault=fault, figures=peaks if name != "at rest" else _sizes(manager))


@contextmanager
def _kernel() -> Iterator[Any]:
    from jupyter_client.manager import start_new_kernel

    manager, client = start_new_kernel()
    try:
        yield manager, client
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def _watched(manager: Any, client: Any, code: str) -> tuple[dict[str, Any], dict[str, float]]:
    """Run code in the kernel; return its reply, and the peaks of each process meanwhile."""
    from queue import Empty

    from psutil import NoSuchProcess

    request, peaks = client.execute(code), dict.fromkeys(("kernel_mb", "jvm_mb", "broker_mb"), 0.0)
    while True:
        with suppress(
            NoSuchProcess, FileNotFoundError
        ):  # a short command of the JVM ended under our eyes
            now = _sizes(manager)
            peaks = {name: max(value, now[name]) for name, value in peaks.items()}
        try:
            message = client.get_shell_msg(timeout=0.25)
        except Empty:
            continue
        if message["parent_header"].get("msg_id") == request:
            return message["content"], peaks


def _sizes(manager: Any) -> dict[str, float]:
    """Return the resident megabytes of the kernel, of the JVMs below it, and of the broker."""
    import psutil

    from rta.kafka import broker

    process, running = psutil.Process(manager.provisioner.pid), broker.status()
    below = process.children(recursive=True)
    return {
        "kernel_mb": process.memory_info().rss / MB,
        "jvm_mb": sum(each.memory_info().rss for each in below if each.name() == "java") / MB,
        "broker_mb": psutil.Process(running.pid).memory_info().rss / MB if running else 0.0,
    }
