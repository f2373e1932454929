"""The class-data archive: named by what it depends on, ignored where it does not fit, built from a real drain."""

import os
import subprocess
import sys
from pathlib import Path

import pyspark
import pytest

from rta.errors import SetupError
from rta.settings import settings
from rta.setup import class_data
from rta.setup.jars import connector_jars
from rta.setup.java import find_java
from rta.setup.processes import one_at_a_time
from tests.support.waiting import until


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


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a cache that has the jars, and no archive."""
    (tmp_path / "jars").symlink_to(settings().cache / "jars")
    monkeypatch.setenv("RTA_CACHE", str(tmp_path))
    return tmp_path


# In place of a drain: one line for each build, and a file as the JVM writes it.
BUILT = "import pathlib, sys; print('built', file=open('../builds', 'a')); pathlib.Path(sys.argv[1]).write_text('classes')"


def test_two_at_once_build_one(own_cache: Path) -> None:
    """Two processes that build at the same moment: one builds, the other waits for it; what a killed one left is gone."""
    folder = own_cache / "class-data"
    (folder / "build-killed").mkdir(parents=True)
    code = f"from rta.setup import class_data; class_data._EXERCISE = {BUILT!r}; print(class_data.build())"
    both = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    paths = {process.communicate()[0].strip() for process in both}
    assert paths == {str(class_data.archive())}
    assert (folder / "builds").read_text() == "built\n"
    assert not list(folder.glob("build-*"))
    assert class_data.state().startswith("there")


def test_a_build_that_fails_leaves_nothing_and_is_not_tried_again_by_itself(
    own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half an archive is never used; `rta doctor` tells why; asked for, it is tried again."""
    monkeypatch.setattr(class_data, "_EXERCISE", BUILT + "; sys.exit('no room')")
    with pytest.raises(SetupError, match="no room"):
        class_data.build()
    assert not class_data.archive().exists()
    assert "the build failed: no room" in class_data.state()
    assert class_data.build_unasked() is False
    monkeypatch.setattr(class_data, "_EXERCISE", BUILT)
    assert class_data.build() == class_data.archive()
    assert class_data.state().startswith("there")


def test_by_itself_it_gives_way(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is built unasked while another builds, or where little memory is free."""
    monkeypatch.setattr(class_data, "_EXERCISE", BUILT)
    monkeypatch.setattr(os, "nice", lambda _: None)  # it would be the tests' own
    monkeypatch.setattr(class_data, "_MEMORY", 0)
    with one_at_a_time(class_data._lock(class_data.archive())):
        assert class_data.build_unasked() is False
        assert class_data.state() == "being built"
    monkeypatch.setattr(class_data, "_MEMORY", 2**60)
    assert class_data.build_unasked() is False
    monkeypatch.setattr(class_data, "_MEMORY", 0)
    assert class_data.build_unasked() is True


def test_a_process_leaves_one_builder_behind_at_its_end(own_cache: Path) -> None:
    """However often it started Spark: one, that no longer belongs to it, with no setting of the person's but cache and Java."""
    said = "import os; print(sorted(n for n in os.environ if n.startswith('RTA_') and n != 'RTA_JAVA_HOME'), os.getsid(0) == os.getpid())"
    code = f"from rta.setup import class_data as c; c._BUILDER = {said!r}; c.build_at_exit(); c.build_at_exit()"
    subprocess.run([sys.executable, "-c", code], check=True)
    log = own_cache / "class-data" / "build.log"
    text = until(lambda: log.exists() and log.read_text())
    assert text == "['RTA_CACHE', 'RTA_CLASS_DATA'] True\n"


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
