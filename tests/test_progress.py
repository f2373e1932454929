"""What a person sees while he waits: how many of all, how fast, how long; in the cell, on the terminal, gone at the end."""

import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fcntl import ioctl
from functools import partial
from pathlib import Path
from struct import pack
from termios import TIOCSWINSZ
from threading import Event
from typing import Any

import nbformat
import pytest
from jupyter_client.manager import start_new_kernel
from pyspark.sql import SparkSession

import rta
from rta import progress
from rta.architectures import base
from rta.dataframes import producer
from rta.engines.spark import following
from rta.jobs import execution
from rta.progress import watched
from tests.support.truth import ROOT

WATCHED = (ROOT / "tests" / "children" / "wait_watched.py").read_text()


def test_a_wait_shows_its_progress_in_its_own_cell() -> None:
    """The line belongs to the cell that waits, tells how many of all, and is empty at the end."""
    manager, client = start_new_kernel()
    try:
        parent = client.execute(WATCHED)
        lines = []
        while True:
            message: dict[str, Any] = client.get_iopub_msg(timeout=600)
            if message["parent_header"].get("msg_id") != parent:
                continue
            if message["msg_type"] in ("display_data", "update_display_data"):
                lines.append(message["content"]["data"]["text/plain"])
            assert message["msg_type"] not in ("error", "stream"), message["content"]
            if message["content"].get("execution_state") == "idle":
                break
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    told = [line for line in lines if line]
    assert all(line.startswith("clicks → totals: ") for line in told)
    assert "00 of 1,000 events, " in told[-1]
    assert "s left" in told[-1]
    assert lines[-1] == ""


def test_a_wait_shows_its_progress_on_a_terminal() -> None:
    """Counts, rate and time left on a line that is wiped away; nothing on stdout."""
    ours, theirs = pty.openpty()
    ioctl(theirs, TIOCSWINSZ, pack("HHHH", 40, 110, 0, 0))
    run = subprocess.Popen([sys.executable, "-c", WATCHED], stdout=subprocess.PIPE, stderr=theirs)
    os.close(theirs)
    seen = b""
    try:
        while part := os.read(ours, 4096):
            seen += part
    except OSError:  # the other end is closed
        pass
    os.close(ours)
    assert run.communicate()[0] == b""
    assert run.returncode == 0
    lines = [line for line in seen.decode().split("\r") if line.strip()]
    assert "100/1.00k" in lines[0]
    assert "events/s" in lines[0]
    assert seen.decode().split("\r")[-2].strip() == ""


def test_what_fails_is_told_by_the_call() -> None:
    """A question that fails is asked again, and no error of the call; the call's own error comes through."""
    asked = Event()

    def done() -> tuple[int, int]:
        asked.set()
        raise ConnectionError("away")

    with watched("counting", done, unit="event"):
        assert asked.wait(600)
    with pytest.raises(KeyError), watched("counting", done, unit="event"):
        raise KeyError("the call's own")


def test_a_job_tells_which_cell_it_is_at(tmp_path: Path) -> None:
    """Each code cell that begins is told, also the one that fails; text and empty cells are none."""
    sources = ["1", "", "1 / 0", "3"]
    cells = [nbformat.v4.new_markdown_cell("text"), *map(nbformat.v4.new_code_cell, sources)]
    notebook, begun = tmp_path / "notebook.ipynb", []
    nbformat.write(execution.prepared(nbformat.v4.new_notebook(cells=cells), {}), notebook)
    failure = execution.execute(
        notebook, cwd=tmp_path, environment={}, timeout=None, start_timeout=600, begun=lambda: begun.append(1)
    )  # fmt: skip
    assert "ZeroDivisionError" in str(failure)
    assert len(begun) == 2


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, tuple[int, int | None]]]:
    """Keep what each wait tells at its beginning and at its end."""
    seen: list[tuple[str, tuple[int, int | None]]] = []

    @contextmanager
    def spy(
        label: str,
        look: Callable[[], tuple[int, int | None]],
        *,
        unit: str,
        phase: Callable[[], str],
    ) -> Iterator[None]:
        seen.append((label, look()))
        with watched(label, look, unit=unit, phase=phase):
            assert isinstance(phase(), str)
            yield
        seen.append((label, look()))

    for module in (producer, following, base):
        monkeypatch.setattr(module, "watched", spy)
    return seen


def test_publish_drain_and_recompute_tell_how_many_of_all(
    spark: SparkSession, topic: Callable[..., str], looks: list[tuple[str, tuple[int, int | None]]]
) -> None:
    """The total is what the frame has; then what lies on the topic and was not taken yet. At the end all of it is done."""
    name = topic(partitions=2)
    how: dict[str, Any] = {"key": ["window", "user_id"], "event": rta.USER_EVENTS}
    table, view = f"{name.split('-')[0]}_drained", f"{name.split('-')[0]}_recomputed"
    for first in (0, 40):
        rta.publish(rta.user_events(spark, rows=40, first_row=first), name)
        rta.drain(name, rta.transforms.totals, table=table, **how)
        labels = [f"publishing to {name}"] * 2 + [f"{name} → {table}"] * 2
        assert looks == list(zip(labels, [(0, 40), (40, 40)] * 2, strict=True))
        looks.clear()
    with rta.batch(name, rta.transforms.totals, table=view, **how) as wired:
        wired.recompute()
    assert looks[:2] == [(f"{name} → its archive", (done, 80)) for done in (0, 80)]
    assert looks[2] == (f"archive of {name} → {view}_batch_1", (0, 80))


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Show waits as in a notebook, at once, and keep what is shown."""
    shown: list[str] = []
    monkeypatch.setattr(progress, "_in_notebook", lambda: True)
    monkeypatch.setattr(progress, "_line", lambda: shown.append)
    monkeypatch.setattr(progress, "_SOON", 0)
    return shown


def test_no_long_call_is_silent(
    spark: SparkSession, topic: Callable[..., str], lines: list[str], tmp_path: Path
) -> None:
    """Each shows what it does before its end, in one line that is wiped away: phases, then events of all."""
    name = topic(partitions=1)
    how: dict[str, Any] = {"key": ["window", "user_id"], "event": rta.USER_EVENTS}

    def said(call: Callable[[], Any]) -> Any:
        lines.clear()
        answer = call()
        assert lines[-1] == ""
        return answer

    def phases(label: str) -> list[str]:
        """Return the lines of a wait that tell more than its time."""
        return [
            line
            for line in lines
            if line.startswith(f"{label}: ") and not re.search(": for [0-9]+ s$", line)
        ]

    said(lambda: rta.publish(rta.user_events(spark, rows=30), name))
    assert phases(f"publishing to {name}")
    said(lambda: rta.drain(name, rta.transforms.totals, table="silent", **how))
    assert phases(f"{name} → silent")
    query = said(lambda: rta.follow(name, rta.transforms.totals, table="silent_too", **how))
    query.stop()
    assert phases("starting silent_too")
    with rta.batch(name, rta.transforms.totals, table="silent_batch", **how) as wired:
        said(wired.recompute)
    assert any(line.startswith("recomputing silent_batch: ") for line in lines)
    assert phases(f"{name} → its archive")
    assert phases(f"archive of {name} → silent_batch_batch_1")
    with said(lambda: rta.kappa(name, rta.transforms.totals, table="silent_kappa", **how)) as kappa:
        wider = partial(rta.transforms.totals, window="1 hour")
        replay = said(lambda: kappa.replay(wider))
        assert phases("starting silent_kappa_v2")
        said(replay.wait)
        assert all(" of 30 events, " in line for line in phases(f"{name} → silent_kappa_v2"))
    notebook = tmp_path / "silent.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1")]), notebook)
    said(lambda: rta.run(notebook))
    for part in ("running silent.ipynb: ", "silent.ipynb: ", "writing the report: "):
        assert any(line.startswith(part) for line in lines)
    with progress.step("a step"):
        assert lines[-1] == "a step … 0 s"
    assert lines[-1].startswith("a step: ")
