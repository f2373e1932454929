"""Facts as a table in a notebook: every text escaped, numbers to the right.

What is shown came from outside (an event's value, a topic's name), so nothing of it may become HTML.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from numbers import Integral, Real
from typing import Final, TypeVar

Fact = TypeVar("Fact")
_SHOWN: Final = 50  # rows; nobody can open a notebook that shows ten thousand


def table(rows: Iterable[Sequence[object]], columns: Sequence[str] = ()) -> str:
    """Write rows as an HTML table; without names of columns, the first cell of a row is its heading.

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
    """A list, and nothing else; a notebook shows it as a table. row: what is shown of a fact, by column.

    >>> from rta.kafka.topics import Topic
    >>> Facts([Topic("clicks", 2, 1234)])
    [Topic(name='clicks', partitions=2, events=1234)]
    """

    def __init__(
        self, facts: Iterable[Fact], row: Callable[[Fact], Mapping[str, object]] = vars
    ) -> None:
        super().__init__(facts)
        self._row = row

    def _repr_html_(self) -> str:
        rows = [self._row(fact) for fact in self[:_SHOWN]]
        more = len(self) - len(rows)
        rest = f"<p>… and {more:,} more</p>" if more else ""
        return (
            table([list(row.values()) for row in rows], list(rows[0])) + rest
            if rows
            else "<p>none</p>"
        )


def _cell(tag: str, value: object) -> str:
    side = "right" if isinstance(value, Real) and not isinstance(value, bool) else "left"
    return f'<{tag} style="text-align:{side}">{escape(_text(value))}</{tag}>'


def _text(value: object) -> str:
    """Write a value for a person.

    >>> _text(1234), _text(True), _text(None), _text(datetime(2024, 11, 15, tzinfo=UTC))
    ('1,234', 'yes', '', '2024-11-15 00:00:00 UTC')
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
    if isinstance(value, Real):  # NumPy's, too
        return f"{value:,}" if isinstance(value, Integral) else f"{float(value):,.3f}"
    return str(value)
