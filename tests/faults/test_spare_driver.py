"""The spare driver: one session has it, for its whole life, and neither outlives the other."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from rta.dataframes import spare_driver
from rta.kafka import broker
from rta.setup.processes import runs
from tests.support.truth import ROOT, jvm_of
from tests.support.waiting import finished, until

pytestmark = pytest.mark.kafka
OTHER_NAME = "python3" if Path(sys.executable).name == "python" else "python"
# A kernel calls its Python by another name than the terminal that keeps the spare driver.
CHILD = [
    str(Path(sys.executable).with_name(OTHER_NAME)),
    "-m",
    "tests.children.take_the_spare_driver",
    "spare",
]


@pytest.fixture
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give an RTA_HOME of its own, and stop what was started there."""
    monkeypatch.setenv("RTA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("RTA_SPARK_MASTER", "local[2]")
    monkeypatch.setenv("RTA_CLASS_DATA", "off")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    yield tmp_path
    spare_driver.stop()
    broker.down()


def test_f48_the_kernel_that_took_it_is_killed(own_home: Path) -> None:
    """A session takes it, relative paths are its own, it drains exactly; SIGKILL for its process ends the JVM, too."""
    keeper = spare_driver.keep()
    assert spare_driver.keep().keeper == keeper.keeper  # a second call starts no second one

    def log() -> str:
        return (own_home / "home" / "spare" / "keeper.log").read_text()

    found = until(lambda: (there := spare_driver.status()) and there.driver and there, progress=log)
    assert spare_driver.claim({"spark.driver.memory": "9g"}) is None  # it was started otherwise
    assert psutil.Process(found.driver).is_running()
    environment = os.environ | {"JPY_SESSION_NAME": "a.ipynb"}
    taking = subprocess.Popen(CHILD, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=own_home, env=environment)  # fmt: skip
    try:
        assert taking.stdout is not None
        told = taking.stdout.readline().split()
        assert told == [str(found.driver), "2", "30"]
        left = until(spare_driver.status)
        assert (left.keeper, left.driver) == (keeper.keeper, None)  # it will make another one
    finally:
        taking.kill()
        finished(taking)
    until(lambda: not runs(found.driver))
    assert spare_driver.stop()
    until(lambda: not runs(keeper.keeper))
    assert spare_driver.status() is None


def test_f48_a_keeper_that_is_stopped_takes_its_driver_with_it(own_home: Path) -> None:
    """Stopped while it starts the driver: nothing is left."""
    keeper = spare_driver.keep()
    begun = until(lambda: jvm_of(keeper.keeper))
    assert spare_driver.stop()
    until(lambda: not runs(begun))
    assert not list(own_home.glob("home/spare/spare.json"))


def test_only_a_session_that_fits_is_given_it() -> None:
    """One that asks for another Python gets an end; one that fits gets the address and the pipe, which nobody else then holds."""
    reading, pipe = os.pipe()
    given = []
    for python in ("4", "3"):
        mine, theirs = socket.socketpair()
        mine.sendall(b'{"python": "3"}\n')
        given.append(spare_driver.answered(theirs, {"python": python}, port=7, secret="s", pipe=pipe))  # noqa: S106  # fmt: skip
        message, pipes, *_ = socket.recv_fds(mine, 1_000, 1)
        mine.close()
        assert (message, len(pipes)) == ((b'{"port": 7, "secret": "s"}', 1) if given[-1] else (b"", 0))  # fmt: skip
    assert given == [False, True]
    os.close(pipe)
    os.close(pipes[0])
    assert os.read(reading, 1) == b""
    os.close(reading)
