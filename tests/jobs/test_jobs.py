"""Notebooks as jobs: refused early, one at a time, honest about the end, nothing left behind."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

import nbformat
import psutil
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from rta import jobs
from rta.errors import InputError, JobError
from rta.jobs import runner
from rta.jobs.receipts import commit_of
from rta.jobs.runs import Run, claimed, record
from rta.jobs.states import State
from tests.support.waiting import finished, until

PARAMETERS = """
# what to read
topic: str = "flights"  # the topic
hours = 2  # of a window
share: float = 0.5
keys = [
    "a",  # b = 1
]
limit: int | None = None
api_key = ""
"""


@pytest.fixture
def notebook(tmp_path: Path) -> Callable[..., Path]:
    """Write small notebooks: `notebook("one cell", "another", parameters="x = 1")`."""

    def write(*cells: str, parameters: str | None = None, name: str | None = None) -> Path:
        tagged = (
            [new_code_cell(parameters, metadata={"tags": ["parameters"]})]
            if parameters is not None
            else []
        )
        path = tmp_path / f"{name or tmp_path.name}.ipynb"
        nbformat.write(new_notebook(cells=[*tagged, *map(new_code_cell, cells)]), path)
        return path

    return write


@dataclass(frozen=True)
class Gate:
    """A cell that says that it is reached, and goes on when the gate is opened."""

    reached: Path
    opened: Path

    @property
    def cell(self) -> str:
        """The source of the cell."""
        return (
            f"import pathlib, time\npathlib.Path({str(self.reached)!r}).touch()\n"
            f"while not pathlib.Path({str(self.opened)!r}).exists(): time.sleep(0.05)"
        )


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    """Lend a gate to stop a run at."""
    return Gate(tmp_path / "reached", tmp_path / "opened")


def _run_elsewhere(path: Path) -> subprocess.Popen[bytes]:
    """Run a notebook as a job in a process of its own."""
    code = "import sys; from rta.jobs import runner; runner.run(sys.argv[1])"
    return subprocess.Popen([sys.executable, "-c", code, str(path)], stderr=subprocess.PIPE)


def _begun(run: Run) -> runner.Receipt:
    """Return the receipt of a run that stands as running."""
    return runner.Receipt(
        job=run.job, run_id=run.run_id, notebook="n.ipynb", parameters={"hours": 2}, state=State.RUNNING,
        message=None, started_at=run.started_at, ended_at=None, seconds=None, versions={}, accounting={},
        offsets={}, folder=str(run.folder), executed=None, report=None,
    )  # fmt: skip


def _processes_of(run_id: str) -> Iterator[psutil.Process]:
    for process in psutil.process_iter():
        try:
            if process.environ().get("RTA_RUN_ID") == run_id:
                yield process
        except psutil.Error:
            continue


def _outputs(receipt: runner.Receipt) -> str:
    """Return what the cells of a run printed."""
    assert receipt.executed
    document = nbformat.read(receipt.executed, as_version=4)
    return "".join(
        output.get("text", "") for cell in document.cells for output in cell.get("outputs", ())
    )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"tpoic": "x"}, "did you mean 'topic'.*topic = \"flights\"; hours = 2"),
        ({"x = 1; import os": 1}, "not the name of a parameter"),
        ({"b": 1}, "no parameter 'b'"),
        ({"hours": "2"}, "wrong type.*str '2'.*give int"),
        ({"hours": True}, "wrong type"),
        ({"hours": None}, "wrong type"),
        ({"limit": "many"}, "wrong type"),
        ({"keys": "a"}, "wrong type.*give list"),
        ({"keys": [object()]}, "plain values only"),
        ({"api_key": 4711}, r"wrong type; found: int \*\*\*"),
    ],
)
def test_a_bad_parameter_is_refused_before_anything_runs(
    notebook: Callable[..., Path], given: dict[str, Any], message: str
) -> None:
    """Unknown names, names that are code and values of another type leave no run behind."""
    path = notebook("print(1)", parameters=PARAMETERS)
    with pytest.raises(InputError, match=message):
        runner.run(path, given)
    assert runner.history(path.stem) == []


def test_parameters_need_a_cell_and_the_cell_plain_python(notebook: Callable[..., Path]) -> None:
    """No cell tagged `parameters`, or one that cannot be read: refused with what to do."""
    with pytest.raises(InputError, match="no cell tagged `parameters`; found: hours"):
        runner.run(notebook("print(1)"), {"hours": 2})
    with pytest.raises(InputError, match="not plain Python; found: line 2"):
        runner.run(notebook("print(1)", parameters="x = 1\n!ls"), {"x": 2})
    with pytest.raises(InputError, match="'need' has no default"):
        runner.run(notebook("print(1)", parameters="need: int"))


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (["day"], 'folder = day \\+ "/out"'),
        (["day", "folder"], "assert day"),
        (["user"], r"\*\*\*"),
    ],
)
def test_a_value_computed_from_a_given_one_is_refused(
    notebook: Callable[..., Path], given: list[str], found: str
) -> None:
    """What the parameters cell computes from a name would be computed from its default: move it."""
    path = notebook(
        "print(folder)",
        parameters='day = "1"\nuser = "me"\nfolder = day + "/out"\nassert day != "0"\n'
        'database_url = f"postgresql://{user}@host/db"\ndef today(): return day',
    )
    with pytest.raises(
        InputError, match=f"computes with.*found: {found}.*move it to the next cell"
    ):
        runner.run(path, dict.fromkeys(given, "x"))
    assert runner.history(path.stem) == []


def test_a_value_that_nothing_is_computed_from_is_taken(notebook: Callable[..., Path]) -> None:
    """A default that is given, too, and a function that reads the name when it is called, do no harm."""
    path = notebook(
        "print(folder, name())",
        parameters='day = "1"\nfolder = day + "/out"\ndef name(): return day',
    )
    assert _outputs(runner.run(path, {"day": "2", "folder": "f"})) == "f 2\n"


def test_strings_become_values_of_the_defaults_types(notebook: Callable[..., Path]) -> None:
    """What a command line gives is typed by the defaults; what cannot be read is refused."""
    path = notebook(parameters=PARAMETERS)
    pairs = ["topic=a=b", "hours=-3", "share=1", "keys=['x']", "limit=7"]
    assert runner.parse(path, pairs) == {
        "topic": "a=b",
        "hours": -3,
        "share": 1.0,
        "keys": ["x"],
        "limit": 7,
    }
    assert runner.parse(path, ["limit=None", "topic=None"]) == {"limit": None, "topic": "None"}
    for wrong, message in {
        "hours": "write name=value",
        "hours=x": "cannot be read as int",
        "hour=1": "'hours'",
    }.items():
        with pytest.raises(InputError, match=message):
            runner.parse(path, [wrong])


def test_a_run_leaves_notebook_report_receipt_and_history(
    notebook: Callable[..., Path], tmp_path: Path
) -> None:
    """Values arrive exactly, in the notebook's own folder and this interpreter; no file holds the secret."""
    hidden = "s3$HOME'\"{x}\\"
    path = notebook(
        "import os, sys",
        "print([topic, hours, share, keys, limit])\nprint(os.getcwd(), sys.executable, os.environ['RTA_RUN_ID'])",
        "print(hash(api_key) != 0, len(api_key), [n for n in os.environ if 'PARAMETER' in n])",
        parameters=PARAMETERS,
    )
    text = 'it\'s "quoted"\n\t{x} \\ ü'
    run = runner.run(path, {"topic": text, "share": 1, "api_key": hidden}, name="exact")
    printed = _outputs(run)
    assert f"{[text, 2, 1.0, ['a'], None]!r}\n" in printed
    assert f"{tmp_path} {sys.executable} {run.run_id}\n" in printed
    assert f"True {len(hidden)} []" in printed
    assert run.state == "succeeded"
    assert run.seconds is not None
    assert run.parameters == {
        "topic": text,
        "hours": 2,
        "share": 1.0,
        "keys": ["a"],
        "limit": None,
        "api_key": "***",
    }
    assert {"rta", "python", "pyspark", "kafka connector", "java"} <= run.versions.keys()
    folder = Path(run.folder)
    assert {each.name for each in folder.iterdir()} == {
        "notebook.ipynb",
        "report.html",
        "receipt.json",
        "kernel.log",
        "run.log",
        "source.ipynb",
        "packages.txt",
    }
    assert not [each for each in folder.iterdir() if "s3$HOME" in each.read_text()]
    assert {
        each.stat().st_mode & 0o077 for each in (folder, folder.parent, folder.parent.parent)
    } == {0}
    assert json.loads((folder / "receipt.json").read_text()) == run.as_dict()
    assert runner.history("exact") == [run] == [runner.receipt(run.run_id)]


def test_a_failed_cell_keeps_notebook_and_report(notebook: Callable[..., Path]) -> None:
    """State, the cell's number and the error are in the history; the message leads to the report."""
    path = notebook("print('before')", "raise ValueError('too few rows\\nmore')", "print('after')")
    with pytest.raises(
        JobError, match=r"cell \[2\] failed: ValueError: too few rows;.*report.html"
    ):
        runner.run(path)
    [run] = runner.history(path.stem)
    assert (run.state, run.message) == ("failed", "cell [2] failed: ValueError: too few rows")
    assert _outputs(run) == "before\n"
    assert run.report
    assert "too few rows" in Path(run.report).read_text()


def test_the_tags_of_jupyter_hold_in_a_job(tmp_path: Path) -> None:
    """A cell tagged raises-exception may fail and is shown; one tagged skip-execution does not run; a later failure is one."""
    cells = [
        new_code_cell("1 / 0", metadata={"tags": ["raises-exception"]}),
        new_code_cell("print('skipped')", metadata={"tags": ["skip-execution"]}),
        new_code_cell("print('after')"),
    ]
    path = tmp_path / "tags.ipynb"
    nbformat.write(new_notebook(cells=cells), path)
    run = runner.run(path)
    assert (run.state, run.message) == ("succeeded", None)
    assert _outputs(run) == "after\n"
    assert run.report
    page = Path(run.report).read_text()
    assert "ZeroDivisionError" in page
    assert "encountered" not in page
    nbformat.write(new_notebook(cells=[*cells, new_code_cell("raise ValueError('real')")]), path)
    with pytest.raises(JobError, match=r"cell \[3\] failed: ValueError: real"):
        runner.run(path)


def test_a_run_ends_with_its_time(notebook: Callable[..., Path]) -> None:
    """A cell that goes on past the timeout fails the run, and its kernel ends."""
    path = notebook("import time; time.sleep(600)")
    with pytest.raises(JobError, match="longer than the timeout of 1 s"):
        runner.run(path, timeout=1)
    assert not list(_processes_of(runner.history(path.stem)[0].run_id))


def test_a_kernel_that_dies_is_a_failed_run(notebook: Callable[..., Path]) -> None:
    """As when memory is out: the run fails with a sentence, not with a hang."""
    path = notebook("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    with pytest.raises(JobError, match="its kernel died"):
        runner.run(path)


def test_of_two_runs_at_once_the_second_is_refused(notebook: Callable[..., Path]) -> None:
    """It says which run holds the job, in which process; another job runs on."""
    with (
        claimed("busy") as holder,
        pytest.raises(JobError, match=f"{holder.run_id}, process {os.getpid()}, since"),
    ):
        runner.run(notebook("1"), name="busy")
    assert runner.run(notebook("1"), name="busy").state == "succeeded"


def test_a_killed_run_is_told_and_the_next_one_works(
    notebook: Callable[..., Path], gate: Gate
) -> None:
    """SIGKILL of the runner in the middle of a cell: 'lost', no process left, the next run succeeds."""
    path = notebook("print('first')", gate.cell)
    with _run_elsewhere(path) as process:
        until(gate.reached.exists)
        assert [each.state for each in runner.history(path.stem)] == ["running"]
        process.kill()
    [lost] = runner.history(path.stem)
    assert (lost.state, lost.ended_at) == ("lost", None)
    assert _outputs(lost) == "first\n"
    assert not list(_processes_of(lost.run_id))
    gate.opened.touch()
    assert runner.run(path).state == "succeeded"
    assert [each.state for each in runner.history(path.stem)] == ["succeeded", "lost"]


def test_an_interrupted_run_says_so(notebook: Callable[..., Path], gate: Gate) -> None:
    """Ctrl-C in the terminal ends the run and its kernel with a sentence; the history says cancelled."""
    path = notebook(gate.cell)
    command = [sys.executable, "-m", "rta.cli", "run", str(path)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        until(gate.reached.exists)
        process.send_signal(signal.SIGINT)
        _, told = finished(process)
    [run] = runner.history(path.stem)
    assert (run.state, run.message) == ("cancelled", "interrupted")
    assert process.returncode == 130
    assert f"✗ interrupted: {path.stem} cancelled in" in told
    assert f"report    {run.report}" in told
    assert "Traceback" not in told
    assert run.report
    assert not list(_processes_of(run.run_id))


def test_a_full_disk_is_said_plainly(
    notebook: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run folder that takes no more bytes fails the run with the reason (here: a limit on file size)."""
    monkeypatch.setenv(
        "RTA_HOME", str(tmp_path / "home")
    )  # its database is small: the notebook is what does not fit
    path = notebook("'x' * 3_000_000")  # a result: what is printed has a bound
    code = (
        "import resource, signal, sys; from rta.jobs import runner; runner.history();"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1_500_000, 1_500_000)); runner.run(sys.argv[1])"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False
    )
    assert answer.returncode != 0
    assert "JobError" in answer.stderr.splitlines()[-1]
    assert "File too large" in answer.stderr.splitlines()[-1]
    assert runner.history(path.stem)[0].state == "failed"


def test_what_cannot_be_run_is_refused(tmp_path: Path) -> None:
    """No file, no notebook, another language: an error in words, and no run."""
    broken, julia = tmp_path / "broken.ipynb", tmp_path / "julia.ipynb"
    broken.write_text("{")
    kernel = {"kernelspec": {"name": "julia-1.11", "display_name": "Julia", "language": "julia"}}
    nbformat.write(new_notebook(cells=[new_markdown_cell("x")], metadata=kernel), julia)
    for path, message in {
        tmp_path / "none.ipynb": "no such notebook",
        broken: "not a notebook",
        julia: "only Python",
    }.items():
        with pytest.raises(InputError, match=message):
            runner.run(path)
    with pytest.raises(InputError, match="no run"):
        runner.receipt("never")


def test_the_history_is_the_same_in_each_database(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that stands as running while nobody holds the lock is found dead, on SQLite and PostgreSQL."""
    monkeypatch.setenv("RTA_DATABASE_URL", database_url)
    with claimed("anywhere") as run:
        begun = _begun(run)
        record(begun)
        assert runner.history("anywhere") == [begun]
    assert [each.state for each in runner.history()] == ["lost"]
    assert runner.receipt(run.run_id).started_at == run.started_at


def test_a_log_is_followed_while_its_run_goes_on(
    notebook: Callable[..., Path], gate: Gate, tmp_path: Path
) -> None:
    """What a cell has printed is told while the cell runs on, what comes later too, and the log ends with the run."""
    path = notebook(f"print('first')\n{gate.cell}\nprint('last')")
    told = tmp_path / "told"
    command = [sys.executable, "-m", "rta.cli", "jobs", "log", path.stem, "--follow"]
    with _run_elsewhere(path) as process, told.open("w") as file:
        until(gate.reached.exists, process)
        follower = subprocess.Popen(command, stdout=file, stderr=subprocess.PIPE)
        try:
            until(lambda: "\nfirst\n" in told.read_text(), follower)
            assert [each.state for each in runner.history(path.stem)] == ["running"]
            assert follower.poll() is None
        finally:
            gate.opened.touch()
            finished(process)
            finished(follower)
    assert [each.state for each in runner.history(path.stem)] == ["succeeded"]
    assert follower.returncode == 0
    assert told.read_text().splitlines()[1:] == ["first", "last"]


def test_old_runs_go_by_their_age(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of each job, what began longer ago than it is kept; a younger run stays, and so does one that goes on, however old."""
    monkeypatch.setenv("RTA_HOME", str(tmp_path / "home"))

    def ran(job: str, days: float) -> runner.Receipt:
        with claimed(job) as run:
            ended = replace(_begun(run), state=State.SUCCEEDED, started_at=run.started_at - timedelta(days=days))  # fmt: skip
            record(ended)
        return ended

    old, young, new = ran("aged", 7.1), ran("aged", 6.9), ran("aged", 0)
    other = ran("other", 30)
    with claimed("goes") as run:
        record(goes := replace(_begun(run), started_at=run.started_at - timedelta(days=30)))
        assert jobs.prune("aged", keep_days=7, dry_run=True) == [old]
        assert Path(old.folder).is_dir()
        assert jobs.prune(keep_days=7) == [old, other]
        assert jobs.history() == [new, young, goes]
        kept = {each.run_id: Path(each.folder).is_dir() for each in (old, young, new, other, goes)}
    assert [run_id for run_id, there in kept.items() if there] == [young.run_id, new.run_id, goes.run_id]  # fmt: skip
    assert jobs.prune("aged", keep_runs=2, keep_days=6.8) == [young]
    assert jobs.prune("aged", keep_runs=1, keep_days=0.5) == []
    with pytest.raises(InputError, match="not negative"):
        jobs.prune("aged", keep_days=-1)


def test_a_run_keeps_commit_and_packages(notebook: Callable[..., Path], tmp_path: Path) -> None:
    """The git commit of its folder, with -dirty once a file differs from it, none without git; each package with its version."""

    def git(*words: str) -> str:
        who = ("-c", "user.name=n", "-c", "user.email=n@there.example", "-c", "commit.gpgsign=false")  # fmt: skip
        return subprocess.run(["git", "-C", tmp_path, *who, *words], check=True, capture_output=True, text=True).stdout.strip()  # fmt: skip

    path = notebook("print(1)")
    assert commit_of(tmp_path) is None
    git("init", "--quiet")
    assert commit_of(tmp_path) is None
    git("add", path.name)
    git("commit", "--quiet", "--message", "one")
    commit = git("rev-parse", "HEAD")
    clean = runner.run(path)
    notebook("print(2)")
    dirty = runner.run(path)
    assert (clean.commit, dirty.commit) == (commit, f"{commit}-dirty")
    assert [each.commit for each in runner.history(path.stem)] == [f"{commit}-dirty", commit]
    assert json.loads((Path(dirty.folder) / "receipt.json").read_text())["commit"] == f"{commit}-dirty"  # fmt: skip
    listed = (Path(clean.folder) / "packages.txt").read_text().splitlines()
    assert f"papermill=={version('papermill')}" in listed
