"""The report of a run: one HTML page that needs no network and no script."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rta.files import write_whole
from rta.jobs.parameters import INJECTED, TAG
from rta.jobs.receipts import TIMES

if TYPE_CHECKING:
    from rta.jobs.receipts import Receipt
    from rta.store.ledger import Accounting

TEMPLATE: Final = Path(__file__).with_name("report.html.j2")
# What nbconvert may show, best first: pictures and tables, no widgets.
PRIORITY: Final = (
    "text/html", "image/svg+xml", "image/png", "image/jpeg", "text/markdown", "text/latex", "text/plain",
)  # fmt: skip
_URLS: Final = (
    "require_js_url", "mathjax_url", "mermaid_js_url", "mermaid_layout_elk_js_url", "jquery_url",
    "jupyter_widgets_base_url", "widget_renderer_url",
)  # fmt: skip
_LEFT_OUT: Final = {TAG, INJECTED, "remove-cell", "papermill-error-cell-tag"}
_TITLE: Final = re.compile(r"^#\s+(.+?)\s*#*\s*$", re.MULTILINE)


def to_html(
    notebook: str | Path, html: str | Path, *, receipt: Receipt, show_code: bool = False
) -> Path:
    """Write an executed notebook and its run's receipt as one HTML file, and return its path.

    The page loads nothing (its Content-Security-Policy forbids it), so an output that needs a script is shown as SVG, PNG or
    text. The tags of Jupyter hold: `remove-cell`, `remove-input` and `remove-output` leave out; `hide-output` and `hide-cell`
    fold.

    Args:
        notebook: The path of the executed notebook.
        html: The path of the page.
        receipt: The receipt of its run.
        show_code: Unfold the code, too.

    Raises:
        OSError: if a file cannot be read or written.
    """
    import nbformat
    from nbconvert import HTMLExporter
    from traitlets.config import Config

    document = nbformat.read(notebook, as_version=4)
    title = _take_title(document) or receipt.job
    _tidy(document)
    config = Config(
        {"NbConvertBase": {"display_data_priority": list(PRIORITY)},
         "TagRemovePreprocessor": {"enabled": True, "remove_input_tags": {"remove-input"}, "remove_all_outputs_tags": {"remove-output"}},
         "CSSHTMLHeaderPreprocessor": {"style": "friendly"}}
    )  # fmt: skip
    exporter = HTMLExporter(config=config, raw_template=TEMPLATE.read_text(encoding="utf-8"), **dict.fromkeys(_URLS, ""))  # fmt: skip
    facts = _facts(receipt, title) | {"show_code": show_code, "at_cell": _has_failed(document)}
    page, _ = exporter.from_notebook_node(document, resources={"rta": facts})
    target = Path(html)
    write_whole(target, page)
    return target


def _take_title(document: Any) -> str | None:
    """Remove the first heading from the notebook, and return it for the head of the page."""
    for cell in document.cells:
        if cell.cell_type == "markdown" and (found := _TITLE.search(cell.source)):
            cell.source = cell.source[: found.start()] + cell.source[found.end() :]
            return re.sub(r"[`*]", "", found.group(1))
    return None


def _tidy(document: Any) -> None:
    """Remove what the head of the page shows better, empty cells, and outputs that show nothing."""
    document.metadata.pop("widgets", None)
    document.cells = [
        cell for cell in document.cells
        if not _LEFT_OUT & set(cell.metadata.get("tags", ())) and (cell.source.strip() or cell.get("outputs"))
    ]  # fmt: skip
    for cell in document.cells:
        if cell.cell_type == "code":
            cell.outputs = [_still(each) for each in _merged(cell.outputs) if not _is_blank(each)]


def _merged(outputs: list[Any]) -> list[Any]:
    """Join the pieces of a cell's printed output; of a line that was rewritten, the last text stays.

    coalesce_streams of nbclient takes hours for one line of some megabytes.
    """
    merged: list[Any] = []
    for output in outputs:
        last = merged[-1] if merged else {}
        if "text" in output and last.get("name") == output.get("name"):
            last["text"] += output["text"]
        else:
            merged.append(output)
    for output in merged:
        if "text" in output:
            lines = output["text"].replace("\r\n", "\n").split("\n")
            output["text"] = "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in lines)
    return merged


def _still(output: Any) -> Any:
    """Return an output without HTML that needs a script, if it has something else to show."""
    data = output.get("data", {})
    if "<script" in str(data.get("text/html", "")).lower() and set(data) & set(PRIORITY[1:]):
        del data["text/html"]
    return output


def _is_blank(output: Any) -> bool:
    """Return whether an output shows nothing, such as a progress line that was removed."""
    if "text" in output:
        return not output["text"].strip()
    data = output.get("data")
    return data is not None and not any(str(data.get(kind, "")).strip() for kind in PRIORITY)


def _has_failed(document: Any) -> bool:
    return any(cell.metadata.get("papermill", {}).get("exception") for cell in document.cells)


def _facts(receipt: Receipt, title: str) -> dict[str, Any]:
    """Return what the template shows of a receipt; the template escapes it."""
    took = "" if receipt.seconds is None else f" · {receipt.seconds:,.1f} s"
    return {
        "title": title, "job": receipt.job, "run_id": receipt.run_id, "state": receipt.state,
        "message": receipt.message, "when": f"{receipt.started_at:{TIMES}}{took}",
        "notebook": Path(receipt.notebook).name, "versions": list(receipt.versions.items()),
        "parameters": [(name, value if isinstance(value, str) else repr(value)) for name, value in receipt.parameters.items()],
        "accounting": [(table, _terms(each)) for table, each in receipt.accounting.items()],
        "offsets": list(_offset_rows(receipt)), "source": list(_source_of(receipt)),
    }  # fmt: skip


def _source_of(receipt: Receipt) -> Iterator[tuple[str, str]]:
    """Yield what says which notebook ran, and for which moment."""
    moment = receipt.scheduled_for and receipt.scheduled_for.isoformat(" ")
    facts = {"sha256": receipt.sha256, "commit": receipt.commit, "scheduled for": moment}
    yield from ((name, value) for name, value in facts.items() if value)


def _terms(accounting: Accounting) -> list[tuple[str, str, str, str]]:
    """Return sign, name, count and mark of each term of the law: consumed = used + the others."""
    lost = ("duplicate", "late", "quarantined")
    names = (("", "consumed"), ("=" if accounting.balanced else "≠", "used"), *(("+", n) for n in lost))  # fmt: skip
    counts = [(sign, name, int(getattr(accounting, name))) for sign, name in names]
    return [(sign, name, f"{count:,}", "some" if count and name in lost else "") for sign, name, count in counts]  # fmt: skip


def _offset_rows(receipt: Receipt) -> Iterator[tuple[str, ...]]:
    for table, topics in receipt.offsets.items():
        for topic, spans in topics.items():
            for partition, (start, end) in sorted(spans.items()):
                yield table, topic, str(partition), f"{start:,}", f"{end:,}"
