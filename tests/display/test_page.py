"""The page of a live view in a real browser, with a scripted kernel: no Jupyter, no Spark."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

import rta.display
from rta.display import Tile, tiles
from rta.display.rows import Differ
from tests.display.browser import offline, picture, served
from tests.support.waiting import until

MODULE: Final = Path(rta.display.__file__).with_name("live.js")
EVIL: Final = "<img src=x onerror='window.harmed = true'>"
COLUMNS: Final = [
    {"name": "window", "type": "time"}, {"name": "origin", "type": "text"},
    {"name": "flights", "type": "number"}, {"name": "delay", "type": "decimal"},
]  # fmt: skip
EWR: Final[list[Any]] = [0, ["2013-12-01T05:00:00Z", "EWR", 1234567, "10.10"]]
JFK: Final[list[Any]] = [1, ["2013-12-01T05:00:00.500Z", "JFK", 15, "9.50"]]
LGA: Final[list[Any]] = [2, ["2013-12-01T06:00:00Z", "LGA", None, "-3.00"]]
VITALS: Final = {
    "in_rate": 1020.4, "out_rate": 9.26, "lag": {"flights": [3000, 2000]}, "behind": 5000, "batch_ms": 820, "latency_ms": None,
    "watermark": "2013-12-01T05:50:00Z", "event_time": "2013-12-01T06:00:00Z", "used": 1381324, "late": 618676, "duplicate": 0,
    "quarantined": None, "state_rows": 20000, "state_bytes": 12_400_000,
}  # fmt: skip


def vitals(at: int, **other: object) -> dict[str, Any]:
    """Return figures of a moment, in milliseconds after an hour."""
    return {"at": 1_385_874_000_000 + at} | VITALS | other


@dataclass
class View:
    """A live view in a page: what the kernel says to it, and what it says back."""

    page: Page
    seq: int = field(default=-1)
    standing: bool = False  # its clock moves when a test says so

    def full(self, *, drawn: bool = True, **more: Any) -> None:
        """Send a full frame."""
        frame: dict[str, Any] = {
            "full": True, "title": "delays", "kind": "table", "mode": "update", "columns": COLUMNS, "key": ["window", "origin"],
            "put": [EWR, JFK, LGA], "order": [2, 1, 0], "total": 14_203, "state": "running", "every": 0.25,
            "verdict": {"text": "keeping up", "level": "good"}, "history": [vitals(k * 1000) for k in range(60)],
        }  # fmt: skip
        self.frame(drawn=drawn, **frame | more)

    def frame(self, *, drawn: bool = True, seq: int | None = None, **frame: object) -> None:
        """Send a frame; without a number of its own it is the next."""
        self.seq = self.seq + 1 if seq is None else seq
        self.page.evaluate("frame => deliver(frame)", {"seq": self.seq} | frame)
        if drawn:
            until(self.is_drawn)

    def is_drawn(self) -> bool:
        """Tell whether the page has drawn the last frame."""
        if self.standing:
            self.page.clock.run_for(20)  # a frame of the browser
        return self.acknowledged() == self.seq

    def sent(self, what: str) -> list[dict[str, Any]]:
        """Return what the page has sent of a kind."""
        return [each for each in self.page.evaluate("sent") if each["do"] == what]

    def acknowledged(self) -> int:
        """Return the number of the last frame that was drawn."""
        return int(acks[-1]["seq"]) if (acks := self.sent("ack")) else -1

    def column(self, number: int) -> list[str]:
        """Return the texts of a column, from the top."""
        return self.page.locator(f".rta-body td:nth-child({number})").all_inner_texts()

    def counts(self) -> str:
        """Return what stands beside the filter."""
        return self.page.locator(".rta-body .rta-counts").inner_text()

    def header(self, name: str) -> Locator:
        """Return the button of a column."""
        return self.page.locator(".rta-body thead").get_by_role("button", name=name)

    def note(self) -> Locator:
        """Return the sentence under the title."""
        return self.page.locator(".rta-note")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the page and the module."""
    made = tmp_path_factory.mktemp("page")
    shutil.copy(Path(__file__).with_name("page.html"), made)
    shutil.copy(MODULE, made)
    return made


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    """Serve the page."""
    with served(folder) as url:
        yield f"{url}/page.html"


@pytest.fixture
def view(page: Page, address: str) -> View:
    """Open the page; the kernel has said nothing yet."""
    return opened(page, address)


def opened(page: Page, address: str) -> View:
    """Open the page at an address."""
    page.goto(address)
    page.wait_for_function("() => window.sent?.length")
    return View(page)


def standing_still(page: Page, address: str) -> View:
    """Open the page with a clock that only a test moves, however long the machine takes."""
    page.clock.install(time=0)
    page.clock.pause_at(1_000)
    view = opened(page, address)
    view.standing = True
    return view


def test_tiles_are_figures_with_their_change(view: View) -> None:
    """Rows that are tiles become large figures; what is new changes in place, what is gone goes, and all of it is text."""
    rows = tiles.rows_of([
        Tile("mean delay", 54.46, "min", past=[20.0, 48.0], than="the hour before", better="down"),
        Tile(EVIL, EVIL, EVIL, than=EVIL),
    ])  # fmt: skip
    differ = Differ()
    view.full(**differ.different(rows), history=[], kind="function")
    shown = view.page.locator(".rta-kpi")
    expect(shown.first).to_have_text("mean delay54.5min▲ 6.5 than the hour before")
    expect(shown.first.locator("[data-trend=bad]")).to_be_visible()
    expect(shown.last).to_contain_text(EVIL)
    assert not view.page.evaluate("window.harmed")
    expect(view.page.locator(".rta-grid")).to_be_hidden()
    expect(view.page.locator(".rta-strip")).to_be_hidden()
    picture(view.page, "tiles")
    view.frame(**differ.different(tiles.rows_of([Tile("mean delay", 48.0, "min", past=[48.0])])))
    expect(shown).to_have_text(["mean delay48min= as before"])


def test_a_full_frame_is_a_picture(view: View) -> None:
    """Title, state, verdict, counts, figures and cells stand there as words."""
    assert view.sent("hello") == [{"do": "hello"}]
    view.full(marks=[{"at": vitals(20_000)["at"], "label": "broker killed"}])
    text = view.page.locator(".rta-live").inner_text()
    for words in (
        "delays", "running", "keeping up", "3 of 14,203", "1,020", "9.3", "5,000", "2 partitions", "820 ms", "10 min", "20,000",
        "12.4 MB", "618,676", "broker killed",
    ):  # fmt: skip
        assert words in text
    assert view.column(1) == [
        "2013-12-01 06:00:00",
        "2013-12-01 05:00:00.500",
        "2013-12-01 05:00:00",
    ]
    assert view.column(3) == ["null", "15", "1,234,567"]
    assert view.column(4) == ["-3.00", "9.50", "10.10"]
    tiles = view.page.locator(".rta-tile:visible")
    assert tiles.evaluate_all("all => all.map((tile) => tile.dataset.tile)") == ["events/s", "behind", "batch", "watermark", "events", "state"]  # fmt: skip
    assert view.page.locator("[data-what=quarantined]").is_hidden()
    assert view.page.locator("[data-tile='events/s'] polyline").count() == 2


def test_what_changed_is_changed_in_place_and_glows(view: View) -> None:
    """Other cells are the same elements as before; rows come, and rows that are not in the order go."""
    view.full()
    jfk = view.page.get_by_role("row", name="JFK").element_handle()
    view.frame(put=[[1, [*JFK[1][:2], 16, "9.50"]], [3, ["2013-12-01T07:00:00Z", "EWR", 1, "0.00"]]], order=[3, 2, 1], total=14_204)  # fmt: skip
    assert view.column(3) == ["1", "null", "16"]
    assert view.column(2) == ["EWR", "LGA", "JFK"]
    hot = view.page.locator(".rta-body td[class*=rta-hot]")
    assert hot.all_inner_texts() == ["2013-12-01 07:00:00", "EWR", "1", "0.00", "16"]
    assert jfk.inner_text().split("\t")[1:3] == ["JFK", "16"]
    view.frame(put=[[1, [*JFK[1][:2], 17, "9.50"]]])
    assert view.column(3) == ["1", "null", "17"]
    view.frame(verdict={"text": "falling behind: 12 s and growing", "level": "warn"})
    expect(view.page.locator(".rta-verdict")).to_have_text("falling behind: 12 s and growing")


def test_the_glow_fades_in_steps_and_is_gone(page: Page, address: str) -> None:
    """A cell that changes again glows again; nothing is animated, which would paint sixty times a second and move for who wants no motion."""
    view = standing_still(page, address)
    view.full()
    hot, warm = (page.locator(f".rta-body td.{name}") for name in ("rta-hot", "rta-warm"))
    for number in ("16", "17"):
        view.frame(put=[[1, [*JFK[1][:2], number, "9.50"]]])
        expect(hot).to_have_text([number])
        page.clock.run_for(850)
        expect(warm).to_have_text([number])
        expect(hot).to_have_count(0)
    page.clock.run_for(850)
    expect(page.locator("td[class*=rta-]")).to_have_text(["null"])
    assert page.evaluate("document.getAnimations().length") == 0


def test_a_header_sorts_by_the_type(view: View) -> None:
    """Ascending, descending, newest first again; decimals exactly, also those that a float cannot tell apart."""
    put = [EWR, JFK, LGA, [3, ["2013-12-01T07:00:00Z", "a10", "9007199254740993", "9007199254740992.2"]],
           [4, ["2013-12-01T07:00:00Z", "a9", "9007199254740992", "9007199254740992.10"]]]  # fmt: skip
    view.full(put=put, order=[4, 3, 2, 1, 0])
    order = view.column(2)
    view.header("delay").click()
    assert view.column(4) == ["-3.00", "9.50", "10.10", "9007199254740992.10", "9007199254740992.2"]
    view.header("delay").click()
    assert view.column(4)[:2] == ["9007199254740992.2", "9007199254740992.10"]
    assert view.page.locator("th[aria-sort=descending]").count() == 1
    view.header("delay").click()
    assert view.column(2) == order
    view.header("flights").click()
    assert view.column(3) == ["null", "15", "1,234,567", "9,007,199,254,740,992", "9,007,199,254,740,993"]  # fmt: skip
    view.header("origin").click()
    assert view.column(2) == ["a9", "a10", "EWR", "JFK", "LGA"]
    view.header("window").click()
    assert view.column(1)[:2] == ["2013-12-01 05:00:00", "2013-12-01 05:00:00.500"]


def test_a_filter_is_said_in_the_count(view: View) -> None:
    """Rows with the text in any cell; what is shown, held and there at all."""
    view.full()
    view.page.get_by_label("filter rows").fill("jf")
    assert view.column(2) == ["JFK"]
    assert view.counts() == "1 of 3 shown, 14,203 in all"
    view.frame(put=[[3, ["2013-12-01T07:00:00Z", "JFK", 1, "0.00"]]], order=[3, 2, 1, 0], total=4)
    assert view.column(2) == ["JFK", "JFK"]
    assert view.counts() == "2 of 4 shown"
    view.page.get_by_label("filter rows").fill("")
    assert view.counts() == "4 rows"


def test_ten_thousand_rows_are_a_few_elements(view: View) -> None:
    """What the person looks at stays where it is while rows come and go; focus and sort stay too."""
    rows = [[i, ["2013-12-01T05:00:00Z", f"row {i}", i, "0.00"]] for i in range(10_000)]
    view.full(put=rows, order=[i for i, _ in reversed(rows)], total=10_000)
    page, place = view.page, "document.querySelector('.rta-body .rta-scroller')"
    top = f"(() => {{ const at = {place}.getBoundingClientRect(); return document.elementFromPoint(at.left + 200, at.top + 60).textContent; }})()"
    assert page.locator(".rta-body tbody tr").count() < 60
    page.evaluate(f"{place}.scrollTop = 24 * 4000 + 7")
    page.wait_for_function(f"() => {top} === 'row 5998'")
    assert page.locator(".rta-body tbody tr").count() < 60

    new = [[10_000 + i, ["2013-12-01T06:00:00Z", f"row {10_000 + i}", 1, "0.00"]] for i in range(40)]  # fmt: skip
    view.frame(put=new, order=list(reversed(range(40, 10_040))))
    assert page.evaluate(top) == "row 5998"
    assert page.evaluate(f"{place}.scrollTop % 24") == 7

    view.header("flights").focus()
    page.keyboard.press("Enter")
    page.evaluate(f"{place}.scrollTop = 24 * 100")
    page.wait_for_function(f"() => {place}.querySelector('td:nth-child(3)').textContent === '88'")
    view.frame(put=[[9_000, ["2013-12-01T05:00:00Z", "row 9000", -1, "0.00"]]])
    assert page.evaluate("document.activeElement.textContent.startsWith('flights')")
    assert page.locator("th[aria-sort=ascending]").inner_text().startswith("flights")
    page.evaluate(f"{place}.scrollTop = 0")
    page.wait_for_function(f"() => {place}.querySelector('td:nth-child(3)').textContent === '-1'")


def test_a_missing_frame_is_asked_for(view: View) -> None:
    """An old frame is ignored, a gap makes the page say hello, several frames at once are one picture."""
    view.full()
    view.frame(seq=5, drawn=False, put=[[1, [*JFK[1][:2], 99, "9.50"]]])
    until(lambda: len(view.sent("hello")) == 2)
    assert view.column(3) == ["null", "15", "1,234,567"]
    view.full(seq=6)
    view.frame(seq=3, drawn=False, put=[[1, [*JFK[1][:2], 98, "9.50"]]])
    view.full(seq=4, drawn=False, title="an old one")
    acks = len(view.sent("ack"))
    view.page.evaluate("for (let seq = 7; seq < 17; seq++) deliver({seq, put: [[1, ['2013-12-01T05:00:00Z', 'JFK', seq, '9.50']]]})")  # fmt: skip
    until(lambda: view.acknowledged() == 16)
    assert len(view.sent("ack")) == acks + 1
    assert view.column(3) == ["null", "16", "1,234,567"]
    expect(view.page.locator(".rta-title")).to_have_text("delays")


def test_a_hidden_page_draws_nothing(view: View) -> None:
    """It asks for all as soon as somebody looks again; a kernel that began anew counts from 0."""
    view.full(seq=70)
    view.page.evaluate("Object.defineProperty(document, 'hidden', {get: () => window.away, configurable: true}); window.away = true")  # fmt: skip
    view.frame(drawn=False, put=[[1, [*JFK[1][:2], 99, "9.50"]]])
    view.page.evaluate("window.away = false; document.dispatchEvent(new Event('visibilitychange'))")
    until(lambda: len(view.sent("hello")) == 2)
    assert view.column(3) == ["null", "15", "1,234,567"]
    view.full(seq=0, put=[JFK], order=[1])
    assert view.column(3) == ["15"]


def test_counts_list_their_events(view: View) -> None:
    """A count is a button; the answer stands in a panel, which Escape closes."""
    view.full(vitals=vitals(61_000, quarantined=17))
    late = view.page.locator("[data-what=late]")
    late.press("Enter")
    assert view.sent("list") == [{"do": "list", "what": "late"}]
    drawer = view.page.locator(".rta-drawer")
    expect(drawer).to_contain_text("asking the kernel")
    view.frame(list={"what": "late", "columns": COLUMNS, "rows": [EWR[1], [*LGA[1][:1], EVIL, 1, "1"]], "note": "the newest 2"})  # fmt: skip
    expect(drawer.locator("td:nth-child(2)")).to_have_text(["EWR", EVIL])
    expect(drawer).to_contain_text("the newest 2")
    drawer.get_by_label("filter late").press("Escape")
    expect(drawer).to_be_hidden()
    expect(late).to_be_focused()
    view.page.locator("[data-what=quarantined]").click()
    view.frame(
        list={"what": "late", "columns": COLUMNS, "rows": [EWR[1]]}
    )  # an answer that came too late
    expect(drawer.locator("td")).to_have_count(0)
    view.frame(list={"what": "quarantined", "columns": COLUMNS, "rows": []})
    expect(drawer).to_contain_text("none")


def test_partitions_are_listed_and_move(view: View) -> None:
    """The records behind stand by partition in the same panel."""
    view.full()
    view.page.get_by_role("button", name="2 partitions").click()
    figures = view.page.locator(".rta-drawer td:nth-child(3)")
    expect(figures).to_have_text(["3,000", "2,000"])
    view.frame(vitals=vitals(61_000, lag={"flights": [2999, 0]}))
    expect(figures).to_have_text(["2,999", "0"])


def test_silence_is_said(page: Page, address: str) -> None:
    """After ten seconds without a frame the picture is grey and old; a view that was stopped is not."""
    view = standing_still(page, address)
    view.full()
    grey = page.locator(".rta-live.rta-stale")
    page.clock.fast_forward(9_000)
    expect(grey).to_have_count(0)
    page.clock.fast_forward(14_000)
    expect(view.note()).to_contain_text("no news for 23 s: is the kernel alive? the picture is of")
    expect(grey).to_have_count(1)
    picture(page, "page-stale")
    view.frame(verdict={"text": "keeping up", "level": "good"})
    expect(grey).to_have_count(0)
    expect(view.note()).to_be_hidden()
    view.frame(state="stopped", verdict={"text": "stopped", "level": "idle"})
    page.clock.fast_forward(60_000)
    expect(grey).to_have_count(0)


def test_a_kernel_that_is_gone(view: View) -> None:
    """What cannot be sent, and a channel that closes, are said at once."""
    view.full()
    view.page.evaluate("end(); start(true)")
    expect(view.note()).to_contain_text("the kernel is gone")
    assert view.page.locator(".rta-live").count() == 1


def test_buttons(page: Page, address: str) -> None:
    """Each asks once, says what it waits for, and offers what can be done next."""
    view = standing_still(page, address)
    view.full()
    pause, stop = (page.get_by_role("button", name=name) for name in ("pause", "stop"))
    pause.click()
    assert view.sent("pause") == [{"do": "pause"}]
    expect(view.note()).to_have_text("pausing…")
    page.clock.fast_forward(4_000)
    expect(view.note()).to_contain_text("is a cell running?")
    view.frame(state="paused")
    expect(view.note()).to_be_hidden()
    page.get_by_role("button", name="resume").click()
    view.frame(state="running")
    stop.click()
    view.frame(state="stopped")
    stop.press("Enter")  # there is nothing to stop any more
    assert [each["do"] for each in page.evaluate("sent") if each["do"] not in {"hello", "ack"}] == ["pause", "resume", "stop"]  # fmt: skip
    page.get_by_role("button", name="restart").click()
    expect(view.note()).to_have_text("restarting…")
    view.full(can=[])
    expect(page.locator(".rta-buttons button:visible")).to_have_count(0)


def test_data_is_text_everywhere(view: View) -> None:
    """Markup in whatever comes from the kernel stays text."""
    view.full(
        title=EVIL, kind=EVIL, verdict={"text": EVIL, "level": EVIL}, columns=[{"name": EVIL, "type": "text"}, {"name": EVIL, "type": EVIL}],
        put=[[0, [EVIL, EVIL]]], order=[0], marks=[{"at": vitals(59_000)["at"], "label": EVIL}],
        vitals=vitals(60_000, lag={EVIL: [1]}, watermark=EVIL),
    )  # fmt: skip
    view.page.get_by_role("button", name="1 partition").click()
    view.frame(list={"what": "late", "columns": [], "rows": [], "note": EVIL})
    view.header(EVIL).first.click()
    view.page.locator(".rta-scroller").last.hover()
    assert view.page.locator("img").count() == 0
    assert view.page.evaluate("window.harmed") is None
    assert view.column(1) == [EVIL]
    expect(view.page.locator(".rta-title")).to_have_text(EVIL)


def test_a_replay_has_speed_and_seek(view: View) -> None:
    """They stand there only for what can be steered, send what a person typed, and do not type over him."""
    speed, seek = view.page.get_by_label("speed"), view.page.get_by_label("seek")
    view.full()
    expect(speed).to_be_hidden()
    at = "2013-01-05 07:00"
    view.full(can=["pause", "stop", "speed", "seek"], controls={"speed": 600, "at": at})
    expect(speed).to_have_value("600")
    expect(seek).to_have_attribute("placeholder", at)
    expect(view.page.get_by_role("button", name="restart")).to_be_hidden()
    speed.fill("3600")
    view.frame(controls={"speed": 900, "at": at})
    expect(speed).to_have_value("3600")
    speed.press("Enter")
    seek.fill("2013-01-06 12:00")
    seek.press("Enter")
    assert view.sent("speed") == [{"do": "speed", "value": 3600}]
    assert view.sent("seek") == [{"do": "seek", "value": "2013-01-06 12:00"}]
    expect(speed).to_have_value("900")
    picture(view.page, "page-replay")
    view.frame(state="ended")
    expect(speed).to_be_hidden()


def test_the_keyboard_alone(view: View) -> None:
    """Tab reaches each button, the counts, the filter, the headers and the rows, and it is seen where one is."""
    view.full()
    focused = "(() => { const at = document.activeElement; return at.getAttribute('aria-label') ?? at.textContent; })()"
    reached = []
    for _ in range(12):
        view.page.keyboard.press("Tab")
        reached.append(view.page.evaluate(focused))
        assert view.page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
        if reached[-1] == "stop delays":
            view.page.keyboard.press("Enter")
        if reached[-1] == "flights":
            view.page.keyboard.press("Space")
    assert reached == [
        "pause delays", "stop delays", "restart delays", "2 partitions", "618,676late", "0duplicate",
        "filter rows", "rows, rows", "window", "origin", "flights", "delay",
    ]  # fmt: skip
    assert view.sent("stop") == [{"do": "stop"}]
    assert view.column(3) == ["null", "15", "1,234,567"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_light_and_dark_narrow_and_wide(
    chromium: Browser, address: str, scheme: str, width: int
) -> None:
    """It has the colours that the person prefers, and fits a phone."""
    with offline(chromium, viewport={"width": width, "height": 900}, color_scheme=scheme) as context:  # fmt: skip
        view = opened(context.new_page(), address)
        view.full(verdict={"text": "falling behind: 12 s and growing", "level": "warn"})
        picture(view.page, f"page-{scheme}-{width}")
        light = view.page.evaluate("getComputedStyle(document.querySelector('.rta-live')).backgroundColor")  # fmt: skip
        assert light == ("rgb(255, 255, 255)" if scheme == "light" else "rgb(20, 23, 28)")
        assert view.page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_view_that_is_removed_leaves_nothing(view: View) -> None:
    """It hears nothing, asks nothing and holds no element."""
    view.full()
    view.page.evaluate("end()")
    view.frame(drawn=False, put=[[1, [*JFK[1][:2], 99, "9.50"]]])
    view.page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    assert view.page.locator("#host > *").count() == 0
    assert view.page.evaluate("sent.length") == 2  # hello and one picture


CHART: Final = {
    "$schema": "https://vega.github.io/schema/vega-lite/v6.json", "data": {"name": "rta"}, "mark": "bar",
    "encoding": {
        "x": {"field": "origin", "type": "nominal"}, "y": {"field": "flights", "type": "quantitative"},
        "color": {"field": "origin", "type": "nominal"}, "tooltip": [{"field": "origin"}, {"field": "flights"}],
    },
}  # fmt: skip


def bars(**flights: int) -> list[dict[str, object]]:
    """Return the rows of the chart."""
    return [{"origin": name, "flights": n} for name, n in flights.items()]


@pytest.fixture(scope="module")
def charted(folder: Path) -> Iterator[str]:
    """Serve the page with Vega in it, as a cell with a chart has it."""
    from vl_convert import javascript_bundle

    made = folder / "charted"
    made.mkdir()
    shutil.copy(folder / "page.html", made)
    (made / "live.js").write_text(javascript_bundle(MODULE.read_text(), vl_version="6.4"))
    with served(made) as url:
        yield f"{url}/page.html"


def test_a_chart_follows_the_data(page: Page, charted: str) -> None:
    """One canvas for all updates; an axis grows at once and shrinks late; the legend and the tooltip are text."""
    view = opened(page, charted)
    view.full(spec=CHART, values=[])
    expect(page.locator(".rta-chart")).to_contain_text("no rows to draw yet")
    view.frame(values=bars(EWR=10, JFK=80))
    canvas = page.locator(".rta-chart canvas").element_handle()
    top = "document.querySelector('.rta-chart').rtaView.view.scale('y').domain()[1]"
    size = "JSON.stringify(document.querySelector('.rta-chart').getBoundingClientRect())"
    assert page.evaluate(top) == 80
    before = page.evaluate(size)
    for values, expected in ((bars(EWR=10, JFK=160), 160), (bars(EWR=90), 160), (bars(EWR=20), 20)):
        view.frame(values=values)
        page.wait_for_function(f"top => {top} === top", arg=expected)
    assert page.evaluate(size) == before
    assert canvas.evaluate("canvas => canvas.isConnected")

    view.frame(values=[{"origin": EVIL, "flights": 20}])
    box = page.locator(".rta-chart canvas").bounding_box()
    assert box
    page.wait_for_function("() => document.querySelector('.rta-chart').rtaView.view.data('rta')[0].origin.startsWith('<img')")  # fmt: skip
    page.mouse.move(box["x"] + box["width"] / 4, box["y"] + box["height"] / 6, steps=3)
    expect(page.locator("#vg-tooltip-element")).to_contain_text(EVIL)
    assert page.locator("img").count() == 0

    page.emulate_media(color_scheme="dark")
    page.wait_for_function("canvas => !canvas.isConnected", arg=canvas)
    view.frame(values=bars(EWR=20, JFK=30, LGA=7))
    picture(page, "page-chart-dark")
    view.frame(spec=CHART | {"mark": "nonsense"})
    expect(page.locator(".rta-chart")).to_contain_text("the chart cannot be drawn")


def test_what_is_out_of_view_is_not_drawn(view: View) -> None:
    """Frames are taken in and acknowledged; the picture comes when the person scrolls to it."""
    view.full()
    view.page.evaluate("document.body.style.paddingTop = '3000px'")
    view.page.wait_for_function("() => document.querySelector('#host').getBoundingClientRect().top > 2000")  # fmt: skip
    view.page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")  # fmt: skip
    view.frame(put=[[1, [*JFK[1][:2], 16, "9.50"]]])
    assert view.column(3) == ["null", "15", "1,234,567"]
    view.page.locator(".rta-live").scroll_into_view_if_needed()
    view.page.wait_for_function("() => document.querySelector('.rta-live').innerText.includes('16')")  # fmt: skip
    assert view.column(3) == ["null", "16", "1,234,567"]


def test_other_columns_begin_anew(view: View) -> None:
    """A frame with other columns replaces header, types and widths; NaN is the greatest number."""
    view.full()
    put = [[0, ["NaN", "EWR"]], [1, [2.5, "JFK"]], [2, [None, "LGA"]]]
    columns = [{"name": "mean", "type": "number"}, {"name": "origin", "type": "text"}]
    view.full(columns=columns, put=put, order=[0, 1, 2], total=None)
    assert view.page.locator(".rta-body th button").all_inner_texts() == ["mean", "origin"]
    assert view.counts() == "3 rows"
    view.header("mean").click()
    assert view.column(1) == ["null", "2.5", "NaN"]
    assert view.page.locator(".rta-body td[data-type=number]").count() == 3
