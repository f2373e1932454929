"""The parameters of a notebook: what its cell tagged `parameters` assigns, read without running it."""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
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
