"""rta.live in real JupyterLab, over the real broker and Spark: what a person sees, presses and leaves."""

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.display.browser import picture
from tests.display.lab import Lab
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


def test_a_person_watches_steers_and_leaves(
    jupyterlab: Lab, context: BrowserContext, page: Page
) -> None:
    """From the first row to the picture that stays: arrivals, buttons, hostile text, the end, a restart."""
    cells = [
        START,
        TABLE,
        "more(user_id=4001)",
        STREAM,
        'more(event_id="<img src=x onerror=alert(1)>")',
        "view.stop()",
    ]
    notebook = jupyterlab.open(page, "watched.ipynb", cells)
    for cell in (0, 1):
        notebook.run(cell)
        notebook.wait_executed(cell)
    live, stream = page.locator(".rta-live").nth(0), page.locator(".rta-live").nth(1)
    expect(live.locator("td").first).to_be_visible()
    expect(live.locator("canvas, svg.marks").first).to_be_visible()

    # The table and the chart change as events arrive.
    before = live.locator(".rta-chart, .vega-embed").first.screenshot()
    notebook.run(2)
    expect(live.locator("td", has_text="4,001")).to_be_visible()
    until(lambda: live.locator(".rta-chart, .vega-embed").first.screenshot() != before)

    # A stream needs nothing else; what comes from events is text.
    notebook.run(3)
    notebook.wait_executed(3)
    stream.scroll_into_view_if_needed()  # what is out of view is not drawn
    expect(stream.locator("td").first).to_be_visible()
    notebook.run(4)
    expect(stream.locator("td", has_text="<img src=x onerror=alert(1)>")).to_be_visible()
    assert page.locator("img[src=x]").count() == 0
    picture(page, "live-lab")

    # Pause holds, stop stops the query, restart goes on: by keyboard.
    live.scroll_into_view_if_needed()
    notebook.wait_idle()
    for button, state in (
        ("pause", "paused"),
        ("resume", "running"),
        ("stop", "stopped"),
        ("restart", "running"),
    ):
        live.get_by_role("button", name=button).first.press("Enter")
        expect(live.locator(".rta-state")).to_have_text(state)

    # At its end a view leaves a picture in place of what looks alive.
    notebook.run(5)
    notebook.wait_executed(5)
    expect(page.locator(".rta-live")).to_have_count(1)
    expect(page.locator('.jp-OutputArea-output img[src^="data:image/png"]').first).to_be_visible()
    picture(page, "live-lab-left")

    notebook.restart()
    expect(page.locator(".rta-note")).to_contain_text("the kernel is gone")
