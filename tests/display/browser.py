"""A real browser for the tests: the Chromium that is installed, with everything but loopback blocked.

`screen` is where pictures go: a person and CI look at them.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, Final

from playwright.sync_api import Browser, BrowserContext, Page, Route, expect, sync_playwright

from tests.support.waiting import HANG

ROOT: Final = Path(__file__).resolve().parents[2]
SCREENSHOTS: Final = ROOT / ".make" / "screenshots"
ELSEWHERE: Final = re.compile(r"^\w+://(?!127\.0\.0\.1[:/])")
ARGUMENTS: Final = [
    "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update",
    "--disable-default-apps", "--disable-extensions", "--disable-sync", "--disable-dev-shm-usage", "--no-proxy-server",
    "--js-flags=--expose-gc", "--enable-precise-memory-info", "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
]  # fmt: skip


def chromium() -> str:
    """Return the path of the installed Chromium; a machine without one is told how to get it."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return found
    raise AssertionError("no Chromium was found: live views are tested in a real browser. Get one: apt-get install chromium")  # fmt: skip


@contextmanager
def started() -> Iterator[Browser]:
    """Start the browser. While it runs, asyncio belongs to Playwright in this thread: close it before another file's tests."""
    expect.set_options(timeout=HANG * 1000)
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium(), args=ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def offline(browser: Browser, **options: Any) -> Iterator[BrowserContext]:
    """Open a context that reaches loopback only; what it asked for elsewhere, or an error in the page, fails the test."""
    context = browser.new_context(
        **{"viewport": {"width": 1100, "height": 800}, "color_scheme": "light"} | options
    )
    context.set_default_timeout(HANG * 1000)
    foreign: list[str] = []
    errors: list[str] = []

    def refuse(route: Route) -> None:
        foreign.append(route.request.url)
        route.abort()

    context.route(ELSEWHERE, refuse)
    context.on("weberror", lambda error: errors.append(str(error.error)))
    try:
        yield context
        assert not foreign, f"the page asked the network for {foreign}"
        assert not errors, f"errors in the page: {errors}"
    finally:
        context.close()


def picture(page: Page, name: str) -> Path:
    """Keep a picture of the page, for a person to look at."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    path = SCREENSHOTS / f"{name}.png"
    page.screenshot(path=path)
    return path


class _Quiet(SimpleHTTPRequestHandler):
    """Serves a folder and logs nothing."""

    extensions_map = SimpleHTTPRequestHandler.extensions_map | {".js": "text/javascript"}

    def log_message(self, *args: Any) -> None:
        """Say nothing."""


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve a folder on loopback, and give its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
    thread = Thread(target=server.serve_forever, name="pages of the tests", daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
