"""The embedded Apache Kafka: one for all, adopted again, stopped cleanly."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from rta.errors import BrokerError, SetupError
from rta.kafka import broker, broker_config
from rta.setup.processes import runs
from tests.support.waiting import HANG, finished


@pytest.fixture
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give one test a home, and so a broker, of its own."""
    monkeypatch.setenv("RTA_HOME", str(tmp_path))
    return tmp_path


def _in_another_process(code: str) -> str:
    """Run Python in a fresh process and return what it printed."""
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()


def test_two_processes_at_once_share_one_broker() -> None:
    """Both ask at the same moment; both get the same process (half of F37)."""
    code = "from rta.kafka import broker; print(broker.up().pid)"
    both = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    pids = {finished(process)[0].strip() for process in both}
    assert pids == {str(broker.up().pid)}


def test_it_stops_while_its_starter_lives(own_home: Path) -> None:
    """A kernel that started the broker and never looks after it does not hold up `rta down` elsewhere."""
    code = "from rta.kafka import broker; print(broker.up().pid, flush=True); input()"
    command = [sys.executable, "-c", code]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as starter:
        assert starter.stdout
        starter.stdout.readline()
        began = time.monotonic()
        assert broker.down(timeout=HANG) is True
        assert time.monotonic() - began < HANG  # a hang is the fault
        assert broker.status() is None
        starter.communicate("\n")


def test_the_broker_outlives_its_starter_and_keeps_its_port_and_data(own_home: Path) -> None:
    """Started by a process that ended, adopted, stopped, started again on the same port with the topic kept."""
    pid = _in_another_process(
        "from rta.kafka import broker, topics; topics.create_topic('kept', partitions=1); print(broker.status().pid)"
    )
    adopted = broker.up()
    assert adopted.pid == int(pid)
    assert broker.down() is True
    assert not runs(adopted.pid)
    assert broker.down() is False
    again = broker.up()
    try:
        assert again.bootstrap == adopted.bootstrap
        assert (
            _in_another_process(
                "from rta.kafka import topics; print([t.name for t in topics.list_topics()])"
            )
            == "['kept']"
        )
        listening = {
            c.laddr.ip
            for c in psutil.Process(again.pid).net_connections("inet")
            if c.status == "LISTEN"
        }
        assert listening <= {"127.0.0.1", "::ffff:127.0.0.1"}
        assert (
            own_home.stat().st_mode & 0o077 == 0
            or (own_home / "broker").stat().st_mode & 0o077 == 0
        )
    finally:
        broker.down()


def test_a_pid_that_belongs_to_somebody_else_is_not_the_broker(own_home: Path) -> None:
    """A state file left by a crash names a pid that was reused: it is not adopted, and not killed."""
    (own_home / "broker").mkdir()
    claim = {
        "pid": os.getpid(),
        "started": 1.0,
        "bootstrap": "127.0.0.1:1",
        "folder": str(own_home),
    }
    (own_home / "broker" / "broker.json").write_text(json.dumps(claim))
    assert broker.status() is None
    assert broker.down() is False


def test_a_cluster_of_ones_own_starts_nothing(
    own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where RTA_KAFKA_BOOTSTRAP is set it is used as it is."""
    monkeypatch.setenv("RTA_KAFKA_BOOTSTRAP", "kafka-1:9092,kafka-2:9092")
    assert broker.bootstrap() == "kafka-1:9092,kafka-2:9092"
    assert broker.status() is None


def test_a_broker_that_cannot_start_says_why(
    own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own log's last words stand in the error."""
    monkeypatch.setattr(
        broker_config,
        "SERVER_PROPERTIES",
        broker_config.SERVER_PROPERTIES | {"process.roles": "nonsense"},
    )
    with pytest.raises(BrokerError, match="nonsense"):
        broker.up()


def test_beside_something_else_it_starts_only_if_it_holds_topics(own_home: Path) -> None:
    """Spark alone brings no broker into a home that has none; where topics lie it is up once Spark is."""
    with broker.starting(if_it_holds_topics=True):
        pass
    assert broker.status() is None
    with broker.starting():
        pass
    assert broker.down() is True
    with broker.starting(if_it_holds_topics=True):
        pass
    assert broker.down() is True


def test_of_two_that_fail_side_by_side_each_has_its_sentence(
    own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The block's own error first; else the broker's, if the block needs it."""
    broken = broker_config.SERVER_PROPERTIES | {"process.roles": "nonsense"}
    monkeypatch.setattr(broker_config, "SERVER_PROPERTIES", broken)
    with pytest.raises(SetupError, match="no Java"), broker.starting():
        raise SetupError("no Java")
    with pytest.raises(BrokerError, match="nonsense"), broker.starting():
        pass
    (own_home / "broker" / "data").mkdir(exist_ok=True)
    (own_home / "broker" / "data" / "meta.properties").touch()
    with broker.starting(if_it_holds_topics=True):  # whoever needs it hears of it
        pass
