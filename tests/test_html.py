"""What a notebook shows of facts: tables in which nothing from outside is HTML."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from IPython.lib import pretty as ipython

from rta.engines.spark.drained import Drained
from rta.html import Facts, Marked, card, table
from rta.jobs import Receipt, State
from rta.kafka import Broker
from rta.kafka.topics import Topic
from rta.store import Version, View
from rta.store.ledger import Accounting

pretty: Callable[[object], str] = ipython.pretty
EVIL = "<img src=x onerror='alert(1)'>&"


@pytest.mark.parametrize("columns", [(), (EVIL, EVIL)])
def test_nothing_from_outside_is_html(columns: tuple[str, ...]) -> None:
    """Headings and cells, with names of columns or without, come out as text."""
    shown = table([(EVIL, EVIL)], columns)
    assert "<img" not in shown
    assert shown.count("&lt;img src=x onerror=&#x27;alert(1)&#x27;&gt;&amp;") == 2 + len(columns)


def test_facts_stay_a_list() -> None:
    """Equal to a list, printed as one, each fact a row in the notebook."""
    topics = [Topic("clicks", 2, 1234), Topic("views", 1, 0)]
    facts = Facts(topics)
    assert facts == topics
    assert repr(facts) == repr(topics)
    assert facts._repr_html_().count("<tr>") == 3
    assert "1,234" in facts._repr_html_()
    assert Facts[Topic]([])._repr_html_() == "<p>none</p>"
    assert (
        pretty(facts)
        == "name    partitions  events\nclicks           2   1,234\nviews            1       0"
    )
    assert pretty(Facts[Topic]([])) == "none"


def test_long_lists_are_cut_in_the_notebook_alone() -> None:
    """A notebook with ten thousand rows in a cell cannot be opened; the list has them all."""
    facts = Facts([Topic(f"t{n}", 1, n) for n in range(1000)])
    assert len(facts) == 1000
    assert facts._repr_html_().count("<tr>") == 51
    assert "… and 950 more" in facts._repr_html_()
    assert pretty(facts).endswith("… and 950 more")


def test_an_accounting_that_does_not_add_up_says_so() -> None:
    """= if the law holds, ≠ with the difference if not; what is as it should be has no column."""
    right = Accounting(consumed=10, used=7, late=3, batches=1)._repr_html_()
    assert "= used" in right
    assert "unaccounted" not in right
    wrong = Accounting(consumed=1010, used=7, batches=2, flawed=1, lost=4)._repr_html_()
    for told in ("≠ used", "1,010", "unaccounted for", "1,003", "flawed batches", "lost"):
        assert told in wrong


def test_a_drain_is_a_table_with_its_accounting() -> None:
    """Which table, which topic, how many rows, and where the events went."""
    taken = Drained("t", EVIL, Accounting(consumed=5, used=5), {}, {}, 1234, 2.5)
    shown = taken._repr_html_()
    assert "1,234" in shown
    assert "= used" in shown
    assert "<img" not in shown


def test_values_are_written_for_a_person() -> None:
    """Numbers with their thousands, on the right; an instant as UTC; nothing for None."""
    row = (None, 1234567, 0.75, True, datetime(2024, 11, 15, 10, tzinfo=UTC))
    shown = table([row], [str(n) for n in range(len(row))])
    assert "1,234,567" in shown
    assert ">0.750<" in shown
    assert ">yes<" in shown
    assert "2024-11-15 10:00:00 UTC" in shown


def test_a_mark_is_a_dot_before_its_text() -> None:
    """Its colour says how good it is; the text is text."""
    shown = card([("state", Marked(EVIL, "bad"))], f"`{EVIL}` ends it")
    assert "●" in shown
    assert "<img" not in shown
    assert shown.count("<code>") == 1


@pytest.mark.parametrize(
    ("shown", "told"),
    [
        (Broker(7, 0.0, "127.0.0.1:9092", EVIL), ("127.0.0.1:9092", "process 7", "rta.down()")),
        (View("v", EVIL, 2, {1: Version(("v_v1",)), 2: Version(("v_v2",))}), ("version 2: v_v2", "rta.read(")),
        (
            Receipt("j", "r", "n.ipynb", {}, State.FAILED, EVIL, datetime.now(UTC), None, 1.0, {}, {"t": Accounting()}, {}, "f", None, "r.html"),
            ("j failed", "consumed 0", "r.html", "rta.jobs.history("),
        ),
    ],
)  # fmt: skip
def test_what_a_cell_returns_says_what_it_is_and_what_comes_next(shown: Any, told: tuple[str, ...]) -> None:  # fmt: skip
    """A table in a notebook, nothing from outside is HTML, and a next step."""
    html = shown._repr_html_()
    for each in told:
        assert each in html
    assert "next:" in html
    assert "<img" not in html
