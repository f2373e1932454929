"""The page of a live view in real JupyterLab: a cell blocks, a kernel restarts, a cell runs again, a job goes on and ends."""

from pathlib import Path

from playwright.sync_api import Page, expect

from tests.display.browser import picture
from tests.display.lab import Lab
from tests.jobs.test_jobs import Gate, _run_elsewhere
from tests.support.notebooks import written
from tests.support.waiting import finished, until

SHOW = "from tests.display.ticking import Ticking\nview = Ticking()\nview"
BLOCK = """import time
from pathlib import Path
Path("blocked").touch()
while not Path("go").exists():
    time.sleep(0.02)
"""
COUNTED = "() => document.querySelector('.rta-live td:nth-child(2)')?.textContent"

# JupyterLab sends what a view says over a subshell of the kernel, if there is one already: then it is heard while a cell
# blocks. Else the view says what it waits for.
ANSWERED = """() => document.querySelector('.rta-state').textContent === 'stopped'
    || document.querySelector('.rta-note').textContent.includes('is a cell running?')"""


def counted_on(page: Page) -> None:
    """Wait until three more frames were drawn."""
    for _ in range(3):
        before = page.evaluate(COUNTED)
        page.wait_for_function(f"before => {{ const now = ({COUNTED})(); return now && now !== before; }}", arg=before)  # fmt: skip


def test_a_live_view_in_jupyterlab(jupyterlab: Lab, page: Page) -> None:
    """It moves, also while a cell blocks; after a restart it says that it is old, and runs again."""
    notebook = jupyterlab.open(page, "ticking.ipynb", [SHOW, BLOCK])
    note, live = page.locator(".rta-note"), page.locator(".rta-live")

    notebook.run(0)
    notebook.wait_for(".rta-live td")
    counted_on(page)
    picture(page, "lab-light")

    notebook.run(1)
    until(Path(jupyterlab.folder, "blocked").exists)
    counted_on(page)
    page.get_by_role("button", name="stop ticking").press("Enter")
    page.wait_for_function(ANSWERED)
    Path(jupyterlab.folder, "go").touch()
    expect(page.locator(".rta-state")).to_have_text("stopped")
    expect(note).to_be_hidden()

    notebook.run(0)
    counted_on(page)
    assert live.count() == 1
    notebook.restart()
    expect(note).to_contain_text("the kernel is gone")
    picture(page, "lab-restarted")

    notebook.theme("JupyterLab Dark")
    notebook.run(0)
    counted_on(page)
    expect(note).to_be_hidden()
    assert live.count() == 1
    picture(page, "lab-dark")


def test_the_history_of_jobs_is_a_live_view_in_jupyterlab(jupyterlab: Lab, page: Page, tmp_path: Path) -> None:  # fmt: skip
    """A run that goes on elsewhere is a row that says so; the same row says how it has ended."""
    gate = Gate(tmp_path / "reached", tmp_path / "opened")
    job = written(tmp_path / "seen_in_lab.ipynb", gate.cell, "1 / 0")
    row = page.locator(".rta-live tbody tr", has_text="seen_in_lab")
    notebook = jupyterlab.open(page, "history.ipynb", ["import rta\nrta.live(rta.jobs.history, key='run')"])  # fmt: skip
    with _run_elsewhere(job) as process:
        try:
            until(gate.reached.exists, process)
            notebook.run(0)
            notebook.wait_for(".rta-live td")
            expect(row).to_contain_text("running")
        finally:
            gate.opened.touch()
            finished(process)
    expect(row).to_contain_text("failed")
    expect(row).to_contain_text("cell [2] failed: ZeroDivisionError")
    picture(page, "lab-history")
