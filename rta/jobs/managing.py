"""What a person does with runs: read, follow, cancel, run again with the same source, remove old ones."""

from __future__ import annotations

import ast
import os
import shutil
import signal
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from rta.errors import InputError, JobError
from rta.html import Facts
from rta.jobs import report, runs
from rta.jobs.parameters import HIDDEN
from rta.jobs.receipts import Receipt
from rta.jobs.run_log import NAME, followed
from rta.jobs.runner import SOURCE, Order, perform
from rta.jobs.states import State
from rta.setup.processes import still_running

_PATIENCE: Final = 30.0  # seconds for a cancelled run to write its report
_ALL: Final = 1_000_000


def find(run: str) -> Receipt:
    """Return the receipt of a run, by its id or as the newest of a job.

    Raises:
        InputError: If there is none.

    >>> find("yesterday")
    Traceback (most recent call last):
    rta.errors.InputError: no run 'yesterday', and no job of this name; fix: choose one from the history
    """
    try:
        return runs.receipt(run)
    except InputError:
        pass
    try:
        return runs.history(run, limit=1)[0]
    except (InputError, IndexError):
        raise InputError(f"no run {run!r}, and no job of this name", fix="choose one from the history") from None  # fmt: skip


def log(run: str, *, follow: bool = False) -> Iterator[str]:
    """Yield what the cells of a run have printed; with `follow` also what they print until it ends.

    Args:
        run: The id of a run, or a job: then it is its newest run.
        follow: Wait for more.

    >>> list(log("yesterday"))
    Traceback (most recent call last):
    rta.errors.InputError: no run 'yesterday', and no job of this name; fix: choose one from the history
    """
    found = find(run)
    file = Path(found.folder) / NAME
    if not file.exists() and found.state.ended:
        raise InputError(f"run {found.run_id} has no log", found=found.folder, fix="choose another run: this one began on another machine, or with an older rta")  # fmt: skip
    yield from followed(file, lambda: not follow or runs.receipt(found.run_id).state.ended, pause=0.5)  # fmt: skip


def page(run: str) -> str:
    """Return the address of a run's report, at the cell that failed; of a run that was lost it is made now.

    >>> page("yesterday")
    Traceback (most recent call last):
    rta.errors.InputError: no run 'yesterday', and no job of this name; fix: choose one from the history
    """
    found = find(run)
    executed, html = Path(found.folder) / "notebook.ipynb", Path(found.folder) / "report.html"
    if not html.exists():
        if not executed.exists():
            raise InputError(f"run {found.run_id} has no report", found=found.state, fix=f"look into {found.folder}")  # fmt: skip
        report.to_html(executed, html, receipt=found)
    at = "#failed" if found.state != State.SUCCEEDED and 'id="failed"' in html.read_text() else ""
    return html.absolute().as_uri() + at


def cancel(run: str) -> Receipt:
    """End a run with its kernel and its Spark, and return its receipt; it is not tried again.

    Args:
        run: The id of a run, or a job: then it is its newest run.

    Raises:
        InputError: If it has ended already.
        JobError: If it runs on another machine.

    >>> cancel("yesterday")
    Traceback (most recent call last):
    rta.errors.InputError: no run 'yesterday', and no job of this name; fix: choose one from the history
    """
    import psutil

    found = find(run)
    if found.state != State.RUNNING:
        raise InputError(f"run {found.run_id} does not run", found=found.state, fix="choose one that runs")  # fmt: skip
    holder = runs.holder(found.job)
    if holder is None or holder[0] != found.run_id:
        raise JobError(f"run {found.run_id} does not run on this machine", found=found.folder, fix="cancel it where it runs")  # fmt: skip
    (
        Path(found.folder) / runs.CANCELLED
    ).touch()  # if it must be killed, it was cancelled, not lost
    try:
        process = psutil.Process(holder[1])
        process.send_signal(signal.SIGTERM)
        for each in still_running([process], patience=_PATIENCE) if _ends(found) else ():
            each.kill()
    except psutil.NoSuchProcess:
        pass
    return runs.receipt(found.run_id)


def _ends(run: Receipt) -> bool:
    """Wait for the end of a run; return whether its process should end with it: a kernel that called run() goes on."""
    import time

    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        if runs.receipt(run.run_id).state.ended:
            return False
        time.sleep(0.1)
    return os.getpid() != (runs.holder(run.job) or ("", 0))[1]


def rerun(run: str, parameters: Mapping[str, Any] | None = None, *, timeout: float | None = 6 * 3600) -> Receipt:  # fmt: skip
    """Run again what a run has run: the notebook as it was then, with the same parameters and the same `scheduled_for`.

    Args:
        run: The id of a run, or a job: then it is its newest run.
        parameters: Values that replace those of the run; secrets are not kept, so they must be given.
        timeout: Seconds for the whole notebook.

    Returns:
        The receipt of the new run.

    Raises:
        InputError: If its notebook was not kept, or a secret is missing.
        JobError: If a cell failed.

    >>> rerun("yesterday")
    Traceback (most recent call last):
    rta.errors.InputError: no run 'yesterday', and no job of this name; fix: choose one from the history
    """
    found = find(run)
    folder = Path(found.folder)
    try:
        source = (folder / SOURCE).read_bytes()
        before = _given(folder / "notebook.ipynb")
    except OSError:
        raise InputError(f"the notebook of run {found.run_id} was not kept", found=found.folder, fix=f"run {found.notebook} as it is now") from None  # fmt: skip
    given = {name: ast.literal_eval(text) for name, text in before.items() if text != HIDDEN}
    given |= dict(parameters or {})
    if missing := [name for name, text in before.items() if text == HIDDEN and name not in given]:
        raise InputError("a secret is not kept", found=", ".join(missing), fix="give it again")
    return perform(Order(
        Path(found.notebook), given, name=found.job, timeout=timeout, source=source, scheduled_for=found.scheduled_for,
    ))  # fmt: skip


def prune(
    job: str | None = None,
    *,
    keep_runs: int | None = None,
    keep_days: float | None = None,
    dry_run: bool = False,
) -> Facts[Receipt]:
    """Remove old runs with their folders, and return their receipts; a run that goes on is never removed.

    Args:
        job: The job; by default each one.
        keep_runs: How many of the newest runs of each job are kept.
        keep_days: For how many days runs are kept.
        dry_run: Only say which.

    Raises:
        InputError: If it is not said what to keep.

    >>> prune("never-run", keep_runs=1)
    []
    """
    if keep_runs is None and keep_days is None:
        raise InputError("it is not said what to keep", fix="give keep_runs or keep_days")
    if (keep_runs or 0) < 0 or (keep_days or 0) < 0:
        raise InputError("what is kept is not negative", found=(keep_runs, keep_days), fix="give 0 or more")  # fmt: skip
    seen: dict[str, int] = {}
    old: Facts[Receipt] = Facts([], row=runs.row_of)
    oldest = None if keep_days is None else datetime.now(UTC) - timedelta(days=keep_days)
    for each in runs.history(job, limit=_ALL):
        at = seen[each.job] = seen.get(each.job, 0) + 1
        beyond = keep_runs is not None and at > keep_runs
        if each.state.ended and (beyond or (oldest is not None and each.started_at < oldest)):
            old.append(each)
    if not dry_run:
        for each in old:
            if runs.is_here(each):
                shutil.rmtree(each.folder, ignore_errors=True)
        runs.forget([each.run_id for each in old])
    return old


def _given(executed: Path) -> Mapping[str, str]:
    """Return the values that a run was given, as Python writes them."""
    import nbformat

    kept = nbformat.read(executed, as_version=4).metadata.get("papermill", {})
    return dict(kept.get("parameters", {}))
