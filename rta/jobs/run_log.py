"""What a run's cells print, as it comes: in a file that others can follow, and no more of it than a notebook can hold."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Final

NAME: Final = "run.log"
MOST: Final = 1_000_000
"""Characters of one cell that are kept: a notebook with more cannot be opened."""


class RunLog:
    """The log of a run.

    Args:
        file: Where it goes, opened for writing.
    """

    def __init__(self, file: IO[str]) -> None:
        self._file, self._left = file, MOST

    def cell(self, number: int, source: str) -> None:
        """Begin a cell."""
        first = next((line for line in source.splitlines() if line.strip()), "")
        self._left = MOST
        self._write(f"[{number}] {datetime.now(UTC):%H:%M:%S} {first[:80]}\n")

    def printed(self, text: str) -> str:
        """Take what a cell has printed; return what is kept of it."""
        kept, was = text[: self._left], self._left
        self._left -= len(kept)
        if was and len(kept) < len(text):
            kept += f"\n… what this cell printed after {MOST:,} characters was left out\n"
        if kept:
            self._write(kept)
        return kept

    def said(self, text: str) -> None:
        """Take a line of the run itself."""
        self._write(f"{text}\n")

    def _write(self, text: str) -> None:
        self._file.write(text)
        self._file.flush()


def followed(file: Path, ended: Callable[[], bool], *, pause: float = 0.2) -> Iterator[str]:
    """Yield what a log has, and what comes until the run has ended.

    >>> from tempfile import mkdtemp
    >>> log = Path(mkdtemp()) / "run.log"
    >>> _ = log.write_text("all there is")
    >>> list(followed(log, lambda: True))
    ['all there is']
    """
    at = 0
    while True:
        over = ended()  # asked first: what is written after it is read before the end
        if file.exists():
            with file.open(errors="replace", newline="") as lines:
                lines.seek(at)
                while text := lines.read(65_536):
                    yield text
                at = lines.tell()
        if over:
            return
        time.sleep(pause)
