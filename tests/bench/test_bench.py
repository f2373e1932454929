"""The bench's arithmetic, its verdicts, and the pages with figures: without running a row."""

import json
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

import duckdb
import pytest

from bench import chart, latency, outage, readers, replays, report, state, summary
from bench.child import Phase, Setup
from bench.drain import printed
from bench.rows import GROUPS, ROWS
from bench.setup import check_totals
from bench.targets import TARGETS
from rta.store.ledger import Batch
from tests.docs.test_article import SPARK_QUERY


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


def test_groups_that_were_not_measured_are_left_out(tmp_path: Path) -> None:
    """Results from before a group was there: no heading in the tables, no panel in the chart, no error."""
    text = report.tables([RUN], report.BRIEF)
    assert report.GROUPS["drain"][0] in text
    assert not [
        title for name, (title, _) in report.GROUPS.items() if name != "drain" and title in text
    ]
    chart.draw([RUN], tmp_path / "chart.svg")
    assert "watermark" not in (tmp_path / "chart.svg").read_text()


def test_the_chart_shows_the_state_over_time(tmp_path: Path) -> None:
    """Where the plateau was measured, its two lines are named at their ends."""
    points = [
        {**measured(row, 0, 1.0), "group": "plateau", "phase": f"after {n}", "figures": {"keys": keys * n, "events": n}}
        for row, keys in (("with watermark", 1), ("without watermark", 5))
        for n in (10, 20)
    ]  # fmt: skip
    chart.draw([{**RUN, "measurements": RUN["measurements"] + points}], tmp_path / "chart.svg")
    drawn = (tmp_path / "chart.svg").read_text()
    assert "with watermark" in drawn
    assert "without watermark" in drawn


def test_a_row_is_as_fast_as_its_events_are_many_within_one_repetition() -> None:
    """The replay while events arrive stands beside the quiet one of its repetition; other groups have no such column."""
    rows = [
        {**measured(row, n, seconds), "group": group, "figures": {"seconds": seconds}}
        for group in ("replay", "outage")
        for row, n, seconds in (("quiet", 0, 4.0), ("live", 0, 8.0), ("quiet", 1, 6.0), ("live", 1, 6.0))
    ]  # fmt: skip
    replay, outage_ = report.tables([{**RUN, "measurements": rows}]).split("\n\n**Until")
    assert "| live, cold | 7.00 (6.00 to 8.00) | 0.750 (0.500 to 1.00) | once |" in replay
    assert "times as fast" not in outage_


def test_an_outage_ends_with_the_first_event_that_waits_no_longer_than_before() -> None:
    """Events from before the stop do not count, a short wait by chance before it neither; without one it never ended."""
    waits = [outage.Wait(n, ms) for n, ms in ((0, 400), (5, 60_000), (60, 2_000), (66, 500), (67, 700))]  # fmt: skip
    assert outage.caught_up(waits, 1.0, 500.0) == (66.5, waits[3:])
    assert outage.caught_up(waits, 1.0, 400.0) == (1.0, [])


def test_events_waited_until_the_batch_that_has_them() -> None:
    """By partition and offset; only those that were meant to be sent during the phase."""
    at = datetime(1970, 1, 1, 0, 0, 3, tzinfo=UTC)
    batches = [Batch("q", 0, "t", {0: 5}, {0: 7, 1: 1}, committed_at=at)]
    sent = {(0, 5): 0.5, (0, 6): 1.0, (1, 0): 2.0}
    assert replays.waited(sent, batches, Phase("replay", 1.0, 0.0, 2.5)) == [2000.0, 1000.0]


def test_the_state_is_told_every_few_batches_and_at_the_end() -> None:
    """With the events taken by then, and the moment at which the batch had ended."""
    operator = {"numRowsTotal": 5, "memoryUsedBytes": 2e6, "commitTimeMs": 7}
    when = {"timestamp": "1970-01-01T00:00:07Z", "batchDuration": 500}
    points = list(state.points([{"numInputRows": 10, "stateOperators": [operator], **when}] * 4))
    assert [(ended, point["events"], point["keys"]) for ended, point in points] == [
        (7.5, 30, 5),
        (7.5, 40, 5),
    ]


def test_the_pages_show_the_newest_results() -> None:
    """Three lines in README, the tables in docs/benchmarks.md: what bench/ would write from the newest file, never edited."""
    for page, content in report.pages(report.current()).items():
        assert page.read_text() == content
    brief = report.in_brief(report.current())
    assert len(brief.splitlines()) == 3


def test_a_line_that_was_not_measured_is_left_out(tmp_path: Path) -> None:
    """Results with the cold drain alone say how many targets are met, and nothing that nobody measured."""
    path = tmp_path / "2026-01-01.json"
    path.write_text(json.dumps({"runs": [RUN]}))
    [line] = report.in_brief(report.current(tmp_path)).splitlines()
    assert line.startswith("- 1 of 2 targets are met")


def test_a_group_is_that_of_the_newest_day_that_measured_most_of_its_rows(tmp_path: Path) -> None:
    """A group that is measured alone takes nothing away from the others, and half a group does not stand for the whole."""
    parse = {**measured("nested", 0, 1.0), "group": "parse"}
    half = [each for each in RUN["measurements"] if each["row"] == RUN["measurements"][0]["row"]]
    days = {"2026-01-01": RUN["measurements"], "2026-01-02": [parse], "2026-01-03": [*half, parse]}
    for day, measurements in days.items():
        (tmp_path / f"{day}.json").write_text(
            json.dumps({"runs": [{**RUN, "measurements": measurements}]})
        )
    found = {path.stem: [each["group"] for run in runs for each in run["measurements"]] for path, runs in report.current(tmp_path)}  # fmt: skip
    assert found == {"2026-01-01": ["drain"] * len(RUN["measurements"]), "2026-01-03": ["parse"]}


def test_a_figure_is_of_one_code(tmp_path: Path) -> None:
    """What was measured before the code was changed stays in the file, and is no part of a figure; the same code again is."""
    runs = [{**RUN, "code": code, "measurements": [measured("rta", 0, seconds)]} for code, seconds in (("old", 9.0), ("new", 1.0), ("new", 3.0))]  # fmt: skip
    (path := tmp_path / "2026-01-01.json").write_text(json.dumps({"runs": runs}))
    for found in (report.current(tmp_path), report.counting([path])):
        [(_, kept)] = found
        assert (
            str(summary.figure(kept, ("drain", "rta", "cold"), "seconds")) == "2.00 (1.00 to 3.00)"
        )
