"""Film a live cell in real JupyterLab, over the real broker and Spark: the moving picture at the top of README.

    python -m docs.film [FILE.gif]

Needs a Chromium, as the tests of live views do.
"""

from __future__ import annotations

import io
import os
import sys
import tempfile
from pathlib import Path
from typing import Final

from PIL import Image

from tests.display import browser, lab
from tests.display.browser import ROOT

FRAMES: Final = 40
PAUSE: Final = 500  # milliseconds from one frame to the next, filmed and shown
COLOURS: Final = 128

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


def film(path: Path) -> None:
    """Run the notebook, and keep what the page shows as an animated GIF."""
    with tempfile.TemporaryDirectory(prefix="rta-film-") as folder:
        os.environ["RTA_HOME"] = str(Path(folder, "home"))
        with lab.started(Path(folder, "lab")) as server, browser.started() as chrome:
            size = {"width": 1120, "height": 780}
            with browser.offline(chrome, viewport=size) as context:
                page = context.new_page()
                notebook = server.open(page, "watch.ipynb", [START, PLAY, WATCH])
                notebook.command("application:toggle-left-area")
                for cell in (0, 1, 2):
                    notebook.run(cell)
                    notebook.wait_executed(cell)
                page.evaluate(
                    "() => void jupyterapp.shell.currentWidget.content.scrollToItem(2, 'start')"
                )
                view = notebook.wait_for(".rta-live")
                view.evaluate("each => each.closest('.jp-Cell').scrollIntoView()")
                notebook.wait_for(".rta-live td")  # what is out of view is not drawn
                shots = []
                for _ in range(FRAMES):
                    shots.append(Image.open(io.BytesIO(page.screenshot())))
                    page.wait_for_timeout(PAUSE)
        from rta.kafka import broker

        broker.down()
    first, *rest = [each.convert("P", palette=Image.Palette.ADAPTIVE, colors=COLOURS) for each in shots]  # fmt: skip
    first.save(path, save_all=True, append_images=rest, duration=PAUSE, loop=0, optimize=True)


if __name__ == "__main__":
    film(Path(sys.argv[1]) if sys.argv[1:] else ROOT / "docs" / "_static" / "live.gif")
