"""The shape holds: the flow of imports, light import, public names, docstrings, one reader of the environment."""

import ast
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

import rta

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "rta"
LAYERS = [
    line.split("|")[2].replace(" ", "").split(",")
    for line in (ROOT / "ARCHITECTURE.md").read_text().splitlines()
    if line.startswith("| ") and not line.startswith(("| layer", "|--"))
]
RANK = {module: rank for rank, layer in enumerate(LAYERS) for module in layer}
MODULES = sorted(path.stem for path in PACKAGE.glob("*.py") if path.stem != "__init__")


def _tree(module: str) -> ast.Module:
    """Parse a module of the package."""
    return ast.parse((PACKAGE / f"{module}.py").read_text())


def _imports(module: str) -> set[str]:
    """Return the modules of rta that a module imports, those for type checkers left out."""
    tree = _tree(module)
    checking = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and id(node) not in checking:
            if node.module == "rta":
                found |= {alias.name for alias in node.names}
            elif node.module and node.module.startswith("rta."):
                found.add(node.module.removeprefix("rta."))
    return found & set(MODULES)


def test_architecture_lists_every_module() -> None:
    """The table in ARCHITECTURE.md and the package name the same modules."""
    assert sorted(RANK) == MODULES


@pytest.mark.parametrize("module", MODULES)
def test_imports_run_with_the_flow(module: str) -> None:
    """No module imports one of a later layer."""
    against = {other for other in _imports(module) if RANK[other] > RANK[module]}
    assert not against, f"{module} imports {against}, which stand after it in the flow"


@pytest.mark.parametrize("module", MODULES)
def test_files_are_short_and_public_things_have_their_sentence(module: str) -> None:
    """A file is one idea, and every public function and class says what it is for."""
    assert len((PACKAGE / f"{module}.py").read_text().splitlines()) <= 400
    tree = _tree(module)
    assert ast.get_docstring(tree)
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{module}.{node.name}"


def test_every_public_name_has_an_example_that_runs() -> None:
    """What `import rta` offers as a function shows its use in its docstring."""
    without = [
        name
        for name in rta.__all__
        if callable(getattr(rta, name))
        and not isinstance(getattr(rta, name), type)
        and ">>> " not in (getattr(rta, name).__doc__ or "")
    ]
    assert without == []


def test_public_names_are_the_same_for_people_and_for_type_checkers() -> None:
    """The imports for type checkers and the table that loads names say the same."""
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    checked = {
        (str(node.module).removeprefix("rta."), alias.name)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("rta.")
        for alias in node.names
    }
    assert checked == {(home, name) for home, names in rta._HOMES.items() for name in names}
    assert sorted(rta.__all__) == sorted(name for names in rta._HOMES.values() for name in names)
    assert not set(rta.__all__) & set(MODULES), "a module would hide the function of its name"


def test_import_is_light() -> None:
    """A fresh interpreter that imports rta loads nothing heavy, and starts nothing."""
    heavy = [
        "pyspark",
        "kafka",
        "pandas",
        "numpy",
        "sqlalchemy",
        "papermill",
        "altair",
        "pydantic",
        "jgo",
        "duckdb",
    ]
    code = f"import sys, rta; print([m for m in {heavy} if m in sys.modules])"
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "[]"


def test_a_folder_of_the_same_name_does_not_hide_the_package(tmp_path: Path) -> None:
    """A fresh interpreter in a folder that holds an empty rta/ imports the installed package."""
    (tmp_path / "rta").mkdir()
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    code = "import rta; print(rta.__version__)"
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path, env=environment
    )  # fmt: skip
    assert answer.stdout.strip() == rta.__version__


def test_modules_are_there_without_an_import_of_their_own() -> None:
    """Every module that README and notebooks take from rta is listed and loads by its name; a wrong one is an error."""
    texts = [path.read_text() for path in (ROOT / "README.md", *ROOT.glob("notebooks/*/*.ipynb"))]
    named = set()
    for text in texts:
        named |= set(re.findall(r"\brta\.(\w+)", text))
        for line in re.findall(r"from rta import ([\w, ]+)", text):
            named |= set(line.replace(" ", "").split(","))
    assert named & set(MODULES) <= set(rta._MODULES) <= set(dir(rta))
    code = f"import rta; [getattr(rta, name).__name__ for name in {sorted(MODULES)}]; rta.nothing"
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert (
        "AttributeError: module 'rta' has no attribute 'nothing'" in answer.stderr.splitlines()[-1]
    )


def test_the_environment_is_read_in_one_place() -> None:
    """Only settings.py reads variables; session.py and execution.py set what their children need."""
    for module in MODULES:
        text = (PACKAGE / f"{module}.py").read_text()
        reads = "os.environ.get" in text or "getenv" in text
        assert module == "settings" or not reads, module


def test_conda_and_pip_install_the_same() -> None:
    """environment.yml takes its pins from the lock, and its bounds from pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    conda = yaml.safe_load((ROOT / "environment.yml").read_text())
    *outside, pip = conda["dependencies"]
    assert pip["pip"] == ["--require-hashes", "-r requirements.lock"]
    assert f"python{project['project']['requires-python']}" in outside
    assert set(project["build-system"]["requires"]) <= set(outside)


def test_the_lock_pins_every_dependency_by_hash_and_names_no_host() -> None:
    """requirements.lock has each dependency of pyproject.toml, hashes, and no address."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["test"]]
    lock = (ROOT / "requirements.lock").read_text()
    pins = {
        line.split("==")[0].split("[")[0]
        for line in lock.splitlines()
        if "==" in line and line[0].isalpha()
    }
    for requirement in wanted:
        name = requirement.split(">")[0].split("=")[0].split("[")[0]
        assert name in pins, name
    assert lock.count("--hash=sha256:") >= len(pins)
    assert (
        "://" not in lock + (ROOT / "build.lock").read_text() + (PACKAGE / "jars.lock").read_text()
    )
