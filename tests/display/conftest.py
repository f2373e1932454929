"""A browser for a file of tests, and one JupyterLab for all of them."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page

from tests.display import browser, lab


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Start the browser for a file: Playwright holds asyncio of this thread, which other files' tests need."""
    with browser.started() as started:
        yield started


@pytest.fixture
def context(chromium: Browser) -> Iterator[BrowserContext]:
    """Open a window that reaches loopback only; errors in its pages fail the test."""
    with browser.offline(chromium) as opened:
        yield opened


@pytest.fixture
def page(context: BrowserContext) -> Page:
    """Open a page."""
    return context.new_page()


@pytest.fixture(scope="session")
def lab_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[lab.Lab]:
    """Start JupyterLab, once for a run."""
    with lab.started(tmp_path_factory.mktemp("lab")) as server:
        yield server


@pytest.fixture
def jupyterlab(lab_server: lab.Lab) -> Iterator[lab.Lab]:
    """Lend JupyterLab, and end the kernels that a test leaves behind."""
    yield lab_server
    lab_server.close_kernels()
