"""The notebooks: their form is law, and each runs against the real broker."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode
from pyspark.sql import SparkSession

from rta.broker import bootstrap
from rta.topics import list_topics
from tests.execute import ROOT, put_flights
from tests.test_article import KAFKA_EXAMPLE

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*/*.ipynb"))
MACHINE = re.compile(r"/(?:root|home|tmp|work|usr|opt|Users|var)/\w")
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
    assert path.stat().st_size < 200_000


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
    found = MACHINE.search(path.read_text())
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
    assert re.search(r"\.(stop|close|down|delete_topic)\(", code(path)[-1].source)


def test_the_article_s_example_runs_as_printed() -> None:
    """Every statement of the article's producer and consumer stands in the notebook; only the address differs."""
    path = next(path for path in NOTEBOOKS if path.stem == "02-explore-kafka")
    there = {ast.dump(node) for cell in code(path) for node in ast.walk(ast.parse(cell.source))}
    printed = ast.parse(KAFKA_EXAMPLE.replace("['localhost:9092']", "[address]")).body
    statements = [each for each in printed if not isinstance(each, (ast.Import, ast.ImportFrom))]
    assert len(statements) == 5
    for statement in statements:
        assert ast.dump(statement) in there, ast.unparse(statement)


@pytest.fixture(scope="module")
def runs(
    spark: SparkSession, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[Path, tuple[subprocess.Popen[bytes], Path]]]:
    """Start all notebooks at once, each with a home of its own on the one broker; they mostly wait."""
    if "flights" not in [topic.name for topic in list_topics()]:
        put_flights(spark, until="2013-01-11")
    started = {}
    for path in NOTEBOOKS:
        home = tmp_path_factory.mktemp(path.stem)
        own = {
            "RTA_HOME": str(home),
            "RTA_KAFKA_BOOTSTRAP": bootstrap(),
            "RTA_SPARK_MASTER": "local[4]",
            "PYTHONPATH": str(ROOT),
        }
        command = [
            sys.executable, "-m", "pytest", "--nbval-lax", "--nbval-current-env", "--nbval-cell-timeout=120", "-q",
            "--noconftest", "-c", os.devnull, "--rootdir", str(home), "-p", "no:cacheprovider", "-p", "tests.nbval_quiet", str(path),
        ]  # fmt: skip
        told = home / "nbval.log"
        with told.open("w") as log:
            process = subprocess.Popen(
                command, env=os.environ | own, cwd=path.parent, stdout=log, stderr=log
            )
        started[path] = (process, told)
    yield started
    for process, _ in started.values():
        process.terminate()
        process.wait(60)


@pytest.mark.kafka
@each
def test_it_runs(path: Path, runs: dict[Path, tuple[subprocess.Popen[bytes], Path]]) -> None:
    """Run by nbval against the real broker: no cell fails, and tagged outputs are equal."""
    process, told = runs[path]
    assert process.wait(400) == 0, told.read_text()
    assert " passed" in told.read_text()
