"""The class-data archive of the driver's JVM: Spark's classes, parsed once and mapped into memory at each later start.

Java calls it application class-data sharing (JEP 350). It is built from the classes that one small real drain needs. Its name
depends on Java and on each jar, so after a change of one of them it is not used. A JVM starts without an archive that it cannot use.

It is built once: by `rta archive`, or automatically. The first process that has started Spark without an archive starts another one
at its own end, which builds it at the lowest priority. RTA_CLASS_DATA=off prevents that.
"""

from __future__ import annotations

import atexit
import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory
from typing import Final

from rta.errors import SetupError
from rta.jvm import engines_jar
from rta.progress import step
from rta.settings import private_folder, settings
from rta.setup.jars import connector_jars
from rta.setup.java import find_java
from rta.setup.processes import one_at_a_time

_MEMORY: Final = 3 * 1024**3  # bytes: what must be free for the broker and driver of a build
_LOWEST: Final = 19
_KEPT: Final = 3  # one for each of the environments that a person may use
_AGAIN: Final = 86_400  # seconds until a failed build is tried again automatically
_BUILDER: Final = "from rta.setup import class_data; class_data.build_unasked()"
_EXERCISE: Final = """
import sys, rta
from rta.dataframes import internals
from rta.kafka import broker, broker_config
broker_config.write_configuration(broker._folder(), broker_config.free_port())  # not the port that a person's own broker wants
try:
    spark = rta.spark(conf={"spark.driver.extraJavaOptions": "-Duser.timezone=UTC -XX:+UseParallelGC '-XX:ArchiveClassesAtExit=" + sys.argv[1] + "'"})
    rta.publish(rta.user_events(spark, rows=2_000), "class-data", key="user_id")
    rta.drain("class-data", rta.transforms.totals, table="class_data", key=["window", "user_id"], event=rta.USER_EVENTS, max_events_per_batch=500)
    internals.end_jvm(spark)  # which writes the archive
finally:
    rta.down()
"""


def archive() -> Path:
    """Return the path of the archive for this Java, this PySpark and these jars; it may not be built yet.

    >>> archive().suffix
    '.jsa'
    """
    import pyspark

    java = find_java().executable.resolve()
    jars = [*Path(pyspark.__file__).parent.glob("jars/*.jar"), *connector_jars(pyspark.__version__), engines_jar()]  # fmt: skip
    files = [(path, path.stat()) for path in [java, *sorted(jars)]]
    facts = [f"{path} {stat.st_size} {stat.st_mtime_ns}" for path, stat in files]
    name = hashlib.sha256("\n".join(facts).encode()).hexdigest()[:16]
    return settings().cache / "class-data" / f"{name}.jsa"


def options() -> Sequence[str]:
    """Return the options that let a driver's JVM use the archive; none if it is not built.

    >>> all(option.startswith("-X") for option in options())
    True
    """
    path = archive()
    if not path.exists():
        return []
    with suppress(OSError):  # a read-only cache
        path.touch()  # the archives used last are kept
    return [f"-XX:SharedArchiveFile={path}", "-Xshare:auto", "-Xlog:disable", "-Xlog:all=error:stderr"]  # fmt: skip


def build() -> Path:
    """Build the archive if it is missing: under a minute and 200 MB. The three archives used last are kept.

    The drain that it is built from has its own broker and folder. If another process is building the archive, wait for that.

    Raises:
        SetupError: If the JVM wrote no archive.
    """
    path = archive()
    if not path.exists():
        with step("building the class-data archive"), one_at_a_time(_lock(path)):
            _made(path)
    return path


def build_at_exit() -> None:
    """Build the archive in another process when this one ends, so that nobody waits for it."""
    atexit.unregister(_leave_behind)
    atexit.register(_leave_behind)


def build_unasked() -> bool:
    """Build the archive at the lowest priority, if enough memory is free and no other process builds it.

    A failed build is tried again automatically a day later.

    Returns:
        Whether it was built.
    """
    import psutil

    path = archive()
    if path.exists() or failed(path) or psutil.virtual_memory().available < _MEMORY:
        return False
    os.nice(_LOWEST)
    try:
        with one_at_a_time(_lock(path), wait=False):
            return _made(path)
    except BlockingIOError:
        return False


def state() -> str:
    """Describe the state of the archive.

    >>> state().startswith(("there", "not built", "being built"))
    True
    """
    path = archive()
    if path.exists():
        return f"there, {path.stat().st_size / 1e6:,.0f} MB: Spark starts faster by it"
    try:
        with one_at_a_time(_lock(path), wait=False):
            pass
    except BlockingIOError:
        return "being built"
    if why := failed(path):
        return f"not built, for the build failed: {why}; `rta archive` tries again"
    alone = settings().class_data == "auto"
    return f"not built yet{', is built once a session has ended' if alone else ''}; `rta archive` does it at once"


def failed(path: Path) -> str | None:
    """Return why the build of an archive failed within the last day; None if it did not."""
    note = path.with_suffix(".failed")
    recent = note.exists() and time.time() - note.stat().st_mtime < _AGAIN
    return note.read_text() if recent else None


def _leave_behind() -> None:
    """Start the process that builds the archive, in its own session."""
    with (private_folder(archive().parent) / "build.log").open("w") as log:
        subprocess.Popen(
            [sys.executable, "-P", "-c", _BUILDER], env=_environment(), cwd=archive().parent,
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip


def _environment(**ours: str) -> dict[str, str]:
    """Return the environment of a process that builds: this package, this Java and this cache, and no other setting of rta."""
    own = settings()
    clean = {name: value for name, value in os.environ.items() if not name.startswith("RTA_")}
    package = str(Path(__file__).resolve().parents[2])
    clean["PYTHONPATH"] = os.pathsep.join(filter(None, (package, clean.get("PYTHONPATH"))))
    java = {"RTA_JAVA_HOME": str(own.java_home)} if own.java_home else {}
    return clean | java | {"RTA_CACHE": str(own.cache.absolute()), "RTA_CLASS_DATA": "off"} | ours


def _lock(path: Path) -> Path:
    """Name the lock that is held while the archive is built."""
    return private_folder(path.parent) / "lock"


def _made(path: Path) -> bool:
    """Build the archive, with the lock held; return whether it was still missing."""
    if path.exists():
        return False
    for left in path.parent.glob("build-*"):  # from a build that was killed
        rmtree(left, ignore_errors=True)
    # On the disk of the archive, so that a rename moves it in one step.
    with TemporaryDirectory(dir=path.parent, prefix="build-") as home:
        draft, note = Path(home) / path.name, path.with_suffix(".failed")
        answer = subprocess.run(
            [sys.executable, "-P", "-c", _EXERCISE, str(draft)], capture_output=True, text=True, check=False,
            env=_environment(RTA_HOME=home), cwd=home,
        )  # fmt: skip
        if answer.returncode or not draft.exists():
            why = answer.stderr.strip()[-300:] or "the JVM wrote no archive"
            note.write_text(why)
            raise SetupError(
                "the class-data archive was not built; Spark starts without it, some seconds slower",
                found=why, fix="see `rta doctor`",
            )  # fmt: skip
        draft.rename(path)
        note.unlink(missing_ok=True)
    for old in sorted(path.parent.glob("*.jsa"), key=lambda each: each.stat().st_mtime)[:-_KEPT]:
        old.unlink()
    return True
