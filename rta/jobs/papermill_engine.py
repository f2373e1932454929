"""rta as an engine of papermill: `papermill.execute_notebook(…, engine_name="rta")`, and of Airflow's PapermillOperator: docs/schedules.md.

The notebook runs as rta's own jobs do: parameters checked, one run of a job at a time, with receipt, report and history.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
from papermill.engines import Engine

from rta.errors import JobError
from rta.jobs.parameters import INJECTED
from rta.jobs.runner import Order, perform


class RtaEngine(Engine):  # type: ignore[misc]
    """The engine "rta" of papermill."""

    @classmethod
    def execute_managed_notebook(
        cls, nb_man: Any, kernel_name: str, *,  # noqa: ARG003 - papermill's signature
        input_path: str | None = None, job: str | None = None, execution_timeout: float | None = None,
        start_timeout: float = 120, **_: Any,
    ) -> None:  # fmt: skip
        """Run the notebook, and put its outputs where papermill wants them.

        Args:
            nb_man: papermill's manager of the notebook.
            kernel_name: Not used: the kernel is this interpreter.
            input_path: The path of the notebook; its name is that of the job.
            job: Another name of the job.
            execution_timeout: Seconds for the whole notebook.
            start_timeout: Seconds for the start of its kernel.

        Raises:
            InputError: If a parameter is wrong; nothing has run.
            JobError: If the job runs already, took too long, or its kernel died. A cell that failed papermill finds by itself.
        """
        asked = nb_man.nb
        values = dict(asked.metadata.get("papermill", {}).get("parameters", {}))
        path = Path(input_path or asked.metadata.get("papermill", {}).get("input_path") or "notebook.ipynb")  # fmt: skip
        source = nbformat.from_dict({**asked, "cells": [each for each in asked.cells if INJECTED not in each.metadata.get("tags", [])]})  # fmt: skip
        try:
            receipt = perform(Order(
                path, values, name=job, timeout=execution_timeout, start_timeout=start_timeout,
                source=nbformat.writes(source).encode(),
            ))  # fmt: skip
        except JobError as error:
            if error.receipt is None or not error.receipt.executed:
                raise
            receipt = error.receipt
            _take(asked, str(receipt.executed))
            if not any(each.get("metadata", {}).get("papermill", {}).get("exception") for each in asked.cells):  # fmt: skip
                raise
        else:
            _take(asked, str(receipt.executed))

    @classmethod
    def nb_kernel_name(cls, nb: Any, name: str | None = None) -> str:  # noqa: ARG003 - papermill's signature
        """Return the name of the kernel: there is one, this interpreter, whatever the notebook names."""
        return "python3"

    @classmethod
    def nb_language(cls, nb: Any, language: str | None = None) -> str:  # noqa: ARG003 - papermill's signature
        """Return the language of the notebook; perform() refuses another one."""
        return "python"


def _take(asked: Any, executed: str) -> None:
    """Put the cells of an executed notebook in place of those that were to be run."""
    asked.cells = nbformat.read(executed, as_version=4).cells
