"""The class-data archive: named by what it depends on, ignored where it does not fit, built from a real drain."""

import os
import subprocess
from pathlib import Path

import pyspark
import pytest

from rta import class_data
from rta.jars import connector_jars
from rta.jvm import find_java


def test_another_java_has_another_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The name tells Java, PySpark and jars: a change of one of them leaves the old archive unused."""
    before = class_data.archive()
    java = tmp_path / "bin" / "java"
    java.parent.mkdir()
    java.write_text(f'#!/bin/sh\nexec {find_java().executable} "$@"\n')
    java.chmod(0o700)
    monkeypatch.setenv("RTA_JAVA_HOME", str(tmp_path))
    assert class_data.archive() != before


def test_no_archive_no_option(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is asked of the JVM before the archive is built."""
    jars = connector_jars(pyspark.__version__)
    monkeypatch.setattr(class_data, "connector_jars", lambda _: jars)
    monkeypatch.setenv("RTA_CACHE", str(tmp_path))
    assert class_data.options() == []
    class_data.archive().parent.mkdir()
    class_data.archive().touch()
    os.utime(class_data.archive(), (0, 0))
    assert f"-XX:SharedArchiveFile={class_data.archive()}" in class_data.options()
    assert class_data.archive().stat().st_mtime > 0  # used: it is not the next one to go


def test_a_damaged_archive_does_no_harm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half an archive, from a full disk say: the JVM starts without it, and says nothing on stdout."""
    monkeypatch.setattr(class_data, "archive", lambda: tmp_path / "half.jsa")
    class_data.archive().write_bytes(b"half" * 1000)
    java = [str(find_java().executable), *class_data.options(), "-version"]
    answer = subprocess.run(java, capture_output=True, text=True, check=True)
    assert answer.stdout == ""
    assert "version" in answer.stderr


@pytest.mark.soak
def test_build_and_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is built once, in a folder of its own, and a JVM that must use it starts with it."""
    monkeypatch.setenv("RTA_HOME", str(tmp_path / "home"))
    built = class_data.build()
    moment = built.stat().st_mtime_ns
    assert class_data.build().stat().st_mtime_ns == moment
    assert not (tmp_path / "home").exists()
    said = subprocess.run(
        [str(find_java().executable), f"-XX:SharedArchiveFile={built}", "-Xshare:auto", "-Xlog:cds=info", "-version"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert str(built) in said.stdout
