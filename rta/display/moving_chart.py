"""A chart that follows the rows of a view: its specification once, its data at each look."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from rta.charts import plain
from rta.display.rows import Rows, cell
from rta.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

DATA: Final = "rta"  # the name of the data in the specification
_WIDE: Final = 480  # of a still picture; a page has the width that it has


@dataclass(frozen=True)
class Drawn:
    """A chart at one moment: the specification without the data, and the data. A page has a look of its own, light or dark."""

    spec: dict[str, Any]
    values: list[dict[str, Any]]

    def whole(self) -> dict[str, Any]:
        """Return the specification with its data, and with the look of the notebook's charts."""
        import altair as alt

        theme = alt.theme.get() or dict
        spec: dict[str, Any] = {"width": _WIDE}
        spec |= alt.utils.update_nested(theme(), self.spec, copy=True)
        return spec | {"data": {"values": self.values}}


def drawn(chart: Any, rows: Rows) -> Drawn:
    """Draw a chart, or what a function makes of the frame, over the rows of a view.

    Args:
        chart: A chart of Altair, whose own data is replaced; or a function of a pandas DataFrame that returns one.
        rows: The rows. DECIMAL is drawn as a float.

    Raises:
        InputError: It is neither; or the function returned no chart, or one of several data sets.

    Example:
        >>> import altair as alt, pandas as pd
        >>> rows = Rows(pd.DataFrame({"page": ["home"], "n": [3]}), {"page": "text", "n": "number"})
        >>> bars = drawn(alt.Chart().mark_bar().encode(x="n:Q", y="page:N"), rows)
        >>> bars.spec["data"], bars.values
        ({'name': 'rta'}, [{'page': 'home', 'n': 3}])
    """
    import altair as alt

    frame = plain(rows.frame)
    made = (
        chart if isinstance(chart, alt.TopLevelMixin) else chart(frame) if callable(chart) else None
    )
    if not isinstance(made, alt.TopLevelMixin):
        raise InputError(
            "chart is a chart of Altair, or a function of a DataFrame that returns one",
            found=type(chart if made is None else made).__name__, fix="give alt.Chart().mark_…().encode(…)",
        )  # fmt: skip
    made = made.copy(deep=False)  # type: ignore[attr-defined]
    if made is not chart and isinstance(
        made.data, type(frame)
    ):  # the function drew a frame of its own
        frame = plain(made.data)
    made.data = alt.NamedData(name=DATA)
    with alt.data_transformers.disable_max_rows(), alt.theme.enable("none"):
        spec = made.to_dict()
    if spec.pop("datasets", None):
        raise InputError("the chart has data of its own beside the view's", fix="draw all layers from one frame: alt.layer(…, data=frame)")  # fmt: skip
    return Drawn(spec, values_of(frame))


def values_of(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a frame as Vega-Lite reads them."""
    columns = {str(name): [cell(value) for value in frame[name].astype(object)] for name in frame}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
