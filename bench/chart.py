"""Draw the rows that drain side by side; latencies, recomputation and the state over time where they were measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import altair as alt
import pandas as pd

from bench.summary import Runs, figure, places
from rta import charts


def draw(runs: Runs, path: Path) -> None:
    """Write the chart as SVG: bars of medians, the spread as a line over each."""
    charts.use("svg")
    parts = [_seconds(runs), _latency(runs), _recompute(runs), _plateau(runs)]
    alt.vconcat(*[part for part in parts if part is not None]).save(str(path))


def _seconds(runs: Runs) -> Any:
    rows = _rows(runs, "drain", "seconds")
    if rows.empty:
        return None
    title = f"Seconds to drain {runs[-1]['events']:,} events to the right table"
    return _bars(rows, title, "seconds", row="phase", scale=alt.Scale(zero=True))


def _latency(runs: Runs) -> Any:
    rows = _rows(runs, "latency", "p50_ms")
    if rows.empty:
        return None
    title = "Median milliseconds from intended send to visible result"
    return _bars(rows, title, "milliseconds, logarithmic", row="phase", scale=alt.Scale(type="log"))


def _recompute(runs: Runs) -> Any:
    rows = _rows(runs, "recompute", "seconds")
    if rows.empty:
        return None
    title = f"Seconds to recompute {runs[-1]['events']:,} events from the archive"
    return _bars(rows, title, "seconds, logarithmic", row="phase", scale=alt.Scale(type="log"))


def _plateau(runs: Runs) -> Any:
    keys = _rows(runs, "plateau", "keys")
    if keys.empty:
        return None
    points = keys.merge(_rows(runs, "plateau", "events"), on=["row", "phase"], suffixes=("", "_at"))
    base = alt.Chart(points).encode(
        alt.X("median_at:Q", title="events taken"),
        alt.Y("median:Q", title="windows of users in the state"),
        alt.Color("row:N", legend=None),
    )
    last = alt.datum["median_at"] == points["median_at"].max()
    names = base.transform_filter(last).mark_text(align="left", dx=8).encode(text="row:N")
    title = "A watermark keeps the state bounded"
    lines = base.mark_line(point=True) + names
    return lines.properties(title=title, width=520, height=180)


def _rows(runs: Runs, group: str, name: str) -> pd.DataFrame:
    found = [
        {"row": where[1], "phase": where[2], "median": spread.median, "low": spread.low, "high": spread.high}
        for where in places(runs, group)
        if (spread := figure(runs, where, name))
    ]  # fmt: skip
    return pd.DataFrame(found)


def _bars(rows: pd.DataFrame, title: str, unit: str, *, row: str, scale: Any) -> Any:
    """Draw a bar for each row of a group, one panel for each phase."""
    order = list(dict.fromkeys(rows["row"]))
    base = alt.Chart(rows).encode(alt.Y("row:N", title=None, sort=order))
    colour = alt.Color("row:N", legend=None, sort=order)
    dot = scale.to_dict().get("type") == "log"  # a bar's length means nothing on a logarithmic axis
    median = alt.X("median:Q", title=unit, scale=scale)
    marks = base.mark_point(filled=True, size=90) if dot else base.mark_bar(height=18)
    spread = base.mark_rule(color="#222222").encode(alt.X("low:Q", scale=scale), x2="high:Q")
    layers = alt.layer(marks.encode(median, colour), spread).properties(width=520, height=90)
    panels = layers.facet(row=alt.Row(f"{row}:N", title=None, sort=list(dict.fromkeys(rows[row]))))
    return panels.properties(title=title)
