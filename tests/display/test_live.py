"""rta.live: what moves is shown, steered and left behind; where nothing can be alive it leaves a table and pictures."""

import base64
import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any

import altair as alt
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyspark.errors import StreamingQueryException
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

import rta
from rta.display import live_view
from rta.display.feeds import TableFeed
from rta.display.frames import FrameFeed
from rta.display.live_view import LiveView
from rta.display.rows import Differ, Rows, cells_of
from rta.errors import InputError, QueryError, TopicError
from rta.monitor.vitals import Vitals
from tests.support.waiting import HANG, terminated, until

pytestmark = pytest.mark.kafka
BARS = alt.Chart().mark_bar().encode(x="window_start:T", y="sum(event_count):Q")


class Recorded:
    """A page that draws at once and keeps what it was told."""

    def __init__(self) -> None:
        self.frames: list[dict[str, Any]] = []
        self.left: dict[str, Any] = {}
        self.away = 0.0

    def send(self, frame: dict[str, Any]) -> None:
        """Keep a frame."""
        self.frames.append(frame)

    def ready(self) -> bool:
        """Be ready."""
        return True

    def unseen(self) -> float:
        """Be away for as long as a test says."""
        return self.away

    def leave(self, shown: dict[str, Any]) -> None:
        """Keep what is left."""
        self.left = shown

    @property
    def rows(self) -> list[list[Any]]:
        """The rows as the page has them now."""
        cells: dict[int, list[Any]] = {}
        order: list[int] = []
        for frame in self.frames:
            cells = ({} if frame.get("full") else cells) | dict(frame.get("put", []))
            order = frame.get("order", order)
            cells = {number: cells[number] for number in order}
        return [cells[number] for number in order]

    def last(self, name: str) -> Any:
        """Return what it was told last of something."""
        return next(frame[name] for frame in reversed(self.frames) if name in frame)


@pytest.fixture(scope="module")
def clicks(spark: SparkSession) -> Iterator[str]:
    """Keep a table `clicks_seen` up to date with a topic `clicks-seen` of 300 events."""
    rta.publish(rta.user_events(spark, rows=300), "clicks-seen", partitions=2)
    query = rta.follow(
        "clicks-seen", rta.transforms.totals, table="clicks_seen", key=["window", "user_id"], event=rta.USER_EVENTS
    )  # fmt: skip
    query.processAllAvailable()
    yield "clicks_seen"
    for each in spark.streams.active:
        each.stop()


@pytest.fixture
def watched() -> Iterator[Callable[..., tuple[LiveView, Recorded]]]:
    """Start views as a notebook does, with a page; they are stopped at the end."""
    made: list[LiveView] = []

    def watch(feed: Any, **options: Any) -> tuple[LiveView, Recorded]:
        view, page = LiveView(feed, **options), Recorded()
        view.pages.append(page)  # type: ignore[arg-type]
        made.append(view.start())
        return view, page

    yield watch
    for view in made:
        view.stop()


@given(st.lists(st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 2)), max_size=6))
def test_frames_add_up_to_the_rows(moments: list[dict[str, int]]) -> None:
    """Whoever applies the frames has exactly the rows of each moment, in their order; a full frame has all of them."""
    differ, page = Differ(), Recorded()
    for rows in moments:
        frame = pd.DataFrame(list(rows.items()), columns=["k", "n"])
        page.send(differ.different(Rows(frame, {"k": "text", "n": "number"}, ["k"], len(rows))))
        assert page.rows == [[k, n] for k, n in rows.items()]
        page.send({"full": True} | differ.everything())
        assert page.rows == [[k, n] for k, n in rows.items()]


def test_a_table_where_nothing_is_alive(clicks: str) -> None:
    """The call runs until all is shown, and leaves its rows, the accounting, a verdict and a picture."""
    view = rta.live(clicks, chart=BARS)
    seen = view.snapshot()
    assert view.state == "ended"
    assert str(seen.verdict) == "everything that was there is shown"
    assert sorted(seen.frame.user_id) == sorted(rta.read(clicks).user_id)
    assert seen.rows.total == len(rta.read(clicks))
    assert seen.frame.window_start.is_monotonic_decreasing
    assert seen.vitals.used == 300
    shown = seen._repr_mimebundle_()
    assert f"20 of {seen.rows.total:,} rows" in shown["text/html"]
    pictures = re.findall('data:image/png;base64,([^"]*)', shown["text/html"])
    assert all(base64.b64decode(each).startswith(b"\x89PNG") for each in pictures)
    assert len(pictures) >= 1
    assert "used 300" in repr(view)


def test_a_limit_is_said(clicks: str) -> None:
    """The rows are the newest, and of how many is said."""
    seen = rta.live(clicks, limit=5).snapshot()
    assert len(seen.frame) == 5
    assert f"(5 of {len(rta.read(clicks)):,} rows)" in repr(seen)


def test_how_many_rows_there_are_is_soon_exact(clicks: str, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    """A large table is counted once a second at most; what was not counted at the last change is counted after it."""
    counts = iter((100, 101))
    monkeypatch.setattr("rta.display.feeds._count", lambda _: next(counts))
    feed = TableFeed(clicks)
    assert rows_of(feed).total == 100
    feed._seen = None  # it has changed
    assert rows_of(feed).total == 100
    assert feed.rows(5) is None  # the same rows are not read again before that
    feed._count_after = 0.0  # a second later
    assert rows_of(feed).total == 101
    assert feed.rows(5) is None


def rows_of(feed: TableFeed) -> Rows:
    """Return five rows."""
    found = feed.rows(5)
    assert found is not None
    return found


def test_moments_are_told_exactly() -> None:
    """To the microsecond, each in its row, and null as null."""
    moments = pd.to_datetime(["2024-11-15T10:00:00.000001Z", "NaT", "2024-11-15T10:00:00Z", "2024-11-15T10:00:00.000001Z"], format="ISO8601")  # fmt: skip
    rows = Rows(pd.DataFrame({"at": moments, "n": [1, 2, 3, 4]}), {"at": "time", "n": "number"})
    assert [*cells_of(rows)] == [
        ["2024-11-15T10:00:00.000001Z", 1], [None, 2], ["2024-11-15T10:00:00Z", 3], ["2024-11-15T10:00:00.000001Z", 4],
    ]  # fmt: skip


def test_a_stream_needs_no_table_and_leaves_nothing(
    spark: SparkSession, topic: Callable[..., str], home: Path
) -> None:
    """Its own query is counted exactly, and gone at the end, with its checkpoint."""
    name = topic()
    rta.publish(rta.user_events(spark, rows=50), name)
    before = {query.name for query in spark.streams.active}
    stream = rta.read_stream(name, event=rta.USER_EVENTS)
    seen = rta.live(stream, limit=7).snapshot()
    assert (len(seen.frame), seen.rows.total, seen.title) == (7, 50, f"stream of {name}")
    assert str(seen.frame.amount.map(type).iloc[0]) == "<class 'decimal.Decimal'>"
    grouped = rta.live(stream.transform(rta.transforms.totals))
    truth = rta.read_batch(name, event=rta.USER_EVENTS).transform(rta.transforms.totals)
    assert grouped.snapshot().rows.key == ("window_start", "window_end", "user_id")
    assert int(grouped.snapshot().frame.event_count.sum()) == 50
    assert len(grouped.snapshot().frame) == truth.count()
    assert {query.name for query in spark.streams.active} == before
    assert list((home / "live").iterdir()) == []


def test_nested_columns_and_complete_mode(topic: Callable[..., str]) -> None:
    """Structs become columns, lists and maps JSON; in complete mode the rows are those of the last batch."""
    name = topic()
    rta.publish(
        [
            {
                "event_id": "a",
                "user_id": 7,
                "action": "<b>",
                "amount": "1.50",
                "timestamp": "2024-11-15T10:31:00Z",
            }
        ],
        name,
    )
    stream = rta.read_stream(name, event=rta.USER_EVENTS)
    nested = stream.select(
        F.struct("user_id", "action").alias("who"), F.array("amount").alias("amounts")
    )
    view = rta.live(nested)
    assert view.snapshot().frame.to_dict("records") == [
        {"who_user_id": 7, "who_action": "<b>", "amounts": [view.snapshot().frame.amounts[0][0]]}
    ]
    page = view.snapshot()._repr_mimebundle_()["text/html"]
    assert "&lt;b&gt;" in page
    assert "<b>" not in page
    assert "[&quot;1.50&quot;]" in page
    loose = stream.select(F.parse_json(F.lit('{"a": [1]}')).alias("v"), F.make_ym_interval(F.lit(1), F.lit(2)).alias("age"))  # fmt: skip
    shown = rta.live(loose).snapshot()
    assert shown.frame.to_dict("records") == [{"v": '{"a":[1]}', "age": 14}]
    assert (shown.rows.types["v"], shown.rows.types["age"]) == ("json", "number")
    counted = rta.live(stream.groupBy("action").count(), mode="complete")
    assert counted.snapshot().frame.to_dict("records") == [{"action": "<b>", "count": 1}]


def test_a_topic_raw_and_typed(topic: Callable[..., str]) -> None:
    """Any bytes as text; with a type its fields, and what is no event leaves them empty. Only the newest are read."""
    name = topic(partitions=1)
    rta.publish(rta.user_events(rta.spark(), rows=20), name)
    rta.publish(rta.spark().createDataFrame([(b"<img onerror=1>\xff",)], "value BINARY"), name)
    raw = rta.live(name, limit=3).snapshot()
    assert raw.frame.value[0] == "<img onerror=1>\\xff"
    assert raw.frame.offset.tolist() == [20, 19, 18]
    assert raw.rows.total == 21
    typed = rta.live(name, event=rta.USER_EVENTS).snapshot()
    assert typed.frame.event_id.tolist()[:2] == [None, "0-19"]


def test_bounds(clicks: str) -> None:
    """for_ and until end a view, and it says why; a bound that is none is refused before anything is made."""
    assert str(rta.live(clicks, for_="0.2 s").verdict).startswith("ended after 0.")
    seen = rta.live(clicks, until=lambda frame: len(frame) > 3)
    assert str(seen.verdict) == "ended: until() is true"
    for wrong in ({"limit": 0}, {"every": -1}, {"for_": 0}, {"for_": "soon"}):
        with pytest.raises(InputError):
            rta.live(clicks, **wrong)


def test_a_job_does_not_wait_for_a_query_that_has_ended(spark: SparkSession) -> None:
    """What until= waits for will not come: the view ends at once, and its verdict says why."""
    stream = spark.readStream.format("rate").load().selectExpr("raise_error('broken') AS n")
    query = stream.writeStream.format("noop").start()
    with pytest.raises(StreamingQueryException):
        terminated(query)
    view = rta.live(query, until=lambda _: False, for_=HANG)
    assert "broken" in str(view.verdict)


def test_what_does_not_move_is_refused(spark: SparkSession, clicks: str) -> None:
    """The error says what there is, and no query is left."""
    before = {str(query.id) for query in spark.streams.active}
    with pytest.raises(InputError, match="this frame does not move"):
        rta.live(spark.range(3))
    with pytest.raises(InputError, match=f"neither a table nor a topic 'nothing'.*{clicks}"):
        rta.live("nothing")
    with pytest.raises(InputError, match="nothing that moves; found: int"):
        rta.live(3)
    with pytest.raises(InputError, match="chart is a chart of Altair"):
        rta.live(clicks, chart=7)
    with pytest.raises(ZeroDivisionError):
        rta.live(clicks, chart=lambda _: 1 / 0)
    assert {str(query.id) for query in spark.streams.active} == before


def test_a_chart_of_a_function(clicks: str) -> None:
    """A function may draw a frame of its own; DECIMAL is drawn as a number."""

    def by_user(frame: pd.DataFrame) -> Any:
        return (
            alt.Chart(frame.groupby("user_id", as_index=False).total_amount.sum())
            .mark_bar()
            .encode(x="user_id:N", y="total_amount:Q")
        )

    chart = rta.live(clicks, chart=by_user).snapshot().chart
    assert chart is not None
    assert len(chart["data"]["values"]) == rta.read(clicks).user_id.nunique()
    assert isinstance(chart["data"]["values"][0]["total_amount"], float)


def test_a_view_follows_and_is_steered(
    clicks: str, watched: Callable[..., tuple[LiveView, Recorded]]
) -> None:
    """New events arrive in the page as changed rows alone; pause holds it, hello is told everything, marks are lines."""
    view, page = watched(TableFeed(clicks), chart=BARS)
    until(lambda: page.rows)
    assert page.frames[0]["full"]
    assert page.frames[0]["spec"]["data"] == {"name": "rta"}
    before = page.last("total")
    new = {
        "event_id": "new",
        "user_id": 4_000,
        "action": "view",
        "amount": "1.50",
        "timestamp": "2024-11-15T10:30:01Z",
    }
    rta.publish([new], "clicks-seen")
    until(lambda: page.last("total") == before + 1)
    assert [row for frame in page.frames[1:] for _, row in frame.get("put", []) if row[2] == 4_000]
    assert max(len(frame.get("put", [])) for frame in page.frames[1:]) <= 2
    assert len(page.last("values")) == before + 1
    view.pause()
    until(lambda: page.last("state") == "paused")
    rta.publish([new | {"event_id": "newer", "user_id": 4_001}], "clicks-seen")
    until(lambda: rta.read(clicks, where={"user_id": 4_001}).size)
    assert page.last("total") == before + 1
    view.told({"do": "resume"})
    until(lambda: page.last("total") == before + 2)
    view.mark("broker killed")
    until(lambda: [each["label"] for each in page.last("marks")] == ["broker killed"])
    view.told({"do": "hello"})
    assert page.frames[-1]["full"]
    assert len(page.frames[-1]["put"]) == before + 2
    assert page.frames[-1]["history"]
    assert [frame["seq"] for frame in page.frames] == sorted(
        {frame["seq"] for frame in page.frames}
    )
    view.stop()
    assert page.last("state") == "ended"
    assert "text/html" in page.left
    view.stop()  # again is nothing


def test_stop_and_restart_of_the_query(
    clicks: str, watched: Callable[..., tuple[LiveView, Recorded]]
) -> None:
    """The buttons stop the query and start it again where it was; what cannot be done is said in the page."""
    view, page = watched(TableFeed(clicks))
    until(lambda: page.rows)
    view.told({"do": "stop"})
    until(lambda: page.last("state") == "stopped")
    used = rta.accounting(clicks).used
    view.told({"do": "stop"})
    assert "no query in this session fills" in page.last("verdict")["text"]
    rta.publish(
        [
            {
                "event_id": "later",
                "user_id": 5_000,
                "action": "view",
                "amount": "1.50",
                "timestamp": "2024-11-15T10:30:02Z",
            }
        ],
        "clicks-seen",
    )
    view.told({"do": "restart"})
    until(lambda: page.last("state") == "running" and any(row[2] == 5_000 for row in page.rows))
    assert rta.accounting(clicks).used == used + 1
    with pytest.raises(QueryError, match="has started no query"):
        rta.engines.restart("never_followed")


def test_the_terms_can_be_listed(
    clicks: str, watched: Callable[..., tuple[LiveView, Recorded]]
) -> None:
    """Late and bad events are a click away, and their text is text."""
    late = {
        "event_id": "late",
        "user_id": 1,
        "action": "view",
        "amount": "1.50",
        "timestamp": "2020-01-01T00:00:00Z",
    }
    rta.publish([late, {"event_id": "<img onerror=alert(1)>"}], "clicks-seen")
    view, page = watched(TableFeed(clicks))
    until(lambda: page.rows)
    until(lambda: page.last("vitals")["quarantined"] and page.last("vitals")["late"])
    view.told({"do": "list", "what": "late"})
    assert len(page.last("list")["rows"]) == 1
    view.told({"do": "list", "what": "quarantined"})
    assert any("<img onerror=alert(1)>" in cell for cell in page.last("list")["rows"][0])
    view.told({"do": "list", "what": "anything"})
    assert "there is no list of anything" in page.last("verdict")["text"]


def test_a_query_that_nobody_sees_is_stopped(
    topic: Callable[..., str], watched: Callable[..., tuple[LiveView, Recorded]]
) -> None:
    """Only that of a stream's own view; it says so, and restart goes on where it was."""
    name = topic()
    rta.publish(rta.user_events(rta.spark(), rows=5), name)
    feed = FrameFeed(rta.read_stream(name, event=rta.USER_EVENTS), mode=None, key=(), every=0.1)
    view, page = watched(feed)
    until(lambda: len(page.rows) == 5)
    page.away = 3_600
    until(lambda: "no page has shown it" in page.last("verdict")["text"])
    assert not feed.query.isActive
    page.away = 0
    rta.publish(rta.user_events(rta.spark(), rows=3, first_row=5), name)
    view.told({"do": "restart"})
    until(lambda: page.last("total") == 8)


def test_a_broken_look_is_said_and_the_view_goes_on(
    clicks: str, watched: Callable[..., tuple[LiveView, Recorded]]
) -> None:
    """A chart that fails for some rows is an error in the page, not the end of it."""
    broken = [True]

    def chart(frame: pd.DataFrame) -> Any:
        if broken[0]:
            raise ValueError("not these rows")
        return BARS

    _, page = watched(TableFeed(clicks), chart=chart)
    until(lambda: page.frames and page.last("verdict")["text"] == "not these rows")
    broken[0] = False
    until(lambda: page.frames and any("values" in frame for frame in page.frames))


def test_a_feed_is_asked_by_one_thread_at_a_time(clicks: str) -> None:
    """A snapshot while the thread takes its first rows waits for them: a Kafka consumer is not made for two threads."""
    feed, asking, most = TableFeed(clicks), [0], [0]
    whole = feed.rows

    def slow(limit: int) -> Rows | None:
        asking[0] += 1
        most[0] = max(most[0], asking[0])
        time.sleep(0.2)
        asking[0] -= 1
        return whole(limit)

    feed.rows = slow  # type: ignore[method-assign]
    view = LiveView(feed, every=0.01).start()
    until(lambda: asking[0])
    assert len(view.snapshot().frame) > 100
    for _ in range(3):
        view.look()
    view.stop()
    assert most == [1]


@pytest.mark.parametrize(("waits", "least"), [(False, 0.2 * 5), (True, 0.2 * 2)])
def test_a_look_takes_a_fifth_of_a_core(
    clicks: str, watched: Callable[..., tuple[LiveView, Recorded]], *, waits: bool, least: float
) -> None:
    """However much a look computes, the query has the rest; a look that waits for a database takes half of the time."""
    feed = TableFeed(clicks)
    took: list[float] = []
    whole = feed.rows

    def slow(limit: int) -> Rows | None:
        began, spent = time.monotonic(), time.thread_time()
        if waits:
            time.sleep(0.2)
        while not waits and time.thread_time() - spent < 0.2:
            pass
        took.append(began)
        return whole(limit)

    feed.rows = slow  # type: ignore[method-assign]
    watched(feed, every=0.01)
    until(lambda: len(took) > 3)
    assert min(b - a for a, b in pairwise(took)) >= least


def test_rows_do_not_wait_for_figures(
    clicks: str, watched: Callable[..., tuple[LiveView, Recorded]]
) -> None:
    """While Spark or the broker lets the figures wait, rows are shown as before; stop() does not wait for ever."""
    feed, asked, answer = TableFeed(clicks), Event(), Event()
    looks: list[bool] = []  # whether the figures were under way
    rows, figures = feed.rows, feed.vitals

    def counted(limit: int) -> Rows | None:
        looks.append(asked.is_set())
        return rows(limit)

    def slow() -> Vitals:
        asked.set()
        answer.wait(HANG)
        return figures()

    feed.rows, feed.vitals = counted, slow  # type: ignore[method-assign]
    view, page = watched(feed, every=0.01)
    until(lambda: sum(looks) > 5)
    before = view.history[-1]
    answer.set()
    until(lambda: view.history[-1] is not before)
    until(lambda: page.last("vitals")["used"] == view.history[-1].used)


def test_a_reason_why_there_are_no_figures_stays(
    clicks: str, watched: Callable[..., tuple[LiveView, Recorded]]
) -> None:
    """It is said until there are figures again, not for one look in four; the rows go on."""
    feed, gone, looks = TableFeed(clicks), Event(), [0]
    rows, figures = feed.rows, feed.vitals

    def counted(limit: int) -> Rows | None:
        looks[0] += 1
        return rows(limit)

    def fails() -> Vitals:
        if gone.is_set():
            raise TopicError("the broker does not answer", fix="run: rta up")
        return figures()

    feed.rows, feed.vitals = counted, fails  # type: ignore[method-assign]
    view, page = watched(feed, every=0.01)
    until(lambda: view.verdict.level != "bad" and page.frames)
    gone.set()
    until(lambda: view.verdict.level == "bad")
    seen = len(page.frames)
    after = looks[0] + 5
    until(lambda: looks[0] > after)
    assert {each["verdict"]["text"] for each in page.frames[seen:]} <= {
        "the broker does not answer"
    }
    gone.clear()
    until(lambda: view.verdict.level != "bad")


def test_a_look_that_the_lid_cut_short_is_not_rested_for(
    clicks: str, watched: Callable[..., tuple[LiveView, Recorded]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look that began before a laptop slept and ended after it took hours by the clock: the next one follows soon."""
    feed, slept, looks = TableFeed(clicks), [0.0], [0]
    whole, clock = feed.rows, time.monotonic

    def sleeps(limit: int) -> Rows | None:
        looks[0] += 1
        slept[0] = 8 * 3_600.0
        return whole(limit)

    feed.rows = sleeps  # type: ignore[method-assign]
    monkeypatch.setattr(live_view, "time", SimpleNamespace(monotonic=lambda: clock() + slept[0], thread_time=time.thread_time))  # fmt: skip
    watched(feed, every=0.01)
    until(lambda: looks[0] > 1)


def test_a_silence_is_as_long_as_it_is(clicks: str) -> None:
    """Hours without data do not push the last data out of what is known."""
    feed, began = TableFeed(clicks), datetime.now(UTC)
    moments = [Vitals(began, 5.0, 5.0, behind=0), *(Vitals(began + timedelta(seconds=n), 0.0, 0.0, behind=0) for n in range(1, 7_201))]  # fmt: skip
    given = iter(moments)
    feed.history = lambda: [next(given)]  # type: ignore[method-assign]
    feed.vitals = lambda: next(given)  # type: ignore[method-assign]
    view = LiveView(feed)
    for _ in moments:
        view.look()
    assert str(view.feed.verdict(list(view.history), "running")) == "no data for 2 h"
    assert len(view.history) == 3
