"""The docs site: it builds without a warning and without a network, and each public name has its entry in the reference."""

import ast
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules, resolve_name

import pytest

import rta
from bench.measure import ROOT

DOCS = ROOT / "docs"
DOORS = ["rta", *(f"rta.{room.name}" for room in iter_modules(rta.__path__) if room.ispkg)]
LOADED = re.compile(
    r"""<(?:script|link|img|iframe|source)\b[^>]*?(?:src|href)=["'](?:https?:)?//"""
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the site as `make docs` does."""
    out = tmp_path_factory.mktemp("site")
    built = subprocess.run(
        [sys.executable, "-m", "sphinx", "--quiet", "--fail-on-warning", "--keep-going",
         "--conf-dir", DOCS, "--doctree-dir", out / "doctrees", ROOT, out / "html"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert built.returncode == 0, built.stderr
    return out / "html"


def test_every_public_name_has_its_entry_in_the_reference(site: Path) -> None:
    """What the root or a door offers can be looked up, by the root's name if it has one."""
    from sphinx.util.inventory import InventoryFile

    inventory = InventoryFile.loads((site / "objects.inv").read_bytes(), uri="")
    entries = {
        name for kind in inventory.data for name in inventory.data[kind] if kind[:3] == "py:"
    }
    offered = [
        (f"{door}.{name}", getattr(import_module(door), name))
        for door in DOORS
        for name in getattr(import_module(door), "__all__", ())
        if not name.startswith("__") and f"{door}.{name}" not in DOORS
    ]
    written = {id(value) for name, value in offered if name in entries}
    assert len(offered) > 50
    assert [name for name, value in offered if id(value) not in written] == []


def test_the_site_needs_no_network(site: Path) -> None:
    """No page and no style loads anything from elsewhere."""
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 50
    assert [(page.name, LOADED.findall(page.read_text())) for page in pages if LOADED.search(page.read_text())] == []  # fmt: skip
    styles = {path.name: re.findall(r"url\([\"']?(?:https?:)?//", path.read_text()) for path in site.rglob("*.css")}  # fmt: skip
    assert not any(styles.values())


def test_the_index_has_every_decision_and_each_says_why() -> None:
    """One file a decision, numbered without a gap, each with its date, status, context, decision and consequences."""
    folder = DOCS / "decisions"
    files = sorted(path.name for path in folder.glob("[0-9]*.md"))
    assert [int(name[:4]) for name in files] == list(range(1, len(files) + 1))
    assert (
        sorted(set(re.findall(r"- \[\d{4}\]\((\S+?)\)", (folder / "index.md").read_text())))
        == files
    )
    for name in files:
        text = (folder / name).read_text()
        assert re.match(
            rf"# {name[:4]} .+\n\n\d{{4}}-\d\d-\d\d · status: (accepted|superseded by \[)", text
        ), name
        assert re.findall(r"^## (.+)", text, re.MULTILINE) == [
            "Context",
            "Decision",
            "Consequences",
        ], name


def test_modules_and_files_that_a_page_names_are_there() -> None:
    """A page for those who change rta, `rta.kafka.internals` or `tests/faults`, moves with what it names."""
    pages = [ROOT / "ARCHITECTURE.md", ROOT / "CONTRIBUTING.md", *DOCS.rglob("*.md")]
    missing = set()
    for page in pages:
        text = page.read_text()
        for name in set(re.findall(r"`(rta(?:\.[A-Za-z_]+)+)", text)):
            try:
                resolve_name(name)
            except (AttributeError, ImportError):
                missing.add((page.name, name))
        for path in set(re.findall(r"`((?:rta|tests|docs|bench)/[\w./]+)`", text)):
            if not (ROOT / path).exists() and path != "docs/_build":
                missing.add((page.name, path))
    assert missing == set()


def test_faults_and_their_tests_are_the_same_on_the_page() -> None:
    """docs/faults.md names each test of a fault, and no other."""
    tests = {
        node.name
        for path in (ROOT / "tests").rglob("test_*.py")
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef) and re.match(r"test_f\d", node.name)
    }
    assert set(re.findall(r"`(test_\w+)`", (DOCS / "faults.md").read_text())) == tests


def test_each_wish_is_shown_by_tests_that_there_are() -> None:
    """docs/schedules.md has the ten wishes of jupyter-scheduler's users, each with a test; it names no test that is gone."""
    there = {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", path.read_text(), re.MULTILINE)
    }
    rows = re.findall(
        r"^\| (\[#.+?) \| .+ \| (.+) \|$", (DOCS / "schedules.md").read_text(), re.MULTILINE
    )
    wishes = {number: set(re.findall(r"`(test_\w+)`", shown)) for issues, shown in rows for number in re.findall(r"\[#(\d+)\]", issues)}  # fmt: skip
    assert wishes.keys() == {"90", "91", "113", "119", "169", "255", "328", "476", "565", "603"}
    assert all(wishes.values())
    assert set().union(*wishes.values()) <= there


def test_each_public_report_has_its_address_and_its_test() -> None:
    """docs/bad-and-late-events.md has the reports that the tests name, each with its address and a test that names it."""
    bodies: dict[str, str] = {}
    for path in (ROOT / "tests").rglob("test_*.py"):
        text = path.read_text()
        for node in ast.parse(text).body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                bodies[node.name] = ast.get_source_segment(text, node) or ""
    cases = (ROOT / "tests" / "dataframes" / "test_public_reports.py").read_text()
    bodies["test_reports_about_json"] += cases.partition("JSON: list")[2].partition("]  # fmt")[0]
    page = (DOCS / "bad-and-late-events.md").read_text()
    rows = re.findall(r"^\| \[.+?\]\((https://\S+)\) \| .+ \| `(\w+)` \|$", page, re.MULTILINE)
    named: set[str] = set()
    for address, test in rows:
        jira = re.fullmatch(r"https://issues\.apache\.org/jira/browse/(SPARK-\d+)", address)
        other = re.fullmatch(r"https://github\.com/(\w+/\w+)/(?:issues|pull)/(\d+)", address)
        assert jira or other, address
        name = jira[1] if jira else "#".join(other.groups()) if other else ""
        assert name in bodies[test], (name, test)
        named.add(name)
    told = "".join(bodies[test] for _, test in rows)
    assert named == {*re.findall(r"SPARK-\d+|\b\w+/\w+#\d+", told)}
    assert len(named) == len(rows) == 23


def test_the_catalogue_of_faults_names_the_files_that_show_each() -> None:
    """tests/faults/README.md has the files of each number, and no other; the words are those of docs/faults.md."""
    shown: dict[str, set[str]] = {}
    for path in (ROOT / "tests").rglob("test_*.py"):
        for names in re.findall(r"^def test_(f\d+(?:_f\d+)*)_", path.read_text(), re.MULTILINE):
            for name in names.split("_"):
                shown.setdefault(str(int(name[1:])), set()).add(
                    str(path.relative_to(ROOT / "tests"))
                )
    catalogue = (ROOT / "tests" / "faults" / "README.md").read_text()
    page = (DOCS / "faults.md").read_text()
    rows = re.findall(r"^\| F(\d+) \| (.+?) \| .+ \| (.+) \|$", catalogue, re.MULTILINE)
    assert {
        number: set(re.findall(r"\[([\w/]+\.py)\]", files)) for number, _, files in rows
    } == shown
    for number, what, _ in rows:
        assert f"| F{number} | {what} |" in page, number
