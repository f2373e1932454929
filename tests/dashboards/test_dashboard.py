"""A dashboard in a real browser: alive for all who have the link, read only, and honest at its end."""

from __future__ import annotations

import http.client
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event
from typing import Any

import nbformat
import psutil
import pytest
from playwright.sync_api import Browser, Locator, Page, expect
from pyspark.sql import SparkSession

import rta
from rta.dashboards import link
from tests.dashboards.conftest import Served, command, served, written
from tests.display import browser
from tests.display.browser import picture
from tests.support.waiting import HANG, finished, until

pytestmark = pytest.mark.kafka
expect.set_options(timeout=HANG * 1000)
OPERATIONS = Path(__file__).parents[2] / "notebooks" / "5-operations" / "02-watch-operations.ipynb"
EVIL = "<img src=x onerror=document.title='pwned'>"
CHART = "lambda rows: alt.Chart(rows).mark_bar().encode(x='count()', y='action:N')"


@pytest.fixture(scope="module")
def dashboard(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Serve a notebook with prose, a live topic with a chart, a table and a picture."""
    rta.kafka.create_topic("board-clicks", partitions=1)
    notebook = written(
        tmp_path_factory.mktemp("board") / "clicks.ipynb",
        f"# Clicks {EVIL}\n\nWhat people click, **now**.",
        "import altair as alt\nimport pandas as pd\nimport rta",
        f"rta.live('board-clicks', event=rta.USER_EVENTS, chart={CHART})",
        "## Beside it",
        f'pd.DataFrame({{"page": ["home", {EVIL!r}], "price": [1.5, 2]}})',
        "alt.Chart(pd.DataFrame({'day': [1, 2, 3], 'clicks': [3, 1, 2]})).mark_line().encode(x='day', y='clicks')",
    )
    with served(notebook) as running:
        yield running


@pytest.fixture
def page(chromium: Browser, dashboard: Served) -> Iterator[Page]:
    """Open the dashboard."""
    with browser.offline(chromium) as context:
        yield opened(context.new_page(), dashboard)


def opened(page: Page, dashboard: Served) -> Page:
    """Open the link of a dashboard, and wait until it is whole."""
    page.goto(link(dashboard.name))
    until(lambda: page.locator(".rta-live").count(), dashboard.process)
    expect(page.locator("#status")).to_be_hidden()
    return page


def publish(*pages: str) -> None:
    """Publish a click on each page."""
    events = [{"event_id": f"e{n}", "user_id": n, "action": each, "amount": "1.50", "timestamp": "2024-11-15T10:00:00Z"} for n, each in enumerate(pages)]  # fmt: skip
    rta.publish(events, "board-clicks")


def kernels(dashboard: Served) -> list[psutil.Process]:
    """Return the kernels that the command has started."""
    children = psutil.Process(dashboard.process.pid).children(recursive=True)
    return [each for each in children if "ipykernel_launcher" in " ".join(each.cmdline())]


def test_two_viewers_see_the_same_events_from_one_kernel(page: Page, chromium: Browser, dashboard: Served) -> None:  # fmt: skip
    """Both pages move, offline, and whatever events and prose hold is text."""
    with browser.offline(chromium) as other:
        second = opened(other.new_page(), dashboard)
        publish("home", EVIL, "cart")
        for each in (page, second):
            expect(each.locator("td", has_text="cart").first).to_be_visible()
            expect(each.locator("td", has_text=EVIL).first).to_be_visible()
            expect(each.locator("canvas").first).to_be_visible()
            expect(each.locator("h1")).to_have_text(f"Clicks {EVIL}")
            expect(each).to_have_title(f"Clicks {EVIL}")
        assert len(kernels(dashboard)) == 1
        publish("once more")
        for each in (page, second):
            expect(each.locator("td", has_text="once more")).to_be_visible()
    expect(page.locator(".output table td", has_text=EVIL)).to_be_visible()
    assert page.locator("img").count() == 1  # the chart's picture
    picture(page, "dashboard")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone(chromium: Browser, dashboard: Served, scheme: str) -> None:
    """Nothing is wider than the screen, in light and dark."""
    phone = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "is_mobile": True, "has_touch": True, "color_scheme": scheme}  # fmt: skip
    publish("phone")
    with browser.offline(chromium, **phone) as context:
        page = opened(context.new_page(), dashboard)
        expect(page.locator("td", has_text="phone").first).to_be_visible()
        assert page.evaluate("document.scrollingElement.scrollWidth") == 390
        assert page.locator(".rta-chart").evaluate("(chart) => chart.scrollWidth <= chart.clientWidth")  # fmt: skip
        paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, re.findall(r"\d+", paper))) > 384) == (scheme == "light")
        picture(page, f"dashboard-phone-{scheme}")


def test_it_is_read_only(page: Page, dashboard: Served) -> None:
    """There is no button that steers, and whoever writes to the feed by hand moves nothing."""
    for name in ("pause", "stop", "restart"):
        expect(page.locator(f".rta-buttons [data-do={name}]")).to_be_hidden()
    said = page.evaluate(
        """async () => {
            const feed = new WebSocket(`ws://${location.host}/feed${location.search}`), heard = [];
            feed.onmessage = ({ data }) => heard.push(JSON.parse(data));
            const until = async (found) => { while (!heard.some(found)) await new Promise((go) => setTimeout(go, 20)); };
            await until((each) => each.page);
            const { view } = heard[0].page.parts.find((part) => part.view);
            for (const does of ["pause", "stop", "restart", "__init__"]) feed.send(JSON.stringify({ view, do: does }));
            for (const wrong of ["no json", "[]", "7", JSON.stringify({ view: 7, do: "hello" })]) feed.send(wrong);
            feed.send(JSON.stringify({ view, do: "hello" }));
            await until((each) => each.frame?.full);
            feed.close();
            return heard.find((each) => each.frame?.full).frame;
        }"""
    )
    assert (said["state"], said["can"]) == ("running", [])
    publish("still here")
    expect(page.locator("td", has_text="still here")).to_be_visible()


def test_only_who_has_the_link_comes_in(dashboard: Served) -> None:
    """A wrong token, a foreign name of this machine, a foreign page and a request that would change something are refused in words."""
    token = link(dashboard.name).partition("token=")[2]
    feed = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version": "13"}  # fmt: skip
    own = f"http://127.0.0.1:{dashboard.port}"

    def asked(path: str, method: str = "GET", **headers: str) -> tuple[int, str]:
        client = http.client.HTTPConnection("127.0.0.1", dashboard.port, timeout=HANG)
        client.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})  # fmt: skip
        answer = client.getresponse()
        told = answer.status, "" if answer.status == 101 else answer.read().decode()
        client.close()
        return told

    for path in ("/", "/page.css", "/feed", f"/?token={token[:-1]}", "/?token=", "/?token=%E2%82%AC"):  # fmt: skip
        status, text = asked(path)
        assert (status, token in text) == (403, False)
        assert "opens by its link with the token" in text
    assert asked(f"/?token={token}", Host="evil.example")[0] == 403
    assert "not served under the name 'evil.example'" in asked(f"/?token={token}", Host="evil.example:80")[1]  # fmt: skip
    assert asked(f"/feed?token={token}", Origin="http://evil.example", **feed)[0] == 403
    assert asked("/feed", Origin=own, **feed)[0] == 403
    assert asked(f"/feed?token={token}", Origin=own, **feed)[0] == 101
    assert asked(f"/?token={token}", "POST")[0] == 405
    assert asked(f"/../token?token={token}")[0] == 404
    assert asked(f"/?token={token}", Host=f"localhost:{dashboard.port}")[0] == 200


def test_the_token_is_nowhere_but_in_the_link(dashboard: Served, home: Path) -> None:
    """No list, argument, log or file that others can read has it."""
    token = link(dashboard.name).partition("token=")[2]
    folder = home / "dashboards" / dashboard.name
    assert folder.stat().st_mode & 0o077 == 0
    assert (folder / "token").stat().st_mode & 0o077 == 0
    listed = finished(command("--list", "--json"))[0]
    assert [each["name"] for each in json.loads(listed)] == [dashboard.name]
    processes = [psutil.Process(dashboard.process.pid), *psutil.Process(dashboard.process.pid).children(recursive=True)]  # fmt: skip
    texts = [listed, *(" ".join(each.cmdline()) for each in processes)]
    texts += [file.read_text() for file in folder.iterdir() if file.name != "token"]
    assert all(token not in text for text in texts)
    assert not any(token in value for each in processes for value in each.environ().values())


def test_a_second_one_is_told_where_the_first_is(dashboard: Served) -> None:
    """One notebook is served once: whoever starts it again gets its address."""
    second = command(dashboard.entry.notebook, "--name", "again")
    told = finished(second)[0]
    assert second.returncode == 1
    assert f"runs already, at {dashboard.entry.address}" in told
    assert f"rta dashboard --link {dashboard.name}" in told


def test_a_kernel_that_dies_ends_the_command_and_the_page_says_so(chromium: Browser, home: Path, tmp_path: Path) -> None:  # fmt: skip
    """Nobody looks at a dead picture that seems alive."""
    rta.kafka.create_topic("board-end", partitions=1)
    notebook = written(tmp_path / "ends.ipynb", "# Ends", "import rta\nrta.live('board-end')", "print('that is all')")  # fmt: skip
    with served(notebook) as running, browser.offline(chromium) as context:
        page = opened(context.new_page(), running)
        expect(page.get_by_text("that is all")).to_be_visible()
        (kernel,) = kernels(running)
        kernel.kill()
        expect(page.locator("#status")).to_contain_text("the kernel of dashboard 'ends' has died")
        told = finished(running.process)[0]
        assert running.process.returncode == 1
        assert "has died" in told
        expect(page.locator("#status")).to_contain_text("what you see is of")
        expect(page.locator("#board")).to_have_class("lost")
        expect(page.locator(".rta-note")).to_contain_text("nothing moves any more")
        picture(page, "dashboard-ended")


def test_an_error_of_a_cell_ends_the_command(home: Path, tmp_path: Path) -> None:
    """What cannot be shown is said, as `rta run` says it."""
    failing = command(written(tmp_path / "fails.ipynb", "# Fails", "1", "raise ValueError('no such airport')"))  # fmt: skip
    told = finished(failing)[0]
    assert failing.returncode == 1
    assert "dashboard 'fails': cell [2] failed: ValueError: no such airport" in told


def test_it_stops_with_its_kernel_and_leaves_the_list(home: Path, tmp_path: Path) -> None:
    """--stop waits for the end; one that was killed is forgotten, and its kernel ends."""
    notebook = written(tmp_path / "stops.ipynb", "# Stops", "7")
    with served(notebook) as running:
        (kernel,) = until(lambda: kernels(running))
        assert finished(command("--stop", "stops"))[0] == "dashboard stops stopped\n"
        assert "stopped" in finished(running.process)[0]
        assert running.process.returncode == 0
        assert not kernel.is_running()
    with served(notebook) as again:
        assert again.port == running.port  # so that links of before are good
        (kernel,) = until(lambda: kernels(again))
        again.process.kill()
        until(lambda: not rta.dashboards.running() or all(each.name != "stops" for each in rta.dashboards.running()))  # fmt: skip
        until(lambda: not kernel.is_running())


def test_a_unit_of_systemd_runs_the_same_command(home: Path, tmp_path: Path) -> None:
    """Its paths are whole, and it has no secret."""
    notebook = written(tmp_path / "50% off.ipynb", "# Off")
    text = finished(command(notebook, "--name", "off", "--port", "8123", "--systemd"))[0]
    assert f'"dashboard" "{tmp_path}/50%% off.ipynb" "--name" "off" "--port" "8123"' in text
    assert f'Environment="RTA_HOME={home}"' in text
    assert "token" not in text.lower()


@pytest.fixture(scope="module")
def operations(home: Path) -> Iterator[Served]:
    """Serve the operations page that is shipped."""
    with served(OPERATIONS) as running:
        yield running


def rows_of(page: Page, view: str, about: str) -> Locator:
    """Scroll to a view, which draws only what is seen, and return its rows about something; other tests of this home have rows, too."""
    found = page.get_by_role("region", name=f"live view of {view}", exact=True)
    found.scroll_into_view_if_needed()
    found.get_by_label("filter rows").fill(about)
    return found.locator("tbody tr", has=page.locator("td", has_text=about))


def job_ran(notebook: Path) -> int:
    """Run a job by its command; playwright holds the asyncio of this thread, which a kernel needs."""
    run = subprocess.Popen([sys.executable, "-m", "rta.cli", "run", notebook], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=os.environ)  # fmt: skip
    finished(run)
    return run.returncode


def test_the_operations_page_shows_queries_runs_and_alarms(
    chromium: Browser, operations: Served, spark: SparkSession, topic: Callable[..., str], tmp_path: Path
) -> None:  # fmt: skip
    """Seen in the page: how a query does, and why it has failed; the run that failed, and the one that did not; the alarm that fires, and that it is over."""
    name, fails = topic(partitions=1), Event()

    def sink(_rows: Any, _batch: Any) -> None:
        if fails.is_set():
            raise OSError("the sink takes nothing")

    rta.publish(rta.user_events(spark, rows=30), name, key="user_id")
    query = rta.follow(name, rta.transforms.totals, table="on_the_page", key=["window", "user_id"], event=rta.USER_EVENTS, also=[sink])  # fmt: skip
    nightly = written(tmp_path / "nightly_on_the_page.ipynb", "# Nightly", "1 / 0")
    rules = [rta.alerts.job_failed()]
    try:
        with browser.offline(chromium, viewport={"width": 1440, "height": 1000}) as context, rta.alerts.watch(rules, channels=[], every=0.5, name="on_the_page"):  # fmt: skip
            page = opened(context.new_page(), operations)
            expect(rows_of(page, "queries", "on_the_page")).to_contain_text(re.compile("(keeping up|no data for .*)running"))  # fmt: skip
            assert job_ran(nightly) == 1
            expect(rows_of(page, "jobs", "nightly_on_the_page")).to_contain_text(["cell [1] failed: ZeroDivisionError"])  # fmt: skip
            expect(rows_of(page, "jobs", "nightly_on_the_page")).to_contain_text(["failed"])
            expect(rows_of(page, "alerts", "nightly_on_the_page")).to_contain_text(["firing"])
            picture(page, "operations-firing")
            fails.set()
            rta.publish(rta.user_events(spark, rows=5, first_row=30), name, key="user_id")
            expect(rows_of(page, "queries", "on_the_page")).to_contain_text(re.compile("stopped: .*the sink takes nothing.*failed"))  # fmt: skip
            assert job_ran(written(nightly, "# Nightly", "1 / 1")) == 0
            expect(rows_of(page, "jobs", "nightly_on_the_page")).to_contain_text(["succeeded", "failed"])  # fmt: skip
            expect(rows_of(page, "alerts", "nightly_on_the_page")).to_contain_text(["resolved"])
            picture(page, "operations")
    finally:
        query.stop()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_operations_page_fits_a_phone(chromium: Browser, operations: Served, scheme: str) -> None:  # fmt: skip
    """Nothing is wider than the screen, in light and dark."""
    phone = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "is_mobile": True, "has_touch": True, "color_scheme": scheme}  # fmt: skip
    with browser.offline(chromium, **phone) as context:
        page = opened(context.new_page(), operations)
        for view in ("queries", "micro batches", "tables", "dead letters", "alerts", "jobs"):
            found = page.get_by_role("region", name=f"live view of {view}", exact=True)
            found.scroll_into_view_if_needed()
            expect(found.locator(".rta-state")).to_have_text("running")
            if view == "queries":
                picture(page, f"operations-phone-{scheme}-top")
        assert page.evaluate("document.scrollingElement.scrollWidth") == 390
        picture(page, f"operations-phone-{scheme}")


def test_the_operations_notebook_is_kept_with_a_job_and_an_alarm() -> None:
    """Who reads it without a kernel sees a run that succeeded and an alarm that fires."""
    cells = [each for each in nbformat.read(OPERATIONS, as_version=4).cells if each.cell_type == "code"]  # fmt: skip
    [alarms] = [each for each in cells if "rta.live(rta.alerts.alerts" in each.source]
    [jobs] = [each for each in cells if "rta.live(jobs" in each.source]
    assert "firing" in alarms.outputs[0].data["text/plain"]
    assert "succeeded" in jobs.outputs[0].data["text/plain"]
