"""A Flink of somebody else: a process, a home and a classpath of its own, on which rta's jar is not."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from rta.engines.flink import local
from rta.engines.flink.gateway import call
from rta.errors import QueryError
from rta.jvm import engines_jar
from rta.kafka.broker_config import free_port
from rta.setup.jars import flink_jars
from rta.setup.java import find_java
from rta.setup.processes import end, launched_apart
from tests.support.waiting import HANG, until


@contextmanager
def somebodys(folder: Path) -> Iterator[local.Cluster]:
    """Run a Flink that is not ours, with a home of its own, as long as the block runs."""
    with _at_home(folder):
        theirs = local.started_with([_program(folder), *flink_jars()], timeout=HANG)
    try:
        yield theirs
    finally:
        with _at_home(folder):
            local.down(timeout=HANG)


def killed_and_started_again(pid: int, folder: Path) -> int:
    """Kill somebody's Flink, and start the same one as its owner would, at the same addresses; return its process."""
    process = psutil.Process(pid)
    command, environment = process.cmdline(), process.environ()
    process.kill()
    process.wait()
    return launched_apart(command, cwd=folder, output=folder / "again.log", env=environment).pid


@contextmanager
def gateway_without(part: str, rest: str, folder: Path) -> Iterator[str]:
    """Run a SQL gateway of its own before a Flink, without the jars that have a part in their names; give its address."""
    port = free_port()
    (folder / "config.yaml").write_text(f"""
execution.target: remote
rest.address: 127.0.0.1
rest.port: {urlsplit(rest).port}
sql-gateway.endpoint.rest.address: 127.0.0.1
sql-gateway.endpoint.rest.port: {port}
""")
    jars = os.pathsep.join(str(each) for each in flink_jars() if part not in each.name)
    command = [str(find_java().executable), *local._JVM_OPTIONS, "-cp", jars, "org.apache.flink.table.gateway.SqlGateway"]  # fmt: skip
    process = launched_apart(command, cwd=folder, output=folder / "console.log", env=os.environ | {"FLINK_CONF_DIR": str(folder)})  # fmt: skip

    def answers() -> bool:
        with suppress(QueryError):
            return bool(call("GET", f"http://127.0.0.1:{port}/v1/info"))
        return False

    try:
        until(answers, process)
        yield f"http://127.0.0.1:{port}"
    finally:
        end(process.pid, patience=HANG)


@contextmanager
def _at_home(folder: Path) -> Iterator[None]:
    """Be somebody whose home this is, and who has no Flink of their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RTA_HOME", str(folder))
        for name in ("GATEWAY", "REST", "STATE"):
            patch.delenv(f"RTA_FLINK_{name}", raising=False)
        yield


def _program(folder: Path) -> Path:
    """Write a jar with the program that starts Flink's own parts, and nothing else of rta's."""
    jar = folder / "flink-local.jar"
    with zipfile.ZipFile(engines_jar()) as ours, zipfile.ZipFile(jar, "w") as made:
        made.writestr("rta/FlinkLocal.class", ours.read("rta/FlinkLocal.class"))
    return jar
