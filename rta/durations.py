"""Durations as a person writes them, and Spark reads them: "5 minutes"."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Final

from rta.errors import InputError

_DURATION: Final = re.compile(
    r"(?ai)\s*(\d{1,6}(?:\.\d{1,6})?)\s*(millisecond|second|minute|hour|day)s?\s*"
)


def duration(argument: str, given: str) -> timedelta:
    """Return how long a text says.

    Args:
        argument: The name of the argument that has it.
        given: The text.

    Raises:
        InputError: It is no duration.

    >>> duration("keep", "90 days")
    datetime.timedelta(days=90)
    >>> duration("max_skew", "a while")
    Traceback (most recent call last):
    rta.errors.InputError: not a duration for max_skew; found: 'a while'; fix: write it like '5 minutes'
    """
    found = _DURATION.fullmatch(given) if isinstance(given, str) else None
    if not found:
        raise InputError(
            f"not a duration for {argument}", found=repr(given), fix="write it like '5 minutes'"
        )
    return timedelta(**{f"{found[2].lower()}s": float(found[1])})
