"""A live view of what a function returns: it is asked again and again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from numbers import Real
from typing import TYPE_CHECKING, Any, Final

from rta.display.feeds import Feed
from rta.display.rows import Rows
from rta.display.tiles import Tile, rows_of
from rta.errors import InputError
from rta.html import Facts, Marked
from rta.monitor.verdicts import Verdict
from rta.monitor.vitals import Vitals

if TYPE_CHECKING:
    import pandas as pd

_LEVELS: Final = ("good", "idle", "warn", "bad")
_TYPES: Final = ((bool, "bool"), (Real, "number"), (Decimal, "decimal"), (date, "time"), (Mapping | list | tuple, "json"))  # fmt: skip


class FunctionFeed(Feed):
    """What a function returns: a pandas DataFrame, a list of dictionaries or dataclasses, or of tiles."""

    kind = "function"
    mode = "complete"

    def __init__(self, function: Callable[[], Any], key: Sequence[str] = ()) -> None:
        name = getattr(function, "__name__", "<lambda>")
        self.title = "rows" if name == "<lambda>" else name.replace("_", " ").strip()
        self._function, self._key = function, key
        self._worst: Marked | None = None
        self._types: dict[str, str] = {}
        self._empty = True

    def rows(self, limit: int) -> Rows:
        found = self._function()
        if isinstance(found, list) and found and all(isinstance(each, Tile) for each in found):
            self._empty, self._worst = False, None
            return rows_of(found)
        found = framed(found)
        if not len(found.columns):  # an empty list: the columns of before stay
            found = found.reindex(columns=list(self._types))
        columns = {str(name): _known(found[name]) for name in found.columns}
        if columns and (missing := [name for name in self._key if name not in columns]):
            raise InputError("there is no such column to be the key", found=", ".join(missing), fix=f"choose from {', '.join(columns)}")  # fmt: skip
        self._empty = found.empty
        marked = [each for values in columns.values() for each in values if isinstance(each, Marked)]  # fmt: skip
        self._worst = max(marked, key=lambda each: _LEVELS.index(each.level), default=None)
        # A column that is empty now keeps the type of before, so that it does not jump.
        self._types = {name: _type(values) or self._types.get(name) or "text" for name, values in columns.items()}  # fmt: skip
        types = {name: kind or "text" for name, kind in self._types.items()}
        return Rows(found.head(limit), types, self._key, len(found))

    def vitals(self) -> Vitals:
        return Vitals(datetime.now(UTC))

    def verdict(self, history: Sequence[Vitals], state: str) -> Verdict:
        if state != "running":
            return super().verdict(history, state)
        if self._empty:
            return Verdict("nothing there", "idle")
        return Verdict(self._worst.text, self._worst.level) if self._worst else Verdict("up to date", "good")  # fmt: skip

    def caught_up(self, now: Vitals) -> bool:  # noqa: ARG002
        return True  # each look shows all


def framed(found: Any) -> pd.DataFrame:
    """Return rows as pandas.

    Raises:
        InputError: If they are none.

    >>> framed([{"airport": "JFK", "delay": 7}])["delay"].tolist()
    [7]
    """
    import pandas as pd

    if isinstance(found, pd.DataFrame):
        return found
    if isinstance(found, Facts):
        return pd.DataFrame([found.cells(each) for each in found], dtype=object)
    if isinstance(found, Iterable) and not isinstance(found, str | Mapping):
        rows = [asdict(each) if is_dataclass(each) and not isinstance(each, type) else each for each in found]  # fmt: skip
        if all(isinstance(each, Mapping) for each in rows):
            return pd.DataFrame(rows, dtype=object)
    raise InputError("a live view of a function needs rows", found=type(found).__name__, fix="return a pandas DataFrame, or a list of dictionaries or dataclasses")  # fmt: skip


def _known(column: pd.Series[Any]) -> list[Any]:
    return [each for each in column.dropna().head(100).tolist() if each is not None]


def _type(values: Sequence[Any]) -> str | None:
    """Return what all values of a column are; None if there are none."""
    for kind, name in _TYPES:
        if values and all(isinstance(each, kind) for each in values):
            return name
    return "text" if values else None
