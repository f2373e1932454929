"""The rows of a live view: a frame as cells for a page, and what is different from the frame before."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from rta.kafka.tail import printable, shortened

if TYPE_CHECKING:
    import pandas as pd
    from pyspark.sql.types import StructType

Cell = str | int | float | bool | None
_EXACT: Final = 2**53  # a page has floating-point numbers only
_LONGEST: Final = (
    2_000  # characters of a cell: a value of a megabyte would be sent four times a second
)
_TYPES: Final = {
    "byte": "number", "short": "number", "integer": "number", "long": "number", "yearmonthinterval": "number", "float": "number", "double": "number",
    "decimal": "decimal", "timestamp": "time", "timestamp_ntz": "time", "date": "time", "boolean": "bool",
    "struct": "json", "array": "json", "map": "json", "variant": "json",
}  # fmt: skip


@dataclass(frozen=True)
class Rows:
    """What a view shows at one moment, newest first."""

    frame: pd.DataFrame
    types: Mapping[str, str]  # column → text, number, decimal, time, bool or json
    key: Sequence[str] = ()  # the columns that identify a row
    total: int | None = None  # rows there are; None if nobody has counted them
    look: str = "table"  # or "tiles"


@dataclass
class Differ:
    """Turns the rows of one moment after another into frames that contain only what is new.

    >>> import pandas as pd
    >>> differ = Differ()
    >>> def frame(*rows): return Rows(pd.DataFrame(rows, columns=["k", "n"]), {"k": "text", "n": "number"}, ["k"], len(rows))
    >>> differ.different(frame(("a", 1), ("b", 1)))["put"]
    [[0, ['a', 1]], [1, ['b', 1]]]
    >>> differ.different(frame(("c", 1), ("a", 1), ("b", 2)))
    {'total': 3, 'put': [[2, ['c', 1]], [1, ['b', 2]]], 'order': [2, 0, 1]}
    >>> differ.different(frame(("c", 1), ("a", 1), ("b", 2)))
    {'total': 3}
    """

    shape: dict[str, Any] = field(default_factory=dict)
    order: list[int] = field(default_factory=list)
    total: int | None = None
    _ids: dict[Any, int] = field(default_factory=dict)
    _cells: dict[int, list[Cell]] = field(default_factory=dict)
    _next: int = 0

    def different(self, rows: Rows) -> dict[str, Any]:
        """Return the part of a frame that tells what is different from the rows before."""
        columns = [{"name": name, "type": kind} for name, kind in rows.types.items()]
        shape = {"columns": columns, "key": list(rows.key), "look": rows.look}
        if shape != self.shape:
            self.shape, self._ids, self._cells = shape, {}, {}
        told: dict[str, Any] = {"total": rows.total} | (shape if not self._cells else {})
        places = [each for each, name in enumerate(rows.types) if name in rows.key]
        ids: dict[Any, int] = {}
        cells: dict[int, list[Cell]] = {}
        order: list[int] = []
        put: list[Any] = []
        for row in cells_of(rows):
            name: Any = tuple(row[each] for each in places) if places else tuple(row)
            if name in ids:  # two rows of one key, or two equal rows without one
                name = (name, len(order))
            if (number := self._ids.get(name)) is None:
                number, self._next = self._next, self._next + 1
            if self._cells.get(number) != row:
                put.append([number, row])
            ids[name], cells[number] = number, row
            order.append(number)
        told |= {"put": put} if put else {}
        told |= {"order": order} if order != self.order else {}
        self._ids, self._cells, self.order, self.total = ids, cells, order, rows.total
        return told

    def everything(self) -> dict[str, Any]:
        """Return the part of a full frame."""
        put = [[number, self._cells[number]] for number in self.order]
        return self.shape | {"total": self.total, "put": put, "order": self.order}


def types_of(columns: StructType) -> dict[str, str]:
    """Return what a page needs to know of each column.

    >>> from pyspark.sql.types import StructType
    >>> types_of(StructType().add("n", "long").add("at", "timestamp").add("page", "string"))
    {'n': 'number', 'at': 'time', 'page': 'text'}
    """
    return {each.name: _TYPES.get(each.dataType.typeName(), "text") for each in columns}


def cells_of(rows: Rows) -> Iterable[list[Cell]]:
    """Yield the cells of each row."""
    return map(list, zip(*(_cells(rows.frame[name]) for name in rows.types), strict=True))


def _cells(column: pd.Series[Any]) -> Iterable[Cell]:
    values = column.astype(object)
    if column.dtype.kind != "M":
        return [cell(value) for value in values]
    said = {value: cell(value) for value in set(values)}  # a window stands in many rows
    return [said[value] for value in values]


def cell(value: object) -> Cell:
    """Return a value as a page takes it: exact numbers that JavaScript cannot hold as text, moments in ISO 8601, UTC.

    >>> cell(Decimal("1E+2")), cell(2**60), cell(float("nan")), cell(datetime(2024, 11, 15, tzinfo=UTC)), cell([Decimal("1.5")])
    ('100', '1152921504606846976', 'NaN', '2024-11-15T00:00:00Z', '["1.5"]')
    """
    import pandas as pd

    if value is None or value is pd.NaT or value is pd.NA:
        return None
    if isinstance(value, int | float | Decimal):
        return _number(value)
    if isinstance(value, date):  # a datetime is one
        return _moment(value) if isinstance(value, datetime) else value.isoformat()
    if hasattr(value, "tolist"):  # of NumPy
        return cell(value.tolist())
    if isinstance(value, Mapping | list | tuple):
        return shortened(json.dumps(value, default=cell, ensure_ascii=False), _LONGEST)
    text = printable(bytes(value)) if isinstance(value, bytes | bytearray) else str(value)
    return shortened(text, _LONGEST)


def _number(value: float | Decimal) -> Cell:
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, int):  # a bool is one
        return value if abs(value) < _EXACT else str(value)
    return value if math.isfinite(value) else json.dumps(value)


def _moment(value: datetime) -> str:
    aware = value if value.tzinfo else value.replace(tzinfo=UTC)
    return aware.astimezone(UTC).isoformat().replace("+00:00", "Z")
