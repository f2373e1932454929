"""Safe by default: sockets, modes, names, code; and no secret in anything that a job leaves behind."""

import ast
import base64
import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import nbformat
import pytest
from click.testing import CliRunner
from nbformat.v4 import new_code_cell, new_notebook
from pyspark.sql import SparkSession

import rta
from rta.cli import doctor
from rta.cli.app import main
from rta.errors import InputError
from rta.jobs import runner
from rta.jobs.receipts import Receipt
from rta.kafka import broker, tail
from rta.settings import private_folder
from rta.store import database
from tests.support.databases import _fresh
from tests.support.secured import CORE, EVENT, PASSWORD, Secured, listening
from tests.support.truth import ROOT
from tests.support.waiting import finished

LOOPBACK: Final = {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
DATABASE: Final = "s3cretDatabase5Xw"
MARK: Final = "<script>alert('event')</script>"
EVIL: Final = ["../up", "a/b", "..", "", "a b", "a'b", 'a"b', "a;b", "a`b", "a\0b", "a\nb", "ä", "a" * 250]  # fmt: skip

# What a curious person prints; each of it ends up in the notebook, the report or a log.
CELLS: Final = [
    """
import json, os, pathlib, traceback, urllib.request
import psutil, rta
from rta import settings
from rta.kafka import client
from rta.store import database
home = pathlib.Path(os.environ["RTA_HOME"])
(home / "events").mkdir()
spark = rta.spark(conf={"spark.eventLog.enabled": "true", "spark.eventLog.compress": "false",
                        "spark.eventLog.dir": str(home / "events")})
print(settings.settings(), client.client_options(), database.engine(), database.engine().url)
""",
    """
by_action = lambda events: events.groupBy("action").count()
print(rta.drain("sec-job", by_action, table="secrets", key=["action"], event=rta.USER_EVENTS))
rta.read_batch("sec-job", event=rta.USER_EVENTS).explain(True)
rta.read_stream("sec-job", event=rta.USER_EVENTS).explain(True)
rta.read("secrets")
""",
    """
url = spark.sparkContext.uiWebUrl
pages = ["/environment/", f"/api/v1/applications/{spark.sparkContext.applicationId}/environment",
         f"/api/v1/applications/{spark.sparkContext.applicationId}/sql?details=true"]
(home / "pages.txt").write_text("".join(urllib.request.urlopen(url + page).read().decode() for page in pages))
family = [psutil.Process(), *psutil.Process().children(recursive=True)]
family = [each for each in family if each.status() != psutil.STATUS_ZOMBIE]
sockets = [(each.name(), c.laddr.ip) for each in family for c in each.net_connections("inet") if c.status == "LISTEN"]
(home / "processes.json").write_text(json.dumps({"sockets": sockets, "commands": [each.cmdline() for each in family]}))
""",
    """
def fails(ask):
    try:
        ask()
    except Exception:
        traceback.print_exc()
given = os.environ["RTA_KAFKA_SASL_PASSWORD"], os.environ["RTA_DATABASE_URL"]
fails(lambda: rta.sql("SELECT * FROM nowhere"))
fails(lambda: database.engine(given[1].replace("host=", "host=/nowhere")))
os.environ["RTA_KAFKA_SASL_PASSWORD"] = given[0] + "x"
fails(rta.kafka.list_topics)
del os.environ["RTA_KAFKA_SASL_USERNAME"]
fails(rta.kafka.list_topics)
raise RuntimeError("the last cell fails, too")
""",
]


@dataclass(frozen=True)
class Ran:
    """A job that has run in a home, on a database and on a cluster whose passwords are planted."""

    home: Path
    printed: str
    stored: str  # all that is in the database
    receipt: Receipt


@dataclass(frozen=True)
class Job:
    """A job on its way, and the variables of its process."""

    process: subprocess.Popen[str]
    variables: dict[str, str]


@pytest.fixture(scope="module", autouse=True)
def job(secured: Secured, postgresql: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Job]:  # fmt: skip
    """Run a curious notebook as a job, from the command line, beside the tests that do not wait for it."""
    place = tmp_path_factory.mktemp("planted")
    notebook = place / "curious.ipynb"
    nbformat.write(new_notebook(cells=[new_code_cell(each.strip()) for each in CELLS]), notebook)
    url = _fresh(postgresql, "planted").replace("postgres:@", f"postgres:{DATABASE}@")
    with secured.used():
        rta.kafka.publish_paced([EVENT, EVENT | {"action": MARK}], "sec-job", partitions=1)
    variables = secured.variables() | {"RTA_HOME": str(place / "new" / "home"), "RTA_DATABASE_URL": url}  # fmt: skip
    command = [sys.executable, "-m", "rta.cli", "--trace", "run", str(notebook)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ | variables,
    ) as process:  # fmt: skip
        yield Job(process, variables)
        process.terminate()


@pytest.fixture(scope="module")
def ran(job: Job) -> Ran:
    """Wait for the job's end, and collect what it has left."""
    printed, _ = finished(job.process)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in job.variables.items():
            patch.setenv(name, value)
        [receipt] = runner.history()
        return Ran(Path(job.variables["RTA_HOME"]), printed, _dump(), receipt)


def _dump() -> str:
    """Write down every row of every table of the serving database."""
    import sqlalchemy as sa

    with database.engine().connect() as connection:
        names = sa.inspect(connection).get_table_names()
        rows = [connection.exec_driver_sql(f'SELECT * FROM "{name}"').all() for name in names]
    return str(dict(zip(names, rows, strict=True)))


def forms(secret: str) -> list[bytes]:
    """Return how a secret may stand in a file: as it is, quoted for a URL, in base64 at any offset."""
    plain = secret.encode()
    shifted = [base64.b64encode(b"x" * shift + plain)[4:-4] for shift in range(3)]
    return [plain, quote(secret, safe="").encode(), plain.hex().encode(), secret.encode("utf-16-le"), *shifted]  # fmt: skip


def holding(secret: str, where: dict[str, bytes]) -> list[str]:
    """Name the places that hold a secret, in whatever form."""
    return [place for place, content in where.items() if any(form in content for form in forms(secret))]  # fmt: skip


def test_the_search_finds_what_is_hidden(tmp_path: Path) -> None:
    """Base64 at each offset, a quoted URL, JAAS's quotes: a search that finds nothing there would prove nothing."""
    hidden = {
        f"base64 {shift}": base64.b64encode(b"-" * shift + PASSWORD.encode()) for shift in range(3)
    }
    hidden |= {"url": quote(PASSWORD).encode(), "json": json.dumps(PASSWORD).encode()}
    assert holding(CORE, hidden) == list(hidden)
    assert holding(CORE, {"none": b"nothing"}) == []


@pytest.mark.kafka
@pytest.mark.parametrize("name", EVIL)
def test_a_name_from_outside_passes_the_allow_list_first(
    spark: SparkSession, tmp_path: Path, name: str
) -> None:
    """Topic, group, table, job and parameter names: refused before they are a path, a topic or SQL; by every door."""
    how: dict[str, Any] = {"key": ["action"], "event": rta.USER_EVENTS}
    frame = rta.user_events(spark, rows=1)
    notebook = tmp_path / "n.ipynb"
    cell = new_code_cell("x = 1", metadata={"tags": ["parameters"]})
    nbformat.write(new_notebook(cells=[cell]), notebook)
    asks: list[Callable[[], Any]] = [
        lambda: rta.kafka.create_topic(name),
        lambda: rta.kafka.delete_topic(name),
        lambda: rta.kafka.offsets(name),
        lambda: rta.lag(name),
        lambda: rta.publish(frame, name),
        lambda: rta.kafka.publish_paced([EVENT], name),
        lambda: list(tail.records(name)),
        lambda: rta.read_batch(name, event=rta.USER_EVENTS),
        lambda: rta.read_stream(name, event=rta.USER_EVENTS),
        lambda: rta.dlq.read_dead_letters(name),
        lambda: rta.drain(name, rta.transforms.totals, table="names", **how),
        lambda: rta.drain("names", rta.transforms.totals, table=name, **how),
        lambda: rta.follow("names", rta.transforms.totals, table=name, **how),
        lambda: rta.reset(name),
        lambda: rta.read(name),
        lambda: runner.run(notebook, name=name or "a/b"),  # "" is none: the notebook's own
        lambda: runner.run(notebook, {name: 1}),
        lambda: runner.history(name),
    ]
    for ask in asks:
        with pytest.raises(InputError):
            ask()
    lines = [["tail", name], ["groups", name or "a/b"], ["topics", "describe", name], ["tables", name or "a/b"], ["jobs", "--job", name], ["schedule", "show", name or "a/b"], ["run", str(notebook), "-p", f"{name}=1"],
             ["run", str(notebook), "--name", name or "a/b"], ["publish", "weather", "--topic", name or "a/b"]]  # fmt: skip
    for line in lines:
        assert CliRunner().invoke(main, line).exit_code == 1, line


def test_an_open_home_is_said_by_the_doctor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that was there before, and is open, is not changed in silence: the doctor says it."""
    tmp_path.chmod(0o755)
    monkeypatch.setenv("RTA_HOME", str(tmp_path))
    [disk] = [check for check in doctor.examine() if check.name == "disk"]
    assert not disk.ok
    assert f"chmod 700 {tmp_path}" in disk.fix
    assert stat.S_IMODE(private_folder(tmp_path / "a" / "b").parent.stat().st_mode) == 0o700


def test_nothing_in_the_package_runs_what_it_has_read() -> None:
    """No pickle, marshal or shelve, no eval or exec, no shell, in any module: what is on a topic stays data."""
    modules = {"pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
    builtins = {"eval", "exec", "compile", "__import__"}
    methods, options = {"system", "popen", "read_pickle"}, {"allow_pickle", "shell"}
    faults = []
    for path in sorted((ROOT / "rta").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Import(names=names):
                    found = {each.name.partition(".")[0] for each in names} & modules
                case ast.ImportFrom(module=module):
                    found = {str(module).partition(".")[0]} & modules
                case ast.Call(func=ast.Name(id=name)):
                    found = {name} & builtins
                case ast.Call(func=ast.Attribute(attr=name), keywords=keywords):
                    found = ({name} & methods) | ({str(each.arg) for each in keywords} & options)
                case _:
                    continue
            faults += [f"{path.name}:{node.lineno} {each}" for each in found]
    assert faults == []


@pytest.mark.kafka
def test_a_job_leaves_no_secret_behind(ran: Ran) -> None:
    """Notebook, report, receipt, logs, checkpoint, event log, Spark's pages, output, database: neither password is there."""
    files = {str(p.relative_to(ran.home)): p.read_bytes() for p in ran.home.rglob("*") if p.is_file()}  # fmt: skip
    places = files | {"printed": ran.printed.encode(), "database": ran.stored.encode()}
    places["receipt"] = (str(ran.receipt) + repr(ran.receipt) + ran.receipt._repr_html_()).encode()
    for secret in (CORE, DATABASE):
        assert holding(secret, places) == []
    assert ran.receipt.message == "cell [4] failed: RuntimeError: the last cell fails, too"
    # The search went where it should: what is no secret is there.
    seen = set(holding("sec-job", places)) | set(holding("ana", places))
    for part in ("notebook.ipynb", "report.html", "receipt.json", "pages.txt", "checkpoints/secrets/offsets/0", "events/",
                 "database"):  # fmt: skip
        assert any(part in place for place in seen), part
    assert {"spark.log", "spark-console.log"} <= files.keys()
    notebook = next(content.decode() for name, content in files.items() if "notebook" in name)
    for told in ("refuses this user with this password", "is away", "needs a user and a password", "redacted"):  # fmt: skip
        assert told in notebook


@pytest.mark.kafka
def test_all_sockets_are_on_loopback(spark: SparkSession, ran: Ran) -> None:
    """Those of the broker, of Spark's driver with its pages, and of the kernel of a job."""
    assert listening(broker.up().pid)
    assert listening(broker.up().pid) <= LOOPBACK
    processes = json.loads((ran.home / "processes.json").read_text())
    names = {name for name, _ in processes["sockets"]}
    assert len(names) == 2, "the kernel, and the JVM that it has started"
    assert {address for _, address in processes["sockets"]} <= LOOPBACK


@pytest.mark.kafka
def test_nobody_else_can_enter_the_home(ran: Ran) -> None:
    """RTA_HOME and what stood missing above it are 0700, and so are the folders that rta makes in it."""
    for folder in (ran.home.parent, ran.home, ran.home / "jobs", ran.home / "checkpoints", Path(ran.receipt.folder)):  # fmt: skip
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700, folder


@pytest.mark.kafka
def test_event_values_are_escaped_wherever_html_is_made(ran: Ran) -> None:
    """An event that holds a script is text in the report; so is whatever a receipt or a health tells."""
    page = next(ran.home.rglob("report.html")).read_text()
    assert "&lt;script&gt;alert(" in page
    assert MARK not in page
    told = replace(ran.receipt, message=MARK, job=MARK)._repr_html_()
    assert MARK not in told
    assert "&lt;script&gt;" in told
