"""The watch over alerts is killed at each step: no alarm is lost, and none doubled."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.receivers import HttpReceiver, http_receiver
from tests.support.waiting import finished, until

ROOT = Path(__file__).parents[2]


@contextmanager
def watching(receiver: HttpReceiver, file: Path, step: str, home: Path) -> Iterator[subprocess.Popen[str]]:  # fmt: skip
    """Run a watch in a process of its own, and kill it at the end."""
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.children.watch_until_killed", receiver.url, str(file), step], cwd=ROOT, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ | {"PYTHONPATH": str(ROOT), "RTA_HOME": str(home)},
    )  # fmt: skip
    try:
        yield child
    finally:
        child.kill()
        finished(child)


def words(receiver: HttpReceiver) -> list[str]:
    """Return what was received, in order."""
    return [body["status"] for _, body in receiver.got]


@pytest.mark.parametrize("step", ["kept", "said", "marked", "never"])
def test_f49_a_watch_that_is_killed_loses_and_doubles_no_alarm(step: str, tmp_path: Path) -> None:
    """Killed before it speaks, after it has spoken, after it has noted that, or while all is quiet; the next watch goes on.

    One who dies between speaking and noting it cannot know that it was heard: it is said again, with the same id.
    """
    file, home = tmp_path / "amiss", tmp_path / "home"
    file.write_text("it is amiss")
    with http_receiver() as receiver:
        with watching(receiver, file, step, home) as first:
            if step == "never":  # what was received is not yet noted, and would be said again
                assert first.stdout is not None
                assert [first.stdout.readline() for _ in range(2)] == ["watching\n", "marked\n"]
                first.kill()
            finished(first)
        assert words(receiver) == ([] if step == "kept" else ["firing"])
        with watching(receiver, file, "", home) as second:
            if step in ("kept", "said"):
                until(lambda: len(receiver.got) > (step == "said"), second)
            else:  # nothing is said: a sign that it looks is its lock
                assert second.stdout is not None
                assert second.stdout.readline() == "watching\n"
            file.unlink()
            until(lambda: "resolved" in words(receiver), second)
    fired = [body["alerts"][0] for _, body in receiver.got]
    assert words(receiver) == [*["firing"] * (2 if step == "said" else 1), "resolved"]
    assert len({(each["fingerprint"], each["startsAt"]) for each in fired}) == 1


def test_one_watch_of_a_name_runs_at_a_time(tmp_path: Path) -> None:
    """The second is refused with the process of the first; once that is dead, it runs."""
    import rta
    from rta.errors import InputError

    with pytest.MonkeyPatch.context() as patch, http_receiver() as receiver:
        patch.setenv("RTA_HOME", str(tmp_path))
        with watching(receiver, tmp_path / "nothing", "never", tmp_path) as other:
            assert other.stdout is not None
            assert other.stdout.readline() == "watching\n"
            with pytest.raises(InputError, match=f"the watch 'killed' runs already; found: process {other.pid}"):  # fmt: skip
                rta.alerts.watch([], channels=[], name="killed")
        rta.alerts.watch([], channels=[], name="killed").stop()
