"""From pages of Python and Java the one line that says what went wrong."""

from __future__ import annotations

import re
from typing import Final

# `rta.errors.TableError: …`, `decimal.DivisionByZero: …`, `Caused by: java.io.IOException: …`; no line that only announces.
_SAID: Final = re.compile(
    r"(?:Caused by: |: )?(?:(?:[\w$]+\.)+(?=[A-Z])|(?=\w*(?:Error|Exception): ))([\w$]+): (.*[^\s:])"
)
_NOISE: Final = re.compile(r"\s*SQLSTATE: \w+|\[STREAM_FAILED\].*terminated with exception: ")
_LONGEST: Final = 300


def cause(text: str) -> str:
    r"""Return the deepest cause that a trace names, its class first; else its first line; never more than one line.

    >>> cause("py4j.Py4JError: called o1: java.lang.X: a\n\tat a.b(C.java:1)\nCaused by: java.io.IOException: no such file")
    'IOException: no such file'
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    said = [match for match in map(_SAID.fullmatch, lines) if match and "Py4J" not in match[1]]
    found = f"{said[-1][1]}: {said[-1][2]}" if said else (lines or ["no word at all"])[0]
    found = _NOISE.sub("", found).strip()
    return found if len(found) <= _LONGEST else found[: _LONGEST - 1] + "…"
