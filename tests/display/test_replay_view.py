"""A replay in a live view: it is steered by what the page sends, and shows event time, arrival, watermark and late events."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

import pytest
import vl_convert
from IPython.core.interactiveshell import InteractiveShell

import rta
from rta.display import looks
from rta.display.live_view import LiveView
from rta.display.replay_feed import ReplayFeed
from rta.kafka import Replay
from rta.store import ledger
from tests.display.test_live import Recorded
from tests.support.truth import KEY
from tests.support.waiting import until

pytestmark = pytest.mark.kafka
START: Final = datetime(2024, 11, 15, 10, tzinfo=UTC)
AT_ONCE: Final = 1e12
STANDS: Final = 1e-6
"""A speed at which no test sees a second event."""


def published(name: str, *minutes: float) -> str:
    """Put an event for each minute of the hour onto a topic; return the topic."""
    events = [
        {"event_id": f"e{m}", "user_id": 1, "action": "view", "amount": Decimal(1), "timestamp": START + timedelta(minutes=m)}
        for m in minutes
    ]  # fmt: skip
    rta.publish(events, name, event=rta.USER_EVENTS)
    return name


@pytest.fixture
def standing(topic: Callable[..., str]) -> Iterator[Replay]:
    """Play the first of three events, and stand at the second."""
    with rta.replay(published(topic(partitions=1), 0, 30, 60), event=rta.USER_EVENTS, speed=STANDS, wait=False) as playing:  # fmt: skip
        until(lambda: playing.sent == 1)
        yield playing


def test_it_is_steered_by_what_the_page_sends(standing: Replay) -> None:
    """Pause, resume, speed, seek and stop reach the replay; what makes no sense is said, and the view goes on."""
    feed, page = ReplayFeed(standing), Recorded()
    view = LiveView(feed, chart=feed.chart, every=0.02)
    view.pages.append(page)  # type: ignore[arg-type]
    view.start().told({"do": "hello"})
    assert page.last("can") == ["pause", "stop", "speed", "seek"]
    assert page.last("controls") == {"speed": STANDS, "at": "2024-11-15 10:00"}

    view.told({"do": "pause"})
    assert (standing.state, page.last("state")) == ("paused", "paused")
    view.told({"do": "resume"})
    assert (standing.state, page.last("state")) == ("playing", "running")
    for wrong in ({"do": "speed", "value": 0}, {"do": "speed", "value": "fast"}, {"do": "seek", "value": "soon"}):  # fmt: skip
        view.told(wrong)
        view.look()
        assert page.last("verdict")["level"] == view.verdict.level == "bad"
        view.told({"do": "resume"})
        assert page.last("verdict")["level"] == "good"

    view.told({"do": "seek", "value": "2024-11-15 10:20"})
    until(lambda: standing.sent == 2)
    view.told({"do": "speed", "value": AT_ONCE})
    until(lambda: standing.state == "finished" and page.last("state") == "ended")
    assert page.last("controls")["speed"] == AT_ONCE
    until(lambda: len(page.rows) == 3)
    view.stop()
    assert standing.sent == 3


def test_a_stop_ends_it(standing: Replay) -> None:
    """The button ends the replay; a view of it ends by itself, once all is shown."""
    view = LiveView(feed := ReplayFeed(standing), ends=lambda view: view.feed.over())
    view.start().told({"do": "stop"})
    assert standing.state == "stopped"
    view.wait()
    assert str(view.verdict).startswith("stopped, 1e-06 times as fast, clock at 2024-11-15 10:00:00 UTC, 1 events sent")  # fmt: skip
    assert feed.title in repr(view)


@pytest.mark.usefixtures("spark")
def test_it_shows_the_watermark_and_what_was_late(topic: Callable[..., str]) -> None:
    """Where nothing is alive the call runs until all is shown: each event in its place, the line as in the ledger."""
    minutes = (0, 40, 41, 41.5, 1, 33.5, 2, 42)  # 1 and 2 come when the watermark is at 30
    name = published(topic(partitions=1), *minutes)
    playing = rta.replay(name, event=rta.USER_EVENTS, speed=AT_ONCE)
    again, table = f"{name}.replay", "played"
    rta.drain(again, rta.transforms.totals, table=table, key=KEY, event=rta.USER_EVENTS, max_events_per_batch=2)  # fmt: skip
    seen = rta.live(playing).snapshot()
    assert sorted(seen.frame[seen.frame.fate == "late"].offset) == [4, 6]
    assert len(seen.frame) == seen.rows.total == 8
    assert seen.verdict.text.startswith("finished, 1e+12 times as fast, clock at 2024-11-15 10:42:00 UTC, 8 events sent")  # fmt: skip
    assert (seen.vitals.used, seen.vitals.late, seen.vitals.behind) == (6, 2, 0)
    assert seen.chart is not None
    values = seen.chart["data"]["values"]
    line = [datetime.fromisoformat(each["event_time"]) for each in values if each["fate"] == "watermark"]  # fmt: skip
    assert line == [each.watermark for each in ledger.batches(table) if each.watermark]
    assert vl_convert.vegalite_to_png(dict(seen.chart))[:4] == b"\x89PNG"


def test_the_last_expression_is_enough(standing: Replay, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a page it is the text and a picture of the moment; a replay that has ended is its facts."""
    shown: list[dict[str, str]] = []
    monkeypatch.setattr("IPython.display.display", lambda data, **_: shown.append(data))
    shell: Any = InteractiveShell()  # type: ignore[no-untyped-call]
    looks.prepare(shell)
    said = repr(standing)
    shell.display_formatter.format(standing)
    assert shown[0]["text/plain"] == said
    assert "data:image/png;base64," in shown[0]["text/html"]
    assert "playing, 1e-06 times as fast" in shown[0]["text/html"]
    standing.stop()
    shell.display_formatter.format(standing)
    assert shown[1] == {"text/plain": repr(standing), "text/html": standing._repr_html_()}
