"""A command of rta as a service of its user."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rta.settings import settings


def unit(description: str, command: Sequence[str], folder: Path, *, kill: str = "mixed") -> str:
    """Return the text of a systemd user unit that runs a command with this RTA_HOME.

    No secret is in it: settings other than RTA_HOME and RTA_CACHE stand in an EnvironmentFile, if there is one.

    Args:
        description: What it is.
        command: The program and its arguments.
        folder: Its working directory.
        kill: The unit's KillMode: "mixed" ends what the command has started, "process" does not.

    Example:
        >>> print(unit("rta scheduler", ["rta", "scheduler"], Path("/tmp")).splitlines()[1])
        Description=rta scheduler
    """
    known = settings()
    return f"""[Unit]
Description={_escaped(description)}
After=network.target

[Service]
ExecStart={" ".join(map(_quoted, command))}
WorkingDirectory={_escaped(str(folder))}
Environment={_quoted(f"RTA_HOME={known.home.absolute()}")} {_quoted(f"RTA_CACHE={known.cache.absolute()}")}
EnvironmentFile=-%h/.config/rta/environment
Restart=on-failure
RestartSec=10
KillMode={kill}
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
