"""`make java`: compile rta's Java sources into rta-engines.jar. The same sources and compiler give the same bytes."""

from __future__ import annotations

import os
import subprocess
import tempfile
import zipfile
from pathlib import Path
from typing import Final

from rta.jvm.jar import SOURCES, engines_jar, sources_sha256
from rta.setup.jars import flink_jars, kafka_streams_jars
from rta.setup.java import find_java

_MANIFEST: Final = "META-INF/MANIFEST.MF"


def entries() -> dict[str, bytes]:
    """Compile, and return what belongs into the jar: name → bytes."""
    import pyspark

    jars = Path(pyspark.__file__).with_name("jars")
    spark = [path for name in ("spark-*.jar", "scala-library-*.jar", "hadoop-client-api-*.jar") for path in sorted(jars.glob(name))]  # fmt: skip
    classpath = os.pathsep.join(map(str, [*kafka_streams_jars(), *flink_jars(), *spark]))
    javac = find_java().home / "bin" / "javac"
    with tempfile.TemporaryDirectory() as folder:
        sources = sorted(map(str, SOURCES.rglob("*.java")))
        subprocess.run([javac, "--release", "17", "-proc:none", "-g:source,lines", "-cp", classpath, "-d", folder, *sources], check=True)  # fmt: skip
        made = {str(path.relative_to(folder)): path.read_bytes() for path in Path(folder).rglob("*.class")}  # fmt: skip
    others = [path for path in SOURCES.rglob("*") if path.is_file() and path.suffix != ".java"]
    made |= {str(path.relative_to(SOURCES)): path.read_bytes() for path in others}
    hashed = sources_sha256()
    # What Java gives as the version of a package: Flink's format holds it to the rta that asks.
    manifest = (
        f"Manifest-Version: 1.0\r\nSources: {hashed}\r\nImplementation-Version: {hashed}\r\n\r\n"
    )
    return {_MANIFEST: manifest.encode(), **dict(sorted(made.items()))}


def main() -> None:
    """Write the jar."""
    new = engines_jar().with_suffix(".new")
    with zipfile.ZipFile(new, "w", zipfile.ZIP_STORED) as jar:
        for name, content in entries().items():
            jar.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), content)
    new.replace(engines_jar())  # a JVM that runs keeps the old file
    print(f"{engines_jar()}: {engines_jar().stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
