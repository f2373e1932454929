"""Charts are drawn here, offline, in one look."""

from decimal import Decimal

import altair as alt
import pandas as pd
import pytest

from rta import charts


@pytest.mark.parametrize(("renderer", "mime"), [("svg", "image/svg+xml"), ("png", "image/png")])
def test_a_chart_is_a_picture_without_a_network(renderer: str, mime: str) -> None:
    """More rows than Altair's limit, exact amounts, and nothing in it that a browser would fetch."""
    frame = pd.DataFrame(
        {
            "x": range(6000),
            "amount": [Decimal("1.10")] * 6000,
            "n": pd.array([1, None] * 3000, "Int64"),
        }
    )
    charts.use(renderer)  # type: ignore[arg-type]
    chart = alt.Chart(charts.plain(frame)).mark_tick().encode(x="x:Q", y="amount:Q")
    bundle = chart._repr_mimebundle_()
    data = bundle[0] if isinstance(bundle, tuple) else bundle
    assert mime in data
    assert "cdn" not in str(data[mime])[:2000]


def test_plain_leaves_the_exact_frame_alone() -> None:
    """Only the copy that is drawn has floats."""
    frame = pd.DataFrame({"amount": [Decimal("0.10")], "name": ["a"]})
    drawn = charts.plain(frame)
    assert drawn.amount.tolist() == [0.1]
    assert drawn.name.tolist() == ["a"]
    assert frame.amount.tolist() == [Decimal("0.10")]
