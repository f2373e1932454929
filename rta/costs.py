"""What a wiring costs: CPU time, bytes on disk, lines of code."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from pathlib import Path

from rta import cpu_time
from rta.archives import folder
from rta.lateness import Transform
from rta.settings import settings
from rta.wiring import Wiring


def stored_bytes(wired: Wiring) -> int:
    """Sum the bytes that lie in archive and checkpoints; the tables in the database are not in it."""
    checkpoints = settings().home / "checkpoints"
    places = [checkpoints / part for part in (wired.view.parts if wired.view else ())]
    if wired.architecture != "kappa":
        places.append(folder(wired.topic))
    files = [
        path for place in places if place.exists() for path in place.rglob("*") if path.is_file()
    ]
    return sum(_size(path) for path in files)


def cpu_seconds(wired: Wiring, tables: Iterable[str]) -> float:
    """Sum what Spark's tasks have spent in this process on some tables of a wiring, and on its archive."""
    owners = [*tables, *([] if wired.architecture == "kappa" else [f"archive of {wired.topic}"])]
    return sum(map(cpu_time.spent, owners))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # Spark has just swept it
        return 0


def lines_of(transform: Transform) -> int | None:
    """Count the lines of the function that are neither empty nor comment nor its docstring; None where there is no source."""
    import ast
    import textwrap

    plain = getattr(transform, "func", transform)
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(plain)))
    except (OSError, TypeError, SyntaxError):
        return None
    [function] = tree.body[:1]
    if isinstance(function, ast.FunctionDef) and ast.get_docstring(function):
        function.body = function.body[1:]
    return len(ast.unparse(function).splitlines())
