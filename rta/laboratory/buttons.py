"""The laboratory in a cell: buttons where a person looks, and the table of what was done everywhere."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from html import escape
from threading import Thread
from typing import TYPE_CHECKING, Any, Final

from rta.display import cell
from rta.errors import RtaError
from rta.progress import told_to

if TYPE_CHECKING:
    from rta.laboratory.laboratories import Laboratory

# Button → method, style.
BUTTONS: Final = {
    "kill broker": ("kill_broker", "danger"), "kill driver": ("kill_driver", "danger"),
    "cut network": ("cut_network", "warning"), "slow network": ("slow_network", "warning"),
    "burst": ("burst", ""), "late events": ("late", ""), "copies": ("copies", ""), "poison": ("poison", ""),
}  # fmt: skip


def show(lab: Laboratory) -> None:
    """Show a laboratory in the running cell: with its buttons, or as it is now."""
    from IPython.display import display

    if not cell.alive():
        display(_bundle(lab), raw=True)  # type: ignore[no-untyped-call]
        return
    panel = Panel(lab)
    panel.handle = display(panel.bundle(), raw=True, display_id=True)  # type: ignore[no-untyped-call]
    lab.panels.append(panel)


def _bundle(lab: Laboratory) -> dict[str, Any]:
    return {"text/plain": repr(lab), "text/html": lab._repr_html_()}


class Panel:
    """The buttons in a cell. What is pressed works in a thread, so the cell has ended long ago, and others can run."""

    handle: Any = None

    def __init__(self, lab: Laboratory) -> None:
        from ipywidgets import HTML, Button, HBox, Layout, VBox

        self._lab, self._said, self._table = lab, HTML(), HTML(lab.told())
        self.buttons = {}
        for label, (name, style) in BUTTONS.items():
            button = Button(description=label, button_style=style, tooltip=getattr(lab, name).__doc__.splitlines()[0])  # fmt: skip
            button.on_click(partial(self._pressed, name))
            self.buttons[label] = button
        self._row = HBox(list(self.buttons.values()), layout=Layout(flex_flow="row wrap"))
        self._box = VBox([self._row, self._said, self._table])

    def _pressed(self, name: str, _: object) -> None:
        self._enable(on=False)
        work = partial(self._work, getattr(self._lab, name))
        Thread(target=work, daemon=True, name="laboratory").start()

    def _work(self, call: Callable[[], object]) -> None:
        try:
            with told_to(self.say):
                call()
        except RtaError as error:
            self.say(str(error))
        except Exception as error:
            self.say(f"{type(error).__name__}: {error}")
            raise
        finally:
            self._enable(on=True)

    @property
    def text(self) -> str:
        """What it says."""
        return str(self._said.value)

    @property
    def table(self) -> str:
        """The table that it shows."""
        return str(self._table.value)

    def say(self, text: str) -> None:
        """Show what goes on."""
        self._said.value = escape(text)

    def refresh(self) -> None:
        """Show what was done."""
        self._table.value = self._lab.told()

    def _enable(self, *, on: bool) -> None:
        for button in self.buttons.values():
            button.disabled = not on

    def bundle(self) -> dict[str, Any]:
        """Return the widget, and beside it what is shown where there are none."""
        return {"application/vnd.jupyter.widget-view+json": {"version_major": 2, "version_minor": 0, "model_id": self._box.model_id}} | _bundle(self._lab)  # fmt: skip

    def close(self) -> None:
        """Leave the table in place of the widget."""
        if self.handle is not None:
            self.handle.update(_bundle(self._lab), raw=True)
        # A box that is left and has a part that is closed: a page that is opened later waits for it, and shows no widget at all.
        for each in (self._box, self._row, self._said, self._table, *self.buttons.values()):
            each.close()
