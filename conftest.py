"""One broker and one Spark session for a process of tests, in a home of its own; examples run as tests."""

import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from doctest import ELLIPSIS
from itertools import count
from pathlib import Path
from typing import Any, Final

import pytest
from pyspark.sql import SparkSession
from sybil import Sybil
from sybil.document import PythonDocStringDocument
from sybil.parsers.rest import DocTestParser
from sybil.sybil import SybilCollection

from tests.notebooks.nbval_all import Runs
from tests.support import pages
from tests.support.databases import database_url, engine, postgresql
from tests.support.secured import secured
from tests.support.truth import setting
from tests.support.waiting import HANG

__all__ = [
    "database_url",
    "engine",
    "home",
    "notebook_runs",
    "postgresql",
    "secured",
    "spark",
    "topic",
]


PARTITIONS: Final = "spark.sql.shuffle.partitions"
CALL_SITES: Final = "spark.python.sql.dataFrameDebugging.enabled"
INTERPRETED: Final = {
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
}


@pytest.fixture(scope="session", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Give the run an RTA_HOME of its own, and stop what was started in it."""
    folder = tmp_path_factory.mktemp("rta-home")
    with pytest.MonkeyPatch.context() as patch:
        for name in [
            name for name in os.environ if name.startswith("RTA_") and name != "RTA_CACHE"
        ]:
            patch.delenv(name)
        patch.setenv("RTA_HOME", str(folder))
        patch.setenv("RTA_SPARK_MASTER", "local[4]")
        patch.setenv("RTA_CLASS_DATA", "off")  # no build beside the tests
        yield folder
        from rta.kafka import broker

        broker.down()


@pytest.fixture(scope="session")
def spark() -> Iterator[SparkSession]:
    """Lend the one real Spark session: rta's own, with one shuffle partition, its plans interpreted, and without the call sites in Spark's errors.

    Each partition is a state store that commits in each micro-batch. The code that Spark writes and compiles for a plan is worth
    it for more than the few events of a test. For the call site PySpark asks the JVM five questions at each function of a column.
    Children, jobs and notebooks have all three as people have; partitions and compiled plans has a test that takes `as_delivered`.
    """
    from rta.dataframes.internals import end_jvm
    from rta.dataframes.session import spark as start

    session = start(
        conf={"spark.ui.enabled": "false", PARTITIONS: "1", CALL_SITES: "false"} | INTERPRETED
    )
    yield session
    for query in session.streams.active:
        query.stop()
    end_jvm(session, patience=HANG)


@pytest.fixture
def as_delivered(spark: SparkSession) -> Iterator[None]:
    """Give a test as many shuffle partitions as people have, and plans that are compiled."""
    from rta.dataframes.session import DEFAULTS

    with (
        setting(spark, PARTITIONS, DEFAULTS[PARTITIONS]),
        setting(spark, "spark.sql.codegen.wholeStage", "true"),
        setting(spark, "spark.sql.codegen.factoryMode", "FALLBACK"),
    ):
        yield


def _examples(namespace: dict[str, Any]) -> None:
    """Give examples what a person who reads them has: `import rta`."""
    import rta

    namespace["rta"] = rta


pytest_collect_file = SybilCollection(
    [
        Sybil(
            parsers=[DocTestParser(optionflags=ELLIPSIS)],
            patterns=["rta/*.py", "rta/*/*.py", "rta/*/*/*.py", "rta/*/*/*/*.py"],
            document_types={".py": PythonDocStringDocument},
            setup=_examples,
            fixtures=["home", "spark"],
        ),
        Sybil(parsers=[pages.parser], pattern="README.md", fixtures=["home", "spark"]),
        Sybil(parsers=[pages.parser], pattern="docs/*.md", fixtures=["home", "spark"]),
    ]
).pytest()

_numbers = count(1)


def pytest_configure() -> None:
    """Take an interrupt as Python does by default: a shell that starts a command in the background lets it ignore them."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first, so that no process ends with a long one while the other has nothing left.

    The notebooks, which one process waits for while the other goes on; README; then by how many tests ask for Spark. The
    docstrings' many small files come last.
    """
    first = {"test_notebooks.py": 0, "README.md": 1}
    asks = Counter(
        item.path
        for item in items
        if isinstance(item, pytest.Function) and "spark" in item.fixturenames
    )
    items.sort(key=lambda item: (first.get(item.path.name, 2), -asks[item.path]))


@pytest.fixture(scope="session")
def notebook_runs(request: pytest.FixtureRequest) -> Iterator[Runs]:
    """Start all notebooks that were asked for, and lend their runs."""
    from tempfile import TemporaryDirectory

    chosen = [
        item.callspec.params["path"]
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.name.startswith("test_it_runs[")
    ]
    with TemporaryDirectory(prefix="rta-notebooks-", ignore_cleanup_errors=True) as folder:
        started = Runs(Path(folder), chosen)
        yield started
        started.end()


@pytest.fixture
def topic(request: pytest.FixtureRequest) -> Callable[..., str]:
    """Make fresh topics on the real broker: `topic(partitions=2)` returns a name nobody used."""

    def fresh(*, partitions: int = 2) -> str:
        from rta.kafka.topics import create_topic

        name = f"t{next(_numbers)}-{request.node.name.split('[')[0][:60]}"
        return create_topic(name, partitions=partitions).name

    return fresh
