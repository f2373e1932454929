"""Values for a notebook's parameters, checked against its cell tagged `parameters`.

papermill warns about a name that it does not know, and pastes names unchecked into code. Here a job
with a wrong name or a value of a wrong type is refused before anything runs.
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
_NO_CELL: Final = "tag the cell with the defaults `parameters` (JupyterLab: the gears, Cell Tags)"


@dataclass(frozen=True)
class Parameter:
    """A name that the parameters cell assigns; `kind` is its type where the cell tells it."""

    name: str
    source: str  # of the default, as it stands in the cell
    default: Any = None  # where `literal`
    literal: bool = False
    kind: type | None = None
    optional: bool = True  # None is a value, too

    def __str__(self) -> str:
        if not self.source:
            return f"{self.name}: no default"
        return f"{self.name} = {HIDDEN if is_secret(self.name) else ' '.join(self.source.split())}"


def known(notebook: Mapping[str, Any]) -> dict[str, Parameter]:
    """Return the parameters of a notebook (as nbformat reads it) by their name; empty without the cell.

    Raises:
        InputError: if the cell is not plain Python.

    >>> from nbformat.v4 import new_code_cell, new_notebook
    >>> cell = new_code_cell("hours: int = 2  # window", metadata={"tags": ["parameters"]})
    >>> known(new_notebook(cells=[cell]))["hours"].default
    2
    """
    place = cell_index(notebook)
    if place is None:
        return {}
    source = notebook["cells"][place]["source"]
    statements = _statements(source)
    return {each.name: each for statement in statements for each in _assigned(statement, source)}


def computed_from(notebook: Mapping[str, Any], given: Collection[str]) -> tuple[str, str] | None:
    """Return the first statement of the parameters cell that reads a given name, and that name; None if none does.

    A given value is set after the cell, so such a statement would have used the default in its
    place. Those whose own names are all given, too, do no harm.

    >>> from nbformat.v4 import new_code_cell, new_notebook
    >>> cell = new_code_cell("day = '1'; folder = day + '/out'", metadata={"tags": ["parameters"]})
    >>> computed_from(new_notebook(cells=[cell]), ["day"])
    ("folder = day + '/out'", 'day')
    >>> computed_from(new_notebook(cells=[cell]), ["day", "folder"])
    """
    place = cell_index(notebook)
    if place is None:
        return None
    source = notebook["cells"][place]["source"]
    for statement in _statements(source):
        names = [each for each in ast.walk(statement) if isinstance(each, ast.Name)]
        written = {each.id for each in names if isinstance(each.ctx, ast.Store)}
        later = isinstance(
            statement, (ast.FunctionDef, ast.AsyncFunctionDef)
        )  # it reads when called
        if later or (written and written <= set(given)):
            continue
        read = [each.id for each in names if isinstance(each.ctx, ast.Load) and each.id in given]
        if read:
            return ast.get_source_segment(source, statement) or "", read[0]
    return None


def cell_index(notebook: Mapping[str, Any]) -> int | None:
    """Return the place of the first cell tagged `parameters`; None where there is none."""
    for index, cell in enumerate(notebook["cells"]):
        if TAG in cell["metadata"].get("tags", ()):
            return index
    return None


def is_secret(name: str, value: object = None) -> bool:
    """Tell whether a parameter should never be shown, by its name or as a URL with a password.

    >>> is_secret("api_key"), is_secret("key"), is_secret("url", "db://me:pw@host")
    (True, False, True)
    """
    shown = value if isinstance(value, str) else repr(value)
    return bool(_SECRET.search(name) or _URL_WITH_PASSWORD.search(shown))


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


def _statements(source: str) -> list[ast.stmt]:
    try:
        return ast.parse(source).body
    except SyntaxError as error:
        raise InputError(
            "the parameters cell is not plain Python", found=f"line {error.lineno}: {error.msg}",
            fix="keep only assignments in it",
        ) from None  # fmt: skip


def _assigned(statement: ast.stmt, source: str) -> Iterator[Parameter]:
    """Yield what one statement of the cell assigns."""
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
    hinted = kinds[0] if len(kinds) == 1 else None
    try:
        default = ast.literal_eval(value or "()()")
    except ValueError:  # no literal
        return Parameter(name, text, kind=hinted, optional=not hints or "None" in hints)
    kind = hinted or (None if default is None else type(default))
    optional = default is None or "None" in hints
    return Parameter(name, text, default, literal=True, kind=kind, optional=optional)


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
