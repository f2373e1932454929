"""rta-engines.jar is what its sources say."""

import zipfile

from rta.jvm.jar import engines_jar, sources_sha256
from tests.jvm.build_jar import entries


def test_the_jar_belongs_to_its_sources() -> None:
    """The manifest has the hash of the sources: whoever changes one builds the jar again (make java)."""
    with zipfile.ZipFile(engines_jar()) as jar:
        manifest = jar.read("META-INF/MANIFEST.MF").decode()
        assert sorted(jar.namelist()) == sorted(set(jar.namelist()))
    assert f"Sources: {sources_sha256()}\r\n" in manifest


def test_the_classes_are_those_that_the_compiler_makes() -> None:
    """Compiled again, each class has the same bytes: nothing else is in the jar."""
    with zipfile.ZipFile(engines_jar()) as jar:
        assert {name: jar.read(name) for name in jar.namelist()} == entries()
