"""The report: one page for a person, offline, with the charts in it."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from rta.jobs import report
from rta.jobs.receipts import Receipt
from rta.jobs.states import State
from rta.store.ledger import Accounting

STARTED = datetime(2026, 3, 1, 6, 0, tzinfo=UTC)
SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><rect width="9" height="9"/></svg>'


@pytest.fixture
def receipt(tmp_path: Path) -> Receipt:
    """Lend the receipt of a run that has consumed events of one topic."""
    return Receipt(
        job="daily", run_id="r1", notebook=str(tmp_path / "daily.ipynb"),
        parameters={"hours": 2, "note": "<script>alert(1)</script>"}, state=State.SUCCEEDED, message=None,
        started_at=STARTED, ended_at=STARTED + timedelta(seconds=61), seconds=61.0, versions={"python": "3.11.7"},
        accounting={"delays": Accounting(1234, 1200, 4, 20, 10, 7, 2)},
        offsets={"delays": {"flights": {0: (0, 600), 1: (0, 634)}}},
        folder=str(tmp_path), executed=None, report=None,
    )  # fmt: skip


def _page(receipt: Receipt, folder: Path, *outputs: Any, **how: Any) -> str:
    """Make the report of a notebook with a heading and one cell with these outputs."""
    code = new_code_cell("compute(4711)", execution_count=1, outputs=list(outputs))
    nbformat.write(
        new_notebook(cells=[new_markdown_cell("# Delays & co"), code]), folder / "n.ipynb"
    )
    return report.to_html(folder / "n.ipynb", folder / "n.html", receipt=receipt, **how).read_text()


def _display(**data: str) -> Any:
    kinds = {"html": "text/html", "svg": "image/svg+xml", "text": "text/plain",
             "vega": "application/vnd.vegalite.v6+json", "widget": "application/vnd.jupyter.widget-view+json"}  # fmt: skip
    return new_output("display_data", data={kinds[kind]: value for kind, value in data.items()})


class _Loads(HTMLParser):
    """Collect what a page would fetch from elsewhere."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = re.findall(
            r"(?:@import|url\()\s*['\"]?(?:https?:)?//[^'\")]+", page
        )
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if tag == "script" or (
                tag != "a"
                and name in ("src", "href", "data", "srcset")
                and not (value or "").startswith(("data:", "#"))
            ):
                self.found.append(f"{tag} {name}={value}")


def test_a_chart_is_in_the_page_and_nothing_is_loaded(receipt: Receipt, tmp_path: Path) -> None:
    """The SVG wins over the vega specification and the widget; no address is fetched, no script there."""
    page = _page(receipt, tmp_path, _display(widget="{}", vega="{}", svg=SVG, text="Chart(...)"))
    assert "data:image/svg+xml;base64," in page
    assert "Chart(...)" not in page
    assert _Loads(page).found == []
    assert "default-src 'none'" in page


def test_html_that_needs_a_script_gives_way(receipt: Receipt, tmp_path: Path) -> None:
    """A chart that would come from elsewhere is shown by its picture or text; a table stays."""
    remote = '<script src="https://cdn.example/vega.js"></script>'
    page = _page(receipt, tmp_path, _display(html=remote, svg=SVG), _display(html=remote, text="plain"),
                 _display(html="<table><tr><td>42</td></tr></table>", text="forty-two"))  # fmt: skip
    assert _Loads(page).found == []
    assert "data:image/svg+xml" in page
    assert "plain" in page
    assert "<td>42</td>" in page
    assert "forty-two" not in page


def test_the_head_says_what_ran_and_where_each_event_went(receipt: Receipt, tmp_path: Path) -> None:
    """Title once, state, time, parameters (escaped), the accounting identity, the offsets."""
    page = _page(receipt, tmp_path)
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page.partition("<body>")[2]))
    assert "succeeded job daily 2026-03-01 06:00:00 UTC · 61.0 s Delays &amp; co" in text
    assert "delays 1,234 consumed = 1,200 used + 4 duplicate + 20 late + 10 quarantined" in text
    assert "&lt;script&gt;alert(1)" in page
    assert page.count("<h1") == 1
    assert "flights 1 0 634" in text


def test_code_is_folded_unless_asked_for(receipt: Receipt, tmp_path: Path) -> None:
    """A report is for reading; the code is one click away."""
    assert '<details class="code"><summary>' in _page(receipt, tmp_path)
    assert '<details class="code" open=""><summary>' in _page(receipt, tmp_path, show_code=True)
    assert "4711" in _page(receipt, tmp_path)


def test_a_failure_stands_at_the_top(receipt: Receipt, tmp_path: Path) -> None:
    """The message is escaped and in the head."""
    failed = replace(receipt, state=State.FAILED, message="cell [1] failed: ValueError: a < b")
    page = _page(failed, tmp_path)
    assert '<span class="badge failed">' in page
    assert "cell [1] failed: ValueError: a &lt; b" in page


def test_a_cleared_progress_line_leaves_no_gap(receipt: Receipt, tmp_path: Path) -> None:
    """An output that shows nothing, or only what a report cannot show, makes no empty box."""
    page = _page(receipt, tmp_path, _display(text=""), _display(widget="{}"))
    assert "jp-OutputArea-child" not in page.partition("<body>")[2]


def test_what_was_printed_in_pieces_is_one_block(receipt: Receipt, tmp_path: Path) -> None:
    """Pieces of a stream join, a progress line keeps its last state, megabytes take no time."""
    pieces = ["one ", "two\n", "10 %\r", "20 %\r100 %", "\n", "x" * 3_000_000]
    page = _page(
        receipt, tmp_path, *(new_output("stream", name="stdout", text=each) for each in pieces)
    )
    assert "<pre>one two\n100 %\nxxx" in page


@pytest.mark.parametrize(
    ("tag", "code", "output", "folded"),
    [
        ("remove-input", False, True, False),
        ("remove-output", True, False, False),
        ("hide-output", True, True, True),
        ("hide-cell", True, True, True),
        ("hide-input", True, True, False),
    ],
)
def test_jupyter_s_tags_hold_in_the_page(
    receipt: Receipt, tmp_path: Path, tag: str, *, code: bool, output: bool, folded: bool
) -> None:
    """What a tag removes is not in the page; an output that it hides is one click away."""
    outputs = [new_output("stream", name="stdout", text="42 rows")]
    cell = new_code_cell("compute", execution_count=1, outputs=outputs, metadata={"tags": [tag]})
    nbformat.write(new_notebook(cells=[cell]), tmp_path / "n.ipynb")
    page = report.to_html(tmp_path / "n.ipynb", tmp_path / "n.html", receipt=receipt).read_text()
    assert ("compute" in page) is code
    assert ("42 rows" in page) is output
    assert ("[1] output</summary>" in page) is folded


def test_cells_that_are_for_the_author_are_left_out(receipt: Receipt, tmp_path: Path) -> None:
    """The parameters stand in the head already; a cell tagged `remove-cell` is for the notebook only."""
    tags = {
        "parameters": "hours = 815",
        "injected-parameters": "hours = 816",
        "remove-cell": "hours = 817",
    }
    cells = [new_code_cell(source, metadata={"tags": [tag]}) for tag, source in tags.items()]
    nbformat.write(
        new_notebook(cells=[*cells, new_code_cell("hours += 818")]), tmp_path / "n.ipynb"
    )
    page = report.to_html(tmp_path / "n.ipynb", tmp_path / "n.html", receipt=receipt).read_text()
    assert re.findall(r"81\d", page.partition("<header>")[2]) == ["818"]
