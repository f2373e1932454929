"""A scheduled run fills the disk of RTA_HOME; it is freed once the scheduler has said so (F69). Prints what became of it, as JSON."""

import json
import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import nbformat

from rta import jobs
from rta.jobs.scheduling import slots
from rta.jobs.scheduling.scheduler import Scheduler
from rta.setup.processes import runs
from tests.support.notebooks import SELDOM, written
from tests.support.waiting import finished, until

folder = Path(sys.argv[1])  # beside the disk
filler, filled = Path(os.environ["RTA_HOME"]) / "filler", folder / "filled"
fills = f"""import os, pathlib
filled, filler = pathlib.Path({str(filled)!r}), pathlib.Path({str(filler)!r})
if not filled.exists():
    with filler.open("wb", buffering=0) as file:
        try:
            while True: file.write(bytes(4096))
        except OSError: pass
    filled.write_text(str(os.getpid()))"""
leap_day = "0 0 29 2 *"
jobs.schedule(written(folder / "fills.ipynb", "print('kept')", fills, "print('after')"), cron=leap_day, retries=1, backoff=0.1)  # fmt: skip
jobs.schedule(written(folder / "due.ipynb", "print('due')"), every=SELDOM)
jobs.run_now("fills")
said: list[str] = []
ahead = [timedelta(0)]
ours = Scheduler(limit=1, say=said.append, clock=lambda: datetime.now(UTC) + ahead[0])


def printed(run: jobs.Receipt) -> list[str]:
    """Return what the executed notebook has of each cell that printed; its report must be there, too."""
    assert jobs.page(run.run_id)
    cells = nbformat.read(str(run.executed), as_version=4).cells
    return [output.text for cell in cells for output in cell.outputs]


def looked(happened: Callable[[], object]) -> object:
    """Let the scheduler look, as its own loop does."""
    with ours._told(""):
        ours.tick()
    return happened()


kernel = int(str(until(lambda: looked(lambda: filled.exists() and filled.read_text()))))
ahead[0] = timedelta(days=7)  # a moment comes, and cannot be kept
until(lambda: looked(lambda: any("is full" in line for line in said)))
until(lambda: looked(lambda: not runs(kernel)))  # the try has met the full disk, too
while_full = {each.schedule: each.state for each in slots.slots()}
filler.unlink()
until(lambda: looked(lambda: len({each.schedule for each in slots.slots()}) == 2 and not slots.open_slots()))  # fmt: skip
for child in ours._children.values():
    finished(child)
history = jobs.history()
print(json.dumps({
    "said": said, "while full": while_full,
    "slots": [[each.schedule, each.state, each.attempts, each.run_ids, each.message] for each in slots.slots()],
    "runs": {each.run_id: each.as_dict() for each in history},
    "printed": {each.run_id: printed(each) for each in history},
}))  # fmt: skip
