"""The shape holds: doors, light import, docstrings, one reader of the environment. Which room imports which: `make lint`."""

import ast
import os
import re
import subprocess
import sys
import tomllib
from importlib import import_module
from inspect import isfunction
from pathlib import Path
from types import ModuleType

import pytest
import yaml

import rta
from rta.events.format_contract import GROUP

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "rta"
MODULES = sorted(PACKAGE.rglob("*.py"))
ROOMS = sorted({path.parent for path in PACKAGE.rglob("__init__.pyi")})
DOORS = {
    ".".join(room.relative_to(ROOT).parts): import_module(".".join(room.relative_to(ROOT).parts))
    for room in ROOMS
}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_files_are_short_and_public_things_have_their_sentence(path: Path) -> None:
    """A file is one idea, and every public function and class says what it is for."""
    text = path.read_text()
    assert len(text.splitlines()) <= 400
    tree = ast.parse(text)
    assert ast.get_docstring(tree)
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{path}.{node.name}"


@pytest.mark.parametrize("door", DOORS)
def test_a_door_opens(door: str) -> None:
    """Each name of a room's door loads, is listed, and is not hidden by a file of the same name."""
    room = DOORS[door]
    names = room.__all__
    assert set(names) <= set(dir(room))
    files = {path.stem for path in Path(str(room.__file__)).parent.iterdir()} - {"__init__"}
    for name in names:
        value = getattr(room, name)
        assert isinstance(value, ModuleType) or name not in files, f"{door}.{name}"
    with pytest.raises(AttributeError, match="nothing"):
        _ = room.nothing


@pytest.mark.parametrize("door", DOORS)
def test_every_public_function_has_an_example_that_runs(door: str) -> None:
    """What a door offers as a function shows its use in its docstring."""
    offered = {name: getattr(DOORS[door], name) for name in DOORS[door].__all__}
    without = {
        name
        for name, each in offered.items()
        if isfunction(each) and ">>> " not in (each.__doc__ or "")
    }
    assert without == set()


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


def test_what_a_notebook_imports_compiles_no_grammar() -> None:
    """Charts, jobs and reports load jsonschema, which may compile a grammar of URIs at import: three seconds for nobody."""
    code = "import sys, altair, nbconvert, papermill; sys.exit('lark' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_folder_of_the_same_name_does_not_hide_the_package(tmp_path: Path) -> None:
    """A fresh interpreter in a folder that holds an empty rta/ imports the installed package."""
    (tmp_path / "rta").mkdir()
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    code = "import rta; print(rta.__version__)"
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path, env=environment
    )  # fmt: skip
    assert answer.stdout.strip() == rta.__version__


def test_people_come_in_by_the_doors() -> None:
    """README, docs and notebooks import and call what doors offer, never a file behind one."""
    texts = [path.read_text() for path in (ROOT / "README.md", *ROOT.glob("docs/*.md"), *ROOT.glob("notebooks/*/*.ipynb"))]  # fmt: skip
    named: set[str] = set()
    for text in texts:
        named |= set(re.findall(r"(?<![\w./-])rta(?:\.[A-Za-z]\w*)+", text))
        for room, line in re.findall(r"from (rta[\w.]*) import ([\w, ]+)", text):
            named |= {f"{room}.{name.strip()}" for name in line.split(",")}
    behind = {name for name in named - {GROUP} if not _offered(name.split(".")[1:])}
    assert behind == set()


def _offered(parts: list[str]) -> bool:
    """Whether doors offer each step of a dotted name; what stands on an object behind them is its own."""
    at: object = rta
    for part in parts:
        if isinstance(at, ModuleType) and hasattr(at, "__path__") and part not in [*at.__all__, "__version__"]:  # fmt: skip
            return False
        if not isinstance(at, ModuleType):
            return True
        if not hasattr(at, part):
            return False
        at = getattr(at, part)
    return True


def test_the_environment_is_read_in_one_place() -> None:
    """Only settings.py reads variables; session.py and execution.py set what their children need."""
    for path in MODULES:
        text = path.read_text()
        reads = "os.environ.get" in text or "getenv" in text
        assert path == PACKAGE / "settings.py" or not reads, path


def test_conda_and_pip_install_the_same() -> None:
    """environment.yml takes its pins from the lock, and its bounds from pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    conda = yaml.safe_load((ROOT / "environment.yml").read_text())
    *outside, pip = conda["dependencies"]
    assert pip["pip"] == ["--require-hashes", "-r requirements.lock", "-c requirements.lock"]
    assert f"python{project['project']['requires-python']}" in outside
    assert set(project["build-system"]["requires"]) <= set(outside)


def test_the_lock_pins_every_dependency_by_hash_and_names_no_host() -> None:
    """requirements.lock has each dependency of pyproject.toml, hashes, and no address."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["docs"], *extras["test"]]
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
        "://"
        not in lock
        + (ROOT / "build.lock").read_text()
        + (PACKAGE / "setup" / "jars.lock").read_text()
    )
