"""Charts are drawn here, offline, in one look."""

import re
from decimal import Decimal
from typing import Any

import altair as alt
import pandas as pd
import pytest
import vl_convert

from rta import charts
from rta.architectures.comparison import Comparison


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


def _compared(seconds: list[float]) -> dict[str, Any]:
    """Draw a comparison of one architecture whose events waited so long."""
    fresh = pd.DataFrame({"architecture": ["kappa"] * len(seconds), "seconds": seconds})
    rows = pd.DataFrame({"architecture": ["kappa"], "cpu_s": [1.5]})
    drawn: dict[str, Any] = Comparison(rows, {}, fresh).chart().to_dict()
    return drawn


def test_freshness_has_a_logarithmic_axis_with_units() -> None:
    """From the decade below the least to the one above the most; also if a clock was wrong, or nobody knows."""
    (marks, _), _ = (part["layer"] for part in _compared([0.02, 70.0])["vconcat"])
    axis = marks["encoding"]["x"]
    assert axis["scale"] == {"type": "log", "domain": [0.01, 600]}
    assert axis["axis"]["values"] == [0.01, 0.1, 1, 10, 60, 600]
    assert axis["title"] == "time from append to visible, logarithmic"
    for seconds in ([-3.0, 0.0], [float("nan")], []):
        (marks, _), _ = (part["layer"] for part in _compared(seconds)["vconcat"])
        low, high = marks["encoding"]["x"]["scale"]["domain"]
        assert 0 < low < high


def test_the_ticks_say_their_unit() -> None:
    """Milliseconds to days, as they come out in the picture."""
    frame = pd.DataFrame({"seconds": [0.001, 864_000]})
    axis = charts.durations("seconds", frame["seconds"], title="age")
    drawn = vl_convert.vegalite_to_svg(alt.Chart(frame).mark_tick().encode(axis).to_dict())
    labels = re.findall(r">(\d+ (?:ms|s|min|h|d))<", drawn)
    assert labels == ["1 ms", "10 ms", "100 ms", "1 s", "10 s", "1 min", "10 min", "1 h", "10 h", "10 d"]  # fmt: skip


def test_every_chart_of_ours_names_its_axes_and_tells_a_mark_on_hover() -> None:
    """No axis is without a title, no mark without a tooltip."""
    columns = {"query": ["q"], "batch_id": [0], "name": ["dedupe"], "rows": [5], "evicted": [0]}
    for chart in (
        _compared([0.1]),
        charts.state(pd.DataFrame(columns)).to_dict(),
        _event_times("2024-11-15T10:00:01Z"),
    ):
        for part in chart.get("vconcat", [chart]):
            for layer in part.get("layer", [part]):
                assert layer["encoding"]["x"]["title"]
                assert layer["encoding"]["y"]["title"]
                assert layer["encoding"]["tooltip"]


def _event_times(*moments: str) -> dict[str, Any]:
    """Draw an event for each moment, all at the same event time; the first is late, too."""
    times = pd.to_datetime([*moments])
    events = pd.DataFrame({"arrived_at": times, "event_time": times[0], "partition": 0, "offset": range(len(times))})  # fmt: skip
    late = events.head(1).assign(late_seconds=60.0)
    lines = {"query_id": ["q"], "batch_id": [0], "committed_at": times[:1], "watermark": times[:1]}
    drawn = charts.event_times(events, late=late, watermarks=pd.DataFrame(lines), caption=["t: 1"])
    return dict(drawn.to_dict())


def test_moments_are_told_in_utc_as_short_as_their_span_allows() -> None:
    """The same on each machine: a day has its date, a minute its seconds; a mark keeps its own colour and shape."""
    for last, told in (
        ("10:00:02", ["10:00:02.000"]),
        ("10:01:00", ["10:00:30"]),
        ("23:00:00", ["15:00"]),
    ):
        chart = _event_times("2024-11-15T10:00:01Z", f"2024-11-15T{last}Z")
        labels = re.findall(r">([\d:.]+)<", vl_convert.vegalite_to_svg(chart))
        assert set(told) <= set(labels), labels
    on_time, line, late = chart["layer"]
    assert [each["mark"]["type"] for each in (on_time, line, late)] == ["point", "line", "point"]
    assert line["mark"]["interpolate"] == "step-before"
    assert on_time["encoding"]["shape"] == late["encoding"]["shape"]
    scale = on_time["encoding"]["color"]["scale"]
    assert dict(zip(scale["domain"], scale["range"], strict=True))["late"] == charts.COLOURS[3]
    assert vl_convert.vegalite_to_png(chart)[:4] == b"\x89PNG"
