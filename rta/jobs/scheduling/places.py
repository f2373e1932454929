"""The home and the database that a scheduler works with. It has them open, so if they are deleted it would go on for ever, with nobody to see it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rta.settings import private_folder, settings
from rta.store import database


def places() -> Mapping[Path, int | None]:
    """Return the home, and the database if it is a file, with their inodes now.

    >>> [path == settings().home.absolute() for path in places()]
    [True, False]
    """
    url, home = database.engine().url, private_folder(settings().home.absolute())
    files = [Path(str(url.database))] if url.drivername == "sqlite" else []
    return {path: _inode(path) for path in (home, *files)}


def gone(known: Mapping[Path, int | None]) -> Path | None:
    """Return which of some places was deleted, or is another one now; None if they are as they were.

    >>> gone({Path("/nowhere"): 7}), gone(places())
    (PosixPath('/nowhere'), None)
    """
    return next((path for path, inode in known.items() if _inode(path) != inode), None)


def _inode(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except OSError:
        return None
