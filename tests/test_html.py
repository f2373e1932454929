"""What a notebook shows of facts: tables in which nothing from outside is HTML."""

from datetime import UTC, datetime

import pytest

from rta.html import Facts, table
from rta.topics import Topic

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


def test_long_lists_are_cut_in_the_notebook_alone() -> None:
    """A notebook with ten thousand rows in a cell cannot be opened; the list has them all."""
    facts = Facts([Topic(f"t{n}", 1, n) for n in range(1000)])
    assert len(facts) == 1000
    assert facts._repr_html_().count("<tr>") == 51
    assert "… and 950 more" in facts._repr_html_()


def test_values_are_written_for_a_person() -> None:
    """Numbers with their thousands, on the right; an instant as UTC; nothing for None."""
    row = (None, 1234567, 0.75, True, datetime(2024, 11, 15, 10, tzinfo=UTC))
    shown = table([row], [str(n) for n in range(len(row))])
    assert "1,234,567" in shown
    assert ">0.750<" in shown
    assert ">yes<" in shown
    assert "2024-11-15 10:00:00 UTC" in shown
