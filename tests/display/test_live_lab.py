"""rta.live in real JupyterLab, over the real broker and Spark: what a person sees, presses and leaves."""

import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from playwright.sync_api import Browser, Locator, Page, expect

import rta
from tests.display.browser import offline, picture
from tests.display.lab import Lab, Notebook
from tests.support.waiting import until

pytestmark = pytest.mark.kafka

START = """import altair as alt
import rta
from rta.transforms import totals

spark = rta.spark(conf={"spark.ui.enabled": "false"})
rta.publish(rta.user_events(spark, rows=200), "watched", partitions=1)
query = rta.follow("watched", totals, table="watched", key=["window", "user_id"], event=rta.USER_EVENTS)
query.processAllAvailable()
count = iter(range(1_000_000))

def more(**fields):
    event = {"event_id": f"new-{next(count)}", "user_id": 7, "action": "view", "amount": "1.50", "timestamp": "2024-11-15T10:36:01Z"}
    rta.publish([event | fields], "watched")
"""
TABLE = """view = rta.live("watched", chart=alt.Chart().mark_bar().encode(x="window_start:O", y="sum(event_count):Q"))
view"""
STREAM = 'stream = rta.live(rta.read_stream("watched", event=rta.USER_EVENTS), limit=3)\nstream'
FOREVER = """from pathlib import Path
Path("waiting").touch()
rta.queries()["watched"].query.awaitTermination()
"""
QUERIES = "print(sorted(each.name for each in spark.streams.active))"
AFTER = "import rta\nprint(rta.queries()['watched'].state)"


@pytest.fixture(scope="module")
def watched(lab_server: Lab, chromium: Browser) -> Iterator[Notebook]:
    """Open a notebook that watches a table and a stream."""
    cells = [
        START, TABLE, STREAM, "more(user_id=4001)", 'more(event_id="<img src=x onerror=alert(1)>")', FOREVER, "more(user_id=4002)",
        QUERIES, "view.stop()", AFTER, "import os\nprint(os.getpid())", "more(user_id=4003)",
        'laboratory = rta.lab("watched")\nlaboratory', "laboratory.close()",
    ]  # fmt: skip
    with offline(chromium) as context:
        notebook = lab_server.open(context.new_page(), "watched.ipynb", cells)
        for cell in range(3):
            notebook.run(cell)
            notebook.wait_executed(cell)
        yield notebook
    lab_server.close_kernels()


def test_a_person_watches_and_steers(watched: Notebook) -> None:
    """Table, chart and stream move as events arrive, hostile text is text, and each button does what it says."""
    table, stream = views(watched.page)
    chart = table.locator(".rta-chart, .vega-embed").first
    expect(table.locator("td").first).to_be_visible()
    expect(table.locator("canvas, svg.marks").first).to_be_visible()
    before = chart.screenshot()
    watched.run(3)
    wait_drawn(table, "4,001")
    until(lambda: chart.screenshot() != before)

    watched.run(4)
    wait_drawn(stream, "<img src=x onerror=alert(1)>")
    assert watched.page.locator("img[src=x]").count() == 0
    picture(watched.page, "live-lab")

    # Pause holds, stop stops the query, restart goes on: by keyboard.
    table.scroll_into_view_if_needed()
    watched.wait_idle()
    for button in ("pause", "resume", "stop", "restart"):
        press(table, button)


def test_the_buttons_of_a_laboratory(watched: Notebook) -> None:
    """Each press is an experiment in the table under the buttons, and a mark on the view of the table."""
    watched.run(12)
    table, _ = views(watched.page)
    for label, row in (("poison", "quarantined"), ("copies", "used")):
        button = watched.page.get_by_role("button", name=label, exact=True)
        button.click()
        done = watched.page.locator("tr", has_text=label).first
        expect(done).to_contain_text(row)
        expect(button).to_be_enabled()
        wait_drawn(table, label, within=".rta-marked")
    picture(watched.page, "live-lab-laboratory")
    watched.run_to_end(13)


@pytest.mark.parametrize("seconds", [20, pytest.param(3_600, marks=pytest.mark.soak)])
def test_the_lid_is_shut(watched: Notebook, seconds: int) -> None:
    """Nothing of it runs meanwhile, broker and page included; then queries and views go on by themselves, and miss no event."""
    table, stream = views(watched.page)
    kernel = psutil.Process(int(said(watched, 10)))
    machine = [parent for parent in [kernel.parent()] if parent]
    machine += machine[0].children(recursive=True)
    machine.append(psutil.Process(rta.kafka.up().pid))
    page = watched.page.context.new_cdp_session(watched.page)
    page.send("Page.setWebLifecycleState", {"state": "frozen"})
    for process in machine:
        process.suspend()
    time.sleep(seconds)
    for process in machine:
        process.resume()
    page.send("Page.setWebLifecycleState", {"state": "active"})
    watched.run_to_end(11)
    assert "Traceback" not in watched.text(11)
    for view in (table, stream):
        wait_drawn(view, "4,003")
        expect(view.locator(".rta-state")).to_have_text("running")
    assert said(watched, 7) == "['live_1', 'watched']"


def test_nothing_is_left_that_nobody_looks_at(watched: Notebook, lab_server: Lab) -> None:
    """An interrupt, a second run, two tabs, the end and a restart of the kernel: no query is left, no picture looks alive that is not."""
    page = watched.page
    _, stream = views(page)

    # An interrupt ends the cell that runs: queries and views go on.
    watched.run(5)
    until(Path(lab_server.folder, "waiting").exists)
    watched.interrupt()
    until(lambda: "KeyboardInterrupt" in watched.text(5))
    watched.wait_idle()  # until then the kernel drops what it is asked, as after each error
    watched.run(6)
    wait_drawn(stream, "4,002")
    assert said(watched, 7) == "['live_1', 'watched']"

    # A cell that runs again has one view and one query, the new ones.
    watched.run(2)
    until(lambda: said(watched, 7) == "['live_2', 'watched']")
    expect(page.locator(".rta-live")).to_have_count(2)
    wait_drawn(stream, "4,002")

    # Two tabs show the same, and what is pressed in one is seen in the other.
    watched.save()
    second = lab_server.visit(page.context.new_page(), watched.name)
    for tab, button in ((second.page, "pause"), (page, "resume")):
        table, _ = views(tab)
        wait_drawn(table, "4,002")
        press(table, button)
    there, stream = views(second.page)
    expect(there.locator(".rta-state")).to_have_text("running")
    picture(second.page, "live-lab-second")

    # At its end a view leaves a picture in place of what looks alive; in the other tab it says that it has ended.
    watched.run(8)
    watched.wait_executed(8)
    expect(page.locator(".rta-live")).to_have_count(1)
    expect(page.locator('.jp-OutputArea-output img[src^="data:image/png"]').first).to_be_visible()
    expect(there.locator(".rta-state")).to_have_text("ended")
    expect(there.get_by_role("button", name="restart")).to_be_hidden()
    picture(page, "live-lab-left")

    # A tab that is closed takes nothing with it; a restart of the kernel ends all queries, and what is left of a view says so.
    page.close()
    second.run(6)
    wait_drawn(stream, "4,002", times=2)
    second.restart()
    expect(second.page.locator(".rta-note").last).to_contain_text("the kernel is gone")
    picture(second.page, "live-lab-restarted")
    until(lambda: said(second, 9) == "stopped")


def views(page: Page) -> tuple[Locator, Locator]:
    """Return the view of the table and that of the stream."""
    return page.locator(".rta-live").nth(0), page.locator(".rta-live").nth(1)


def wait_drawn(view: Locator, text: str, times: int = 1, within: str = "td") -> None:
    """Wait until a view has drawn a text, and keep it in sight: what is out of it is not drawn, and JupyterLab scrolls to what runs."""

    def drawn() -> bool:
        view.scroll_into_view_if_needed()
        return view.locator(within, has_text=text).count() == times

    until(drawn)


def press(view: Locator, button: str) -> None:
    """Press a button of a view, and wait until its state tells of it."""
    states = {"pause": "paused", "resume": "running", "stop": "stopped", "restart": "running"}
    view.get_by_role("button", name=button).first.press("Enter")
    expect(view.locator(".rta-state")).to_have_text(states[button])


def said(notebook: Notebook, cell: int) -> str:
    """Run a cell, and return what it prints."""
    notebook.run_to_end(cell)
    return notebook.text(cell).strip()
