"""Values for a notebook's parameters, checked against its cell tagged `parameters`.

papermill only warns about an unknown name, and pastes names unchecked into code. Here a job with a wrong name, or with a value
of the wrong type, is refused before anything runs.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Final

from rta.errors import InputError

TAG: Final = "parameters"
INJECTED: Final = "injected-parameters"
"""The tags of the cell with the defaults, and of papermill's cell with the values of a run."""
HIDDEN: Final = "***"
_SECRET: Final = re.compile(
    r"passw|pwd|secret|token|credential|api_?key|access_?key|private_?key|database_?url|(^|_)dsn$",
    re.IGNORECASE,
)
_URL_WITH_PASSWORD: Final = re.compile(r"://[^/@\s]*:[^/@\s]+@")
_KINDS: Final[Mapping[str, type]] = {
    each.__name__: each for each in (bool, int, float, str, list, tuple, dict, set)
}
_TRUTH: Final = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


@dataclass(frozen=True)
class Parameter:
    """A name that the parameters cell assigns.

    Args:
        name: The name.
        source: The text of the default in the cell; empty if there is none.
        default: The default itself; its text if it is not a literal.
        kind: The type of its values; None if the cell does not tell.
        optional: Whether None is a value, too.
    """

    name: str
    source: str
    default: Any
    kind: type | None
    optional: bool

    def __str__(self) -> str:
        if not self.source:
            return f"{self.name}: no default"
        return f"{self.name} = {HIDDEN if is_secret(self.name) else ' '.join(self.source.split())}"


def known(notebook: Mapping[str, Any]) -> dict[str, Parameter]:
    """Return the parameters of a notebook by name; none if it has no parameters cell.

    Args:
        notebook: As nbformat reads it.

    Raises:
        InputError: if the cell is not plain Python.

    >>> from nbformat.v4 import new_code_cell, new_notebook
    >>> cell = new_code_cell("hours: int = 2  # window", metadata={"tags": ["parameters"]})
    >>> known(new_notebook(cells=[cell]))["hours"].default
    2
    """
    source = _source(notebook)
    return {
        each.name: each for statement in _statements(source) for each in _assigned(statement, source)
    }  # fmt: skip


def computed_from(notebook: Mapping[str, Any], given: Collection[str]) -> tuple[str, str] | None:
    """Return the first statement of the parameters cell that reads a given name, and that name; None if none does.

    A given value is assigned after the cell, so such a statement would use the default instead. It does no harm if all names
    that it assigns are given, too.

    >>> from nbformat.v4 import new_code_cell, new_notebook
    >>> cell = new_code_cell("day = '1'; folder = day + '/out'", metadata={"tags": ["parameters"]})
    >>> computed_from(new_notebook(cells=[cell]), ["day"])
    ("folder = day + '/out'", 'day')
    >>> computed_from(new_notebook(cells=[cell]), ["day", "folder"])
    """
    source = _source(notebook)
    for statement in _statements(source):
        names = [each for each in ast.walk(statement) if isinstance(each, ast.Name)]
        written = {each.id for each in names if isinstance(each.ctx, ast.Store)}
        # A function reads a name only when it is called.
        later = isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef))
        if later or (written and written <= set(given)):
            continue
        read = [each.id for each in names if isinstance(each.ctx, ast.Load) and each.id in given]
        if read:
            return ast.get_source_segment(source, statement) or "", read[0]
    return None


def cell_index(notebook: Mapping[str, Any]) -> int | None:
    """Return the index of the first cell tagged `parameters`; None if there is none."""
    for index, cell in enumerate(notebook["cells"]):
        if TAG in cell["metadata"].get("tags", ()):
            return index
    return None


def is_secret(name: str, value: object = None) -> bool:
    """Return whether a parameter must never be shown: by its name, or because its value is a URL with a password.

    >>> is_secret("api_key"), is_secret("key"), is_secret("url", "db://me:pw@host")
    (True, False, True)
    """
    shown = value if isinstance(value, str) else repr(value)
    return bool(_SECRET.search(name) or _URL_WITH_PASSWORD.search(shown))


def checked(notebook: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the given values, each as the type of its default: an int may stand for a float, a list for a tuple.

    Raises:
        InputError: if a name is unknown, a value has the wrong type, a parameter without a default has no value, or another
            statement of the parameters cell reads a given name (it would read the default).

    >>> from nbformat.v4 import new_code_cell, new_notebook
    >>> cell = new_code_cell("hours = 2", metadata={"tags": ["parameters"]})
    >>> checked(new_notebook(cells=[cell]), {"hour": 3})
    Traceback (most recent call last):
    rta.errors.InputError: no parameter 'hour' in this notebook, did you mean 'hours'?; found: hours = 2; fix: choose from these
    """
    values = {name: _fitting(_named(notebook, name), value) for name, value in given.items()}
    for name, parameter in known(notebook).items():
        if not parameter.source and name not in given:
            raise InputError(f"parameter {name!r} has no default", fix="give it a value")
    if stale := computed_from(notebook, values):
        statement, name = stale
        raise InputError(
            f"the parameters cell computes with {name!r}: it would use the default, not the given value",
            found=HIDDEN if is_secret(statement, statement) else statement[:200],
            fix="move it to the next cell",
        )  # fmt: skip
    return values


def effective(notebook: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return all parameters of a run as JSON has them, with their defaults; secrets are hidden.

    >>> from nbformat.v4 import new_code_cell, new_notebook
    >>> cell = new_code_cell("hours = 2; token = ''", metadata={"tags": ["parameters"]})
    >>> effective(new_notebook(cells=[cell]), {"token": "abc"})
    {'hours': 2, 'token': '***'}
    """
    values = {name: each.default for name, each in known(notebook).items()} | dict(given)
    return {n: HIDDEN if is_secret(n, value) else _for_json(value) for n, value in values.items()}


def parse(strings: Iterable[str], notebook: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of `name=value` strings, as the command line has them, each as the type of its default.

    Raises:
        InputError: if a string has no '=', a name is unknown, or a value cannot be read.

    >>> from nbformat.v4 import new_code_cell, new_notebook
    >>> cell = new_code_cell("hours = 2.0; live = True", metadata={"tags": ["parameters"]})
    >>> parse(["hours=3", "live=no"], new_notebook(cells=[cell]))
    {'hours': 3.0, 'live': False}
    """
    values = {}
    for string in strings:
        name, equals, text = string.partition("=")
        if not equals:
            raise InputError("not a parameter", found=repr(string), fix="write name=value")
        values[name.strip()] = _read(_named(notebook, name.strip()), text)
    return checked(notebook, values)


def _source(notebook: Mapping[str, Any]) -> str:
    """Return the source of the parameters cell; empty if there is none."""
    index = cell_index(notebook)
    return "" if index is None else str(notebook["cells"][index]["source"])


def _statements(source: str) -> list[ast.stmt]:
    try:
        return ast.parse(source).body
    except SyntaxError as error:
        raise InputError(
            "the parameters cell is not plain Python", found=f"line {error.lineno}: {error.msg}",
            fix="keep only assignments in it",
        ) from None  # fmt: skip


def _assigned(statement: ast.stmt, source: str) -> Iterator[Parameter]:
    """Yield the parameters that one statement of the cell assigns."""
    if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
        hints = _hinted(statement.annotation)
        yield _described(statement.target.id, statement.value, source, hints)
    elif isinstance(statement, ast.Assign):
        for target in statement.targets:
            if isinstance(target, ast.Name):
                yield _described(target.id, statement.value, source, set())


def _described(name: str, value: ast.expr | None, source: str, hints: set[str]) -> Parameter:
    text = (ast.get_source_segment(source, value) or "") if value else ""
    kinds = [_KINDS[hint] for hint in hints if hint in _KINDS]
    kind = kinds[0] if len(kinds) == 1 else None
    try:
        default = ast.literal_eval(value or "()()")
    except ValueError:  # no literal
        return Parameter(name, text, text, kind, optional=not hints or "None" in hints)
    if kind is None and default is not None:
        kind = type(default)
    return Parameter(name, text, default, kind, optional=default is None or "None" in hints)


def _hinted(annotation: ast.expr) -> set[str]:
    """Return the types that an annotation allows: `list[str] | None` is list and None."""
    match annotation:
        case ast.BinOp(left=left, right=right):
            return _hinted(left) | _hinted(right)
        case ast.Subscript(value=ast.Name(id="Optional"), slice=inner):
            return _hinted(inner) | {"None"}
        case ast.Subscript(value=ast.Name(id=name)) | ast.Name(id=name):
            return {name}
        case ast.Constant(value=None):
            return {"None"}
    return set()


def _fitting(parameter: Parameter, value: Any) -> Any:
    """Return a value as the type of the parameter's default; refuse what is not a plain literal."""
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
    """Return a value from the command line as the type of the parameter's default."""
    kind = parameter.kind
    if text == "None" and parameter.optional:
        return None
    try:
        if kind is bool:
            return _TRUTH[text.lower()]
        return kind(text) if kind in (str, int, float) else ast.literal_eval(text)
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
    except TypeError:  # a set, or a key that is not text
        return repr(value)


def _named(notebook: Mapping[str, Any], name: str) -> Parameter:
    """Return the parameter of this name."""
    if cell_index(notebook) is None:
        raise InputError(
            "the notebook takes no parameters: it has no cell tagged `parameters`", found=name,
            fix="tag the cell with the defaults `parameters` (JupyterLab: the gears, Cell Tags)",
        )  # fmt: skip
    if not isinstance(name, str) or not name.isidentifier():
        raise InputError(f"{name!r} is not the name of a parameter", fix="use an identifier")
    there = known(notebook)
    if name not in there:
        near = get_close_matches(name, there, n=1)
        hint = f", did you mean {near[0]!r}?" if near else ""
        raise InputError(
            f"no parameter {name!r} in this notebook{hint}",
            found="; ".join(map(str, there.values())) or "an empty parameters cell",
            fix="choose from these",
        )
    return there[name]
