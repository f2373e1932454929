"""A dashboard as a service of its user."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from rta.settings import settings


def unit(notebook: str | Path, options: Sequence[str] = ()) -> str:
    """Return the text of a systemd user unit that serves a notebook, with this interpreter and this RTA_HOME.

    No secret is in it: settings other than RTA_HOME and RTA_CACHE stand in an EnvironmentFile, if there is one.

    Args:
        notebook: The path of the notebook.
        options: Options of the command, such as "--port", "8123".

    Example:
        >>> print(unit("operations.ipynb", ["--port", "8123"]).splitlines()[1])
        Description=rta dashboard operations
    """
    path, known = Path(notebook).absolute(), settings()
    command = [sys.executable, "-m", "rta.cli", "dashboard", str(path), *options]
    return f"""[Unit]
Description=rta dashboard {path.stem}
After=network.target

[Service]
ExecStart={" ".join(map(_quoted, command))}
WorkingDirectory={_escaped(str(path.parent))}
Environment={_quoted(f"RTA_HOME={known.home.absolute()}")} {_quoted(f"RTA_CACHE={known.cache.absolute()}")}
EnvironmentFile=-%h/.config/rta/environment
Restart=on-failure
RestartSec=10
KillMode=mixed
TimeoutStopSec=60
NoNewPrivileges=yes
UMask=0077

[Install]
WantedBy=default.target
"""


def _quoted(word: str) -> str:
    r"""Return a word as systemd reads it back.

    >>> _quoted("50% of $HOME")
    '"50%% of $$HOME"'
    """
    text = _escaped(word).replace("\\", "\\\\").replace('"', '\\"').replace("$", "$$")
    return f'"{text}"'


def _escaped(text: str) -> str:
    return text.replace("%", "%%")
