"""Run a notebook as a job: checked parameters, a folder, a report, a receipt, an entry in the history."""

from __future__ import annotations

import signal
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from threading import current_thread, main_thread
from typing import Any, ClassVar, Final

from rta.errors import InputError, JobError, TimedOutError
from rta.jobs import execution, report, runs
from rta.jobs import parameters as rules
from rta.jobs.receipts import Receipt, commit_of, consumed, packages, versions
from rta.jobs.runs import history, receipt
from rta.jobs.states import State
from rta.names import checked
from rta.progress import doing, step, waiting, watched
from rta.retries import retried
from rta.store.database import DatabaseAwayError

SOURCE: Final = "source.ipynb"
_MOMENT: Final = "scheduled_for"
_COUNTS: Final = 30.0  # seconds for which a run waits at its end for its database, before report and receipt are written
_SPACE: Final = "free some space on the disk of RTA_HOME"
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
    return perform(Order(
        Path(notebook), parameters or {}, name=name, timeout=timeout, start_timeout=start_timeout, show_code=show_code,
    ))  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Order:
    """What is to be run, and how: see run().

    Args:
        source: The notebook as it was, instead of what its path holds now.
        run_id: The id of the run; by default a new one.
        scheduled_for: The moment of a schedule: the parameter of this name has it, and RTA_SCHEDULED_FOR.
        away: Seconds for which the run waits at its end for a database that is away or full, to note there how it ended.
    """

    notebook: Path = field(kw_only=False)
    parameters: Mapping[str, Any] = field(kw_only=False)
    name: str | None = None
    timeout: float | None = 6 * 3600
    start_timeout: float = 120
    show_code: bool = False
    source: bytes | None = None
    run_id: str | None = None
    scheduled_for: datetime | None = None
    away: float = 30.0


class NotBegunError(JobError):
    """A run could not begin; a later attempt may succeed."""

    retriable: ClassVar[bool] = True


def perform(order: Order) -> Receipt:
    """Run a notebook as it was ordered: see run(). SIGTERM cancels it as Ctrl-C does."""
    try:
        with waiting(f"running {order.notebook.name}"), _terminable():
            return _performed(order)
    except OSError as error:  # those of a run that has begun are the end of it
        raise NotBegunError("the run cannot begin", found=error, fix=_SPACE) from None


def _performed(order: Order) -> Receipt:
    source = _source(order.notebook) if order.source is None else order.source
    document = _parsed(order.notebook, source)
    values = rules.checked(document, _with_moment(document, order))
    job = checked("job", order.name or order.notebook.stem)
    with runs.claimed(job, order.run_id) as claim:
        started = _started(claim, order, source, rules.effective(document, values))
        try:
            end = _execute(started, order, document, values, source)
        except OSError as error:
            end = State.FAILED, f"the run's folder cannot be written: {error}; {_SPACE}"
        except KeyboardInterrupt:
            ended = _ended(started, _CANCELLED, order)
            raise KeyboardInterrupt(str(ended)) from None  # without its pages of asyncio
        except BaseException as error:
            _ended(started, _why(error), order)
            raise
        ended = _ended(started, end, order)
    if ended.state != State.SUCCEEDED:
        kind = TimedOutError if ended.state == State.TIMED_OUT else JobError
        refusal = kind(
            f"job {job!r} {ended.state}: {ended.message}", found=f"run {claim.run_id}",
            fix=f"read {ended.report or ended.executed or ended.folder}",
        )  # fmt: skip
        refusal.receipt = ended
        raise refusal
    return ended


@contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM interrupt the block, as Ctrl-C does; a thread that is not the main one cannot."""
    if current_thread() is not main_thread():
        yield
        return

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _with_moment(document: Any, order: Order) -> Mapping[str, Any]:
    """Return the given values, with the moment of the schedule if the notebook asks for it."""
    asks = order.scheduled_for is not None and _MOMENT in rules.known(document)
    return {_MOMENT: _told(order.scheduled_for), **order.parameters} if asks else order.parameters


def _told(moment: datetime | None) -> str:
    return moment.isoformat() if moment else ""


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
    return _parsed(Path(path), _source(path))


def _source(path: str | Path) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError:
        raise InputError("there is no such notebook", found=path, fix="check the path") from None


def _parsed(path: Path, source: bytes) -> Any:
    import nbformat

    try:
        document = nbformat.reads(source.decode(), as_version=4)
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


def _started(claim: runs.Run, order: Order, source: bytes, parameters: Mapping[str, Any]) -> Receipt:  # fmt: skip
    """Return the receipt of a run that starts, record it in the history, and keep what it runs with."""
    path = order.notebook.absolute()
    begun = Receipt(
        job=claim.job, run_id=claim.run_id, notebook=str(path), parameters=parameters, state=State.RUNNING, message=None,
        started_at=claim.started_at, ended_at=None, seconds=None, versions=versions(), accounting={}, offsets={},
        folder=str(claim.folder), executed=None, report=None, sha256=sha256(source).hexdigest(),
        commit=commit_of(path.parent), scheduled_for=order.scheduled_for,
    )  # fmt: skip
    runs.record(begun)
    return begun


def _keep(folder: Path, source: bytes) -> None:
    """Keep the notebook as it was, and what is installed."""
    (folder / SOURCE).write_bytes(source)
    (folder / "packages.txt").write_text(packages())


def _execute(
    started: Receipt, order: Order, document: Any, values: Mapping[str, Any], source: bytes
) -> execution.End:
    import nbformat

    target, path = Path(started.folder) / "notebook.ipynb", Path(started.notebook)
    _keep(target.parent, source)
    prepared = execution.prepared(document, values)
    nbformat.write(prepared, target)
    cells = sum(cell.cell_type == "code" and bool(cell.source.strip()) for cell in prepared.cells)
    begun: list[None] = []

    def next_cell() -> None:
        begun.append(None)
        doing(f"in cell {len(begun)}")

    with (
        step(f"running {path.name}"),
        watched(path.name, lambda: (max(len(begun) - 1, 0), cells), unit="cell"),
    ):
        doing("its kernel starts")
        return execution.execute(
            target, cwd=path.parent, timeout=order.timeout, start_timeout=order.start_timeout, begun=next_cell,
            environment={
                "RTA_RUN_ID": started.run_id, "RTA_SCHEDULED_FOR": _told(order.scheduled_for),
                **execution.secret_environment(values),
            },
        )  # fmt: skip


def _ended(started: Receipt, end: execution.End, order: Order) -> Receipt:
    """Write the report, the receipt and the history of a run that has ended."""
    folder, now = Path(started.folder), datetime.now(UTC)
    if (
        end[0] != State.SUCCEEDED
    ):  # its kernel may have been killed: nothing of it writes a table any more
        runs.end_processes(started.run_id)
    # Report and receipt do not wait longer for a database that is away: it is counted at the end, or by who looks next.
    try:
        counted = retried(lambda: consumed(started.run_id), patience=_COUNTS)
    except DatabaseAwayError:
        counted = None
    accounting, offsets = counted or ({}, {})
    executed, page = folder / "notebook.ipynb", folder / "report.html"
    ended = replace(
        started, state=end[0], message=end[1],
        ended_at=now, seconds=round((now - started.started_at).total_seconds(), 3), accounting=accounting, offsets=offsets,
        executed=str(executed) if executed.exists() else None,
    )  # fmt: skip
    try:
        with waiting("writing the report"):
            report.to_html(executed, page, receipt=ended, show_code=order.show_code)
        ended = replace(ended, report=str(page))
    except (OSError, ValueError) as error:  # ValueError: something else has written the notebook
        ended = _spoiled(ended, f"its report cannot be written: {error}; {_SPACE}")
    return retried(lambda: _noted(ended, counted=counted is not None), patience=order.away)


def _noted(ended: Receipt, *, counted: bool) -> Receipt:
    """Write the receipt, and the same into the history; count what was consumed, if that could not be done before."""
    try:
        ended.write()
    except OSError as error:
        ended = _spoiled(ended, f"its receipt cannot be written: {error}; {_SPACE}")
    if not counted:
        accounting, offsets = consumed(ended.run_id)
        return _noted(replace(ended, accounting=accounting, offsets=offsets), counted=True)
    runs.record(ended)
    return ended


def _spoiled(ended: Receipt, message: str) -> Receipt:
    return replace(
        ended,
        state=State.FAILED if ended.state == State.SUCCEEDED else ended.state,
        message=ended.message or message[:300],
    )
