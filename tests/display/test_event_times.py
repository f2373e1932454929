"""rta.display.event_time_chart: the events of a topic, the watermark and the late events of a table, as they are."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

import pytest
import vl_convert
from pyspark.sql import DataFrame

import rta
from rta.errors import InputError, TableError
from rta.store import ledger
from tests.support.truth import KEY

pytestmark = [pytest.mark.kafka, pytest.mark.usefixtures("spark")]
START: Final = datetime(2024, 11, 15, 10, tzinfo=UTC)


def drawn(topic: str, **how: Any) -> tuple[dict[str, Any], list[list[dict[str, Any]]]]:
    """Return a picture, and the rows of each of its layers."""
    chart = rta.display.event_time_chart(topic, event=rta.USER_EVENTS, **how).to_dict()
    assert vl_convert.vegalite_to_png(chart)[:4] == b"\x89PNG"
    layers = chart.get("layer", [chart])
    return chart, [
        chart["datasets"][each.get("data", chart.get("data"))["name"]] for each in layers
    ]


def test_it_shows_what_was_late_and_by_which_watermark(topic: Callable[..., str]) -> None:
    """Each event once, in its place; the line has the ledger's watermarks; a sample says that it is one."""
    name, table = topic(partitions=1), "drawn"

    def bare(events: DataFrame) -> DataFrame:
        return rta.transforms.totals(events.select("user_id", "amount", "timestamp"))

    minutes = (0, 40, 41, 41.5, 1, 33.5, 2, 42)  # 1 and 2 come when the watermark is at 30
    events = [
        {"event_id": f"e{m}", "user_id": 1, "action": "view", "amount": Decimal(1), "timestamp": START + timedelta(minutes=m)}
        for m in minutes
    ]  # fmt: skip
    rta.publish(events, name, event=rta.USER_EVENTS)
    for kept, transform in ((table, rta.transforms.totals), ("drawn_bare", bare)):
        rta.drain(name, transform, table=kept, key=KEY, event=rta.USER_EVENTS, max_events_per_batch=2)  # fmt: skip
    chart, (on_time, line, late) = drawn(name, table=table)
    assert [each["offset"] for each in late] == rta.late(table)["offset"].tolist() == [4, 6]
    assert [each["late_seconds"] for each in late] == [25 * 60, 26.5 * 60]
    assert [each["offset"] for each in on_time] == [0, 1, 2, 3, 5, 7]
    assert on_time[4]["event_time"].startswith("2024-11-15T10:33:30")
    marks = [each.watermark for each in ledger.batches(table) if each.watermark]
    assert [datetime.fromisoformat(each["watermark"]) for each in line] == marks
    assert chart["title"]["subtitle"][0] == f"{name}: 8 events"
    assert chart["title"]["subtitle"][1].startswith("drawn: 2 late events. An event below")

    chart, (on_time, _, late) = drawn(name, table="drawn_bare")
    assert (len(on_time), late) == (8, [])
    assert "2 late events, their places are not known" in chart["title"]["subtitle"][1]
    chart, [some] = drawn(name, points=2)
    assert chart["title"]["subtitle"] == [f"{name}: {len(some)} of 8 events"]
    assert chart["layer"][0]["encoding"]["color"]["legend"] is None
    with pytest.raises(InputError, match="at least one point"):
        drawn(name, points=0)
    with pytest.raises(InputError, match="not kept up to date with topic"):
        drawn(rta.kafka.create_topic("drawn-by-none", partitions=1).name, table=table)
    with pytest.raises(TableError, match="no_such"):
        drawn(name, table="no_such")
