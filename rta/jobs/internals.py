"""What we take from papermill that its documents do not name: its manager of a notebook, and the client behind its engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import Engine, NotebookExecutionManager

from rta.files import write_whole
from rta.jobs.run_log import RunLog


class LoggingEngine(Engine):  # type: ignore[misc]
    """papermill's engine, which also tells a log what the cells print while they run."""

    @classmethod
    def execute_notebook(cls, nb: Any, kernel_name: str, *, output_path: str, **how: Any) -> Any:
        """Execute a notebook, and return it with its outputs."""
        kept = _Kept(nb, output_path=output_path, progress_bar=False)
        kept.notebook_start()
        try:
            cls.execute_managed_notebook(kept, kernel_name, **how)
        finally:
            kept.notebook_complete()
        return kept.nb

    @classmethod
    def execute_managed_notebook(cls, nb_man: Any, kernel_name: str, *, run_log: RunLog, **how: Any) -> Any:  # fmt: skip
        """Execute a notebook, and save it after each cell."""
        client = _Client(nb_man, kernel_name=kernel_name, **how)
        client.run_log = run_log
        return client.execute()


class _Kept(NotebookExecutionManager):  # type: ignore[misc]
    def save(self, **_: Any) -> None:
        """Save the notebook, which papermill would empty first: a full disk would leave nothing of the cells before."""
        write_whole(Path(self.output_path), nbformat.writes(self.nb))
        self.last_save_time = self.now()


class _Client(PapermillNotebookClient):  # type: ignore[misc]
    run_log: RunLog

    def process_message(self, msg: Any, cell: Any, cell_index: int) -> Any:
        """Take a message of the kernel."""
        content = msg["content"]
        if msg["msg_type"] == "stream":
            content["text"] = self.run_log.printed(content["text"])
            if not content["text"]:
                return None
        elif msg["msg_type"] == "error":
            self.run_log.said(f"{content.get('ename')}: {content.get('evalue')}")
        return super().process_message(msg, cell, cell_index)
