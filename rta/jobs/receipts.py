"""The receipt of a job run: what ran and with which versions, what it consumed, how it ended, where its files are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any, Final

from rta.files import write_whole
from rta.html import Marked, card
from rta.jobs.states import State
from rta.store.ledger import Accounting, Batch, batches

Span = tuple[int, int]  # offsets: the first one consumed, the next one to consume
TIMES: Final = "%Y-%m-%d %H:%M:%S UTC"
_OLDER: Final = {"died": "lost"}  # words of an older rta


@dataclass(frozen=True)
class Receipt:
    """The facts of one run of a job: in `receipt.json` beside its notebook, and in the history.

    Args:
        job: The name of the job.
        run_id: The id of the run.
        notebook: The path of the notebook that was run.
        parameters: All parameters, with defaults; secrets are hidden.
        state: How it does, or has ended.
        message: The error, if it failed.
        started_at: When it started, UTC.
        ended_at: When it ended, UTC; None while it runs, or if it was lost.
        seconds: How long it took.
        versions: The versions of rta, Python, Spark and others.
        accounting: Table → where its events went.
        offsets: Table → topic → partition → (from, to).
        folder: The folder of this run.
        executed: The notebook with its outputs, in the folder.
        report: The HTML report, in the folder.
        sha256: That of the notebook that ran; `source.ipynb` in the folder is this notebook.
        commit: The git commit of its folder, with "-dirty" if files differed from it; None if it is not in git.
        scheduled_for: The moment of its schedule for which it ran, UTC.
    """

    job: str
    run_id: str
    notebook: str
    parameters: Mapping[str, Any]
    state: State
    message: str | None
    started_at: datetime
    ended_at: datetime | None
    seconds: float | None
    versions: Mapping[str, str]
    accounting: Mapping[str, Accounting]
    offsets: Mapping[str, Mapping[str, Mapping[int, Span]]]
    folder: str
    executed: str | None
    report: str | None
    sha256: str | None = None
    commit: str | None = None
    scheduled_for: datetime | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the receipt as JSON has it: times in ISO 8601, partitions as text."""
        facts: dict[str, Any] = json.loads(json.dumps(asdict(self), default=datetime.isoformat))
        return facts

    @classmethod
    def from_dict(cls, facts: Mapping[str, Any]) -> Receipt:
        """Return the receipt of what as_dict() returned."""
        given = dict(facts)
        given["state"] = State(_OLDER.get(word := given.pop("outcome", given.get("state")), word))
        for name in ("started_at", "ended_at", "scheduled_for"):
            given[name] = given.get(name) and datetime.fromisoformat(given[name])
        given["accounting"] = {t: Accounting(**counts) for t, counts in given["accounting"].items()}
        given["offsets"] = {
            table: {
                topic: {int(p): (start, end) for p, (start, end) in spans.items()}
                for topic, spans in topics.items()
            }
            for table, topics in given["offsets"].items()
        }
        return cls(**given)

    def to_json(self) -> str:
        """Return the receipt as indented JSON."""
        return json.dumps(self.as_dict(), indent=2, ensure_ascii=False)

    def write(self) -> None:
        """Write `receipt.json` into the run's folder, completely or not at all."""
        write_whole(Path(self.folder) / "receipt.json", self.to_json() + "\n")

    def __str__(self) -> str:
        took = "" if self.seconds is None else f" in {self.seconds:.1f} s"
        lines = [f"{self.job} {self.state}{took} (run {self.run_id})"]
        lines += [f"  {self.message}"] if self.message else []
        lines += [f"  {table}: {each}" for table, each in self.accounting.items()]
        if not self.accounting and self.state == State.SUCCEEDED:
            lines.append("  no new events were consumed")
        lines += [f"  report    {self.report}"] if self.report else []
        lines += [f"  notebook  {self.executed}"] if self.executed else []
        return "\n".join(lines)

    def __repr__(self) -> str:
        return str(self).partition("\n")[0]

    def _repr_html_(self) -> str:
        took = "" if self.seconds is None else f" in {self.seconds:,.1f} s"
        named = {"message": self.message, "report": self.report, "notebook": self.executed}
        return card([
            ("job", Marked(f"{self.job} {self.state}{took}", self.state.level)), ("run", self.run_id),
            *((table, each) for table, each in self.accounting.items()),
            *((name, value) for name, value in named.items() if value),
        ], f"`rta.jobs.history({self.job!r})` lists its runs" + ("; open the report in a browser" if self.report else ""))  # fmt: skip


def consumed(run_id: str) -> tuple[dict[str, Accounting], dict[str, dict[str, dict[int, Span]]]]:
    """Return what a run consumed, by the ledger: accounting and offsets by table.

    >>> consumed("no-such-run")
    ({}, {})
    """
    taken: dict[str, list[Batch]] = {}
    for batch in batches(run_id=run_id):
        taken.setdefault(batch.table, []).append(batch)
    spans = {table: _spans(each) for table, each in taken.items()}
    return {table: Accounting.of(each) for table, each in taken.items()}, spans


def _spans(taken: list[Batch]) -> dict[str, dict[int, Span]]:
    found: dict[str, dict[int, Span]] = {}
    for batch in taken:
        here = found.setdefault(batch.topic, {})
        for partition, end in batch.end_offsets.items():
            start = batch.start_offsets.get(partition, 0)
            low, high = here.get(partition, (start, end))
            here[partition] = (min(low, start), max(high, end))
    return found


@cache
def versions() -> Mapping[str, str]:
    """Return the versions that a run depends on; "none" for what is missing.

    >>> versions()["pyspark"]
    '4...'
    """
    import platform
    from importlib.metadata import PackageNotFoundError, version

    from rta.errors import SetupError
    from rta.setup.jars import pinned
    from rta.setup.java import find_java

    found = {"python": platform.python_version()}
    for package in ("rta", "pyspark", "papermill", "pandas"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "none"
    connector = next(iter(pinned()[0].get(found["pyspark"], ())), "none")
    try:
        java = str(find_java().version)
    except SetupError:
        java = "none"
    return found | {"kafka connector": connector.rpartition(":")[2], "java": java}


def packages() -> str:
    """Return all packages of this environment with their versions, a line each.

    >>> "papermill==" in packages()
    True
    """
    from importlib.metadata import distributions

    found = {f"{each.metadata['Name']}=={each.version}" for each in distributions()}
    return "\n".join(sorted(found, key=str.lower)) + "\n"


def commit_of(folder: Path) -> str | None:
    """Return the git commit of a folder, with "-dirty" if files differ from it; None if it is not in git.

    >>> commit_of(Path("/"))
    """
    import subprocess

    asked = [
        "git",
        "-C",
        str(folder),
        "describe",
        "--always",
        "--dirty",
        "--abbrev=40",
        "--exclude",
        "*",
    ]
    try:
        answer = subprocess.run(asked, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() or None
