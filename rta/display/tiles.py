"""Tiles: the few figures that a page says first, each with its change."""

from __future__ import annotations

import math
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any, Final, Literal

from rta.display.rows import Rows, cells_of
from rta.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

_TYPES: Final = {
    "tile": "text", "value": "text", "unit": "text", "change": "number", "than": "text", "trend": "text", "past": "json",
}  # fmt: skip
_COLOURS: Final = {"good": "#2e8540", "bad": "#d32f2f", "": "#656d76"}
_DIGITS: Final = 3  # of a figure; a larger one has all before the point
_LINE: Final = 40  # values of the small line


@dataclass(frozen=True)
class Tile:
    """A figure of a page, large, with its change; rta.live() of a function that returns a list of them shows tiles.

    Args:
        name: What it is; a tile is known by it from one look to the next.
        value: A number, or a text; None if it is not known.
        unit: Its unit, such as "min" or "%".
        past: The numbers of before, the oldest first: the change is against the last of them, and a small line shows them all.
        than: What that last one is of, such as "the hour before".
        better: "up" if more is good, "down" if less is: then the change has a colour.

    Example:
        >>> Tile("mean delay", 54.5, "min", past=[20.0, 48.0], than="the hour before", better="down")
        Tile: mean delay 54.5 min, ▲ 6.5 than the hour before
        >>> tiles = rta.live(lambda: [Tile("flights", 1003)]).snapshot()
        >>> tiles.frame[["tile", "value"]].to_dict("records")
        [{'tile': 'flights', 'value': '1,003'}]
    """

    name: str
    value: float | str | None
    unit: str = ""
    past: Sequence[float | None] = ()
    than: str = ""
    better: Literal["up", "down"] | None = None

    def __post_init__(self) -> None:
        if self.better not in ("up", "down", None):
            raise InputError("better says in which direction a figure is good", found=repr(self.better), fix='give "up" or "down", or leave it out')  # fmt: skip

    @property
    def change(self) -> float | None:
        """By how much it is more than before; None if one of the two is not known."""
        before = _number(self.past[-1]) if self.past else None
        now = _number(self.value)
        return None if now is None or before is None else now - before

    @property
    def trend(self) -> str:
        """Whether the change is "good" or "bad"; an empty text if it is neither."""
        if not self.change or self.better is None:
            return ""
        return "good" if (self.change > 0) == (self.better == "up") else "bad"

    def __repr__(self) -> str:
        told = f"{self.name} {figure(self.value)} {self.unit}".rstrip()
        said = changed(self.change, self.than)
        return f"Tile: {told}, {said}" if said else f"Tile: {told}"


def rows_of(tiles: Sequence[Tile]) -> Rows:
    """Return tiles as the rows of a view.

    >>> rows_of([Tile("late", 7, past=[9], better="down"), Tile("share", 34.04, past=[34.0])]).frame[["change", "trend"]].values.tolist()
    [[-2.0, 'good'], [0.0, '']]
    """
    import pandas as pd

    found = [
        (
            each.name,
            figure(each.value),
            each.unit,
            change := _seen(each),
            each.than,
            each.trend if change else "",
            _line(each),
        )
        for each in tiles
    ]
    frame = pd.DataFrame(found, columns=list(_TYPES), dtype=object)
    return Rows(frame, _TYPES, ("tile",), len(found), look="tiles")


def _seen(tile: Tile) -> float | None:
    """Return the change, as fine as the value is shown."""
    change, now = tile.change, _number(tile.value)
    if change is None or not now:
        return change
    return round(change, max(0, _DIGITS - 1 - math.floor(math.log10(abs(now)))))


def figure(value: object) -> str:
    """Return a value as a person reads it: three digits, or all before the point.

    >>> figure(1003), figure(54.46), figure(0.03127), figure(None), figure(float("nan")), figure("EWR")
    ('1,003', '54.5', '0.0313', '-', '-', 'EWR')
    """
    if isinstance(value, str):
        return value
    if (number := _number(value)) is None:
        return "-"
    return f"{number:,.0f}" if abs(number) >= 10 ** (_DIGITS - 1) or number == round(number) else f"{float(f'{number:.{_DIGITS}g}'):g}"  # fmt: skip


def changed(change: float | None, than: str) -> str:
    """Say by how much it has changed; an empty text if that is not known.

    >>> changed(-2.25, "the hour before"), changed(0, ""), changed(None, "yesterday")
    ('▼ 2.25 than the hour before', '= as before', '')
    """
    if change is None:
        return ""
    if not change:
        return f"= as {than or 'before'}"
    return f"{'▲' if change > 0 else '▼'} {figure(abs(change))} than {than or 'before'}"


def text(frame: pd.DataFrame) -> str:
    """Return tiles for a terminal: a line for each."""
    lines = [(name, f"{value} {unit}".rstrip(), changed(change, than)) for name, value, unit, change, than, *_ in frame.itertuples(index=False)]  # fmt: skip
    wide = [max((len(line[at]) for line in lines), default=0) for at in (0, 1)]
    return "\n".join(f"{name:<{wide[0]}}  {value:<{wide[1]}}  {said}".rstrip() for name, value, said in lines)  # fmt: skip


def html(frame: pd.DataFrame) -> str:
    """Return tiles for a notebook, a report or GitHub, which shows no styles: all text is escaped.

    >>> "<b>" in html(rows_of([Tile("<b>", 7, past=[9, 8])]).frame)
    False
    """
    tiles = "".join(map(_tile, cells_of(Rows(frame, _TYPES))))
    return f'<table><tr style="background:none">{tiles}</tr></table>'


def _tile(cells: Sequence[Any]) -> str:
    import json

    name, value, unit, change, than, trend, past = cells
    said, colour = changed(change, than), _COLOURS[trend or ""]
    drawn = f"<br>{_drawn(line)}" if len(line := json.loads(past or "[]")) > 1 else ""
    return (
        '<td style="text-align:left;vertical-align:top;padding:6px 14px;border:1px solid #8884">'
        f'<span style="opacity:.7">{escape(name)}</span><br>'
        f'<b style="font-size:22px">{escape(value)}</b> <span style="opacity:.7">{escape(unit or "")}</span>'
        f'<br><span style="color:{colour}">{escape(said)}</span>{drawn}</td>'
    )


def _drawn(values: Sequence[float]) -> str:
    """Return a small line as a picture, which needs no script."""
    low, high = min(values), max(values)
    points = " ".join(
        f"{2 + 116 * at / (len(values) - 1):.1f},{22 - 20 * (value - low) / ((high - low) or 1):.1f}"
        for at, value in enumerate(values)
    )
    line = f'<polyline points="{points}" fill="none" stroke="#1976d2" stroke-width="1.5"/>'
    picture = f'<svg xmlns="http://www.w3.org/2000/svg" width="120" height="24">{line}</svg>'
    return f'<img alt="" src="data:image/svg+xml;base64,{b64encode(picture.encode()).decode()}">'


def _line(tile: Tile) -> list[float]:
    known = (_number(each) for each in (*tile.past, tile.value))
    return [each for each in known if each is not None][-_LINE:]


def _number(value: object) -> float | None:
    """Return a value as a float; None if it is none, or not a number."""
    if isinstance(value, str) or value is None:
        return None
    import pandas as pd

    return None if pd.isna(value) else float(value)  # type: ignore[call-overload,arg-type]
