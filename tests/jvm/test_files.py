"""Hadoop's files of this machine, as Spark writes them here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psutil
from pyspark.sql import SparkSession

from rta.dataframes.internals import own_jvm


def test_a_file_is_written_without_a_process(spark: SparkSession, tmp_path: Path) -> None:
    """Files and folders have the permissions that were asked for and a checksum; no process was started for them."""
    jvm: Any = spark._jvm
    hadoop = jvm.org.apache.hadoop.fs
    files = hadoop.FileSystem.get(
        jvm.java.net.URI.create("file:///"), spark._jsc.hadoopConfiguration()
    )
    before = _ended_children()
    for mode in (0o600, 0o640, 0o755):
        path = hadoop.Path(str(tmp_path / f"{mode:o}"))
        folder = hadoop.Path(str(tmp_path / f"folder-{mode:o}" / "inner"))
        files.create(path).close()
        files.setPermission(path, hadoop.permission.FsPermission(mode))
        files.mkdirs(folder, hadoop.permission.FsPermission(mode | 0o300))
        assert (tmp_path / f"{mode:o}").stat().st_mode & 0o7777 == mode
        assert (tmp_path / f"folder-{mode:o}" / "inner").stat().st_mode & 0o7777 == mode | 0o300
        assert (tmp_path / f".{mode:o}.crc").exists()
    assert _ended_children() == before

    # What Java cannot set is set as Hadoop does, by a process: so this count counts.
    files.setPermission(hadoop.Path(str(tmp_path)), hadoop.permission.FsPermission(0o1777))
    assert tmp_path.stat().st_mode & 0o7777 == 0o1777
    assert _ended_children() > before


def _ended_children() -> int:
    """Return the page faults of all children of the JVM that have ended: each has some."""
    jvm = own_jvm()
    assert jvm
    [process] = [each for each in [psutil.Process(jvm.pid), *psutil.Process(jvm.pid).children(recursive=True)] if each.name() == "java"]  # fmt: skip
    return int(Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[8])
