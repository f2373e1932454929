"""Run a notebook as a job: checked parameters, a folder, a report, a receipt, an entry in the history."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from rta.errors import InputError, JobError
from rta.jobs import execution, report, runs
from rta.jobs import parameters as rules
from rta.jobs.receipts import Receipt, consumed, versions
from rta.jobs.runs import history, receipt
from rta.jobs.states import State
from rta.names import checked
from rta.progress import doing, step, waiting, watched

_CANCELLED: Final[execution.End] = (State.CANCELLED, "interrupted")

__all__ = ["Receipt", "history", "parse", "read_notebook", "receipt", "run"]


def run(
    notebook: str | Path,
    parameters: Mapping[str, Any] | None = None,
    *,
    name: str | None = None,
    timeout: float | None = 6 * 3600,
    start_timeout: float = 120,
    show_code: bool = False,
) -> Receipt:
    """Run a notebook from its first cell to its last in a fresh kernel.

    The working directory is the notebook's own folder. Executed notebook, report and receipt are in `<home>/jobs/<job>/<run_id>/`, even
    if the run fails or is interrupted.

    Args:
        notebook: The path of the notebook.
        parameters: Values for names that its cell tagged `parameters` assigns.
        name: The name of the job; by default the notebook's. A job runs only once at a time.
        timeout: Seconds for the whole notebook; None for no limit.
        start_timeout: Seconds for the start of its kernel.
        show_code: Unfold the code in the report.

    Returns:
        The receipt.

    Raises:
        InputError: If a parameter or a name is wrong; nothing has run.
        JobError: If the job is running already, or a cell failed.

    >>> run("reports/daily.ipynb", {"hours": 2})
    Traceback (most recent call last):
    rta.errors.InputError: there is no such notebook; found: reports/daily.ipynb; fix: check the path
    """
    with waiting(f"running {Path(notebook).name}"):
        return _run(Path(notebook), parameters or {}, name, timeout, start_timeout, show_code=show_code)  # fmt: skip


def _run(
    source: Path, parameters: Mapping[str, Any], name: str | None, timeout: float | None, start_timeout: float, *, show_code: bool,
) -> Receipt:  # fmt: skip
    document = read_notebook(source)
    values = rules.checked(document, parameters)
    job = checked("job", name or source.stem)
    with runs.claimed(job) as claim:
        started = _started(claim, source, document, values)
        try:
            end = _execute(started, document, values, timeout, start_timeout)
        except OSError as error:
            end = State.FAILED, f"the run's folder cannot be written: {error}"
        except KeyboardInterrupt:
            ended = _ended(started, _CANCELLED, show_code=show_code)
            raise KeyboardInterrupt(str(ended)) from None  # without its pages of asyncio
        except BaseException as error:
            _ended(started, _why(error), show_code=show_code)
            raise
        ended = _ended(started, end, show_code=show_code)
    if ended.state != State.SUCCEEDED:
        raise JobError(
            f"job {job!r} {ended.state}: {ended.message}", found=f"run {claim.run_id}",
            fix=f"read {ended.report or ended.executed or ended.folder}",
        )  # fmt: skip
    return ended


def parse(notebook: str | Path, strings: Iterable[str]) -> dict[str, Any]:
    """Return the values of `name=value` strings for run(), each as the type of the notebook's default.

    Raises:
        InputError: If run() would refuse it, or a value cannot be read.

    >>> parse("reports/daily.ipynb", [])
    Traceback (most recent call last):
    rta.errors.InputError: there is no such notebook; found: reports/daily.ipynb; fix: check the path
    """
    return rules.parse(strings, read_notebook(notebook))


def read_notebook(path: str | Path) -> Any:
    """Return a Python notebook, as nbformat reads it.

    Raises:
        InputError: If it is not one.

    >>> read_notebook("reports/daily.ipynb")
    Traceback (most recent call last):
    rta.errors.InputError: there is no such notebook; found: reports/daily.ipynb; fix: check the path
    """
    import nbformat

    try:
        document = nbformat.read(path, as_version=4)
    except OSError:
        raise InputError("there is no such notebook", found=path, fix="check the path") from None
    except (ValueError, nbformat.ValidationError) as error:
        raise InputError(
            "this is not a notebook",
            found=f"{path}: {error}"[:300],
            fix="give a file that Jupyter opens",
        ) from None
    language = document.metadata.get("kernelspec", {}).get("language", "python")
    if language != "python":
        raise InputError(
            "only Python notebooks can be run", found=f"{path} in {language}", fix="choose another"
        )
    return document


def _why(error: BaseException) -> execution.End:
    stopped = isinstance(error, SystemExit)
    return _CANCELLED if stopped else (State.FAILED, f"{type(error).__name__}: {str(error)[:300]}")


def _started(claim: runs.Run, source: Path, document: Any, values: Mapping[str, Any]) -> Receipt:
    """Return the receipt of a run that starts, and record it in the history."""
    begun = Receipt(
        job=claim.job, run_id=claim.run_id, notebook=str(source.absolute()),
        parameters=rules.effective(document, values), state=State.RUNNING, message=None,
        started_at=claim.started_at, ended_at=None, seconds=None, versions=versions(), accounting={}, offsets={},
        folder=str(claim.folder), executed=None, report=None,
    )  # fmt: skip
    runs.record(begun)
    return begun


def _execute(
    started: Receipt, document: Any, values: Mapping[str, Any], timeout: float | None, start: float
) -> execution.End:
    import nbformat

    target, source = Path(started.folder) / "notebook.ipynb", Path(started.notebook)
    prepared = execution.prepared(document, values)
    nbformat.write(prepared, target)
    cells = sum(cell.cell_type == "code" and bool(cell.source.strip()) for cell in prepared.cells)
    begun: list[None] = []

    def next_cell() -> None:
        begun.append(None)
        doing(f"in cell {len(begun)}")

    with (
        step(f"running {source.name}"),
        watched(source.name, lambda: (max(len(begun) - 1, 0), cells), unit="cell"),
    ):
        doing("its kernel starts")
        return execution.execute(
            target, cwd=source.parent, timeout=timeout, start_timeout=start, begun=next_cell,
            environment={"RTA_RUN_ID": started.run_id, **execution.secret_environment(values)},
        )  # fmt: skip


def _ended(started: Receipt, end: execution.End, *, show_code: bool) -> Receipt:
    """Write the report, the receipt and the history of a run that has ended."""
    folder, now = Path(started.folder), datetime.now(UTC)
    accounting, offsets = consumed(started.run_id)
    executed, page = folder / "notebook.ipynb", folder / "report.html"
    ended = replace(
        started, state=end[0], message=end[1],
        ended_at=now, seconds=round((now - started.started_at).total_seconds(), 3), accounting=accounting, offsets=offsets,
        executed=str(executed) if executed.exists() else None,
    )  # fmt: skip
    try:
        with waiting("writing the report"):
            report.to_html(executed, page, receipt=ended, show_code=show_code)
        ended = replace(ended, report=str(page))
    except (OSError, ValueError) as error:  # ValueError: a full disk has truncated the notebook
        ended = _spoiled(ended, f"its report cannot be written: {error}")
    try:
        ended.write()
    except OSError as error:
        ended = _spoiled(ended, f"its receipt cannot be written: {error}")
    runs.record(ended)
    return ended


def _spoiled(ended: Receipt, message: str) -> Receipt:
    return replace(
        ended,
        state=State.FAILED if ended.state == State.SUCCEEDED else ended.state,
        message=ended.message or message[:300],
    )
