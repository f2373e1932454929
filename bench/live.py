"""Live views as people see them: real JupyterLab and dashboards in a real Chromium, over the real broker and Spark.

`bench.latency` sends by an open-loop clock. Here a result is visible once the page has drawn it: a script in the page looks at each
row that changed, one frame of the browser later.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from bench.child import Setup, timed
from bench.drain import article_session, printed
from bench.latency import _send, latencies, percentiles, sent_to

if TYPE_CHECKING:
    import psutil
    from playwright.sync_api import CDPSession, Page

    from tests.display.lab import Notebook

RATES: Final = (200, 1_000)  # events a second
WARM, MEASURED = 15, 30  # seconds; those of the first are sent and not counted
PATIENCE: Final = 60  # seconds for the last result
SEEN_USERS: Final = 10  # a row for each: as many as a person sees without scrolling
TURNS, TURN = 6, 10  # so many times with and without a view, for so many seconds
MB: Final = 1e6

START: Final = """import json
import rta
spark = rta.spark(conf={"spark.ui.enabled": "false", "spark.sql.streaming.numRecentProgressUpdates": "100000"})
how = {"key": ["window", "user_id"], "event": rta.USER_EVENTS}
"""
FOLLOW: Final = """query = rta.follow({topic!r}, rta.transforms.totals, table={table!r}, **how)
query.processAllAvailable()"""
KAPPA: Final = """wired = rta.kappa({topic!r}, rta.transforms.totals, table={table!r}, real_time="5 minutes", **how)
wired.catch_up()"""
LIVE: Final = "view = rta.live({table!r}, limit=400{more})\nview"
STOP: Final = "view.stop()\nfor each in spark.streams.active: each.stop()"
WATCH: Final = """() => {
  const known = new Map();
  window.rtaSeen = [];
  const look = (rows) => {
    const at = Date.now(), names = [...document.querySelectorAll('.rta-body th span')].map((each) => each.textContent);
    const [start, user, count] = ['window_start', 'user_id', 'event_count'].map((name) => names.indexOf(name));
    for (const tr of rows) {
      const cells = [...tr.children].map((each) => each.textContent), n = Number((cells[count] ?? '').replaceAll(',', ''));
      const key = `${cells[start]}|${cells[user]}`;
      if (!n || known.get(key) >= n) continue;
      known.set(key, n);
      rtaSeen.push([at / 1000, Date.parse(`${cells[start].replace(' ', 'T')}Z`) * 1000, Number(cells[user].replaceAll(',', '')), n]);
    }
  };
  new MutationObserver((changes) => {
    const nodes = changes.flatMap(({target, addedNodes}) => [target, ...addedNodes]);
    const rows = new Set(nodes.map((each) => (each.closest ? each : each.parentElement)?.closest('.rta-body tbody tr')).filter(Boolean));
    if (rows.size) requestAnimationFrame(() => look(rows));
  }).observe(document.body, {subtree: true, childList: true, characterData: true});
}"""
ALL_DRAWN: Final = ".rta-live .rta-body .rta-scroller { max-height: none; height: 6000px; }"
SCROLL: Final = """async ([seconds, step]) => {
  const place = document.querySelector('.rta-body .rta-scroller'), began = performance.now(), times = [];
  while (performance.now() - began < seconds * 1000) {
    place.scrollTop += step;
    if (place.scrollTop + place.clientHeight >= place.scrollHeight - 1) place.scrollTop = 0;
    await new Promise(requestAnimationFrame);
    times.push(performance.now());
  }
  return {frames: times.length, per_s: Math.round(1000 * (times.length - 1) / (times.at(-1) - times[0]))};
}"""
FIRST: Final = (
    "() => [...document.querySelectorAll('.rta-live tbody td')].some((each) => each.textContent)"
)


# ---------------------------------------------------------------- from append to visible


def table(_: Setup, scratch: Path) -> None:
    """Measure a table of rta.follow(), at the default of four looks a second."""
    _each_rate(scratch, FOLLOW, "")


def real_time(_: Setup, scratch: Path) -> None:
    """Measure a table of rta.kappa() in real-time mode, looked at twenty times a second."""
    _each_rate(scratch, KAPPA, ", every=0.05")


def _each_rate(scratch: Path, start: str, more: str) -> None:
    runs = [(rate, f"live-{uuid4().hex[:8]}") for rate in RATES]
    cells = [START]
    for _, topic in runs:
        names = {"topic": topic, "table": topic.replace("-", "_"), "more": more}
        cells += [start.format(**names), LIVE.format(**names), STOP]
    with _lab(scratch, cells) as notebook:
        notebook.run_to_end(0)
        notebook.page.add_style_tag(content=ALL_DRAWN)
        for at, (rate, topic) in enumerate(runs):
            _prepare(topic)
            notebook.page.evaluate(WATCH)
            for cell in (1, 2):
                notebook.run_to_end(3 * at + cell)
            after = time.time() + WARM
            phase, behind = timed(
                f"{rate:,} events/s", partial(_send, topic, rate, WARM + MEASURED, SEEN_USERS)
            )
            sent = sent_to(topic)
            results = _drawn(notebook.page, len(sent))
            notebook.run_to_end(3 * at + 3)
            found = latencies(sent, results)
            counted = [ms for (_, when), ms in zip(sent, found, strict=True) if when >= after]
            missing = sum(each is None for each in counted)
            phase.tell(
                fault=f"WRONG: {missing} of {len(counted)} events were not seen" if missing else "",
                figures={} if missing else percentiles(counted) | {"behind_ms": behind * 1000},
            )


def _prepare(topic: str) -> None:
    """Make a topic with some events, so that its table is there at once."""
    import rta

    rta.kafka.create_topic(topic, partitions=4)
    _send(topic, 100, 1, SEEN_USERS)


def _drawn(page: Page, events: int) -> list[tuple[float, tuple[int, int], int]]:
    """Wait until the page shows so many events, or patience ends; return when it showed which count."""
    deadline = time.monotonic() + PATIENCE
    while True:
        seen = [(at, (start, user), count) for at, start, user, count in page.evaluate("rtaSeen")]
        last = {key: count for _, key, count in seen}
        if sum(last.values()) >= events or time.monotonic() > deadline:
            return seen
        time.sleep(0.2)


@contextmanager
def _arriving(topic: str, rate: int) -> Iterator[None]:
    """Let events arrive until the block ends."""
    command = [sys.executable, "-m", "bench.sender", topic, str(rate), "7200"]
    sender = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        yield
        if sender.poll() is not None:
            raise RuntimeError("the sender ended")
    finally:
        sender.terminate()
        sender.wait()


# ---------------------------------------------------------------- what a view costs


def beside(_: Setup, scratch: Path) -> None:
    """Let a query take a hundred events at a time, with a view of its table and without, in turns."""
    topic = f"live-{uuid4().hex[:8]}"
    name = topic.replace("-", "_")
    small = FOLLOW.format(topic=topic, table=name).replace("**how", "**how, max_events_per_batch=100").splitlines()[0]  # fmt: skip
    tell = 'print(json.dumps([[p["timestamp"], p["durationMs"]["triggerExecution"]] for p in query.recentProgress if p["numInputRows"]]))'
    with _lab(scratch, [START, small, LIVE.format(table=name, more=""), "view.stop()", tell]) as notebook:  # fmt: skip
        _prepare(topic)
        notebook.run_to_end(0)
        _send(topic, 3_000, 30)
        notebook.run_to_end(1)
        time.sleep(2 * TURN)  # classes load, code is compiled
        phase, spans = timed("with the view", partial(_in_turns, notebook))
        notebook.run_to_end(4)
        took = [(datetime.fromisoformat(at).timestamp(), ms) for at, ms in json.loads(notebook.text(4))]  # fmt: skip
    for name, which in (("with the view", 0), ("without", 1)):
        found = [ms for at, ms in took if any(began <= at < ended - 1 for began, ended in spans[which])]  # fmt: skip
        fault = "" if len(found) >= TURNS else f"the topic was empty too soon: {len(found)} micro-batches"  # fmt: skip
        replace(phase, name=name).tell(fault=fault, figures={} if fault else {"batch_ms": median(found), "batches": len(found)})  # fmt: skip


def _in_turns(notebook: Notebook) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
    """Return when there was a view, and when there was none."""
    spans: tuple[list[tuple[float, float]], list[tuple[float, float]]] = ([], [])
    for _ in range(TURNS):
        for which, cell in enumerate((2, 3)):
            notebook.run_to_end(cell)
            began = time.time()
            time.sleep(TURN)
            spans[which].append((began, time.time()))
    return spans


def minutes(setup: Setup, scratch: Path) -> None:
    """Watch a table at a thousand events a second; compare the memory of the last third with that of the first."""
    topic = f"live-{uuid4().hex[:8]}"
    names = {"topic": topic, "table": topic.replace("-", "_"), "more": ""}
    seconds = 60 * setup.minutes
    with _lab(scratch, [START, FOLLOW.format(**names), LIVE.format(**names)]) as notebook:
        _prepare(topic)
        for cell in range(3):
            notebook.run_to_end(cell)
        with _arriving(topic, 1_000):
            time.sleep(WARM)
            phase, sizes = timed("1,000 events/s", partial(_sizes, notebook.page, seconds))
    figures = {"minutes": setup.minutes}
    for name in sizes[0]:
        series = [each[name] for each in sizes]
        third = max(1, len(series) // 3)
        last = median(series[-third:])
        figures |= {f"{name}_mb": last, f"{name}_growth": last / median(series[:third])}
    phase.tell(fault="", figures=figures)


def _sizes(page: Page, seconds: float) -> list[dict[str, float]]:
    """Return the memory of kernel, Spark's JVM and browser, some thirty times."""
    import psutil

    session, found = page.context.new_cdp_session(page), []
    for _ in range(30):
        time.sleep(seconds / 30)
        session.send("HeapProfiler.collectGarbage")
        below = [
            each for each in map(_looked_at, psutil.Process().children(recursive=True)) if each
        ]
        (kernel,) = [(pid, size) for pid, words, size in below if "ipykernel_launcher" in words]
        jvms = {each.pid for each in psutil.Process(kernel[0]).children(recursive=True)}
        found.append(
            {
                "kernel": kernel[1], "jvm": sum(size for pid, words, size in below if pid in jvms and words[0].endswith("java")),
                "browser": sum(size for _, words, size in below if "chrom" in words[0]),
                "heap": session.send("Runtime.getHeapUsage")["usedSize"] / MB,
            }
        )  # fmt: skip
    return found


def _looked_at(process: psutil.Process) -> tuple[int, list[str], float] | None:
    """Return the id of a process, its command and its memory in MB; None if it has just ended."""
    import psutil

    with suppress(psutil.NoSuchProcess, FileNotFoundError):  # psutil lets some of these through
        words, size = process.cmdline(), process.memory_info().rss / MB
        return (process.pid, words, size) if words else None
    return None


def scroll(_: Setup, scratch: Path) -> None:
    """Scroll a table of 10,000 rows by five rows a frame. A browser without a screen draws at most 60 frames a second."""
    from tests.display import browser
    from tests.display.test_page import MODULE, opened

    shutil.copy(MODULE, scratch)
    shutil.copy(Path(browser.__file__).with_name("page.html"), scratch)
    with browser.served(scratch) as url, browser.started() as chrome, browser.offline(chrome) as context:  # fmt: skip
        view = opened(context.new_page(), f"{url}/page.html")
        put = [[i, ["2013-12-01T05:00:00Z", f"row {i}", i, "0.00"]] for i in range(10_000)]
        view.full(put=put, order=list(range(10_000)), total=10_000)
        session = context.new_cdp_session(view.page)
        session.send("Performance.enable")
        for name, step in (("at rest", 0), ("scrolling", 120)):
            before = _thread_seconds(session)
            phase, found = timed(name, partial(view.page.evaluate, SCROLL, [5, step]))
            spent = (_thread_seconds(session) - before) / found["frames"]
            phase.tell(fault="", figures={"frames_per_s": found["per_s"], "frame_ms": spent * 1000})


def _thread_seconds(session: CDPSession) -> float:
    """Return the CPU seconds of the page's main thread: what else runs changes them little."""
    metrics = session.send("Performance.getMetrics")["metrics"]
    return float(next(each["value"] for each in metrics if each["name"] == "ThreadTime"))


# ---------------------------------------------------------------- from import to the first row


def with_spare(_: Setup, scratch: Path) -> None:
    """Do the same where a spare driver waits; it is warm before the clock starts."""
    from rta.dataframes import spare_driver
    from tests.display.browser import ROOT

    # As the lab's kernels have it: a spare driver serves its own environment.
    os.environ["PYTHONPATH"] = str(ROOT)
    spare_driver.keep()
    try:
        while not (found := spare_driver.status()) or found.driver is None:
            time.sleep(0.1)
        first(_, scratch)
        now = spare_driver.status()
        assert now is None or now.driver != found.driver, "the kernel did not take the spare driver"
    finally:
        spare_driver.stop()


def first(_: Setup, scratch: Path) -> None:
    """Show a stream in a fresh kernel: from the start of the cell that imports rta to a row on the screen."""
    topic = f"live-{uuid4().hex[:8]}"
    _prepare(topic)
    cell = f"import rta\nstream = rta.read_stream({topic!r}, event=rta.USER_EVENTS)\nrta.live(stream.transform(rta.transforms.totals))"
    with _lab(scratch, [cell]) as notebook:

        def shown() -> None:
            notebook.run(0)
            notebook.page.wait_for_function(FIRST)

        phase, _none = timed("from import to the first row", shown)
        phase.tell(fault="")


def by_hand(setup: Setup, _: Path) -> None:
    """Run the article's query as printed over the same events until it gives a row."""
    topic, rows = f"live-{uuid4().hex[:8]}", list[Any]()
    _prepare(topic)
    code = printed(setup, ".foreachBatch(keep)", topic=topic, starting="earliest").replace("query.awaitTermination()", "")  # fmt: skip

    def shown() -> Any:
        space = article_session(setup) | {"keep": lambda frame, _: rows.extend(frame.collect())}
        exec(code, space)  # noqa: S102 - the article's own text
        while not rows:
            if failure := space["query"].exception():
                raise failure
            time.sleep(0.01)
        return space["query"]

    phase, query = timed("from import to the first row", shown)
    query.stop()
    phase.tell(fault="")


# ---------------------------------------------------------------- many viewers


def viewers(_: Setup, scratch: Path) -> None:
    """Serve a dashboard of a topic's tail while 200 events a second arrive; let one page look at it, then fifty."""
    from tests.dashboards.conftest import served, written

    topic = f"live-{uuid4().hex[:8]}"
    _prepare(topic)
    notebook = written(
        scratch / "many.ipynb", "# Many", f"import rta\nrta.live({topic!r}, limit=200)"
    )
    with _arriving(topic, 200), served(notebook) as running:
        for count in (1, 50):
            look = partial(_looked, running.process.pid, count)
            phase, found = timed(f"{count} viewer{'s' * (count > 1)}", lambda: asyncio.run(look()))  # noqa: B023
            phase.tell(fault="", figures=found)


async def _looked(server: int, count: int) -> dict[str, float]:
    """Return the CPU seconds of the kernel and of the server, and the frames of each viewer, in half a minute."""
    from rta.dashboards import link

    seen: Counter[str] = Counter()
    looking = [asyncio.create_task(_view(link("many"), seen)) for _ in range(count)]
    while seen["frames"] < 5 * count:  # the kernel has started, and each page has all
        await asyncio.sleep(0.2)
    seen.clear()
    before = _spent(server)
    await asyncio.sleep(MEASURED)
    spent = [after - then for then, after in zip(before, _spent(server), strict=True)]
    for each in looking:
        each.cancel()
    await asyncio.gather(*looking, return_exceptions=True)
    return {"server_cpu": spent[0], "kernel_cpu": spent[1], "frames": seen["frames"] / count}


async def _view(address: str, seen: Counter[str]) -> None:
    """Look at a dashboard as a page does: take frames, and say that they are drawn."""
    from tornado.httpclient import HTTPRequest
    from tornado.websocket import websocket_connect

    base, _, query = address.partition("/?")
    asked = HTTPRequest(f"{base.replace('http', 'ws', 1)}/feed?{query}", headers={"Origin": base})
    connection = await websocket_connect(asked)
    try:
        while (text := await connection.read_message()) is not None:
            message = json.loads(text)
            parts = message.get("page", {}).get("parts", ())
            answers = [{"view": each["view"], "do": "hello"} for each in parts if each.get("view")]
            if "seq" in (frame := message.get("frame", {})):
                seen["frames"] += 1
                answers.append({"view": message["view"], "do": "ack", "seq": frame["seq"]})
            for answer in answers:
                await connection.write_message(json.dumps(answer))
    finally:
        connection.close()


def _spent(server: int) -> list[float]:
    """Return the CPU seconds of a dashboard's server, and of all that it has started."""
    import psutil

    process = psutil.Process(server)
    each = [sum(one.cpu_times()[:2]) for one in (process, *process.children(recursive=True))]
    return [each[0], sum(each[1:])]


@contextmanager
def _lab(scratch: Path, cells: Iterable[str]) -> Iterator[Notebook]:
    """Open a notebook in real JupyterLab, with a kernel of its own."""
    from tests.display import browser, lab

    with (
        lab.started(scratch / "lab") as server,
        browser.started() as chrome,
        browser.offline(chrome, viewport={"width": 1100, "height": 1400}) as context,
    ):
        yield server.open(context.new_page(), "live.ipynb", list(cells))
        server.close_kernels()
