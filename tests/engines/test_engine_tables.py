"""What the process of a query on another engine tells others: a second one is refused, and who does not answer is named."""

import subprocess
from pathlib import Path

import psutil
import pytest

import rta
from rta.engines import engine_tables
from rta.engines.engine_tables import ToldQuery
from rta.errors import QueryError
from rta.settings import private_folder
from rta.setup.processes import started


def test_one_process_fills_a_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While it lives nobody else follows, resets or stops silently; its request is taken back; once it has gone the table is free."""
    monkeypatch.setenv("RTA_HOME", str(tmp_path))
    other = subprocess.Popen(["sleep", "600"])  # a kernel that does not answer
    folder = private_folder(engine_tables.state_of("held"))
    (folder / "engine").write_text("flink")
    now = ToldQuery("held", "flink", other.pid, started(psutil.Process(other.pid)), "2024-11-15 10:00:00 UTC", "running", None, "http://127.0.0.1:1", 0)  # fmt: skip
    engine_tables.tell(now)
    assert engine_tables.elsewhere("held") == now
    for refused in (engine_tables.refuse_elsewhere, rta.reset):
        with pytest.raises(QueryError, match=f"another query fills table 'held'; found: process {other.pid}"):  # fmt: skip
            refused("held")
    with pytest.raises(QueryError, match=rf"does not stop.*kill {other.pid}"):
        engine_tables.stop_elsewhere("held", patience=0)
    assert sorted(path.name for path in folder.iterdir()) == ["engine", "process.json"]
    engine_tables.untell("held", now.since)  # it is not ours
    assert engine_tables.told("held") == now
    other.kill()
    other.wait()
    assert engine_tables.told("held") is None
    engine_tables.refuse_elsewhere("held")
    assert engine_tables.engine_tables() == {"held": "flink"}
