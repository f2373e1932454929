"""What we take from papermill that its documents do not name: the client behind its engine."""

from __future__ import annotations

from typing import Any

from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import Engine

from rta.jobs.run_log import RunLog


class LoggingEngine(Engine):  # type: ignore[misc]
    """papermill's engine, which also tells a log what the cells print while they run."""

    @classmethod
    def execute_managed_notebook(cls, nb_man: Any, kernel_name: str, *, run_log: RunLog, **how: Any) -> Any:  # fmt: skip
        """Execute a notebook, and save it after each cell."""
        client = _Client(nb_man, kernel_name=kernel_name, **how)
        client.run_log = run_log
        return client.execute()


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
