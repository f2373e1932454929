"""The bench's arithmetic, its verdicts, and the README's section: without running a row."""

from importlib import import_module
from pathlib import Path
from typing import Any

import duckdb
import pytest

from bench import latency, readers, report, summary
from bench.child import Setup
from bench.drain import printed
from bench.measure import ROOT
from bench.rows import GROUPS, ROWS
from bench.setup import check_totals
from bench.targets import TARGETS
from tests.test_article import SPARK_QUERY


def measured(row: str, repetition: int, seconds: float, fault: str = "") -> dict[str, Any]:
    """Make a measurement of the cold drain."""
    figures = {} if fault else {"seconds": seconds, "from_first_record": seconds - 1}
    return {
        "group": "drain", "row": row, "phase": "cold", "repetition": repetition, "guarantee": "once",
        "figures": figures, "fault": fault,
    }  # fmt: skip


RUN: dict[str, Any] = {
    "events": 2_000_000,
    "measurements": [
        measured("article", 0, 40.0), measured("rta", 0, 10.0),
        measured("rta", 1, 20.0), measured("article", 1, 60.0),
    ],
}  # fmt: skip
ARTICLE, RTA = ("drain", "article", "cold"), ("drain", "rta", "cold")


@pytest.fixture
def setup(tmp_path: Path) -> Setup:
    """Make a setup with a small truth."""
    truth = tmp_path / "truth.parquet"
    duckdb.execute(
        "COPY (SELECT TIMESTAMP '2024-11-15 10:30:00' AS window_start, 7 AS user_id,"
        f" 0.30::DECIMAL(22, 2) AS total_amount, 2 AS event_count) TO '{truth}'"
    )
    return Setup("", 2, "topic", "127.0.0.1:1", "", str(truth), {}, {}, SPARK_QUERY)


def test_ratios_are_taken_within_one_repetition() -> None:
    """Four times and three times, so 3.5 in the middle; not the ratio of two medians."""
    assert summary.ratio([RUN], ARTICLE, RTA, "seconds") == summary.Spread(3.5, 3.0, 4.0, 2)


def test_a_wrong_row_has_no_figures_and_says_so() -> None:
    """It is in the table with its fault, without a time, and no ratio is built on it."""
    wrong = {
        **RUN,
        "measurements": [measured("article", 0, 40), measured("rta", 0, 1, "WRONG: 1 of 2")],
    }
    text = report.tables([wrong])
    assert "| rta, cold |  |  |  | WRONG: 1 of 2; once |" in text
    assert summary.ratio([wrong], ARTICLE, RTA, "seconds") is None


def test_the_targets_stand_in_the_table_with_what_came_out() -> None:
    """One that is held says yes, one that is missed says no, one that was not measured is left out."""
    text = report.tables([RUN])
    assert "| the article's time / rta's, cold | ≥ 3.00 times | 3.50 (3.00 to 4.00) | yes |" in text
    assert "| ≤ 12.0 s | 14.0 (9.00 to 19.0) | **no** |" in text
    assert "warm |" not in text


def test_each_event_is_visible_with_the_first_result_that_counts_it() -> None:
    """Results of a key count up; an older result that comes again changes nothing, a lost event has none."""
    a, b = (0, 1), (0, 2)
    sent = [(a, 1.0), (b, 1.0), (a, 2.0), (a, 3.0)]
    results = [(4.0, a, 2), (4.5, a, 1), (5.0, b, 1)]
    assert latency.latencies(sent, results) == [3000.0, 4000.0, 2000.0, None]


def test_seen_results_never_go_back() -> None:
    """A replay after a crash brings older counts: they are not written down."""
    seen = readers.Seen()
    for count in (2, 1, 3):
        seen.see([((0, 1), count)])
    assert [result[2] for result in seen.results] == [2, 3]


@pytest.mark.parametrize(
    ("total", "events", "fault"),
    [("0.30::DOUBLE", 2, ""), ("'0.30'", 2, ""), ("0.31", 2, "WRONG: 2 of 2"), ("0.3", 1, "WRONG: 1 of 2")],
)  # fmt: skip
def test_an_answer_is_held_to_the_truth(
    setup: Setup, tmp_path: Path, total: str, events: int, fault: str
) -> None:
    """Floats and text pass where they are right to the cent; a wrong total or count never does."""
    answer = tmp_path / "answer.parquet"
    duckdb.execute(
        "COPY (SELECT TIMESTAMP '2024-11-15 10:30:00' AS window_start, 7 AS user_id,"
        f" {total} AS total_amount, {events} AS event_count) TO '{answer}'"
    )
    verdict = check_totals(setup, {"answer": str(answer)})
    assert verdict.startswith(fault) if fault else verdict == ""


def test_the_article_is_changed_in_address_topic_sink_and_start_alone(setup: Setup) -> None:
    """Undoing the four changes gives the text as printed."""
    code = printed(setup, '.format("noop")', starting="earliest")
    undone = code.replace("'127.0.0.1:1'", '"localhost:9092"').replace("'topic'", '"user-events"')
    undone = undone.replace('.format("noop")', '.format("console")')
    assert undone.replace('.option("startingOffsets", "earliest")', "") == SPARK_QUERY


def test_every_row_names_a_function_and_a_group_that_is_shown() -> None:
    """Rows, children, headings and targets belong together."""
    for row in ROWS:
        module, _, name = row.child.partition(":")
        assert callable(getattr(import_module(module), name)), row
    assert set(GROUPS) == set(report.GROUPS)
    names = {(row.group, row.name) for row in ROWS}
    assert {place[:2] for t in TARGETS for place in (t.where, t.over) if place} <= names


def test_the_readme_shows_the_newest_results() -> None:
    """Its section is what bench/ would write from the newest file: never older, never edited."""
    readme = (ROOT / "README.md").read_text()
    assert report.with_section(readme, report.section(report.newest())) == readme
