"""Which Java is used, and what is said where there is none (F35)."""

from pathlib import Path

import pytest

from rta.errors import SetupError
from rta.setup.java import find_java


def _fake_java(folder: Path, version: str) -> Path:
    """Make a JAVA_HOME whose java says it is of that version."""
    java = folder / "bin" / "java"
    java.parent.mkdir(parents=True)
    java.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\"' >&2\n")
    java.chmod(0o755)
    return folder


def test_java_21_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """RTA_JAVA_HOME goes before the PATH."""
    monkeypatch.setenv("RTA_JAVA_HOME", str(_fake_java(tmp_path, "21.0.2")))
    assert find_java().version == 21


@pytest.mark.parametrize(
    ("version", "major"), [("11.0.20", "11"), ("1.8.0_392", "8"), ("25", "25")]
)
def test_f35_a_java_that_does_not_fit_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, major: str
) -> None:
    """The sentence says which Java was found, where, and how to get another."""
    monkeypatch.setenv("RTA_JAVA_HOME", str(_fake_java(tmp_path, version)))
    with pytest.raises(SetupError, match=rf"Java {major} at .*RTA_JAVA_HOME"):
        find_java()


def test_f35_no_java_says_how_to_install_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With an empty PATH the sentence has the package's name."""
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SetupError, match=r"Java was not found.*openjdk-17"):
        find_java()


def test_f35_a_java_that_does_not_start_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broken installation is told apart from none."""
    home = _fake_java(tmp_path, "17")
    (home / "bin" / "java").write_text("#!/bin/sh\nexit 3\n")
    monkeypatch.setenv("RTA_JAVA_HOME", str(home))
    with pytest.raises(SetupError, match="Java does not start"):
        find_java()
