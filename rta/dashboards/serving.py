"""Serve a notebook as a live page: one kernel that runs it once, and a page that is pushed to all who look."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rta.errors import InputError, JobError

if TYPE_CHECKING:
    from rta.dashboards.kernel import NotebookKernel


def serve(
    notebook: str | Path,
    parameters: Mapping[str, Any] | None = None,
    *,
    name: str | None = None,
    host: str = "127.0.0.1",
    port: int | None = None,
    names: Sequence[str] = (),
    new_token: bool = False,
    ready: Callable[[str, str], None] = lambda _address, _link: None,
) -> None:
    """Serve a notebook as a live page until Ctrl-C or stop(); it is not changed.

    Its cells run once, in a fresh kernel, in the notebook's own folder. Prose, still outputs and each rta.live() become the page; code, and
    cells tagged `no-dashboard`, do not. Viewers get what the kernel sends: however many there are, it does its work once.

    Args:
        notebook: The path of the notebook.
        parameters: Values for names that its cell tagged `parameters` assigns.
        name: The name of the dashboard; by default the notebook's.
        host: The address to listen on. With another than loopback's everybody who has the link may look, over a connection that is not encrypted.
        port: The port; by default that of the last time if it is free, else any.
        names: Names other than the machine's own under which a proxy serves it.
        new_token: Make a new token, so that links of before are void.
        ready: Is called with the address and the link as soon as pages can be opened.

    Raises:
        InputError: If a parameter, a name or the port is wrong; nothing has run.
        JobError: If it is served already, a cell failed, or the kernel died.

    Example:
        >>> serve("boards/operations.ipynb")
        Traceback (most recent call last):
        rta.errors.InputError: there is no such notebook; found: boards/operations.ipynb; fix: check the path
    """
    from rta.dashboards.board import Board
    from rta.dashboards.entries import claimed, linked
    from rta.dashboards.kernel import NotebookKernel, title_of
    from rta.dashboards.server import PageServer
    from rta.jobs import parameters as rules
    from rta.jobs.runner import read_notebook

    document = read_notebook(Path(notebook))
    source = Path(notebook).absolute()
    values = rules.checked(document, parameters or {})
    title = title_of(document, called := name or source.stem)

    async def served() -> None:
        board = Board(title)
        server = _opened(PageServer, board, token, host=host, port=port, last=claim.last_port(), names=names)  # fmt: skip
        claim.listed(server.address, source)
        ready(server.address, linked(server.address, token))
        kernel = NotebookKernel(board, called)
        stopped, loop = asyncio.Event(), asyncio.get_running_loop()
        for each in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(each, stopped.set)
        why = "the dashboard was stopped"
        try:
            with (claim.folder / "kernel.log").open("w") as log:
                await _first(stopped.wait(), _lives(kernel, document, values, source.parent, log))
        except JobError as error:
            why = error.what
            board.status(why, "bad")
            raise
        finally:
            await asyncio.shield(kernel.close())
            await server.close(why)

    with claimed(called, source) as claim:
        token = claim.token(new=new_token)
        asyncio.run(served())


def _opened(server: Any, *what: Any, port: int | None, last: int, **how: Any) -> Any:
    """Return a server on a port, or on that of the last time, or on any."""
    if port is None and last:
        try:
            return server(*what, port=last, **how)
        except InputError:
            pass  # somebody else has it now
    return server(*what, port=port or 0, **how)


async def _lives(kernel: NotebookKernel, document: Any, values: Mapping[str, Any], cwd: Path, log: Any) -> None:  # fmt: skip
    """Run the notebook in its kernel, and wait until the kernel has died; raise that, or the error of a cell."""
    from rta.jobs import execution

    async def shown() -> None:
        await kernel.run(execution.prepared(document, values))
        await asyncio.Event().wait()

    await kernel.start(cwd, execution.secret_environment(values), log)
    await _first(kernel.died(), shown())
    raise JobError(
        f"the kernel of dashboard {kernel.name!r} has died, out of memory perhaps",
        found=_last_words(Path(log.name)), fix=f"read {log.name}, and start it again",
    )  # fmt: skip


def _last_words(log: Path) -> str | None:
    lines = log.read_text(errors="replace").strip().splitlines()
    return " | ".join(lines[-3:])[-300:] or None


async def _first(*waits: Coroutine[Any, Any, Any]) -> None:
    """Wait for the first of several things to happen, and end the others; raise what it raises."""
    tasks = [asyncio.ensure_future(each) for each in waits]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for each in done:
            each.result()
    finally:
        for each in tasks:
            each.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
