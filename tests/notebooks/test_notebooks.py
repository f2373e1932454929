"""The notebooks: their form is law, and each runs against the real broker."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode

from tests.docs.test_article import KAFKA_EXAMPLE
from tests.notebooks.nbval_all import NOTEBOOKS, Runs

MACHINE = re.compile(r"/(?:root|home|tmp|work|usr|opt|Users|var)/\w")
PNG = re.compile(
    r'"image/png": "[^"]*"|data:image/png;base64,[^"\\]*'
)  # base64 has slashes, and any letters between them
PICTURES = {"image/png", "image/svg+xml"}

each = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def read(path: Path) -> NotebookNode:
    """Read and validate a notebook."""
    notebook: NotebookNode = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    return notebook


def code(path: Path) -> list[NotebookNode]:
    """Return the code cells of a notebook."""
    return [cell for cell in read(path).cells if cell.cell_type == "code"]


def text(path: Path) -> str:
    """Return all the prose of a notebook."""
    return "\n\n".join(cell.source for cell in read(path).cells if cell.cell_type == "markdown")


@each
def test_it_begins_with_a_verb_and_says_what_it_is_for(path: Path) -> None:
    """The name is NN-verb-object, the title starts with that verb; do, learn and need follow."""
    _, verb, _ = path.stem.split("-", 2)
    opening = read(path).cells[0].source
    assert re.match(r"\d\d$", path.stem[:2])
    assert opening.startswith(f"# {verb.capitalize()} ")
    for promise in ("do", "learn", "need"):
        assert f"**What you'll {promise}:**" in opening


@each
def test_its_parameters_are_literals_with_units(path: Path) -> None:
    """The second code cell is tagged `parameters`: 3 to 6 literals, each with a comment."""
    cells = code(path)
    tagged = [
        number for number, cell in enumerate(cells) if "parameters" in cell.metadata.get("tags", [])
    ]
    assert tagged == [1]
    lines = cells[1].source.splitlines()
    assert 3 <= len(lines) <= 6
    for line in lines:
        (statement,) = ast.parse(line).body
        assert isinstance(statement, ast.Assign | ast.AnnAssign)
        assert statement.value is not None
        ast.literal_eval(statement.value)
        assert re.search(r"  # \S", line), f"no unit or meaning: {line}"


@each
def test_it_is_short(path: Path) -> None:
    """At most 20 code cells of at most 10 lines (blank ones aside), and little prose between them."""
    cells = code(path)
    assert len(cells) <= 20
    for cell in cells:
        lines = [line for line in cell.source.splitlines() if line.strip()]
        assert len(lines) <= 10, f"{len(lines)} lines: {lines[0]}"
    assert path.stat().st_size < 250_000


@each
def test_it_is_committed_as_executed_in_one_go(path: Path) -> None:
    """The counts are 1 to n, nothing failed, nothing went to stderr."""
    cells = code(path)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    for output in (output for cell in cells for output in cell.outputs):
        assert output.output_type != "error"
        assert output.get("name") != "stderr"


@each
def test_it_tells_nothing_of_the_machine(path: Path) -> None:
    """No path of a machine stands in a cell or an output."""
    found = MACHINE.search(PNG.sub("", path.read_text()))
    assert not found, found


@each
def test_its_charts_are_pictures(path: Path) -> None:
    """There is a chart, as PNG or SVG, so that it is seen without a network; no widgets, no scripts."""
    kinds = {
        kind for cell in code(path) for output in cell.outputs for kind in output.get("data", {})
    }
    assert kinds & PICTURES
    assert kinds <= PICTURES | {"text/plain", "text/html"}
    assert "<script" not in path.read_text()


@each
def test_its_exercise_has_a_solution_that_asserts(path: Path) -> None:
    """An exercise asks, its solution is executed and asserts; then comes practice."""
    solutions = [cell.source for cell in code(path) if cell.source.startswith("# Solution")]
    assert len(solutions) == 1
    assert "assert " in solutions[0]
    prose = text(path)
    assert 0 < prose.index("## Exercise") < prose.index("## In practice")


@each
def test_its_last_cell_stops_what_was_started(path: Path) -> None:
    """The last cell stops the session, or closes and deletes what the notebook made."""
    assert re.search(r"\.(stop|close|down|delete_topic|stop_scheduler)\(", code(path)[-1].source)


def test_the_article_s_example_runs_as_printed() -> None:
    """Every statement of the article's producer and consumer stands in the notebook; only the address differs."""
    path = next(path for path in NOTEBOOKS if path.stem == "02-explore-kafka")
    there = {ast.dump(node) for cell in code(path) for node in ast.walk(ast.parse(cell.source))}
    printed = ast.parse(KAFKA_EXAMPLE.replace("['localhost:9092']", "[address]")).body
    statements = [each for each in printed if not isinstance(each, (ast.Import, ast.ImportFrom))]
    assert len(statements) == 5
    for statement in statements:
        assert ast.dump(statement) in there, ast.unparse(statement)


@pytest.mark.kafka
@pytest.mark.timeout(0)  # it waits for as long as the notebooks get on
@each
def test_it_runs(path: Path, notebook_runs: Runs) -> None:
    """Run by nbval against a real broker: no cell fails, and tagged outputs are equal."""
    code, told = notebook_runs.result(path)
    assert code == 0, told
    assert " passed" in told
