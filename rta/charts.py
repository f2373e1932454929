"""Altair prepared for rta: one look, charts that are visible offline, and frames that it can draw.

JupyterLab has no renderer for charts of Altair 6, and Altair's default renderer asks a CDN. A still SVG or PNG, drawn by
vl-convert, is visible everywhere without a network: in JupyterLab, in a report, on the web.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd

# The colours of Okabe and Ito: people with any colour vision can tell them apart.
COLOURS: Final = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#000000")
_INK, _QUIET, _GRID = "#222222", "#666666", "#e6e6e6"
_TICKS: Final = (1e-3, 1e-2, 0.1, 1, 10, 60, 600, 3_600, 36_000, 864_000, 8_640_000)  # seconds
_FORMS: Final = ((10, "%H:%M:%S.%L"), (1_200, "%H:%M:%S"), (72_000, "%H:%M"), (864_000, "%b %-d %H:%M"), (float("inf"), "%Y-%m-%d"))  # fmt: skip
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
        elif column.dtype == object and any(isinstance(value, Decimal) for value in column):
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


def event_times(
    events: pd.DataFrame,
    *,
    late: pd.DataFrame | None = None,
    watermarks: pd.DataFrame | None = None,
    caption: Sequence[str] = (),
) -> alt.LayerChart:
    """Draw when events happened against when they arrived, the watermark as a line, and late events in another colour and shape.

    Args:
        events: event_time and arrived_at (moments in UTC), partition, offset of the events that were not late.
        late: The same of late events, and late_seconds.
        watermarks: query_id, batch_id, committed_at and watermark of micro-batches.
        caption: Lines under the title.

    >>> import pandas as pd
    >>> one = {"event_time": [pd.Timestamp(0, tz="UTC")], "arrived_at": [pd.Timestamp(9, tz="UTC")], "partition": [0], "offset": [0]}
    >>> len(event_times(pd.DataFrame(one)).layer)
    1
    """
    import altair as alt

    kinds = ["in time", "late", "watermark"]
    arrived, happened = "when it arrived in Kafka (UTC)", "event time (UTC)"
    legend = {} if late is None else {"legend": alt.Legend(title=None, orient="top", symbolOpacity=1, symbolStrokeWidth=2)}  # fmt: skip
    colour = alt.Color("kind:N", legend=legend.get("legend")).scale(domain=kinds, range=[COLOURS[0], COLOURS[3], COLOURS[6]])  # fmt: skip
    shape = alt.Shape("kind:N").scale(domain=kinds, range=["circle", "triangle-up", "stroke"])
    x = _moments("arrived_at", events["arrived_at"], alt.X, arrived)
    y = _moments("event_time", events["event_time"], alt.Y, happened)

    def moment(column: str, title: str) -> alt.Tooltip:
        return alt.Tooltip(f"{column}:T", title=title, timeUnit="utcyearmonthdatehoursminutesseconds")  # fmt: skip

    times = [moment("event_time", "event time"), moment("arrived_at", "arrived")]
    places = [alt.Tooltip("partition:Q"), alt.Tooltip("offset:Q", format=",")]
    on_time = alt.Chart(events.assign(kind=kinds[0])).mark_point(filled=True, size=18, opacity=0.4)
    layers: list[alt.Chart] = [on_time.encode(x, y, colour, shape, tooltip=[*times, *places])]
    if watermarks is not None:
        line = alt.Chart(watermarks.assign(kind=kinds[2])).mark_line(interpolate="step-before", strokeWidth=2)  # fmt: skip
        told = [moment("watermark", "watermark"), alt.Tooltip("batch_id:Q", title="of micro-batch", format=","), moment("committed_at", "committed")]  # fmt: skip
        layers.append(line.encode(alt.X("committed_at:T", title=arrived), alt.Y("watermark:T", title=happened), colour, alt.Detail("query_id:N"), tooltip=told))  # fmt: skip
    if late is not None:
        marks = alt.Chart(late.assign(kind=kinds[1])).mark_point(filled=True, size=60, opacity=1)
        by = alt.Tooltip("late_seconds:Q", title="late by (s)", format=",.1f")
        layers.append(marks.encode(x, y, colour, shape, tooltip=[*times, by, *places]))
    title = alt.TitleParams("When did it happen, and when did it arrive?", subtitle=[*caption])
    drawn: Any = alt.layer(*layers)
    chart: alt.LayerChart = drawn.properties(title=title, height=320)
    return chart


def _moments(column: str, drawn: pd.Series[pd.Timestamp], axis: Any, title: str) -> Any:
    """Return an axis of moments in UTC, each tick as short as the span of all allows."""
    span = (drawn.max() - drawn.min()).total_seconds() if len(drawn) else 0
    ticks = next(form for longest, form in _FORMS if span <= longest)
    return axis(f"{column}:T", title=title).scale(type="utc", nice=False, padding=12).axis(format=ticks, labelOverlap="greedy")  # fmt: skip


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
