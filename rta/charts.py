"""Altair prepared for rta: one look, charts that are visible offline, and frames that it can draw.

JupyterLab has no renderer for charts of Altair 6, and Altair's default renderer asks a CDN. A still SVG or PNG, drawn by
vl-convert, is visible everywhere without a network: in JupyterLab, in a report, on the web.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd

# The colours of Okabe and Ito: people with any colour vision can tell them apart.
COLOURS: Final = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#000000")
_INK, _QUIET, _GRID = "#222222", "#666666", "#e6e6e6"
_TICKS: Final = (1e-3, 1e-2, 0.1, 1, 10, 60, 600, 3_600, 36_000, 864_000, 8_640_000)  # seconds
_LABEL: Final = (
    "datum.value < 1 ? format(datum.value * 1000, '.0f') + ' ms' : datum.value < 60 ? datum.value + ' s'"
    " : datum.value < 3600 ? datum.value / 60 + ' min' : datum.value < 86400 ? datum.value / 3600 + ' h'"
    " : datum.value / 86400 + ' d'"
)


def use(renderer: Literal["svg", "png", "jupyter"] = "svg") -> None:
    """Give the charts of this notebook the look of rta, and a renderer that works offline.

    Args:
        renderer: "svg" is sharp at every size, "png" is small for charts of thousands of marks, "jupyter" is interactive, in
            JupyterLab only.

    >>> use("svg")
    """
    import altair as alt

    alt.theme.register("rta", enable=True)(_theme)
    options: dict[str, dict[str, Any]] = {"png": {"scale_factor": 2}, "jupyter": {"offline": True}}
    alt.renderers.enable(renderer, **options.get(renderer, {}))
    alt.data_transformers.disable_max_rows()  # the limit is for charts that contain their data; a picture does not


def plain(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a copy for drawing: DECIMAL as float; nullable integers as plain ones, or as floats if some are missing.

    >>> from decimal import Decimal
    >>> import pandas as pd
    >>> plain(pd.DataFrame({"amount": [Decimal("1.50")]})).amount.tolist()
    [1.5]
    """
    from decimal import Decimal

    import pandas as pd

    drawn = frame.copy()
    for name in drawn.columns:
        column = drawn[name]
        if isinstance(column.dtype, pd.Int64Dtype):
            drawn[name] = column.astype("float64" if column.hasnans else "int64")
        elif column.map(lambda value: isinstance(value, Decimal)).any():
            drawn[name] = column.astype("float64")
    return drawn


def durations(column: str, seconds: pd.Series[float], *, title: str) -> alt.X:
    """Return a logarithmic axis of durations, each tick with its unit.

    Args:
        column: The column to draw.
        seconds: All durations that will be drawn; each is above 0.
        title: The title of the axis.

    >>> import pandas as pd
    >>> axis = durations("seconds", pd.Series([0.02, 95.0]), title="time until visible")
    >>> axis.to_dict()["scale"]["domain"]
    [0.01, 600]
    """
    import altair as alt

    least, most = (seconds.min(), seconds.max()) if len(seconds) else (1, 10)
    low = max((tick for tick in _TICKS if tick <= least), default=_TICKS[0])
    high = min((tick for tick in _TICKS if tick >= most and tick > low), default=_TICKS[-1])
    ticks = [tick for tick in _TICKS if low <= tick <= high]
    scale = alt.Scale(type="log", domain=[low, high])
    axis = alt.Axis(values=ticks, labelExpr=_LABEL)
    return alt.X(f"{column}:Q", title=f"{title}, logarithmic", scale=scale, axis=axis)


def state(history: pd.DataFrame) -> alt.VConcatChart:
    """Draw the rows in state and the rows evicted of one query, or of several.

    Args:
        history: What rta.monitor.state_history() returns; for several queries, one after the other.

    >>> import pandas as pd
    >>> columns = {"query": ["q"], "batch_id": [0], "name": ["dedupe"], "rows": [5], "evicted": [0]}
    >>> len(state(pd.DataFrame(columns)).vconcat)
    2
    """
    import altair as alt

    drawn = history.assign(operator=history["query"] + ", " + history["name"])
    colour = alt.Color("operator:N").sort(list(dict.fromkeys(drawn["operator"]))).title(None)
    batch = alt.X("batch_id:Q").title("micro-batch").axis(tickMinStep=1)
    shown = [
        alt.Tooltip(name, title=title, format="" if name == "operator" else ",")
        for name, title in (("operator", "operator"), ("batch_id", "micro-batch"), ("rows", "rows in state"), ("evicted", "rows evicted"))
    ]  # fmt: skip
    base = alt.Chart(drawn).encode(batch, colour, tooltip=shown)
    lines = base.mark_line(interpolate="step-after", point=True)
    grown = lines.encode(alt.Y("rows:Q").title("rows in state")).properties(
        title="How much does the query remember?", height=180
    )
    gone = lines.encode(alt.Y("evicted:Q").title("rows evicted")).properties(
        title="How much has the watermark evicted?", height=90
    )
    return alt.vconcat(grown, gone)


def _theme() -> Any:
    """Return the look of the charts: little ink, room for the data."""
    text = {
        "labelColor": _QUIET,
        "titleColor": _QUIET,
        "labelFontSize": 11,
        "titleFontSize": 11,
        "titleFontWeight": "normal",
    }
    return {
        "config": {
            "aria": False,  # a label for each mark would be half of the picture's size
            "font": "Helvetica Neue, Helvetica, Arial, sans-serif",
            "view": {"stroke": "transparent", "continuousWidth": 560, "continuousHeight": 240},
            "title": {
                "anchor": "start",
                "frame": "group",  # above the plot, so that the titles of several plots are aligned
                "fontSize": 15,
                "color": _INK,
                "subtitleColor": _QUIET,
                "offset": 12,
            },
            "axis": {**text, "gridColor": _GRID, "domain": False, "tickColor": _GRID},
            "axisX": {
                "labelFlush": False
            },  # also centre the first and the last label under their ticks
            "legend": text,
            "header": {**text, "labelFontSize": 12, "labelColor": _INK},
            "range": {"category": list(COLOURS), "heatmap": {"scheme": "viridis"}},
            "bar": {"color": COLOURS[0]},
            "line": {"color": COLOURS[0], "strokeWidth": 2},
        }
    }
