"""A plugin for nbval: leave out of a comparison what rta shows only while a person waits, and wait for a slow machine."""

from typing import Any

from nbval.kernel import RunningKernel
from nbval.plugin import IPyNbCell

from tests.notebooks.execute import is_noise
from tests.support.waiting import HANG

_compare = IPyNbCell.compare_outputs
_message = RunningKernel.get_message


def _quietly(cell: Any, test: list[Any], ref: list[Any], skip_compare: Any = None) -> Any:
    return _compare(cell, [each for each in test if not is_noise(each)], ref, skip_compare)


def _patiently(self: Any, stream: str, timeout: float | None = None) -> Any:
    if timeout != 1:  # its look, again and again, whether a new kernel can be heard
        timeout = HANG
    return _message(self, stream, timeout)


IPyNbCell.compare_outputs = _quietly
RunningKernel.get_message = _patiently
