"""README and docs: their examples are held to what they say, their links lead somewhere, the README is short."""

import re
from operator import attrgetter
from pathlib import Path

import pytest

import rta
from bench.measure import ROOT
from tests.docs.test_article import KAFKA_EXAMPLE, SPARK_QUERY
from tests.support.pages import wrong_results

README = (ROOT / "README.md").read_text()
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize(
    ("source", "wrong"),
    [
        ("n = 1\nn + 1  # → 2", []),
        ("[1, 2, 3]  # → [1, 2…", []),
        (
            "[1, 2, 3]  # → [1, 3…",
            ["line 1: [1, 2, 3] is written to give [1, 3…, and gives [1, 2, 3]"],
        ),
        ("1 + 1  # → 3", ["line 1: 1 + 1 is written to give 3, and gives 2"]),
        ("n = 1  # → 1", ["line 1: a result stands behind what is no expression"]),
        ("sum(\n    [1, 2]\n)  # → 4", ["line 1: sum([1, 2]) is written to give 4, and gives 3"]),
    ],
)
def test_a_figure_on_a_page_is_the_one_its_code_gives(source: str, wrong: list[str]) -> None:
    """A result that is written behind an expression is compared; behind anything else it is refused."""
    assert wrong_results(source, {}, "page") == wrong


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_what_is_there(page: Path) -> None:
    """Every link of a page that is no address of the web is a file or folder of the repository."""
    for target in re.findall(r"\]\(([^)#]+)", page.read_text()):
        assert "://" in target or (page.parent / target).exists(), target


def test_the_readme_is_two_screens() -> None:
    """A person sees own data in the first fifty lines, and all of it in a hundred or so."""
    lines = README.splitlines()
    assert len(lines) <= 110
    assert any(line.startswith("query = rta.follow(") for line in lines[:50])


def test_the_readme_names_calls_that_there_are_and_every_notebook() -> None:
    """Each name in the table of calls is public, and the map has all notebooks."""
    calls = README.partition("## Which call do I want?")[2].partition("\n## ")[0]
    named = {name for row in calls.splitlines()[4:] for name in re.findall(r"`([a-z_.]+)`", row.split("|")[2:3][0] if row else "")}  # fmt: skip
    assert len(named) > 20
    for name in named:
        assert callable(attrgetter(name)(rta)), name
    mapped = set(re.findall(r"notebooks/\S+?\.ipynb", README))
    assert mapped == {str(path.relative_to(ROOT)) for path in ROOT.glob("notebooks/*/*.ipynb")}


def test_the_article_s_listings_are_as_printed() -> None:
    """Both stand in docs/article.md as the tests run them, without the indent that one loop needs."""
    page = (ROOT / "docs" / "article.md").read_text()
    assert KAFKA_EXAMPLE.replace("\n    ", "\n") in page
    assert SPARK_QUERY in page
