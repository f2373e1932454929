"""Where the state of a job is, and the newest of it.

On a folder of this machine the newest checkpoint is the one whose metadata was written last. On storage that this machine does not
reach, Flink's REST API names it for as long as Flink knows the job, and rta notes the savepoint of each stop.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from rta.engines.flink.gateway import call
from rta.errors import QueryError

_FULL: Final = 2**20  # bytes: with less free space no checkpoint is written
_KEPT: Final = 2  # savepoints
_LOCAL: Final = "local"


@dataclass(frozen=True)
class State:
    """The state of a job.

    Args:
        notes: A folder of this machine, where rta keeps what it knows of it.
        uri: Where Flink keeps it: for the local Flink the same folder.
    """

    notes: Path
    uri: str

    @property
    def local(self) -> bool:
        """Whether it is that of the local Flink."""
        return self.uri == self.notes.as_uri()

    @property
    def folder(self) -> Path | None:
        """The folder of this machine where it is; None if it is not on this machine."""
        parts = urlsplit(self.uri)
        found = Path(unquote(parts.path))
        return found if parts.scheme == "file" and found.is_dir() else None

    def claim(self, table: str) -> None:
        """Note which Flink has the state of a table.

        Raises:
            QueryError: Another one has it: two jobs would write one table.
        """
        where, mine = self.notes / "where", _LOCAL if self.local else self.uri
        known = where.read_text() if where.exists() else _LOCAL if (self.notes / "query.json").exists() else mine  # fmt: skip
        if known != mine:
            raise QueryError(f"the state of {table!r} is that of another Flink", found=known, fix="set RTA_FLINK_GATEWAY and RTA_FLINK_STATE as they were, or use another table")  # fmt: skip
        where.write_text(mine)

    def newest(self, rest: str) -> str | None:
        """Return the newest checkpoint or savepoint that was completed, None if there is none.

        Raises:
            QueryError: It is where this machine does not see it, and Flink has forgotten the job.
        """
        if self.folder and (seen := newest(self.folder)):
            return seen.as_uri()
        job, savepoint = self.notes / "job", self.notes / "savepoint"
        if self.local or not job.exists():
            return None
        if savepoint.exists():
            return savepoint.read_text()
        try:
            told = call("GET", f"{rest}/jobs/{job.read_text()}/checkpoints")["latest"]
        except QueryError as error:
            raise QueryError("the newest checkpoint is where this machine does not see it, and Flink has forgotten the job", found=f"{self.uri} ({error.found})", fix=f"write its URI into {savepoint}, and follow the table again; or give RTA_FLINK_STATE on a disk that this machine has, too") from None  # fmt: skip
        completed = [each for kind in ("completed", "savepoint") if (each := told.get(kind))]
        latest = max(completed, key=lambda each: int(each["latest_ack_timestamp"]), default=None)
        return str(latest["external_path"]) if latest else None

    def started(self, job: str) -> None:
        """Note the job that goes on with it."""
        (self.notes / "job").write_text(job)
        (self.notes / "savepoint").unlink(missing_ok=True)

    def stopped(self, savepoint: str) -> None:
        """Note the savepoint that a job was stopped with."""
        (self.notes / "savepoint").write_text(savepoint)

    def thin(self, kept: str | None) -> None:
        """Remove the savepoints before the last two. Checkpoints of earlier jobs share files, so they stay until a reset."""
        for old in self._savepoints()[:-_KEPT]:
            if old.as_uri() != kept:
                shutil.rmtree(old, ignore_errors=True)

    def trouble(self) -> str | None:
        """Say that the disk is full, if it is one of this machine: Flink only says that checkpoints fail."""
        if self.folder and shutil.disk_usage(self.folder).free < _FULL:
            return f"No space left on device: {self.folder}"
        return None

    def remove(self) -> None:
        """Remove it, if it is on this machine."""
        if self.folder and not self.local:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _savepoints(self) -> list[Path]:
        found = self.folder.glob("savepoint-*") if self.folder else ()
        return sorted(found, key=lambda path: path.stat().st_mtime_ns)


def newest(folder: Path) -> Path | None:
    """Return the newest checkpoint or savepoint in a folder; its metadata is what is written last.

    >>> newest(Path("/nowhere"))
    """
    found = max(_completed(folder), key=lambda path: path.stat().st_mtime_ns, default=None)
    return found.parent if found else None


def _completed(folder: Path) -> Iterator[Path]:
    yield from folder.glob("*/chk-*/_metadata")
    yield from folder.glob("savepoint-*/_metadata")
