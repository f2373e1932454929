"""The RTA_* variables, the errors' form and the allow-list of names."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rta import errors
from rta.errors import InputError, RtaError
from rta.names import checked
from rta.settings import private_folder, settings


def test_variables_are_read_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable set after import is seen; an empty one is not set."""
    monkeypatch.setenv("RTA_SPARK_MASTER", "local[3]")
    monkeypatch.setenv("RTA_KAFKA_BOOTSTRAP", "")
    assert settings().spark_master == "local[3]"
    assert settings().kafka_bootstrap is None


def test_a_secret_is_not_in_the_repr(monkeypatch: pytest.MonkeyPatch) -> None:
    """The database URL may hold a password."""
    monkeypatch.setenv("RTA_DATABASE_URL", "postgresql://user:planted@127.0.0.1/x")
    assert "planted" not in repr(settings())
    assert "planted" not in str(settings().model_dump())


def test_settings_are_frozen() -> None:
    """Nobody changes a fact of the environment in passing."""
    with pytest.raises(ValueError, match="frozen"):
        settings().home = Path("elsewhere")


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
        assert str(cls("a", found="b", do="c")) == "a; found: b; do: c"
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
