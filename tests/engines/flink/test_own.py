"""A person's own Flink: another process with a home and a classpath of its own, reached by the address of its SQL gateway alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from pyspark.sql import SparkSession

import rta
from rta.cli.app import main
from rta.cli.doctor import examine
from rta.engines import flink
from rta.engines.engine_tables import state_of
from rta.engines.flink import local, own
from rta.engines.flink.gateway import call
from rta.engines.flink.state import State
from rta.errors import QueryError, SetupError
from rta.settings import settings
from rta.setup.processes import runs
from tests.support.engine_faults import exact, followed, sent
from tests.support.own_flink import gateway_without, somebodys


@pytest.fixture(scope="module")
def ours(home: object) -> flink.Cluster | None:
    """Tell of the Flink of other tests, if there is one."""
    return local.status()


@pytest.fixture(scope="module")
def theirs(ours: object, tmp_path_factory: pytest.TempPathFactory) -> Iterator[flink.Cluster]:
    """Run somebody's Flink, and name its gateway and a shared folder; its REST API is learnt."""
    folder = tmp_path_factory.mktemp("theirs")
    with somebodys(folder) as running, pytest.MonkeyPatch.context() as patch:
        patch.setenv("RTA_FLINK_GATEWAY", running.gateway)
        patch.setenv("RTA_FLINK_STATE", (folder / "shared").as_uri())
        yield running


@pytest.fixture(scope="module")
def drained(theirs: flink.Cluster, spark: SparkSession) -> Any:
    """Drain a topic on it twice, and return the second query; the table is exact each time."""
    name, records = rta.kafka.create_topic("own-events", partitions=2).name, 0
    for seed in (1, 2):
        records += sent(spark, name, seed, 200)
        query = followed(name, "own_totals", "flink")
        query.processAllAvailable()
        query.stop()
        exact(name, "own_totals", records)
    return query


def test_a_table_of_ones_own_flink_is_exact_and_goes_on_where_it_was(
    theirs: flink.Cluster, drained: Any, ours: flink.Cluster | None
) -> None:
    """Its REST API is learnt from the gateway, its state is where it was told; nothing of ours is started."""
    assert drained.native.startswith(theirs.rest)
    assert local.status() == ours
    assert call("GET", drained.native)["name"] == drained.job.launch.name
    folder = drained.job.launch.state.folder
    assert str(folder).startswith(str(settings().flink_state).removeprefix("file://"))
    assert len(list(folder.glob("savepoint-*"))) == 2
    assert not list(state_of("own_totals").glob("savepoint-*"))
    [row] = flink.sql("SELECT COUNT(*) AS n FROM `own-events`", events=[rta.USER_EVENTS]).to_dict("records")  # fmt: skip
    assert row["n"] == 400


def test_the_newest_state_is_found_where_this_machine_does_not_see_it(
    theirs: flink.Cluster, drained: Any, tmp_path: Path
) -> None:
    """The savepoint of the last stop is noted; without the note Flink knows it; if it has forgotten the job, that is said."""
    newest = drained.job.launch.state.newest(theirs.rest).removeprefix("file://")
    elsewhere = State(tmp_path, "s3://bucket/flink")
    assert elsewhere.newest(theirs.rest) is None
    elsewhere.started(drained.job.id)
    assert str(elsewhere.newest(theirs.rest)).removeprefix("file:") == newest
    elsewhere.started("0" * 32)
    with pytest.raises(QueryError, match="does not see it, and Flink has forgotten the job"):
        elsewhere.newest(theirs.rest)
    elsewhere.stopped("s3://bucket/flink/savepoint-1")
    assert elsewhere.newest(theirs.rest) == "s3://bucket/flink/savepoint-1"


def test_it_is_said_that_it_is_not_ours(
    theirs: flink.Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command line looks at it and leaves it alone; the doctor says what can be known, and what cannot."""
    told = {check.name: check for check in examine()}
    assert [name for name in told if not told[name].ok and name not in ("memory", "disk")] == []
    assert "2.2.1" in told["flink"].detail
    assert "added to each session" in told["connector"].detail
    assert "not checked" in told["reach"].detail
    assert "not checked" in told["state"].detail
    assert "proxy" in told["login"].detail
    up = CliRunner().invoke(main, ["up", "--engine", "flink"]).stdout
    assert f"its SQL gateway at {theirs.gateway} (your own)" in up
    assert f"gateway {theirs.gateway} (your own)" in CliRunner().invoke(main, ["status"]).stdout
    assert "(your own)" in repr(flink.status())
    monkeypatch.setenv("RTA_HOME", str(tmp_path))  # whose broker does not run
    assert f"{theirs.gateway} is your own: it is left as it is" in CliRunner().invoke(main, ["down"]).stdout  # fmt: skip
    assert not flink.down()
    assert theirs.pid
    assert runs(theirs.pid)


def test_what_it_lacks_is_said_before_anything_is_made(
    theirs: flink.Cluster, drained: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody there, another program there, no REST API, no place for the state, a Kafka that it cannot reach, no connector."""
    ways = [
        ("SQL gateway at RTA_FLINK_GATEWAY: Flink does not answer", "GATEWAY", "http://127.0.0.1:1"),
        ("SQL gateway at RTA_FLINK_GATEWAY: Flink refuses it", "GATEWAY", theirs.rest),
        ("REST API does not answer", "REST", "http://127.0.0.1:1"),
        ("where your own Flink keeps its state", "STATE", ""),
    ]  # fmt: skip
    for said, name, value in ways:
        with monkeypatch.context() as patch:
            patch.setenv(f"RTA_FLINK_{name}", value)
            with pytest.raises(SetupError, match=said):
                followed("own-events", "own_refused", "flink")
    with (
        gateway_without("connector-kafka", theirs.rest, tmp_path) as poor,
        monkeypatch.context() as patch,
    ):
        patch.setenv("RTA_FLINK_GATEWAY", poor)
        assert flink.status() == flink.Cluster(None, None, theirs.rest, poor)
        with pytest.raises(SetupError, match=r"no connector for Kafka.*flink-sql-connector-kafka"):
            followed("own-events", "own_refused", "flink")
        [connector] = [check for check in examine() if check.name == "connector"]
        assert not connector.ok
    with monkeypatch.context() as patch:
        patch.setattr(own, "engines_jar", lambda: tmp_path / "of-another-machine.jar")
        with pytest.raises(SetupError, match=r"cannot read events.*of-another-machine.jar"):
            followed("own-events", "own_refused", "flink")
    assert "own_refused" not in [each.name for each in rta.store.tables()]
    # A table's state is that of one Flink: elsewhere a second job would write it, too.
    monkeypatch.setenv("RTA_FLINK_STATE", "s3://bucket/flink")
    with pytest.raises(QueryError, match="the state of 'own_totals' is that of another Flink"):
        followed("own-events", "own_totals", "flink")
    with pytest.raises(QueryError, match="scheme 's3'"):
        followed("own-events", "own_on_s3", "flink")


def test_another_rtas_jar_is_refused(theirs: flink.Cluster, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    """A jar that another rta has put there may judge events otherwise."""
    monkeypatch.setattr(own, "sources_sha256", lambda: "0" * 64)
    with pytest.raises(SetupError, match="of another version of rta"):
        flink.up()


def test_a_reset_removes_its_state(theirs: flink.Cluster, drained: Any) -> None:
    """A job that runs is cancelled, by the name that no other job has; the folder goes, too."""
    query = followed("own-events", "own_totals", "flink")
    assert query.isActive
    rta.reset("own_totals")
    assert drained.job.launch.state.folder is None
    assert call("GET", query.native)["state"] in ("CANCELLING", "CANCELED")
