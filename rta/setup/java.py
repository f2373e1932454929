"""Find a Java on which Spark and Kafka can run, or say why there is none; write its log to a file."""

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rta.errors import SetupError
from rta.settings import settings

SUPPORTED: Final = (17, 21)
_INSTALL: Final = "install a JDK 17 or 21 (Debian: apt install openjdk-17-jre-headless; conda: openjdk=17) or set RTA_JAVA_HOME"

_LOG4J: Final = """status = error
appender.file.type = RollingFile
appender.file.name = file
appender.file.fileName = {folder}/{name}.log
appender.file.filePattern = {folder}/{name}.log.%i
appender.file.layout.type = PatternLayout
appender.file.layout.pattern = %d %p %c{{1}}: %m%n%ex
appender.file.policies.type = Policies
appender.file.policies.size.type = SizeBasedTriggeringPolicy
appender.file.policies.size.size = 10MB
appender.file.strategy.type = DefaultRolloverStrategy
appender.file.strategy.max = 2
rootLogger.level = warn
rootLogger.appenderRef.file.ref = file
"""


@dataclass(frozen=True)
class Java:
    """A Java executable and its version."""

    executable: Path
    version: int

    @property
    def home(self) -> Path:
        """Return the folder that JAVA_HOME should name."""
        return self.executable.resolve().parent.parent


def find_java() -> Java:
    """Return the first Java of RTA_JAVA_HOME, JAVA_HOME and PATH.

    Raises:
        SetupError: If there is none, or its version is not supported.

    >>> find_java().version in SUPPORTED
    True
    """
    home = settings().java_home
    found = str(home / "bin" / "java") if home else shutil.which("java")
    if not found or not Path(found).exists():
        raise SetupError("Java was not found", found=found or "no java on the PATH", fix=_INSTALL)
    version = _version(Path(found))
    if version not in SUPPORTED:
        raise SetupError(
            "Spark 4 does not run on this Java", found=f"Java {version} at {found}", fix=_INSTALL
        )
    return Java(Path(found), version)


def log_to_file(folder: Path, name: str) -> str:
    """Write a log4j configuration that logs to `<name>.log` in a folder; return the JVM option that selects it.

    Warnings and errors are logged, in at most three files of 10 MB.

    >>> from tempfile import mkdtemp
    >>> log_to_file(Path(mkdtemp()), "doc").endswith("doc-log4j2.properties")
    True
    """
    configuration = folder / f"{name}-log4j2.properties"
    configuration.write_text(_LOG4J.format(folder=folder, name=name))
    return f"-Dlog4j2.configurationFile={configuration}"


def _version(java: Path) -> int:
    """Ask a java executable for its major version (11, 17, 21 …)."""
    try:
        answer = subprocess.run(
            [java, "-version"], capture_output=True, text=True, timeout=120, check=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise SetupError("Java does not start", found=f"{java}: {error}", fix=_INSTALL) from None
    match = re.search(r'version "(?:1\.)?(\d+)', answer.stderr + answer.stdout)
    if not match:
        raise SetupError(
            "the version of Java is not known", found=repr(answer.stderr[:80]), fix=_INSTALL
        )
    return int(match.group(1))
