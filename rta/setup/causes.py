"""Find the one line in a trace of Python or Java that says what went wrong."""

from __future__ import annotations

import re
from typing import Final

# `rta.errors.TableError: …`, `decimal.DivisionByZero: …`, `Caused by: java.io.IOException: …`; not a line that ends in a colon.
_SAID: Final = re.compile(
    r"(?:Caused by: |: )?(?:(?:[\w$]+\.)+(?=[A-Z])|(?=\w*(?:Error|Exception): ))([\w$]+): (.*[^\s:])"
)
_NOISE: Final = re.compile(r"\s*SQLSTATE: \w+|\[STREAM_FAILED\].*terminated with exception: ")
_LONGEST: Final = 300


def cause(text: str) -> str:
    r"""Return the deepest cause in a trace as one line, its class first; the first line if there is none.

    >>> cause("py4j.Py4JError: called o1: java.lang.X: a\n\tat a.b(C.java:1)\nCaused by: java.io.IOException: no such file")
    'IOException: no such file'
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    said = [match for match in map(_SAID.fullmatch, lines) if match and "Py4J" not in match[1]]
    found = f"{said[-1][1]}: {said[-1][2]}" if said else (lines or ["no word at all"])[0]
    found = _NOISE.sub("", found).strip()
    return found if len(found) <= _LONGEST else found[: _LONGEST - 1] + "…"
