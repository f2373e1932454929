"""The allow-list for a name from outside, before it becomes part of a path, a topic or SQL."""

import re
from typing import Final, Literal

from rta.errors import InputError

Kind = Literal["topic", "table", "column", "query", "job", "group"]

_TOPIC: Final = (
    re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._-]{1,200}"),
    "letters, digits, '.', '_' and '-', at most 200",
)
LONGEST: Final = 63  # characters of a name that PostgreSQL keeps
_SQL: Final = (
    re.compile(rf"[A-Za-z_][A-Za-z0-9_]{{0,{LONGEST - 1}}}"),
    f"letters, digits and '_', not starting with a digit, at most {LONGEST}",
)
_FILE: Final = (
    re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}"),
    "letters, digits, '.', '_' and '-', at most 100",
)
_RULES: Final = {
    "topic": _TOPIC,
    "group": _TOPIC,
    "table": _SQL,
    "column": _SQL,
    "query": _FILE,
    "job": _FILE,
}


def checked(kind: Kind, name: str) -> str:
    """Return `name` if the allow-list of its kind has it.

    Raises:
        InputError: if not; the message has the rule.

    >>> checked("topic", "user-events")
    'user-events'
    >>> checked("table", "totals; drop table users")
    Traceback (most recent call last):
    rta.errors.InputError: not a legal table name; found: 'totals; drop table users'; fix: use letters, digits and '_', not starting with a digit, at most 63
    """
    pattern, rule = _RULES[kind]
    if not isinstance(name, str) or not pattern.fullmatch(name):
        raise InputError(f"not a legal {kind} name", found=repr(name), fix=f"use {rule}")
    return name
