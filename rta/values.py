"""Values of NumPy and pandas as Python's own types; neither library is loaded for it."""

from __future__ import annotations

import sys
from typing import Any

from rta.errors import InputError


def python_value(who: str, given: Any) -> Any:
    """Return a value of NumPy, pandas or Python as one of Python's own types; None for NaT and NA.

    Args:
        who: What the value belongs to, for the error.
        given: The value.

    Raises:
        InputError: if it is a moment or an interval with nanoseconds, which no column here keeps.

    >>> import pandas
    >>> python_value("parameter 'n'", pandas.NA), python_value("parameter 'd'", pandas.Timestamp("2024-11-15", tz="UTC"))
    (None, datetime.datetime(2024, 11, 15, 0, 0, tzinfo=datetime.timezone.utc))
    """
    if given is None or type(given).__name__ in ("NaTType", "NAType"):
        return None
    for theirs, ours in (("datetime64", "Timestamp"), ("timedelta64", "Timedelta")):
        if isinstance(given, _kind("numpy", theirs)):
            import pandas as pd

            return python_value(who, getattr(pd, ours)(given))
    moment = isinstance(given, _kind("pandas", "Timestamp"))
    if moment or isinstance(given, _kind("pandas", "Timedelta")):
        if given.nanosecond if moment else given.nanoseconds:
            raise InputError(
                f"{who} has nanoseconds, which no column keeps",
                found=given,
                fix="round it: .round('us')",
            )
        return given.to_pydatetime() if moment else given.to_pytimedelta()
    if isinstance(given, _kind("numpy", "generic")):
        return given.item()
    return given


def _kind(library: str, name: str) -> Any:
    """Return a type of a library, or none: if it was never loaded, or another thread is loading it, no value has it."""
    return getattr(sys.modules.get(library), name, ())
