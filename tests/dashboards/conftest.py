"""Dashboards as people start them: the command in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from playwright.sync_api import Browser

from rta.dashboards import running
from tests.display import browser
from tests.support.waiting import finished, until


class Served:
    """A dashboard that runs."""

    def __init__(self, name: str, process: subprocess.Popen[str]) -> None:
        self.name, self.process = name, process
        self.entry = until(lambda: next((each for each in running() if each.name == name), None), process)  # fmt: skip
        self.port = int(self.entry.address.rpartition(":")[2])


def command(*words: str | Path) -> subprocess.Popen[str]:
    """Start `rta dashboard …`."""
    return subprocess.Popen(
        [sys.executable, "-m", "rta.cli", "dashboard", *map(str, words)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ,
    )  # fmt: skip


@contextmanager
def served(notebook: Path) -> Iterator[Served]:
    """Serve a notebook, and stop it at the end."""
    process = command(notebook)
    try:
        yield Served(notebook.stem, process)
    finally:
        process.terminate()
        finished(process)


def written(path: Path, *cells: str) -> Path:
    """Write a notebook: a cell that begins with # is prose."""
    made = [new_markdown_cell(each) if each.startswith("#") else new_code_cell(each) for each in cells]  # fmt: skip
    nbformat.write(new_notebook(cells=made), path)
    return path


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Start the browser for a file."""
    with browser.started() as started:
        yield started
