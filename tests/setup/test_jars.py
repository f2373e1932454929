"""Jars: fetched by name, checked by sha256, kept, and never trusted unchecked."""

import socket
from pathlib import Path

import pytest

from rta.errors import SetupError
from rta.setup import jars

POOL = "org.apache.commons:commons-pool2:2.13.1"


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give one test a jar cache of its own."""
    monkeypatch.setenv("RTA_CACHE", str(tmp_path))
    return tmp_path


@pytest.fixture
def sha256() -> str:
    """Return the pinned checksum of one small jar."""
    return jars.pinned()[0]["4.3.0"][POOL]


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every look-up of a host fail, as without a network."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError("network is unreachable")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def test_a_jar_is_fetched_once_and_then_needs_no_network(
    empty_cache: Path, sha256: str, request: pytest.FixtureRequest
) -> None:
    """The second call finds it in the cache, with the network away."""
    [first] = jars.verified({POOL: sha256})
    request.getfixturevalue("no_network")
    assert jars.verified({POOL: sha256}) == [first]
    assert first.is_relative_to(empty_cache)


def test_a_damaged_jar_is_fetched_again(empty_cache: Path, sha256: str) -> None:
    """A truncated file in the cache is replaced by the right one."""
    [jar] = jars.verified({POOL: sha256})
    whole = jar.read_bytes()
    jar.write_bytes(whole[:1000])
    assert jars.missing({POOL: sha256}) == [POOL]
    assert jars.verified({POOL: sha256}) == [jar]
    assert jar.read_bytes() == whole


def test_a_wrong_checksum_is_refused_and_nothing_is_kept(empty_cache: Path) -> None:
    """What the network serves is not what was pinned: an error, and no file."""
    with pytest.raises(SetupError, match=r"wrong checksum.*nothing was kept"):
        jars.verified({POOL: "0" * 64})
    assert not list(empty_cache.rglob("*.jar"))


@pytest.mark.usefixtures("empty_cache", "no_network")
def test_without_a_network_the_error_says_how_to_go_on(sha256: str) -> None:
    """No network and no cache: one sentence with the fix (F35)."""
    with pytest.raises(SetupError, match=r"cannot be fetched.*RTA_CACHE"):
        jars.verified({POOL: sha256})


def test_a_pyspark_without_a_known_connector_is_refused() -> None:
    """An untested pair gets a sentence with the tested ones."""
    with pytest.raises(SetupError, match=r"PySpark 4\.1\.0.*install one of: 4\.3\.0"):
        jars.connector_jars("4.1.0")


def test_the_installed_pyspark_has_its_connector() -> None:
    """Guards the one constant that holds the pair."""
    import pyspark

    names = [jar.name for jar in jars.connector_jars(pyspark.__version__)]
    assert names[0] == "spark-sql-kafka-0-10_2.13-4.2.0.jar"
    assert len(jars.kafka_jars()) == len(jars.pinned()[1])


def test_the_licence_of_each_jar_is_on_the_page() -> None:
    """docs/licences.md has each pinned jar once, with its version, a licence by its SPDX name, and what it is for."""
    connectors, kafka = jars.pinned()
    rooms = {"Spark": connectors["4.3.0"], "Kafka": kafka, "Flink": jars.engine_jars()["flink"], "Kafka Streams": jars.engine_jars()["kafka_streams"]}  # fmt: skip
    pinned = {jar: ", ".join(name for name, has in rooms.items() if jar in has) for has in rooms.values() for jar in has}  # fmt: skip
    page = (Path(__file__).parents[2] / "docs" / "licences.md").read_text()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line.startswith("| ")][1:]  # fmt: skip
    assert {f"{jar}:{version}": used for jar, version, _, used in rows} == pinned
    assert len(rows) == len(pinned)
    known = {"Apache-2.0", "MIT", "BSD-2-Clause", "BSD-3-Clause", "CC0-1.0", "GPL-2.0-only"}
    for _, _, licence, _ in rows:
        named = set(licence.replace(" or ", ",").replace(" and ", ",").split(","))
        assert named <= known, licence
        assert named != {"GPL-2.0-only"}


def test_what_the_engines_weigh_is_said() -> None:
    """The doctor's figure for what is fetched is what the jars weigh, to a megabyte."""
    for engine, wanted in jars.engine_jars().items():
        weight = sum(path.stat().st_size for path in jars.verified(wanted))
        assert abs(weight / 1e6 - jars.MEGABYTES[engine]) < 1, engine
