"""Run notebooks by nbval, two at a time, beside the other tests.

    python -m tests.notebooks.nbval_all FOLDER NOTEBOOK…

Each has an RTA_HOME of its own, on one broker that is theirs alone: tests end the other one. The folder gets
a log and an exit code for each notebook.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from tests.notebooks.execute import ROOT, put_flights
from tests.support.waiting import HANG, until

NOTEBOOKS: Final = sorted((ROOT / "notebooks").glob("*/*.ipynb"))

LIGHTER: Final[Mapping[str, Mapping[str, Any]]] = {
    "01-build-a-dashboard": {"speed": 200_000.0},  # seconds of history in a second
    "04-compare-architectures": {"rate": 4_000},  # events per second that arrive
    "04-scale-out": {"length": 300_000},  # bytes that an event's computation hashes
}
"""Parameters that notebooks are given, as jobs are: less time for the same work. No output that is compared depends on them."""


class Runs:
    """The notebooks on their way, in a process group of its own."""

    def __init__(self, folder: Path, paths: Sequence[Path]) -> None:
        self.folder = folder
        self.home = {
            "RTA_HOME": str(folder / "home"),
            "RTA_SPARK_MASTER": "local[4]",
            "RTA_CLASS_DATA": "off",
        }
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("RTA_") or name == "RTA_CACHE"
        }
        self.environment = kept | self.home | {"PYTHONPATH": str(ROOT)}
        with (folder / "all.log").open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.notebooks.nbval_all", str(folder), *map(str, paths)], cwd=ROOT, env=self.environment,
                stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def result(self, path: Path) -> tuple[int, str]:
        """Wait for a notebook's exit code and log, for as long as any of them gets on."""
        code, log = _files(self.folder, path)
        try:
            until(code.exists, self.process, progress=self._written, hang=2 * HANG)  # nbval's words first  # fmt: skip
        except AssertionError as error:
            error.add_note(log.read_text() if log.exists() else "not begun")
            error.add_note((self.folder / "all.log").read_text())
            raise
        return int(code.read_text()), log.read_text()

    def _written(self) -> int:
        """Count what the notebooks have told so far: a sign for each cell."""
        return sum(each.stat().st_size for each in self.folder.glob("*.log"))

    def end(self) -> None:
        """End what still runs, and the notebooks' broker."""
        from contextlib import suppress
        from signal import SIGKILL

        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, SIGKILL)
        self.process.wait(HANG)
        subprocess.run(
            [sys.executable, "-m", "rta.cli", "down"], cwd=ROOT, env=self.environment, check=False,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip


def _files(folder: Path, path: Path) -> tuple[Path, Path]:
    name = f"{path.parent.name}-{path.stem}"
    return folder / f"{name}.code", folder / f"{name}.log"


def _run(folder: Path, path: Path, **environment: str) -> None:
    """Run one notebook, and write down how it ended."""
    import nbformat

    from rta.jobs.execution import prepared
    from rta.kafka.broker import bootstrap

    code, log = _files(folder, path)
    home, notebook = folder / log.stem, path
    if values := LIGHTER.get(path.stem):
        notebook = folder / path.name
        nbformat.write(prepared(nbformat.read(path, as_version=4), values), notebook)
    breaks = "rta.lab(" in path.read_text()  # what it breaks has to be its own
    own = {"RTA_HOME": str(home)} | ({} if breaks else {"RTA_KAFKA_BOOTSTRAP": bootstrap()})
    command = [
        sys.executable, "-m", "pytest", "--nbval-lax", "--nbval-current-env", f"--nbval-kernel-startup-timeout={HANG:.0f}", f"--nbval-cell-timeout={HANG:.0f}", "-q",
        "--noconftest", "-c", os.devnull, "--rootdir", str(folder), "-p", "no:cacheprovider", "-p", "tests.notebooks.nbval_quiet", str(notebook),
    ]  # fmt: skip
    with log.open("w") as told:
        ended = subprocess.run(
            command,
            env=os.environ | own | environment,
            cwd=path.parent,
            stdout=told,
            stderr=told,
            check=False,
        )
    if breaks:
        down = [sys.executable, "-m", "rta.cli", "down"]
        subprocess.run(down, cwd=ROOT, env=os.environ | own, check=False, stdout=subprocess.DEVNULL)
    unfinished = code.with_suffix(".part")
    unfinished.write_text(str(ended.returncode))
    unfinished.rename(code)


def main(folder: Path, paths: Sequence[Path]) -> None:
    """Put the flights onto the topic, then run the notebooks: those that take a JVM as it comes one after another in one."""
    import rta

    session = rta.spark()
    put_flights(session, until="2013-01-11")
    gateway = session.sparkContext._gateway
    session.stop()
    lent = [path for path in paths if _takes_any_jvm(path)]
    own = [path for path in paths if path not in lent]
    with ThreadPoolExecutor(2) as pool:
        lanes = [pool.submit(_run_in, gateway, folder, lent), pool.submit(_run_each, folder, own)]
    for lane in lanes:
        lane.result()


def _takes_any_jvm(path: Path) -> bool:
    """Tell whether a notebook starts Spark, and has no process or environment of its own, and kills nothing."""
    source, its_own = path.read_text(), ("subprocess", "os.environ", "rta.lab(")
    return "rta.spark(" in source and not any(each in source for each in its_own)


def _run_in(gateway: Any, folder: Path, paths: Sequence[Path]) -> None:
    """Run notebooks in one JVM, each with a kernel and a Spark session of its own: a third of what a notebook costs is its cold JVM."""
    parameters = gateway.gateway_parameters
    door = {"PYSPARK_GATEWAY_PORT": str(parameters.port), "PYSPARK_GATEWAY_SECRET": parameters.auth_token}  # fmt: skip
    contexts = getattr(getattr(gateway.jvm.org.apache.spark, "SparkContext$"), "MODULE$")
    for path in paths:
        _run(folder, path, **door)
        left = contexts.getActive()
        if left.isDefined():  # of a notebook that failed
            left.get().stop()


def _run_each(folder: Path, paths: Sequence[Path]) -> None:
    """Run notebooks, each with what it starts itself."""
    for path in paths:
        _run(folder, path)


if __name__ == "__main__":
    main(Path(sys.argv[1]), [Path(name) for name in sys.argv[2:]])
