"""Spark's output modes: which one a transform gets, and what Spark does not run in any, said before anything is made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rta.engines.spark.internals import refusal
from rta.errors import InputError

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

MODES: Final = ("update", "append", "complete")
_MODE: Final = "output mode"
_BY_ITSELF: Final = ("update", "append")
"""Tried in this order: a row as soon as it is there, or only once it is final. The whole result each time is for a person to choose."""


def output_mode(stream: DataFrame, wanted: str | None = None) -> str:
    """Return the output mode for a streaming frame: the one that is wanted, else the first of update and append that Spark allows.

    Raises:
        InputError: If there is no such mode, or Spark does not allow it here; it names those that it allows.
        AnalysisException: If Spark allows none: its own error, see rta.engines.spark.query_errors.

    >>> output_mode(spark.readStream.format("rate").load())
    'update'
    """
    if wanted is not None and wanted not in MODES:
        raise InputError("not an output mode", found=wanted, fix=f"use {', '.join(MODES)}, or none")
    refused = {mode: refusal(stream, mode) for mode in ([wanted] if wanted else _BY_ITSELF)}
    if mode := next((mode for mode, error in refused.items() if error is None), None):
        return mode
    if wanted and (allowed := [mode for mode in MODES if refusal(stream, mode) is None]):
        raise InputError(
            f"Spark does not run this transform in mode {wanted!r}", found=str(refused[wanted]).partition("\n")[0],
            fix=f"use {' or '.join(map(repr, allowed))}, or leave mode out",
        )  # fmt: skip
    errors = [error for error in refused.values() if error]
    # One that only names the mode says less: another mode has another reason.
    raise next((error for error in errors if _MODE not in str(error)), errors[0])
