"""Execute one notebook in a fresh kernel of this interpreter, with papermill's engine."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from itertools import count
from pathlib import Path
from typing import Any, Final

from rta.jobs.parameters import HIDDEN, INJECTED, cell_index, is_secret
from rta.jobs.run_log import NAME, RunLog
from rta.jobs.states import State

End = tuple[State, str | None]
"""How a run ended, and why if it failed."""

_SECRET_PREFIX: Final = "RTA_PARAMETER_"  # noqa: S105 - the name of a variable


def prepared(notebook: Any, values: Mapping[str, Any]) -> Any:
    """Return a copy of a notebook with the given values in a cell after its parameters cell.

    As papermill does it, but exact for every plain value, and without secrets: the cell reads these from the kernel's
    environment, so that no file contains them.
    """
    import nbformat

    copy = nbformat.from_dict(json.loads(json.dumps(notebook)))
    copy.cells = [cell for cell in copy.cells if INJECTED not in cell.metadata.get("tags", [])]
    copy.metadata["papermill"] = {
        "parameters": {n: HIDDEN if is_secret(n, v) else repr(v) for n, v in values.items()}
    }
    place = cell_index(copy)
    if values and place is not None:
        lines = ["# Parameters of this run", *(_line(n, v) for n, v in values.items())]
        cell = nbformat.v4.new_code_cell("\n".join(lines), metadata={"tags": [INJECTED]})
        copy.cells.insert(place + 1, cell)
    return nbformat.v4.upgrade(copy)


def secret_environment(values: Mapping[str, Any]) -> dict[str, str]:
    """Return the environment variables with the secrets among the values."""
    return {_SECRET_PREFIX + n: repr(v) for n, v in values.items() if is_secret(n, v)}


def execute(
    notebook: Path,
    *,
    cwd: Path,
    environment: Mapping[str, str],
    timeout: float | None,
    start_timeout: float,
    begun: Callable[[], None] = lambda: None,
) -> End:
    """Execute a notebook in place, and save it after each cell; return how it ended, and why if it failed.

    A cell tagged `raises-exception` may fail; one tagged `skip-execution` is not run.

    Args:
        notebook: The path of the notebook.
        cwd: The working directory of its kernel.
        environment: More environment variables for its kernel.
        timeout: Seconds for the whole notebook.
        start_timeout: Seconds for the start of its kernel.
        begun: Is called when a code cell begins.

    Raises:
        OSError: if the notebook cannot be written.
    """
    import nbformat
    from nbclient.exceptions import CellTimeoutError, DeadKernelError

    from rta.jobs.internals import LoggingEngine

    began = time.monotonic()
    folder, numbers = notebook.parent, count(1)
    try:
        with (folder / "kernel.log").open("w") as log, (folder / NAME).open("w") as printed:
            run_log = RunLog(printed)

            def begins(cell: Any, **_: Any) -> None:
                run_log.cell(next(numbers), cell.source)
                begun()

            # papermill's execute_notebook takes each error in an output for a failure, even an expected one.
            executed = LoggingEngine.execute_notebook(
                nbformat.read(notebook, as_version=4), "python3", output_path=str(notebook), run_log=run_log,
                resources={"metadata": {"path": str(cwd)}}, startup_timeout=int(start_timeout),
                on_cell_execute=begins,
                kernel_manager_class=kernel_class(environment, log),
                timeout_func=lambda _: timeout and max(1, int(began + timeout - time.monotonic())),
            )  # fmt: skip
    except CellTimeoutError:
        return State.TIMED_OUT, f"it took longer than the timeout of {timeout:g} s"
    except DeadKernelError:
        return State.FAILED, f"its kernel died, out of memory perhaps: {_last_words(notebook)}"
    except RuntimeError as error:
        return State.FAILED, f"its kernel did not start: {str(error)[:200]} {_last_words(notebook)}"
    failure = _failure(executed)
    return State.FAILED if failure else State.SUCCEEDED, failure


def _failure(executed: Any) -> str | None:
    """Return which cell ended the run, and with which error; None if no cell did, or one by sys.exit()."""
    for cell in executed.cells:
        if cell.metadata.get("papermill", {}).get("exception"):
            errors = [each for each in cell.outputs if each.output_type == "error"]
            name, value = (errors[-1].ename, errors[-1].evalue) if errors else ("", "")
            if name == "SystemExit" and value in ("", "0"):
                return None
            words = next((line.strip() for line in value.splitlines() if line.strip()), "")
            return f"cell [{cell.execution_count}] failed: {name}: {words[:300]}".rstrip(": ")
    return None


def _line(name: str, value: Any) -> str:
    if not is_secret(name, value):
        return f"{name} = {value!r}"
    return f"{name} = __import__('ast').literal_eval(__import__('os').environ.pop({_SECRET_PREFIX + name!r}))"


def kernel_class(environment: Mapping[str, str], log: Any) -> type:
    """Return the kernel manager of one run: its kernel is this interpreter, whatever kernelspecs are installed."""
    from jupyter_client.kernelspec import KernelSpecManager
    from jupyter_client.manager import AsyncKernelManager

    class RunKernel(AsyncKernelManager):
        """A kernel with the run's environment; its output outside of cells goes to a file."""

        async def start_kernel(self, **options: Any) -> None:  # type: ignore[override]
            self.kernel_spec_manager = KernelSpecManager(kernel_dirs=[])  # only our own is left
            # A `$` would be the start of a variable.
            spec = self.kernel_spec_manager.get_kernel_spec("python3")
            spec.env.update({n: v.replace("$", "$$") for n, v in environment.items()})
            self._kernel_spec = spec
            self.transport_encryption = "auto"
            await super().start_kernel(**options, stdout=log, stderr=log)

    return RunKernel


def _last_words(notebook: Path) -> str:
    lines = (notebook.parent / "kernel.log").read_text(errors="replace").strip().splitlines()
    return " | ".join(lines[-3:])[-300:] or "it printed nothing"
