"""A spare driver serves who would have started the same JVM: the same Python, by whatever name, and the same environment."""

import sys
from pathlib import Path

import pytest

from rta.dataframes.spare_driver import needs


def test_a_python_by_another_name_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A terminal calls it python3, a kernel python; the Python of another environment is another, though both lead to one file."""
    found = []
    for environment, name in (("mine", "python"), ("mine", "python3"), ("theirs", "python3")):
        place = tmp_path / environment / "bin" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(Path(sys.executable).resolve())
        monkeypatch.setattr("sys.executable", str(place))
        monkeypatch.setattr("sys.prefix", str(place.parents[1]))
        monkeypatch.setenv("PYSPARK_PYTHON", str(place))
        found.append(needs({}))
    assert found[0] == found[1]
    assert found[0] != found[2]
    monkeypatch.setenv("PYSPARK_PYTHON", str(tmp_path / "mine" / "bin" / "python3"))
    assert needs({})["environment"] != found[2]["environment"]  # its workers are of another one


def test_another_environment_is_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that Java or Spark could read counts, and is in no message; what a terminal has alone does not."""
    before = needs({})
    monkeypatch.setenv("COLUMNS", "80")
    assert needs({}) == before
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not to be seen")
    assert needs({}) != before
    assert "not to be seen" not in str(needs({}))
