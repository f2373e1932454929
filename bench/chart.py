"""Draw the rows that drain side by side; latencies, recomputation and the state over time where they were measured."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import altair as alt
import pandas as pd

from bench.summary import Runs, figure, number, places
from rta import charts


def draw(runs: Runs, path: Path) -> None:
    """Write the chart as SVG: bars of medians, the spread as a line over each; nothing if none of its rows was measured."""
    charts.use("svg")
    parts = [_seconds(runs), _latency(runs), _recompute(runs), _plateau(runs)]
    if drawn := [part for part in parts if part is not None]:
        alt.vconcat(*drawn).save(str(path))


def _seconds(runs: Runs) -> Any:
    rows = _rows(runs, "drain", "seconds", "s")
    if rows.empty:
        return None
    title = f"Seconds to drain {runs[-1]['events']:,} events to the right table"
    return _panels(rows, title, lambda column: alt.X(f"{column}:Q", title="seconds"), "bar")


def _latency(runs: Runs) -> Any:
    rows = _rows(runs, "latency", "p50_ms", "ms")
    if rows.empty:
        return None
    seconds = rows[["median", "low", "high"]] / 1000
    return _times(rows.assign(**seconds), "Median time from intended send to visible result")


def _recompute(runs: Runs) -> Any:
    rows = _rows(runs, "recompute", "seconds", "s")
    if rows.empty:
        return None
    return _times(rows, f"Time to recompute {runs[-1]['events']:,} events from the archive")


def _times(rows: pd.DataFrame, title: str) -> Any:
    """Draw dots: the length of a bar means nothing on an axis without 0."""
    drawn = pd.concat([rows["low"], rows["high"]])
    return _panels(rows, title, lambda column: charts.durations(column, drawn, title="time"), "dot")


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


def _rows(runs: Runs, group: str, name: str, unit: str = "") -> pd.DataFrame:
    found = [
        {"row": where[1], "phase": where[2], "median": spread.median, "low": spread.low, "high": spread.high, "label": f"{number(spread.median)} {unit}"}
        for where in places(runs, group)
        if (spread := figure(runs, where, name))
    ]  # fmt: skip
    return pd.DataFrame(found)


def _panels(rows: pd.DataFrame, title: str, axis: Callable[[str], alt.X], mark: str) -> Any:
    """Draw each row of a group with its figure and its spread, one panel for each phase."""
    order = list(dict.fromkeys(rows["row"]))
    base = alt.Chart(rows).encode(alt.Y("row:N", title=None, sort=order))
    colour = alt.Color("row:N", legend=None, sort=order)
    marks = (
        base.mark_bar(height=18)
        if mark == "bar"
        else base.mark_point(filled=True, size=90, opacity=1)
    )
    spread = base.mark_rule(color="#222222").encode(axis("low"), x2="high:Q")
    label = base.mark_text(align="left", dx=9).encode(axis("high"), text="label:N")
    layers = alt.layer(marks.encode(axis("median"), colour), spread, label)
    phases = list(dict.fromkeys(rows["phase"]))
    panels = layers.properties(width=520, height=90).facet(
        row=alt.Row("phase:N", title=None, sort=phases, header=alt.Header(labelPadding=30))
    )
    return panels.properties(title=alt.Title(title, frame="bounds"))
