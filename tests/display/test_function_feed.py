"""A live view of what a function returns."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd
import pytest

import rta
from rta.display import Tile, still
from rta.display.function_feed import FunctionFeed
from rta.display.live_view import LiveView
from rta.errors import InputError
from rta.html import Facts
from rta.monitor.verdicts import Verdict
from rta.values import python_value
from tests.display.test_live import Recorded
from tests.jobs.test_jobs import Gate, _run_elsewhere
from tests.support.notebooks import written
from tests.support.waiting import finished, until


@dataclass
class Airport:
    """A row."""

    name: str
    delays: int


@pytest.mark.parametrize(
    "rows",
    [
        pd.DataFrame({"name": ["JFK"], "delays": [7]}),
        [{"name": "JFK", "delays": 7}],
        [Airport("JFK", 7)],
        Facts([Airport("JFK", 7)]),
    ],
    ids=["pandas", "dictionaries", "dataclasses", "facts"],
)
def test_rows_of_each_form_are_shown(rows: Any) -> None:
    """A DataFrame, dictionaries, dataclasses and what rta lists give the same rows."""

    def worst_airports() -> Any:
        return rows

    view = rta.live(worst_airports, key="name")
    assert view.feed.title == "worst airports"
    shown = view.snapshot()
    assert shown.frame.to_dict("records") == [{"name": "JFK", "delays": 7}]
    assert (shown.rows.types, shown.rows.total) == ({"name": "text", "delays": "number"}, 1)


def test_tiles_are_shown_as_tiles() -> None:
    """Where nothing is alive, they are a table of figures that needs no script; whatever they hold is text."""
    evil = "<img src=x onerror=alert(1)>"

    def figures() -> list[Tile]:
        return [
            Tile("mean delay", 54.46, "min", past=[20.0, 48.0], better="down"),
            Tile(evil, evil),
        ]

    shown = rta.live(figures).snapshot()._repr_mimebundle_()
    assert "mean delay" in shown["text/plain"]
    assert "54.5 min" in shown["text/plain"]
    assert "▲ 6.5 than before" in shown["text/plain"]
    assert "54.5" in shown["text/html"]
    assert evil not in shown["text/html"]
    with pytest.raises(InputError, match="in which direction"):
        Tile("late", 7, better="less")  # type: ignore[arg-type]


def test_a_still_reads_every_form_of_a_time() -> None:
    """With a zone, without one, which is UTC, and as text; what is no time stays."""
    moment = pd.Timestamp("2024-11-15 10:00", tz="UTC")

    def times() -> pd.DataFrame:
        return pd.DataFrame({"at": [moment], "naive": [moment.tz_localize(None)]})

    shown = rta.live(times).snapshot()._repr_mimebundle_()["text/html"]
    assert shown.count("2024-11-15 10:00:00 UTC") == 2
    assert str(still._moment("2024-11-15T10:00:00Z")) == "2024-11-15 10:00:00+00:00"
    assert still._moment("noon") == "noon"


def test_types_come_from_the_values_and_stay_when_there_are_none() -> None:
    """A column that is empty now keeps its type, and a list that is empty now its columns."""
    some = {"at": datetime(2024, 11, 15, tzinfo=UTC), "sum": Decimal("1.5"), "late": True, "of": [1], "why": None}  # fmt: skip
    answers: list[Any] = [[], [dict.fromkeys(some, None)], [some]]
    feed = FunctionFeed(answers.pop, key=["at"])
    types = {"at": "time", "sum": "decimal", "late": "bool", "of": "json", "why": "text"}
    for verdict in ("up to date", "up to date", "nothing there"):
        assert feed.rows(10).types == types
        assert feed.verdict([], "running").text == verdict


def test_the_worst_verdict_stands_above() -> None:
    """Of rows with verdicts the worst is that of the view."""
    rows = [{"v": Verdict("keeping up", "good")}, {"v": Verdict("no data for 40 s", "idle")}, {"v": Verdict("behind: 3 min", "bad")}]  # fmt: skip
    feed = FunctionFeed(lambda: rows)
    feed.rows(1)
    assert feed.verdict([], "running") == Verdict("behind: 3 min", "bad")
    assert feed.verdict([], "paused").text == "paused"


@pytest.mark.parametrize(
    ("function", "what"),
    [(lambda: 7, "a live view of a function needs rows"), (lambda: ["a"], "a live view of a function needs rows"), (lambda: [{"b": 1}], "there is no such column")],
)  # fmt: skip
def test_what_is_no_rows_is_refused(function: Callable[[], Any], what: str) -> None:
    """The error comes with the first look."""
    with pytest.raises(InputError, match=what):
        FunctionFeed(function, key=["a"]).rows(10)


def test_the_history_of_jobs_moves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run is a row while it goes on, and the same row says how it has ended; the page is told that row alone."""
    monkeypatch.setenv("RTA_HOME", str(tmp_path / "home"))
    gate, page = Gate(tmp_path / "reached", tmp_path / "opened"), Recorded()
    view = LiveView(FunctionFeed(rta.jobs.history, key=["run"]), every=0.05)
    view.pages.append(page)  # type: ignore[arg-type]
    rta.jobs.run(written(tmp_path / "before.ipynb", "print(1)"))
    with _run_elsewhere(written(tmp_path / "moves.ipynb", gate.cell)) as process:
        try:
            until(gate.reached.exists, process)
            view.start()
            until(lambda: any(frame.get("put") for frame in page.frames))
            during = view.snapshot()
        finally:
            gate.opened.touch()
            finished(process)
    until(lambda: "running" not in [cell for row in page.rows for cell in row])
    told = [[number for number, _ in frame["put"]] for frame in page.frames if "put" in frame]
    assert told == [[0, 1], [0]]
    after = view.snapshot()
    view.stop()
    row, before = during.frame.to_dict("records")
    then, same = after.frame.to_dict("records")
    assert (row["job"], str(row["state"]), row["seconds"]) == ("moves", "running", None)
    assert (then["job"], str(then["state"])) == ("moves", "succeeded")
    assert then["seconds"] > 0
    assert (then["run"], then["started"], before) == (row["run"], row["started"], same)


def test_a_library_that_another_thread_is_loading_has_no_values_yet(monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    """A cell that imports pandas while a thread publishes does not stop the thread."""
    for name in ("numpy", "pandas"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    assert python_value("field 'n'", 7) == 7
