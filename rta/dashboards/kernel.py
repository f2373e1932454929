"""A kernel that executes a notebook once, for all who look at it.

To the kernel we are a page like JupyterLab: we name the cell that we run, so rta.live() is alive in it, and its widgets' messages come to us.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, Final

from rta.dashboards.board import Board
from rta.dashboards.rendering import printed, prose, still
from rta.errors import JobError

LEFT_OUT: Final = "no-dashboard"  # the tag of a cell that is not for the page, such as one that stops what was started
_WIDGET: Final = "application/vnd.jupyter.widget-view+json"
_START: Final = 120.0  # seconds
_OUTPUTS: Final = 50  # of one cell
_LEAVE: Final = "from rta.dashboards.leaving import leave; leave()"
_PATIENCE: Final = 20.0  # seconds for queries to stop


class NotebookKernel:
    """The kernel of a dashboard.

    Args:
        board: Where prose, outputs and views go.
        name: The name of the dashboard, for its errors.
    """

    def __init__(self, board: Board, name: str) -> None:
        self.board, self.name = board, name
        board.ask = self._ask
        self._manager: Any = None
        self._client: Any = None
        # Says what pages say. A socket of its own, for ZeroMQ: to send on one consumes the news that an answer is there.
        self._voice: Any = None
        self._log: Any = None
        self._cells: dict[str, _Cell] = {}  # by the message that asked to run it
        self._done: dict[str, asyncio.Future[Mapping[str, Any]]] = {}
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self, cwd: Path, environment: Mapping[str, str], log: Any) -> None:
        """Start it.

        Raises:
            JobError: If it does not start.
        """
        from rta.jobs.execution import kernel_class

        self._manager, self._log = kernel_class(environment, log)(), log
        try:
            await self._manager.start_kernel(cwd=str(cwd))
            self._client, self._voice = self._manager.client(), self._manager.client()
            self._client.start_channels()
            self._voice.session = self._manager.session.clone()
            self._voice.session.session = secrets.token_hex(
                16
            )  # two of one name: the kernel hears one of them
            self._voice.start_channels(iopub=False, stdin=False, hb=False, control=False)
            await self._client.wait_for_ready(timeout=_START)
        except RuntimeError as error:
            raise JobError(f"the kernel of dashboard {self.name!r} did not start", found=str(error)[:300], fix=f"read {log.name}") from None  # fmt: skip
        self._tasks = [asyncio.create_task(self._hear()), asyncio.create_task(self._replies())]

    async def died(self) -> None:
        """Wait until its process has ended, or what listens to it."""
        while await self._manager.is_alive():
            for task in self._tasks:
                if task.done():
                    task.result()
            await asyncio.sleep(0.5)

    async def run(self, document: Any) -> None:
        """Execute the notebook's cells, once, from the first to the last.

        Raises:
            JobError: If a cell fails.
        """
        cells = shown(document)
        for number, cell in enumerate(cells):
            if cell.cell_type == "markdown":
                self.board.put((number, 0), html=prose(cell.source))
        code = [n for n, each in enumerate(cells) if each.cell_type == "code" and each.source.strip()]  # fmt: skip
        for at, number in enumerate(code):
            self.board.status(f"starting: cell {at + 1} of {len(code)}")
            tags = cells[number].metadata.get("tags", ())
            reply = await self._execute(cells[number].source, number)
            if reply["status"] == "error" and "raises-exception" not in tags:
                words = next(filter(None, map(str.strip, str(reply.get("evalue", "")).splitlines())), "")  # fmt: skip
                raise JobError(
                    f"dashboard {self.name!r}: cell [{at + 1}] failed: {reply.get('ename')}: {words[:300]}".rstrip(": "),
                    fix="correct the notebook: what it shows must run from the first cell to the last",
                )  # fmt: skip
        self.board.status("")

    async def close(self) -> None:
        """Stop the views and queries of the notebook, then the kernel; one that does not answer is killed."""
        from contextlib import suppress

        if self._client is not None and await self._manager.is_alive():
            running = [each for each in self._done.values() if not each.done()]
            if running:
                await self._manager.interrupt_kernel()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._execute(_LEAVE, None), _PATIENCE)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._client is not None:
            self._client.stop_channels()
            self._voice.stop_channels()
        if self._manager is not None and self._manager.has_kernel:
            await self._manager.shutdown_kernel(now=True)

    async def _execute(self, source: str, cell: int | None) -> Mapping[str, Any]:
        """Run code; return the kernel's reply, once all its outputs are here."""
        content = {"code": source, "silent": cell is None, "store_history": cell is not None, "user_expressions": {}, "allow_stdin": False, "stop_on_error": False}  # fmt: skip
        message = self._client.session.msg("execute_request", content, metadata={} if cell is None else {"cellId": f"cell {cell}"})  # fmt: skip
        sent = message["header"]["msg_id"]
        if cell is not None:
            self._cells[sent] = _Cell(cell, self.board, self._log)
        self._done[sent] = asyncio.get_running_loop().create_future()
        self._client.shell_channel.send(message)
        return await self._done[sent]

    async def _replies(self) -> None:
        while True:
            message = await self._client.get_shell_msg(timeout=None)
            waiting = self._done.get(message["parent_header"].get("msg_id"))
            if waiting and not waiting.done() and message["msg_type"] == "execute_reply":
                waiting.set_result(message["content"])

    async def _hear(self) -> None:
        while True:
            message = await self._client.get_iopub_msg(timeout=None)
            kind, content = message["msg_type"], message["content"]
            if kind == "comm_open":
                if "display.cell" in str(content["data"].get("state", {}).get("_anywidget_id")):
                    self.board.opened(content["comm_id"])
                    self._ask(content["comm_id"], {"do": "hello"})
            elif kind == "comm_msg":
                if content["comm_id"] in self.board.views and content["data"].get("method") == "custom":  # fmt: skip
                    self.board.frame(content["comm_id"], content["data"]["content"])
            elif kind == "update_display_data":
                for cell in self._cells.values():
                    cell.updated(content)
            elif asked := self._cells.get(message["parent_header"].get("msg_id", "")):
                asked.said(kind, content)

    def _ask(self, view: str, message: Mapping[str, Any]) -> None:
        """Tell a view something, as its page does."""
        content = {"comm_id": view, "data": {"method": "custom", "content": dict(message)}}
        self._voice.shell_channel.send(self._voice.session.msg("comm_msg", content))


class _Cell:
    """The outputs of one cell, as parts of the board."""

    def __init__(self, number: int, board: Board, log: IO[str]) -> None:
        self._number, self._board, self._log = number, board, log
        self._count, self._printed, self._clears = 0, "", False
        self._displays: dict[str, tuple[int, int]] = {}  # display_id → part
        self._views: set[tuple[int, int]] = set()

    def said(self, kind: str, content: Mapping[str, Any]) -> None:
        """Take a message of the running cell."""
        if kind == "clear_output":
            self._clears = True
            if not content.get("wait"):
                self._clear()
        elif kind == "stream" and content["name"] == "stdout":
            self._clear()
            self._printed += content["text"]
            self._board.put((self._number, 1), html=printed(self._printed))
        elif kind in ("stream", "error"):
            text = content["text"] if kind == "stream" else "\n".join(content["traceback"]) + "\n"
            self._log.write(text)
            self._log.flush()
        elif kind in ("display_data", "execute_result"):
            self._clear()
            self._count = self._count % _OUTPUTS + 1
            part = self._number, self._count + 1
            if shown := content.get("transient", {}).get("display_id"):
                self._displays[shown] = part
            self._show(part, kind, content)

    def updated(self, content: Mapping[str, Any]) -> None:
        """Take what replaces an output; a view stays when it has ended, with its last picture."""
        part = self._displays.get(content.get("transient", {}).get("display_id", ""))
        if part and part not in self._views:
            self._show(part, "display_data", content)

    def _show(self, part: tuple[int, int], kind: str, content: Mapping[str, Any]) -> None:
        data = content["data"]
        view = data.get(_WIDGET, {}).get("model_id")
        if view in self._board.views:
            self._views.add(part)
            self._board.put(part, view=view)
        # Text alone, shown on the way, is progress: the page has its own.
        elif kind == "execute_result" or set(data) != {"text/plain"}:
            self._board.put(part, html=still(data, content.get("metadata")))

    def _clear(self) -> None:
        if self._clears:
            self._clears, self._printed = False, ""
            for at in range(_OUTPUTS + 1):
                self._board.remove((self._number, at + 1))


def title_of(document: Any, name: str) -> str:
    """Return the first heading of what is shown of a notebook, or its name."""
    lines = (line for cell in shown(document) if cell.cell_type == "markdown" for line in cell.source.splitlines())  # fmt: skip
    return next((line.lstrip("# ").strip() for line in lines if line.startswith("# ")), name)


def shown(document: Any) -> list[Any]:
    """Return the cells of a notebook that are for its page."""
    return [each for each in document.cells if not {LEFT_OUT, "skip-execution"} & {*each.metadata.get("tags", ())}]  # fmt: skip
