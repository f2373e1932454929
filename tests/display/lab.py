"""A real JupyterLab with kernels of this interpreter, driven as a person drives it.

with started(folder) as server, browser.started() as chrome, browser.offline(chrome) as context:
    notebook = server.open(context.new_page(), "watch.ipynb", ["1 + 1"])
    notebook.run_all()
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from secrets import token_hex
from typing import Any, Final

import nbformat
from jupyter_client.kernelspec import KernelSpecManager
from playwright.sync_api import Locator, Page

from tests.display.browser import ROOT
from tests.support.waiting import HANG, finished, until

SETTINGS: Final = {
    "@jupyterlab/apputils-extension/notification.jupyterlab-settings": {
        "fetchNews": "false", "checkForUpdates": False, "doNotDisturbMode": True,
    },
    "@jupyterlab/apputils-extension/themes.jupyterlab-settings": {"theme": "JupyterLab Light"},
    "@jupyterlab/completer-extension/manager.jupyterlab-settings": {"autoCompletion": False},
}  # fmt: skip
_windows = count(1)


class OwnSpecs(KernelSpecManager):
    """Kernels of this interpreter, whatever kernelspecs are installed."""

    def __init__(self, **traits: Any) -> None:
        super().__init__(**traits)
        self.kernel_dirs = []


@dataclass(frozen=True)
class Lab:
    """A running server."""

    url: str
    token: str
    folder: Path

    def open(self, page: Page, name: str, cells: list[str]) -> Notebook:
        """Write a notebook, open it, and wait for its kernel."""
        notebook = nbformat.v4.new_notebook(
            cells=[nbformat.v4.new_code_cell(cell) for cell in cells],
            metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}},
        )
        nbformat.write(notebook, self.folder / name)
        return self.visit(page, name)

    def visit(self, page: Page, name: str) -> Notebook:
        """Open a notebook that is there, in a tab of its own, and wait for its kernel."""
        window = f"{self.url}/lab/workspaces/w{next(_windows)}/tree/{name}"
        page.goto(f"{window}?token={self.token}&reset")
        page.wait_for_function("() => window.jupyterapp?.shell.currentWidget?.context?.isReady")
        page.wait_for_function(f"() => {_KERNEL}?.status === 'idle'")
        return Notebook(page, name)

    def kernels(self) -> list[dict[str, Any]]:
        """Return the kernels that run."""
        found: list[dict[str, Any]] = json.loads(self.request("GET", "/api/kernels"))
        return found

    def close_kernels(self) -> None:
        """End all sessions, and the kernels with them."""
        for session in json.loads(self.request("GET", "/api/sessions")):
            self.request("DELETE", f"/api/sessions/{session['id']}")

    def request(self, method: str, path: str) -> bytes:
        """Ask the server's own interface."""
        asked = urllib.request.Request(  # noqa: S310 - on loopback
            self.url + path, method=method, headers={"Authorization": f"token {self.token}"}
        )
        with urllib.request.urlopen(asked, timeout=HANG) as answer:  # noqa: S310
            return bytes(answer.read())


_KERNEL: Final = "window.jupyterapp.shell.currentWidget.sessionContext.session?.kernel"
_NUMBER: Final = (
    "cell => jupyterapp.shell.currentWidget.content.model.cells.get(cell).executionCount"
)

_RAISED: Final = """() => [...jupyterapp.shell.currentWidget.content.model.cells]
    .flatMap((cell) => cell.outputs?.toJSON() ?? [])
    .filter((output) => output.output_type === 'error')
    .map((output) => output.traceback.join('\\n')).join('\\n')"""


@dataclass(frozen=True)
class Notebook:
    """A notebook in a page of JupyterLab."""

    page: Page
    name: str

    def command(self, name: str, **arguments: object) -> None:
        """Execute a command of JupyterLab, and do not wait for what it does."""
        self.page.evaluate("([name, args]) => void jupyterapp.commands.execute(name, args)", [name, arguments])  # fmt: skip

    def run_all(self) -> None:
        """Start to run all cells."""
        self.command("notebook:run-all-cells")

    def run(self, cell: int) -> None:
        """Start to run one cell."""
        self.page.evaluate("cell => { jupyterapp.shell.currentWidget.content.activeCellIndex = cell; }", cell)  # fmt: skip
        self.command("notebook:run-cell")

    def run_to_end(self, cell: int) -> None:
        """Run one cell, and wait until it has ended."""
        number = self.page.evaluate(_NUMBER, cell)
        self.run(cell)
        ended = f"([cell, before]) => {{ const now = ({_NUMBER})(cell); return now && now !== before && {_KERNEL}?.status === 'idle'; }}"
        self.page.wait_for_function(ended, arg=[cell, number])

    def wait_idle(self) -> None:
        """Wait until nothing runs any more."""
        self.page.wait_for_function(f"() => {_KERNEL}?.status === 'idle'")

    def wait_for(self, selector: str) -> Locator:
        """Wait until the notebook shows what a selector names; a cell that raises ends the wait with what it said."""
        found = self.page.locator(selector).first

        def shown() -> bool:
            assert not (said := self.page.evaluate(_RAISED)), said
            return found.is_visible()

        until(shown)
        return found

    def wait_executed(self, cell: int) -> None:
        """Wait until a cell has ended: it has its number."""
        self.page.wait_for_function(_NUMBER, arg=cell)

    def status(self) -> str:
        """Return what the kernel does: idle, busy, restarting, …."""
        return str(self.page.evaluate(f"() => {_KERNEL}?.status ?? 'none'"))

    def restart(self) -> None:
        """Restart the kernel as a person does who confirms, and wait until it is there again."""
        self.page.evaluate(f"() => {_KERNEL}.restart()")
        self.wait_idle()

    def save(self) -> None:
        """Save the notebook."""
        self.command("docmanager:save")
        self.page.wait_for_function("() => !jupyterapp.shell.currentWidget.context.model.dirty")

    def interrupt(self) -> None:
        """Interrupt the kernel."""
        self.command("notebook:interrupt-kernel")

    def text(self, cell: int) -> str:
        """Return what a cell has written, errors too."""
        outputs = self.page.evaluate(
            "cell => jupyterapp.shell.currentWidget.content.model.cells.get(cell).outputs.toJSON()",
            cell,
        )
        return "".join(
            "".join(each.get("text", "")) + "\n".join(each.get("traceback", [])) for each in outputs
        )

    def theme(self, name: str) -> None:
        """Change the theme: "JupyterLab Light" or "JupyterLab Dark"."""
        self.command("apputils:change-theme", theme=name)
        self.page.wait_for_function(
            "dark => document.body.dataset.jpThemeLight === String(!dark)", arg="Dark" in name
        )


@contextmanager
def started(folder: Path) -> Iterator[Lab]:
    """Start a server with all that it writes in a folder, and stop it with its kernels."""
    for name in ("notebooks", "config", "data", "runtime", "ipython"):
        (folder / name).mkdir(parents=True)
    for name, setting in SETTINGS.items():
        path = folder / "settings" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(setting))
    token = token_hex()
    places = {
        "JUPYTER_CONFIG_DIR": "config", "JUPYTER_DATA_DIR": "data", "JUPYTER_RUNTIME_DIR": "runtime", "IPYTHONDIR": "ipython",
        "JUPYTERLAB_SETTINGS_DIR": "settings", "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
    }  # fmt: skip
    environment = os.environ | {name: str(folder / place) for name, place in places.items()}
    environment |= {"PYTHONPATH": str(ROOT), "JUPYTER_PLATFORM_DIRS": "1"}
    arguments = [
        "--no-browser", "--allow-root", "--ServerApp.ip=127.0.0.1", "--ServerApp.port=0", f"--IdentityProvider.token={token}",
        f"--ServerApp.root_dir={folder / 'notebooks'}", "--LabApp.expose_app_in_browser=True", "--LabApp.extension_manager=readonly",
        "--ServerApp.kernel_spec_manager_class=tests.display.lab.OwnSpecs", "--ServerApp.terminals_enabled=False",
    ]  # fmt: skip
    log = folder / "lab.log"
    with log.open("w") as written:
        server = subprocess.Popen(
            [sys.executable, "-m", "jupyter", "lab", *arguments], cwd=folder, env=environment, stdout=written, stderr=written,
        )  # fmt: skip
    try:
        lab = Lab(until(lambda: _address(folder / "runtime"), server), token, folder / "notebooks")
        until(lambda: _answers(lab), server)
        yield lab
        lab.request("POST", "/api/shutdown")
    except BaseException as error:
        error.add_note(f"JupyterLab said:\n{log.read_text()[-4000:]}")
        server.terminate()
        raise
    finally:
        finished(server)


def _address(runtime: Path) -> str:
    """Return the address that the server has written down, or none as long as it has not."""
    for path in runtime.glob("jpserver-*.json"):
        if text := path.read_text():
            return str(json.loads(text)["url"]).rstrip("/").replace("localhost", "127.0.0.1")
    return ""


def _answers(lab: Lab) -> bool:
    """Tell whether the server answers already."""
    try:
        return bool(lab.request("GET", "/api/status"))
    except OSError:
        return False
