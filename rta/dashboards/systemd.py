"""A dashboard as a service of its user."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from rta.setup import systemd


def unit(notebook: str | Path, options: Sequence[str] = ()) -> str:
    """Return the text of a systemd user unit that serves a notebook, with this interpreter and this RTA_HOME.

    Args:
        notebook: The path of the notebook.
        options: Options of the command, such as "--port", "8123".

    Example:
        >>> print(unit("operations.ipynb", ["--port", "8123"]).splitlines()[1])
        Description=rta dashboard operations
    """
    path = Path(notebook).absolute()
    command = [sys.executable, "-m", "rta.cli", "dashboard", str(path), *options]
    return systemd.unit(f"rta dashboard {path.stem}", command, path.parent)
