"""A plugin for nbval: leave out of a comparison what rta shows only while a person waits, and wait for a slow machine."""

from typing import Any

import zmq
from jupyter_client.connect import ConnectionFileMixin
from nbval.kernel import RunningKernel
from nbval.plugin import IPyNbCell

from tests.notebooks.execute import is_noise
from tests.support.waiting import HANG

_compare = IPyNbCell.compare_outputs
_message = RunningKernel.get_message
_connect = ConnectionFileMixin.connect_iopub


def _quietly(cell: Any, test: list[Any], ref: list[Any], skip_compare: Any = None) -> Any:
    return _compare(cell, [each for each in test if not is_noise(each)], ref, skip_compare)


def _patiently(self: Any, stream: str, timeout: float | None = None) -> Any:
    if timeout != 1:  # its look, again and again, whether a new kernel can be heard
        timeout = HANG
    return _message(self, stream, timeout)


def _unbounded(self: Any, identity: bytes | None = None) -> Any:
    """Keep every message: nbval reads none while a cell runs, and past some thousand the word that it has ended is lost."""
    self.context.setsockopt(zmq.RCVHWM, 0)
    return _connect(self, identity)


IPyNbCell.compare_outputs = _quietly
ConnectionFileMixin.connect_iopub = _unbounded  # type: ignore[method-assign]
RunningKernel.get_message = _patiently
