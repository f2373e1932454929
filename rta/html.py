"""Facts as a table, in a notebook or as text: in HTML all text escaped, numbers to the right.

What is shown came from outside, such as an event's value or a topic's name, so none of it may become HTML.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from numbers import Integral, Real
from typing import Any, Final, TypeVar

Fact = TypeVar("Fact")
_COLOURS: Final = {"good": "#2e9e5b", "idle": "#888", "warn": "#d98e04", "bad": "#d6453d"}
_SHOWN: Final = 50  # rows: a notebook that shows ten thousand cannot be opened


def table(rows: Iterable[Sequence[object]], columns: Sequence[str] = ()) -> str:
    """Return rows as an HTML table; without column names, the first cell of each row is its heading.

    >>> table([["<b>", 1234]], ["value", "count"]).count("<b>")
    0
    >>> "1,234" in table([["events", 1234]])
    True
    """
    first = "td" if columns else "th"
    body = [[_cell("td" if at else first, value) for at, value in enumerate(row)] for row in rows]
    head = [[_cell("th", name) for name in columns]] if columns else []
    lines = "".join(f"<tr>{''.join(cells)}</tr>" for cells in [*head, *body])
    return f"<table>{lines}</table>"


class Facts(list[Fact]):
    """A list that a notebook shows as a table.

    Args:
        facts: Its items.
        row: A function of an item that returns its cells by column.
        note: A sentence below the table.

    >>> from rta.kafka.topics import Topic
    >>> Facts([Topic("clicks", 2, 1234)])
    [Topic(name='clicks', partitions=2, events=1234)]
    """

    def __init__(
        self,
        facts: Iterable[Fact],
        row: Callable[[Fact], Mapping[str, object]] = vars,
        note: str = "",
    ) -> None:
        super().__init__(facts)
        self._row, self.note = row, note

    def cells(self, fact: Fact) -> Mapping[str, object]:
        """Return an item as a row of the table: its cells by column."""
        return self._row(fact)

    def _repr_html_(self) -> str:
        rows, columns, more = self._cells()
        rest = f"<p>{escape(more)}</p>" if more else ""
        return (table(rows, columns) if rows else "<p>none</p>") + rest

    def _repr_pretty_(self, printer: Any, _cycle: object) -> None:
        """Show the same as text in IPython; repr() and print() are those of a list."""
        rows, columns, more = self._cells()
        lines = [*(plain(rows, columns) if rows else ["none"]), *([more] if more else [])]
        printer.text("\n".join(lines))

    def _cells(self) -> tuple[list[list[object]], list[str], str]:
        """Return the first rows, their columns, and how many more there are, with the note."""
        shown = [self._row(fact) for fact in list(self)[:_SHOWN]]
        rest = f"… and {len(self) - len(shown):,} more" if len(self) > len(shown) else ""
        more = "; ".join(each for each in (rest, self.note) if each)
        return [list(row.values()) for row in shown], list(shown[0]) if shown else [], more


def described(rows: Iterable[tuple[str, object]], then: str = "") -> str:
    """Return facts as text, a line for each, and what a person can do next.

    >>> print(described([("topic", "clicks"), ("events", 1234)], "`rta.live('clicks')` shows them arrive"))
    topic      clicks
    events     1,234
    next       rta.live('clicks') shows them arrive
    """
    told = [*rows, *([("next", then.replace("`", ""))] if then else [])]
    return "\n".join(f"{label:<10} {text(value)}" for label, value in told)


def card(rows: Iterable[tuple[str, object]], then: str = "") -> str:
    """Return the same for a notebook; what stands in backticks is code.

    >>> card([("topic", "<b>")], "`rta.read('t')` reads it").partition("<p")[2]
    ' style="opacity:.75">next: <code>rta.read(&#x27;t&#x27;)</code> reads it</p>'
    """
    said = re.sub(r"`([^`]*)`", r"<code>\1</code>", escape(then))
    shown = table(facts) if (facts := list(rows)) else ""
    return shown + (f'<p style="opacity:.75">next: {said}</p>' if then else "")


@dataclass(frozen=True)
class Marked:
    """A text with a dot before it whose colour says how good it is: "good", "idle", "warn" or "bad"."""

    text: str
    level: str

    def __str__(self) -> str:
        return self.text


def plain(rows: Sequence[Sequence[object]], columns: Sequence[str]) -> list[str]:
    """Return rows as aligned lines of text under their columns' names, numbers to the right.

    >>> print(*plain([["clicks", 1234], ["a", 7]], ["topic", "events"]), sep="|")
    topic   events|clicks   1,234|a            7
    """
    cells = [list(columns), *([text(value) for value in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    right = [bool(rows) and all(isinstance(row[at], int | float) for row in rows) for at in range(len(columns))]  # fmt: skip
    return [
        "  ".join(
            cell.rjust(width) if number else cell.ljust(width)
            for cell, width, number in zip(line, widths, right, strict=True)
        ).rstrip()
        for line in cells
    ]


def _cell(tag: str, value: object) -> str:
    side = "right" if isinstance(value, Real) and not isinstance(value, bool) else "left"
    whole = ";white-space:nowrap" if isinstance(value, datetime) else ""
    dot = f'<span style="color:{_COLOURS[value.level]}">●</span> ' if isinstance(value, Marked) else ""  # fmt: skip
    return f'<{tag} style="text-align:{side}{whole}">{dot}{escape(text(value))}</{tag}>'


def text(value: object) -> str:
    """Return a value as a person reads it.

    >>> text(1234), text(True), text(None), text(datetime(2024, 11, 15, tzinfo=UTC))
    ('1,234', 'yes', '', '2024-11-15 00:00:00 UTC')
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
    if isinstance(value, Real):  # also those of NumPy
        return f"{value:,}" if isinstance(value, Integral) else f"{float(value):,.3f}"
    return str(value)
