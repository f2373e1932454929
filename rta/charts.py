"""Altair, made ready for here: one look, visible offline, and frames that it can draw.

JupyterLab knows no renderer for Altair 6's charts, and Altair's own default asks a CDN. A still SVG
or PNG, drawn by vl-convert, shows everywhere: in Lab, in a report, on the web, without a network.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd

# Okabe and Ito's colours: told apart by people with any colour vision.
COLOURS: Final = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#000000")
_INK, _QUIET, _GRID = "#222222", "#666666", "#e6e6e6"


def use(renderer: Literal["svg", "png", "jupyter"] = "svg") -> None:
    """Give the charts of this notebook one look, and a renderer that works offline.

    svg: sharp at every size; png: small for charts of thousands of marks; jupyter: alive, in Lab only.

    >>> use("svg")
    """
    import altair as alt

    alt.theme.register("rta", enable=True)(_theme)
    options: dict[str, dict[str, Any]] = {"png": {"scale_factor": 2}, "jupyter": {"offline": True}}
    alt.renderers.enable(renderer, **options.get(renderer, {}))
    alt.data_transformers.disable_max_rows()  # a limit for charts that carry their data; a picture does not


def plain(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a copy for drawing: DECIMAL as float, nullable integers as plain ones, or floats with gaps.

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


def state(history: pd.DataFrame) -> alt.VConcatChart:
    """Draw what rta.state_history() tells, of one query or of several put together: rows in state, and rows evicted.

    >>> import pandas as pd
    >>> columns = {"query": ["q"], "batch_id": [0], "name": ["dedupe"], "rows": [5], "evicted": [0]}
    >>> len(state(pd.DataFrame(columns)).vconcat)
    2
    """
    import altair as alt

    drawn = history.assign(operator=history["query"] + ", " + history["name"])
    colour = alt.Color("operator:N").sort(list(dict.fromkeys(drawn["operator"]))).title(None)
    batch = alt.X("batch_id:Q").title("micro-batch").axis(tickMinStep=1)
    base = alt.Chart(drawn).encode(batch, colour)
    lines = base.mark_line(interpolate="step-after", point=True)
    grown = lines.encode(alt.Y("rows:Q").title("rows")).properties(
        title="How much does the query remember?", height=180
    )
    gone = lines.encode(alt.Y("evicted:Q").title("rows")).properties(
        title="How much has the watermark evicted?", height=90
    )
    return alt.vconcat(grown, gone)


def _theme() -> Any:
    """Describe the look: little ink, room for the data."""
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
                "fontSize": 15,
                "color": _INK,
                "subtitleColor": _QUIET,
                "offset": 12,
            },
            "axis": {**text, "gridColor": _GRID, "domain": False, "tickColor": _GRID},
            "legend": text,
            "header": {**text, "labelFontSize": 12, "labelColor": _INK},
            "range": {"category": list(COLOURS), "heatmap": {"scheme": "viridis"}},
            "bar": {"color": COLOURS[0]},
            "line": {"color": COLOURS[0], "strokeWidth": 2},
        }
    }
