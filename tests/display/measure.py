"""What a page costs: frames a second while it scrolls, and memory after many updates.

python -m tests.display.measure
"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any, Final

from playwright.sync_api import CDPSession, Page

from tests.display.browser import offline, served, started
from tests.display.test_page import MODULE, View, opened, vitals

SCROLL: Final = """async ([seconds, step]) => {
  const place = document.querySelector('.rta-body .rta-scroller');
  const began = performance.now(), times = [];
  let rows = 0, own = 0;
  while (performance.now() - began < seconds * 1000) {
    place.scrollTop += step;
    if (place.scrollTop + place.clientHeight >= place.scrollHeight - 1) place.scrollTop = 0;
    const start = performance.now();
    if (step) place.dispatchEvent(new Event('scroll'));
    own += performance.now() - start;
    await new Promise(requestAnimationFrame);
    times.push(performance.now());
    rows = Math.max(rows, place.querySelectorAll('tr').length);
  }
  const gaps = times.slice(1).map((at, i) => at - times[i]).sort((a, b) => a - b);
  return {frames: times.length, frames_per_s: Math.round(1000 * gaps.length / (times.at(-1) - times[0])),
          p50_ms: gaps[gaps.length >> 1], p99_ms: gaps[Math.floor(gaps.length * 0.99)],
          own_ms: Math.round(100 * own / times.length) / 100, rows};
}"""
UPDATES: Final = """async ([from, n, vitals]) => {
  for (let seq = from; seq < from + n; seq++) {
    const put = Array.from({length: 50}, (_, i) => [(seq * 50 + i) % 500, ['2013-12-01T05:00:00Z', 'EWR', seq, '1.00']]);
    deliver({seq, put, vitals: {...vitals, at: vitals.at + seq * 250}});
    await new Promise(requestAnimationFrame);
  }
}"""


def scrolling(view: View, *, rows: int = 10_000, seconds: float = 3) -> dict[str, Any]:
    """Scroll a table of so many rows by five rows a frame, and return frames a second, and what of a frame is ours.

    `idle` is the same page at rest: on a busy machine the browser is not faster than that.
    """
    put = [[i, ["2013-12-01T05:00:00Z", f"row {i}", i, "0.00"]] for i in range(rows)]
    view.full(put=put, order=list(range(rows)), total=rows)
    session = view.page.context.new_cdp_session(view.page)
    session.send("Performance.enable")
    found: dict[str, Any] = {"rows": rows}
    for name, step in {"idle": 0, "scrolling": 120}.items():
        before = _thread_s(session)
        found[name] = view.page.evaluate(SCROLL, [seconds, step])
        found[name]["cpu_ms"] = round(
            1000 * (_thread_s(session) - before) / found[name]["frames"], 2
        )
    session.detach()
    return found


def _thread_s(session: CDPSession) -> float:
    """Return the seconds of the processor that the page's main thread has had: no load beside it changes them much."""
    metrics = session.send("Performance.getMetrics")["metrics"]
    return float(next(each["value"] for each in metrics if each["name"] == "ThreadTime"))


def heap(page: Page) -> float:
    """Return what the page's objects take after a collection, in MB."""
    session = page.context.new_cdp_session(page)
    session.send("HeapProfiler.collectGarbage")
    used: int = session.send("Runtime.getHeapUsage")["usedSize"]
    session.detach()
    return round(used / 1e6, 1)


def updating(view: View, *, updates: int = 2_000, rows: int = 500) -> dict[str, Any]:
    """Draw so many frames, each with fifty changed rows, and return the memory before and after."""
    put = [[i, ["2013-12-01T05:00:00Z", f"row {i}", i, "0.00"]] for i in range(rows)]
    view.full(put=put, order=list(range(rows)), total=rows)
    before = heap(view.page)
    view.page.evaluate(UPDATES, [view.seq + 1, updates, vitals(60_000)])
    view.seq += updates
    return {"updates": updates, "heap_before_mb": before, "heap_after_mb": heap(view.page)}


def main() -> None:
    """Print the figures of a page without a kernel."""
    with tempfile.TemporaryDirectory() as folder, served(Path(folder)) as url, started() as chrome:
        shutil.copy(Path(__file__).with_name("page.html"), folder)
        shutil.copy(MODULE, folder)
        for measure in (scrolling, updating):
            with offline(chrome) as context:
                print(json.dumps(measure(opened(context.new_page(), f"{url}/page.html"))))


if __name__ == "__main__":
    main()
