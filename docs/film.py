"""Take the pictures of README from real runs: a live cell in real JupyterLab as a film, and the dashboard of flights.

    python -m docs.film [live] [dashboard]

Needs a Chromium, as the tests of live views do.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from PIL import Image

from tests.display import browser, lab
from tests.display.browser import ROOT
from tests.support.waiting import finished, until

FRAMES: Final = 40
PAUSE: Final = 500  # milliseconds from one frame to the next, filmed and shown
COLOURS: Final = 128

FLIGHTS: Final = ROOT / "notebooks" / "5-operations" / "01-build-a-dashboard.ipynb"

START: Final = """import altair as alt
import rta
from pyspark.sql import functions as F

spark = rta.spark()
day = rta.flights(spark).where("reported_at < '2013-01-02 05:00'").orderBy("reported_at")

def delays(flights):
    hours = flights.withWatermark("event_time", "2 hours").groupBy(F.window("event_time", "1 hour"), "origin")
    return hours.agg(F.count("*").alias("flights"), F.sum("delay_minutes").alias("minutes_late"))

rta.kafka.create_topic("flights", partitions=1)
query = rta.follow("flights", delays, table="delays", key=["window", "origin"])
query.processAllAvailable()"""
WATCH: Final = """bars = alt.Chart(width=420, height=230).mark_bar().encode(
    x=alt.X("hours(window_start):T", title="scheduled hour"), y=alt.Y("sum(flights):Q", title="flights"), color="origin:N")
rta.live("delays", chart=bars)"""
PLAY: Final = (
    'playing = rta.replay(day, into="flights", event=rta.FLIGHTS, speed=3_600, wait=False)'
)


@contextmanager
def clean_home() -> Iterator[Path]:
    """Lend a folder with an RTA_HOME of its own, and end the broker that was started in it."""
    with tempfile.TemporaryDirectory(prefix="rta-film-") as folder:
        os.environ["RTA_HOME"] = str(Path(folder, "home"))
        try:
            yield Path(folder)
        finally:
            from rta.kafka import broker

            broker.down()


def live(path: Path) -> None:
    """Run cells in JupyterLab, and keep what the page shows as an animated GIF."""
    size = {"width": 1120, "height": 780}
    with (
        clean_home() as folder, lab.started(folder / "lab") as server,
        browser.started() as chrome, browser.offline(chrome, viewport=size) as context,
    ):  # fmt: skip
        page = context.new_page()
        notebook = server.open(page, "watch.ipynb", [START, PLAY, WATCH])
        notebook.command("application:toggle-left-area")
        for cell in (0, 1, 2):
            notebook.run(cell)
            notebook.wait_executed(cell)
        page.evaluate("() => void jupyterapp.shell.currentWidget.content.scrollToItem(2, 'start')")
        view = notebook.wait_for(".rta-live")
        view.evaluate("each => each.closest('.jp-Cell').scrollIntoView()")
        notebook.wait_for(".rta-live td")  # what is out of view is not drawn
        shots = []
        for _ in range(FRAMES):
            shots.append(Image.open(io.BytesIO(page.screenshot())))
            page.wait_for_timeout(PAUSE)
    first, *rest = [each.convert("P", palette=Image.Palette.ADAPTIVE, colors=COLOURS) for each in shots]  # fmt: skip
    first.save(path, save_all=True, append_images=rest, duration=PAUSE, loop=0, optimize=True)


def dashboard(path: Path) -> None:
    """Serve the dashboard of flights; keep a picture of it in the afternoon, wide and light, and beside it others for us to look at."""
    from rta import dashboards

    with clean_home():
        command = [sys.executable, "-m", "rta.cli", "dashboard", str(FLIGHTS), "-p", "speed=900", "--name", "flights"]  # fmt: skip
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            until(lambda: [each.name for each in dashboards.running()], server)
            with browser.started() as chrome:
                looks = [
                    (path, {"width": 1360, "height": 1180}, "light"),
                    (browser.SCREENSHOTS / "flights-dark.png", {"width": 1360, "height": 1180}, "dark"),
                    (browser.SCREENSHOTS / "flights-phone.png", {"width": 390, "height": 844}, "light"),
                    (browser.SCREENSHOTS / "flights-phone-dark.png", {"width": 390, "height": 844}, "dark"),
                ]  # fmt: skip
                browser.SCREENSHOTS.mkdir(parents=True, exist_ok=True)
                for kept, size, scheme in looks:
                    with browser.offline(chrome, viewport=size, color_scheme=scheme) as context:
                        page = context.new_page()
                        page.goto(dashboards.link("flights"))
                        page.wait_for_function(
                            "() => document.querySelector('.rta-kpi b')?.textContent >= '19:00'"
                        )
                        page.wait_for_timeout(2_000)  # charts
                        shot = Image.open(io.BytesIO(page.screenshot(full_page=True)))
                        shot.convert("P", palette=Image.Palette.ADAPTIVE, colors=256).save(kept, optimize=True)  # fmt: skip
        finally:
            server.terminate()
            finished(server)


PICTURES: Final = {"live": (live, "live.gif"), "dashboard": (dashboard, "dashboard.png")}

if __name__ == "__main__":
    for name in sys.argv[1:] or PICTURES:
        take, file = PICTURES[name]
        take(ROOT / "docs" / "_static" / file)
