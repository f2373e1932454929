"""A view in a cell: the widget that shows it where a person looks, and what stays where nobody does."""

from __future__ import annotations

import time
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rta.display import still
from rta.settings import private_folder, settings

if TYPE_CHECKING:
    from rta.display.live_view import LiveView

MODULE: Final = Path(__file__).with_name("live.js")
_VEGA: Final = "6.4"
_ONE_FRAME: Final = (
    1.0  # seconds that a page may take to draw; while a cell blocks, its answers may not arrive
)


def alive() -> bool:
    """Tell whether a person can see a widget in the running cell.

    JupyterLab, Notebook 7 and VS Code tell the kernel which cell they run; papermill, nbclient and nbval do not, and show no widget.
    """
    return bool(place())


def place() -> str:
    """Return the running cell, or an empty text outside of a page."""
    kernel = getattr(_shell(), "kernel", None)
    return str(kernel.get_parent("shell").get("metadata", {}).get("cellId", "")) if kernel else ""


def show(view: LiveView) -> None:
    """Show a view in the running cell: alive, or as it is now."""
    from IPython.display import display

    bundle = still.bundle(view.snapshot())
    if view.state == "ended" or not alive():
        display(bundle, raw=True)  # type: ignore[no-untyped-call]
        return
    page = Page(view)
    page.handle = display(page.bundle(bundle), raw=True, display_id=True)  # type: ignore[no-untyped-call]
    view.pages.append(page)


def _shell() -> Any:
    import sys

    ipython = sys.modules.get("IPython")  # a program that did not load it is in no notebook
    return ipython.get_ipython() if ipython else None


@cache
def _esm(*, chart: bool) -> str:
    """Return the page's module; with Vega in it if there is a chart."""
    source = MODULE.read_text()
    return bundled(source) if chart else source


@cache
def bundled(source: str) -> str:
    """Return a module with Vega in it, made once and kept."""
    import hashlib
    from importlib.metadata import version

    import vl_convert

    name = hashlib.sha256(f"{version('vl-convert-python')} {_VEGA} {source}".encode()).hexdigest()[
        :16
    ]
    kept = private_folder(settings().cache / "pages") / f"{name}.js"
    if not kept.exists():
        draft = kept.with_suffix(f".{time.monotonic_ns()}")
        draft.write_text(vl_convert.javascript_bundle(source, vl_version=_VEGA))
        draft.replace(kept)
    return kept.read_text()


class Page:
    """A widget in a cell; several tabs may show it."""

    handle: Any = None

    def __init__(self, view: LiveView) -> None:
        self._widget = _widget_class()(_esm=_esm(chart=view.charted))
        self._widget.on_msg(self._told)
        self._view, self._sent, self._drawn = view, (0, 0.0), 0
        self._seen = self._idle = time.monotonic()

    def send(self, frame: dict[str, Any]) -> None:
        """Send a frame to all tabs."""
        if "seq" in frame:
            self._sent = frame["seq"], time.monotonic()
        self._widget.send(frame)

    def ready(self) -> bool:
        """Tell whether all frames but the last were drawn, or the last is old: one may be under way while the next is made."""
        number, at = self._sent
        return self._drawn >= number - 1 or time.monotonic() - at > _ONE_FRAME

    def unseen(self) -> float:
        """Return for how many seconds no page has drawn, although the kernel had time to hear of it."""
        if (kernel := getattr(_shell(), "kernel", None)) is not None:
            kernel.io_loop.add_callback(self._note_idle)
        return max(self._idle - self._seen, 0)

    def _note_idle(self) -> None:
        self._idle = time.monotonic()

    def _told(self, _: object, message: dict[str, Any], __: object) -> None:
        self._seen = time.monotonic()
        if message.get("do") == "ack":
            self._drawn = max(self._drawn, int(message["seq"]))
        else:
            self._view.told(message)

    def bundle(self, shown: dict[str, Any]) -> dict[str, Any]:
        """Return the widget, and beside it what is shown where there are none."""
        return {"application/vnd.jupyter.widget-view+json": {"version_major": 2, "version_minor": 0, "model_id": self._widget.model_id}} | shown  # fmt: skip

    def leave(self, shown: dict[str, Any]) -> None:
        """Put the last picture in place of the widget, in the tab that ran the cell: only there its output has an id.

        In another tab of the notebook the widget stays, and says that the view has ended.
        """
        if self.handle is not None:
            self.handle.update(shown, raw=True)

    def close(self) -> None:
        """Remove the widget from all tabs."""
        self._widget.close()


@cache
def _widget_class() -> Any:
    """Return the class of the widget; ipywidgets load with the first one."""
    import anywidget

    class Live(anywidget.AnyWidget):
        """Carries messages; its state is empty, so none stays in a notebook."""

    return Live
