"""A real kernel: what its cells show, without a network, of charts, of Spark's errors and of Stop."""

from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.manager import KernelManager

from tests.notebooks.execute import OwnKernel
from tests.support.waiting import HANG

SPARK = "spark = rta.spark(master='local[2]', conf={'spark.ui.enabled': 'false'})"
RATE = "spark.readStream.format('rate').load().writeStream.format('memory').queryName('q').start()"
LONG = """
import threading, time
def say():
    while not spark.sparkContext.statusTracker().getJobIdsForGroup('long'): time.sleep(0.1)
    print('go', flush=True)
spark.sparkContext.setJobGroup('long', 'a long job')
threading.Thread(target=say).start()
spark.range(10**13).selectExpr('sum(id * id % 7)').collect()
"""
CHART = "import altair as alt\nchart = alt.Chart(alt.Data(values=[{'a': 1}] * n)).mark_tick().encode(x='a:Q')\nchart"


class Kernel:
    """Runs cells in a kernel of this interpreter, and lends what each put out."""

    def __init__(self, manager: Any) -> None:
        self.manager, self.client = manager, manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=HANG)

    def run(self, code: str, *, stop_at: str | None = None) -> list[dict[str, Any]]:
        """Run one cell, interrupt it when it prints `stop_at`, and return its outputs."""
        asked = self.client.execute(code)
        outputs: list[dict[str, Any]] = []
        while True:
            message = self.client.get_iopub_msg(timeout=HANG)
            if message["parent_header"].get("msg_id") != asked:
                continue
            content = message["content"]
            if content.get("execution_state") == "idle":
                return outputs
            if message["msg_type"] in ("stream", "error", "execute_result"):
                outputs.append(content)
            if stop_at and stop_at in content.get("text", ""):
                self.manager.interrupt_kernel()


@pytest.fixture(scope="module")
def kernel(home: Path) -> Iterator[Kernel]:
    """Lend one kernel that has imported rta; no address leaves this machine."""
    manager: Any = KernelManager(
        kernel_name="python3", kernel_spec_manager=OwnKernel().kernel_spec_manager
    )
    manager.start_kernel()
    lent = Kernel(manager)
    lent.run("import sys, rta; n = 2")
    yield lent
    lent.client.stop_channels()
    manager.shutdown_kernel()


def _shown(outputs: list[dict[str, Any]]) -> dict[str, str]:
    """Return the one result of a cell."""
    [result] = outputs
    shown: dict[str, str] = result["data"]
    return shown


def _text(outputs: list[dict[str, Any]]) -> str:
    """Return all that a cell printed."""
    return "".join(each.get("text", "") for each in outputs)


def test_a_default_chart_is_a_picture(kernel: Kernel) -> None:
    """A chart without a word of a renderer is an SVG and a PNG, one of thousands of marks a PNG; rta itself does not load Altair."""
    assert _text(kernel.run("print('altair' in sys.modules)")) == "False\n"
    shown = _shown(kernel.run(CHART))
    assert shown["image/svg+xml"].startswith("<svg")
    assert b64decode(shown["image/png"]).startswith(b"\x89PNG")
    assert set(shown) == {"image/svg+xml", "image/png", "text/plain"}
    assert set(_shown(kernel.run(f"n = 6000\n{CHART}"))) == {"image/png", "text/plain"}


@pytest.mark.parametrize(
    ("renderer", "kinds"),
    [
        ("'html'", {"text/html", "image/svg+xml", "image/png"}),
        (
            "'jupyter', offline=True",
            {"application/vnd.jupyter.widget-view+json", "image/svg+xml", "image/png"},
        ),
        ("'png'", {"image/png"}),
    ],
)
def test_a_chosen_renderer_stays_and_a_picture_is_beside_it(
    kernel: Kernel, renderer: str, kinds: set[str]
) -> None:
    """What the person enabled is shown; a report, which shows no widget and no script, has a picture, too."""
    code = f"n = 2; import altair as alt\nbefore = alt.renderers.enable({renderer})\n{CHART}"
    assert set(_shown(kernel.run(code))) - {"text/plain"} == kinds
    kernel.run("alt.renderers.enable('default')")


def test_stop_is_one_sentence_and_the_query_goes_on(kernel: Kernel, home: Path) -> None:
    """An interrupted cell shows its own line; session and query live, also if that cell started the session."""
    printed, error = kernel.run(f"{SPARK}\nq = {RATE}\n{LONG}", stop_at="go")
    assert printed["text"] == "go\n"
    assert error["ename"] == "KeyboardInterrupt"
    assert error["traceback"][0] == "KeyboardInterrupt: stopped"
    assert len(error["traceback"]) == 2
    assert "collect()" in error["traceback"][1]
    # Not processAllAvailable(): of a source that never rests it may never return.
    on = "import time; seen = q.lastProgress\nwhile q.isActive and q.lastProgress == seen: time.sleep(0.1)"
    alive = f"{on}\nprint(q.isActive, q.exception(), spark.range(5).count())"
    assert _text(kernel.run(alive)) == "True None 5\n"
    assert "KeyboardInterrupt while sending command" in (home / "spark-python.log").read_text()
    own = "import logging; logging.getLogger().error('a word of my own'); logging.getLogger('mine').error('and one')"
    assert "a word of my own" in _text(kernel.run(own))
    kernel.run("q.stop()")


def test_an_error_of_spark_is_shown_once(kernel: Kernel, home: Path) -> None:
    """Nothing but the error is in the cell; PySpark's JSON is in the log file."""
    kernel.run(SPARK)
    for wrong in ("spark.range(3).select('nope')", "spark.sql('SELECT * FROM nowhere')"):
        [error] = kernel.run(wrong)
        assert error["ename"] == "AnalysisException"
    log = (home / "spark-python.log").read_text()
    assert "DataFrameQueryContextLogger" in log
    assert "SQLQueryContextLogger" in log


def test_any_other_stop_is_shown_as_ever(kernel: Kernel) -> None:
    """A cell that does nothing with Spark keeps IPython's own trace."""
    *_, error = kernel.run("import time\nprint('go', flush=True)\ntime.sleep(600)", stop_at="go")
    assert error["ename"] == "KeyboardInterrupt"
    assert "Traceback" in "\n".join(error["traceback"])


def test_a_query_says_what_it_does(kernel: Kernel) -> None:
    """Spark's own query as the value of a cell: a table, and a text, of what it is called and whether it goes on."""
    started = RATE.replace("'q'", "'shown'")
    kernel.run(f"{SPARK}\nshown = {started}")
    for code, state in (("shown", "running"), ("shown.stop()\nshown", "stopped")):
        result = _shown(kernel.run(code))
        for kind in ("text/html", "text/plain"):
            assert "shown" in result[kind]
            assert state in result[kind]
        assert "<table>" in result["text/html"]
