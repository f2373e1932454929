"""The RTA_* variables, the errors' form and the allow-list of names."""

from dataclasses import FrozenInstanceError, asdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rta import errors
from rta.errors import InputError, RtaError
from rta.kafka import client
from rta.names import checked
from rta.settings import private_folder, settings


def test_variables_are_read_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable set after import is seen; an empty one is not set."""
    monkeypatch.setenv("RTA_SPARK_MASTER", "local[3]")
    monkeypatch.setenv("RTA_KAFKA_BOOTSTRAP", "")
    assert settings().spark_master == "local[3]"
    assert settings().kafka_bootstrap is None


def test_the_more_particular_variable_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """RTA_HOME before XDG_DATA_HOME, RTA_JAVA_HOME before JAVA_HOME; each of the second kind where the first is not set."""
    monkeypatch.setenv("JAVA_HOME", "/java")
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    monkeypatch.delenv("RTA_JAVA_HOME", raising=False)
    monkeypatch.delenv("RTA_CACHE", raising=False)
    assert (settings().java_home, settings().cache) == (Path("/java"), Path("/caches/rta"))
    monkeypatch.setenv("RTA_JAVA_HOME", "/ours")
    monkeypatch.setenv("RTA_CACHE", "/here")
    assert (settings().java_home, settings().cache) == (Path("/ours"), Path("/here"))


def test_a_secret_is_not_in_the_repr(monkeypatch: pytest.MonkeyPatch) -> None:
    """The database URL may hold a password."""
    monkeypatch.setenv("RTA_DATABASE_URL", "postgresql://user:planted@127.0.0.1/x")
    assert "planted" not in repr(settings())
    assert "planted" not in str(asdict(settings()))


SECURED = {"BOOTSTRAP": "kafka:9093", "SECURITY_PROTOCOL": "SASL_SSL", "SASL_USERNAME": "ana", "SASL_PASSWORD": "planted"}  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"BOOTSTRAP": ""}, "no cluster is named; fix: set RTA_KAFKA_BOOTSTRAP"),
        ({"SECURITY_PROTOCOL": "TLS"}, "RTA_KAFKA_SECURITY_PROTOCOL is wrong.*SASL_SSL"),
        ({"SECURITY_PROTOCOL": ""}, "RTA_KAFKA_SASL_USERNAME is set, but .* is PLAINTEXT"),
        ({"SECURITY_PROTOCOL": "SSL"}, "RTA_KAFKA_SASL_USERNAME is set, but .* is SSL"),
        ({"SASL_USERNAME": ""}, "needs a user and a password; fix: set RTA_KAFKA_SASL_USERNAME"),
        ({"SASL_PASSWORD": ""}, "needs a user and a password; fix: set RTA_KAFKA_SASL_PASSWORD"),
        ({"SASL_MECHANISM": "GSSAPI"}, "RTA_KAFKA_SASL_MECHANISM is wrong.*SCRAM-SHA-512"),
        ({"SSL_CAFILE": "/nowhere/ca.pem"}, "RTA_KAFKA_SSL_CAFILE is wrong.*/nowhere/ca.pem"),
        ({"SSL_KEYFILE": __file__}, "belong together; fix: set RTA_KAFKA_SSL_CERTFILE"),
        ({"SSL_CERTFILE": __file__}, "belong together; fix: set RTA_KAFKA_SSL_KEYFILE"),
        ({"SECURITY_PROTOCOL": "SASL_PLAINTEXT", "SSL_CAFILE": __file__}, "RTA_KAFKA_SSL_CAFILE is set"),
    ],
)  # fmt: skip
def test_variables_of_a_cluster_that_contradict_each_other_are_refused(
    monkeypatch: pytest.MonkeyPatch, changed: dict[str, str], message: str
) -> None:
    """A protection that is asked for and would not be used is an error, without the password in it."""
    for name, value in (SECURED | changed).items():
        monkeypatch.setenv(f"RTA_KAFKA_{name}", value)
    with pytest.raises(InputError, match=message) as refused:
        settings()
    assert "planted" not in str(refused.value)


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"GATEWAY": "http://ana:planted@flink:8083"}, "GATEWAY is no plain URL of HTTP"),
        ({"GATEWAY": "ftp://flink/planted"}, "GATEWAY is no plain URL of HTTP"),
        ({"GATEWAY": "http://flink:8083/?token=planted"}, "GATEWAY is no plain URL of HTTP"),
        ({"GATEWAY": "http://flink", "REST": "http://planted@flink:8081"}, "REST is no plain URL of HTTP"),
        ({"GATEWAY": "http://flink", "STATE": "/mnt/planted"}, "STATE is no URI of a folder"),
        ({"GATEWAY": "http://flink", "STATE": "s3://key:planted@bucket/flink"}, "STATE is no URI of a folder"),
        ({"STATE": "s3://bucket/planted"}, "STATE is set, but no Flink of your own is named"),
        ({"REST": "http://planted"}, "REST is set, but no Flink of your own is named"),
        ({"GATEWAY": "https://flink.example:8083/sql/", "REST": "http://[::1]:8081", "STATE": "abfss://box@account.net/flink"}, ""),
    ],
)  # fmt: skip
def test_variables_of_ones_own_flink(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], message: str
) -> None:
    """URLs have no place for a user; what is refused is not shown, for it may hold a password."""
    for name, value in variables.items():
        monkeypatch.setenv(f"RTA_FLINK_{name}", value)
    if not message:
        assert settings().flink_gateway == variables["GATEWAY"]
        return
    with pytest.raises(InputError, match=f"RTA_FLINK_{message}") as refused:
        settings()
    assert "planted" not in str(refused.value)


def test_variables_of_a_cluster_reach_both_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same facts for Spark and for kafka-python; SCRAM-SHA-512 where no mechanism is named."""
    for name, value in SECURED.items():
        monkeypatch.setenv(f"RTA_KAFKA_{name}", value)
    java, python = client.spark_options(), client.client_options()
    assert java["kafka.bootstrap.servers"] == python["bootstrap_servers"] == "kafka:9093"
    assert java["kafka.security.protocol"] == python["security_protocol"] == "SASL_SSL"
    assert java["kafka.sasl.mechanism"] == python["sasl_mechanism"] == "SCRAM-SHA-512"
    assert java["kafka.sasl.jaas.config"].endswith('ScramLoginModule required username="ana" password="planted";')  # fmt: skip
    assert python["ssl_context"].check_hostname
    assert "planted" not in repr(python) + repr(settings())
    monkeypatch.setenv("RTA_KAFKA_SASL_MECHANISM", "PLAIN")
    assert "PlainLoginModule" in client.spark_options()["kafka.sasl.jaas.config"]


def test_settings_are_frozen() -> None:
    """Nobody changes a fact of the environment in passing."""
    with pytest.raises(FrozenInstanceError):
        settings().home = Path("elsewhere")  # type: ignore[misc]


def test_folders_are_private(tmp_path: Path) -> None:
    """What rta makes, only its owner reads."""
    assert private_folder(tmp_path / "a").stat().st_mode & 0o777 == 0o700


def test_every_error_of_the_tree_says_what_found_do() -> None:
    """The tree in the module's drawing is the tree in the code."""
    tree = [
        cls for cls in vars(errors).values() if isinstance(cls, type) and issubclass(cls, RtaError)
    ]
    assert all(cls.__name__ in (errors.__doc__ or "") for cls in tree)
    for cls in tree:
        assert str(cls("a", found="b", fix="c")) == "a; found: b; fix: c"
    assert [cls.__name__ for cls in tree if cls.retriable] == ["BrokerError"]


@given(st.text())
def test_no_name_from_outside_holds_a_path_or_sql(name: str) -> None:
    """Whatever passes the allow-list has no separator, quote, space or control character."""
    for kind in ("topic", "table", "column", "query", "job", "group"):
        try:
            passed = checked(kind, name)
        except InputError:
            continue
        assert passed not in {".", "..", ""}
        assert all(c.isascii() and (c.isalnum() or c in "._-") for c in passed)
