"""Values of a sample that are lines of text: whether they are a table, what separates its cells, and whether a header names them."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from rta.events.sampled_values import seconds

_NUMBER: Final = re.compile(r"-?(?:0|[1-9]\d*)(\.\d+)?", re.ASCII)
_MOST: Final = 0.9
_HEADER: Final = "the names are those of a header line, which is no event: each one is set aside with the reason `header`"


@dataclass(frozen=True)
class SampledTable:
    """Lines of CSV.

    Attributes:
        separator: The character between cells.
        rows: Each line as name → value; None if it has another number of cells, or is the header.
        note: What a person should look at.
    """

    separator: str
    rows: Sequence[Mapping[str, Any] | None]
    note: str


def as_line(value: bytes) -> str | None:
    """Return a value as a line of text; None if it is none.

    >>> as_line(b"a,b"), as_line(bytes([0, 255]))
    ('a,b', None)
    """
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return None
    return text if text.replace("\t", "").isprintable() else None


def as_table(lines: Sequence[str | None]) -> SampledTable | None:
    """Read lines as a table; None if no separator gives nearly all of them the same number of cells.

    >>> as_table(["shop;n", "Berlin;5"]).rows
    [None, {'shop': 'Berlin', 'n': 5}]
    """
    for separator in ",;\t|":
        cut = [None if line is None else next(csv.reader([line], delimiter=separator), []) for line in lines]  # fmt: skip
        [(width, many)] = Counter(len(each) for each in cut if each).most_common(1)
        if width > 1 and many > _MOST * len(lines):
            header = _header([each for each in cut if each and len(each) == width])
            names = header or [f"c{n}" for n in range(1, width + 1)]
            rows = [
                {name: _typed(text) for name, text in zip(names, each, strict=True)} if each and len(each) == width and each != header else None
                for each in cut
            ]  # fmt: skip
            note = _HEADER if header else f"the {width} columns have no names: rename c1 to c{width}"  # fmt: skip
            return SampledTable(separator, rows, note)
    return None


def _header(lines: Sequence[list[str]]) -> list[str] | None:
    """Return the names that the first line has; None if it is as the others are: a header has no number, no empty cell, nothing twice.

    >>> _header([["shop", "n"], ["Berlin", "5"]]), _header([["Berlin", "Mitte"], ["Paris", "Marais"]])
    (['shop', 'n'], None)
    """
    first, others = lines[0], [each for each in lines if each != lines[0]]
    names = len({*first}) == len(first) and all(re.fullmatch(r"[^\W\d][\w .@-]*|@\w+", cell) for cell in first)  # fmt: skip
    told_apart = any(
        not isinstance(_typed(cell), str) or seconds(cell, "iso") is not None
        for each in others for cell in each if cell
    )  # fmt: skip
    return first if names and others and told_apart else None


def _typed(text: str) -> Any:
    """Read a cell of a CSV line."""
    if text in ("", "true", "false"):
        return {"": None, "true": True, "false": False}[text]
    if number := _NUMBER.fullmatch(text):
        return Decimal(text) if number[1] else int(text)
    return text
