"""The class-data archive of the driver's JVM: Spark's classes, parsed once, mapped into memory at each later start.

Java calls it application class-data sharing (JEP 350). It is built by `rta archive`, from the classes that one small real
drain needs, and named by everything it depends on: another Java, another jar, and it is not used. A JVM that
finds an archive it cannot use starts without it.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from rta.errors import SetupError
from rta.jars import connector_jars
from rta.jvm import find_java
from rta.progress import step
from rta.settings import private_folder, settings

_KEPT: Final = 3  # one for each environment that somebody may work in
_EXERCISE: Final = """
import sys, rta
spark = rta.spark(conf={"spark.driver.extraJavaOptions": "-Duser.timezone=UTC -XX:+UseParallelGC '-XX:ArchiveClassesAtExit=" + sys.argv[1] + "'"})
rta.publish(rta.user_events(spark, rows=2_000), "class-data", key="user_id")
rta.drain("class-data", rta.totals, table="class_data", key=["window", "user_id"], event=rta.USER_EVENTS, max_events_per_batch=500)
gateway = spark.sparkContext._gateway
spark.stop()
gateway.shutdown()
gateway.proc.stdin.close()  # the JVM ends when this closes, and writes the archive
gateway.proc.wait(120)
rta.down()
"""


def archive() -> Path:
    """Name the archive for this Java, this PySpark and these jars; it may not be built yet.

    >>> archive().suffix
    '.jsa'
    """
    import pyspark

    java = find_java().executable.resolve()
    jars = [*Path(pyspark.__file__).parent.glob("jars/*.jar"), *connector_jars(pyspark.__version__)]
    facts = [
        f"{path} {path.stat().st_size} {path.stat().st_mtime_ns}" for path in [java, *sorted(jars)]
    ]
    name = hashlib.sha256("\n".join(facts).encode()).hexdigest()[:16]
    return settings().cache / "class-data" / f"{name}.jsa"


def options() -> Sequence[str]:
    """Return the options that let a driver's JVM use the archive; none where it is not built.

    >>> all(option.startswith("-X") for option in options())
    True
    """
    path = archive()
    if not path.exists():
        return []
    with suppress(OSError):  # a cache that is only readable
        path.touch()  # those that are used are kept
    return [f"-XX:SharedArchiveFile={path}", "-Xshare:auto", "-Xlog:disable", "-Xlog:all=error:stderr"]  # fmt: skip


def build() -> Path:
    """Build the archive where it is missing: under a minute and 200 MB. The three used last are kept.

    Raises SetupError where the JVM wrote none. The drain that it learns from has a broker and a folder of its own.
    """
    path = archive()
    if path.exists():
        return path
    folder = private_folder(path.parent)
    with (
        step("building the class-data archive"),
        TemporaryDirectory(dir=folder) as home,  # on the archive's own disk: a rename moves it
    ):
        made = Path(home) / path.name
        clean = {name: value for name, value in os.environ.items() if not name.startswith("RTA_")}
        answer = subprocess.run(
            [sys.executable, "-c", _EXERCISE, str(made)], capture_output=True, text=True, check=False,
            env=clean | {"RTA_HOME": home, "RTA_CACHE": str(settings().cache)},
        )  # fmt: skip
        if answer.returncode or not made.exists():
            raise SetupError(
                "the class-data archive was not built; Spark starts without it, two seconds slower",
                found=answer.stderr.strip()[-300:] or "the JVM wrote no archive", do="see `rta doctor`",
            )  # fmt: skip
        made.rename(path)
    for old in sorted(folder.glob("*.jsa"), key=lambda each: each.stat().st_mtime)[:-_KEPT]:
        old.unlink()
    return path
