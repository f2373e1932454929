"""Values for a notebook's parameters, checked against its cell tagged `parameters`.

papermill warns about a name that it does not know, and pastes names unchecked into code. Here a job
with a wrong name or a value of a wrong type is refused before anything runs.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any, Final

from rta.errors import InputError
from rta.jobs.parameter_cell import HIDDEN, Parameter, cell_index, computed_from, is_secret, known

_TRUTH: Final = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_NO_CELL: Final = "tag the cell with the defaults `parameters` (JupyterLab: the gears, Cell Tags)"


def checked(notebook: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return `given` if each name stands in the parameters cell and each value fits its default.

    An int is fine for a float, a list for a tuple. Raises InputError, with the known names; also
    if another statement of the cell reads a given name, since it would read the default.

    >>> from nbformat.v4 import new_code_cell, new_notebook
    >>> cell = new_code_cell("hours = 2", metadata={"tags": ["parameters"]})
    >>> checked(new_notebook(cells=[cell]), {"hour": 3})
    Traceback (most recent call last):
    rta.errors.InputError: no parameter 'hour' in this notebook, did you mean 'hours'?; found: hours = 2; fix: choose from these
    """
    there = known(notebook)
    if given and cell_index(notebook) is None:
        raise InputError(
            "the notebook takes no parameters: it has no cell tagged `parameters`",
            found=", ".join(map(str, given)), fix=_NO_CELL,
        )  # fmt: skip
    values = {name: _fitting(_named(there, name), value) for name, value in given.items()}
    if unset := [name for name, each in there.items() if not each.source and name not in given]:
        raise InputError(f"parameter {unset[0]!r} has no default", fix="give it a value")
    if stale := computed_from(notebook, values):
        statement, name = stale
        raise InputError(
            f"the parameters cell computes with {name!r}: it would use the default, not the value given",
            found=HIDDEN if is_secret(statement, statement) else statement[:200],
            fix="move it to the next cell",
        )  # fmt: skip
    return values


def effective(notebook: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return all parameters of a run, defaults included, fit for JSON; what looks secret is hidden.

    >>> from nbformat.v4 import new_code_cell, new_notebook
    >>> cell = new_code_cell("hours = 2; token = ''", metadata={"tags": ["parameters"]})
    >>> effective(new_notebook(cells=[cell]), {"token": "abc"})
    {'hours': 2, 'token': '***'}
    """
    defaults = {
        name: each.default if each.literal else each.source
        for name, each in known(notebook).items()
    }
    return {
        name: HIDDEN if is_secret(name, value) else _for_json(value)
        for name, value in {**defaults, **given}.items()
    }


def parse(strings: Iterable[str], notebook: Mapping[str, Any]) -> dict[str, Any]:
    """Turn `name=value` strings, as a command line has them, into values of the defaults' types.

    Raises:
        InputError: for a string without '=', an unknown name, a value that cannot be read.

    >>> from nbformat.v4 import new_code_cell, new_notebook
    >>> cell = new_code_cell("hours = 2.0; live = True", metadata={"tags": ["parameters"]})
    >>> parse(["hours=3", "live=no"], new_notebook(cells=[cell]))
    {'hours': 3.0, 'live': False}
    """
    split = {name.strip(): (equals, text) for name, equals, text in (s.partition("=") for s in strings)}  # fmt: skip
    if wrong := [name for name, (equals, _) in split.items() if not equals]:
        raise InputError("not a parameter", found=repr(wrong[0]), fix="write name=value")
    texts = {name: text for name, (_, text) in split.items()}
    there = known(notebook)
    if cell_index(notebook) is None:
        return checked(notebook, texts)  # refuses
    return checked(notebook, {name: _read(_named(there, name), text) for name, text in texts.items()})  # fmt: skip


def _fitting(parameter: Parameter, value: Any) -> Any:
    """Return a value as the type of the parameter's default; refuse one that is no plain literal."""
    try:
        plain = ast.literal_eval(repr(value)) == value
    except (ValueError, SyntaxError, TypeError):
        plain = False
    kind, told = parameter.kind, HIDDEN if is_secret(parameter.name, value) else repr(value)[:80]
    if not plain:
        raise InputError(
            f"parameter {parameter.name!r} takes plain values only: text, numbers, True, False, None, lists, dicts",
            found=f"{type(value).__name__} {told}", fix="give such a value",
        )  # fmt: skip
    if (value is None and parameter.optional) or kind is None or type(value) is kind:
        return value
    if (kind, type(value)) in ((float, int), (tuple, list)):
        return kind(value)
    raise InputError(
        f"parameter {parameter.name!r} has a value of the wrong type",
        found=f"{type(value).__name__} {told}", fix=f"give {kind.__name__}, as in {parameter}",
    )  # fmt: skip


def _read(parameter: Parameter, text: str) -> Any:
    """Read a value from a command line as the type of the parameter's default."""
    kind = parameter.kind
    if text == "None" and parameter.optional:
        return None
    try:
        if kind is str:
            return text
        if kind is bool:
            return _TRUTH[text.lower()]
        if kind in (int, float):
            return kind(text)
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, KeyError):
        if kind is None:
            return text
        told = HIDDEN if is_secret(parameter.name, text) else repr(text)
        raise InputError(
            f"parameter {parameter.name!r} cannot be read as {kind.__name__}",
            found=told, fix=f"write it as in {parameter}",
        ) from None  # fmt: skip


def _for_json(value: Any) -> Any:
    try:
        return json.loads(json.dumps(value))
    except TypeError:  # a set, a key that is no text
        return repr(value)


def _named(there: Mapping[str, Parameter], name: str) -> Parameter:
    if not isinstance(name, str) or not name.isidentifier():
        raise InputError(f"{name!r} is not the name of a parameter", fix="use an identifier")
    if name not in there:
        near = get_close_matches(name, there, n=1)
        hint = f", did you mean {near[0]!r}?" if near else ""
        raise InputError(
            f"no parameter {name!r} in this notebook{hint}",
            found="; ".join(map(str, there.values())) or "an empty parameters cell",
            fix="choose from these",
        )
    return there[name]
