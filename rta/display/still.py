"""A view that does not move: as text, as HTML with pictures; for reports, saved notebooks and terminals."""

from __future__ import annotations

from base64 import b64encode
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from rta import html
from rta.display import tiles
from rta.display.rows import Rows, cells_of
from rta.kernel import packed
from rta.monitor.verdicts import Verdict
from rta.monitor.vitals import Vitals

if TYPE_CHECKING:
    import pandas as pd

    from rta.display.feeds import Feed

_SHOWN: Final = 20  # rows
_LISTED: Final = 200
_SCALE: Final = 1.25  # of pictures: a notebook keeps each view's
_LINE: Final = 3  # points: a line of two says nothing


@dataclass(frozen=True)
class Snapshot:
    """A view at one moment.

    Args:
        title: What is shown.
        rows: Its rows; `frame` has them as pandas, newest first, with the types of rta.read().
        verdict: How the stream does.
        history: Its vitals, the oldest first; the last are those of the moment.
        chart: The chart's Vega-Lite specification with its data, if there is one.
        marks: Labelled moments: see LiveView.mark().
    """

    title: str
    rows: Rows
    verdict: Verdict
    history: Sequence[Vitals] = field(repr=False)
    chart: Mapping[str, Any] | None = field(default=None, repr=False)
    marks: Sequence[Mapping[str, Any]] = field(default=(), repr=False)

    @property
    def frame(self) -> pd.DataFrame:
        """The rows as pandas."""
        return self.rows.frame

    @property
    def vitals(self) -> Vitals:
        """The figures of the moment."""
        return self.history[-1]

    def __repr__(self) -> str:
        return text(self)

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return bundle(self)


def caption(shown: Snapshot) -> str:
    """Say which rows are shown, of how many."""
    there, many = min(len(shown.frame), _SHOWN), shown.rows.total
    return f"{there:,} of {many:,} rows" if many is not None else f"the newest {there:,} rows"


def facts(shown: Snapshot) -> list[tuple[str, str]]:
    """Return what is known of the stream, as label and text."""
    now = shown.vitals
    told = {
        "events/s": _pair(now.in_rate, "in", now.out_rate, "processed"),
        "behind": None if now.behind is None else f"{now.behind:,} records",
        "batch": None if now.batch_ms is None else f"{now.batch_ms:,.0f} ms",
        "watermark": None if now.watermark is None else html.text(now.watermark),
        "newest event": None if now.event_time is None else html.text(now.event_time),
        "events": ", ".join(f"{name} {count:,}" for name in ("used", "duplicate", "late", "quarantined") if (count := getattr(now, name)) is not None),
        "state": None if now.state_rows is None else f"{now.state_rows:,} rows, {_bytes(now.state_bytes or 0)}",
    }  # fmt: skip
    return [
        (shown.title, shown.verdict.text),
        *((name, each) for name, each in told.items() if each),
    ]


def _pair(one: float | None, first: str, two: float | None, second: str) -> str:
    return ", ".join(
        f"{value:,.0f} {name}" for value, name in ((one, first), (two, second)) if value is not None
    )


def _bytes(many: int) -> str:
    return f"{many / 1e6:,.1f} MB" if many >= 100_000 else f"{many / 1e3:,.1f} kB"  # noqa: PLR2004


def text(shown: Snapshot) -> str:
    """Return a view for a terminal."""
    lines = [f"{label:<12}  {told}" for label, told in facts(shown)]
    if shown.rows.look == "tiles":
        return "\n".join([*lines, "", tiles.text(shown.frame)])
    return "\n".join(
        [*lines, "", shown.frame.head(_SHOWN).to_string(index=False), f"({caption(shown)})"]
    )


def bundle(shown: Snapshot) -> dict[str, str]:
    """Return a view as text and as HTML, whose pictures need no script and no network."""
    head = Rows(shown.frame.head(_SHOWN), shown.rows.types)
    # Vega gives a chart without data no size.
    pictures = [_png(shown.chart)] if shown.chart and shown.chart["data"]["values"] else []
    if (happened := over_time(shown.history, shown.marks))["vconcat"]:
        pictures.append(_png(happened))
    drawn = "".join(
        f'<div><img alt="{html.text(shown.title)}" src="data:image/png;base64,{each}"></div>'
        for each in pictures
    )
    if shown.rows.look == "tiles":
        rows = tiles.html(shown.frame)
    else:
        rows = html.table(_readable(head), list(head.types)) + f"<p>{caption(shown)}</p>"
    return {"text/plain": text(shown), "text/html": html.table(facts(shown)) + drawn + rows}


def _readable(rows: Rows) -> Iterator[list[object]]:
    """Yield the rows of a frame with the moments as a person reads them."""
    times = [at for at, kind in enumerate(rows.types.values()) if kind == "time"]
    for row, values in zip(cells_of(rows), rows.frame.itertuples(index=False), strict=True):
        yield [_moment(values[at]) if at in times and told else told for at, told in enumerate(row)]  # fmt: skip


def _moment(value: object) -> object:
    """Return a time as a moment, also one that came as text, or without a zone, which is UTC; what is none stays as it is."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return value
    if isinstance(value, datetime) and value.tzinfo is None:
        return value.replace(tzinfo=UTC)
    return value


def over_time(history: Sequence[Vitals], marks: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
    """Return the specification of a picture of what happened: events per second, records behind, and the marks; nothing of what is unknown.

    >>> import datetime as dt
    >>> moments = [Vitals(dt.datetime(2024, 11, 15, 10, 0, n, tzinfo=dt.UTC), 10.0, 9.0, behind=n) for n in range(3)]
    >>> [each["title"]["text"] for each in over_time(moments)["vconcat"]]
    ['Events per second', 'Records behind']
    >>> over_time([Vitals(dt.datetime(2024, 11, 15, 10, 0, n, tzinfo=dt.UTC)) for n in range(3)])["vconcat"]
    []
    """
    points = [
        {"at": each.at.timestamp() * 1000, "what": what, "value": value}
        for each in history
        for what, value in (("arriving", each.in_rate), ("processed", each.out_rate), ("behind", each.behind))
        if value is not None
    ]  # fmt: skip
    time_axis = {"field": "at", "type": "temporal", "title": None, "scale": {"type": "utc"}, "axis": {"format": "%H:%M:%S", "tickCount": 5}}  # fmt: skip

    def panel(title: str, *what: str) -> dict[str, Any]:
        line = {
            "mark": {"type": "line", "interpolate": "monotone"},
            "data": {"values": [point for point in points if point["what"] in what]},
            "encoding": {
                "x": time_axis, "y": {"field": "value", "type": "quantitative", "title": None},
                "color": {"field": "what", "type": "nominal", "title": None, "scale": {"domain": list(what)}, "legend": {} if len(what) > 1 else None},
            },
        }  # fmt: skip
        rules = [{"mark": {"type": "rule", "strokeDash": [3, 3]}, "data": {"values": list(marks)}, "encoding": {"x": time_axis}}] if marks else []  # fmt: skip
        words = [{"mark": {"type": "text", "align": "left", "dx": 3, "y": 8}, "data": {"values": list(marks)}, "encoding": {"x": time_axis, "text": {"field": "label"}}}] if marks else []  # fmt: skip
        return {"title": {"text": title, "anchor": "start", "fontSize": 12}, "width": 560, "height": 90, "layer": [line, *rules, *words]}  # fmt: skip

    panels = (("Events per second", "arriving", "processed"), ("Records behind", "behind"))
    known = Counter(point["what"] for point in points)
    shown = [
        panel(title, *(w for w in what if known[w]))
        for title, *what in panels
        if max(known[w] for w in what) >= _LINE
    ]
    return {
        "vconcat": shown,
        "resolve": {"scale": {"color": "independent"}},
        "config": {"view": {"stroke": "#ddd"}},
    }


def _png(spec: Mapping[str, Any]) -> str:
    """Draw a specification; return the picture in base64."""
    import vl_convert

    return b64encode(packed(vl_convert.vegalite_to_png(dict(spec), scale=_SCALE))).decode()


def listed(feed: Feed, what: str) -> dict[str, Any]:
    """Return the newest events that became one term of the accounting, for a page."""
    frame, note = feed.listed(what)
    shown = Rows(frame.head(_LISTED), {str(name): "text" for name in frame.columns})
    more = f"the first {_LISTED:,} of {len(frame):,}" if len(frame) > _LISTED else ""
    return {"what": what, "columns": list(shown.types), "rows": list(cells_of(shown)), "note": " ".join(filter(None, (note, more)))}  # fmt: skip
