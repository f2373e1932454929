"""What tests wait with: the event decides, and a hang says what was waited for."""

import subprocess
import sys
from threading import Event, Thread

import psutil
import pytest

from tests.support.waiting import finished, joined, suspended, until


def test_what_happens_is_returned() -> None:
    """The first true value ends the wait."""
    values = iter([None, 0, "", "here"])
    assert until(lambda: next(values)) == "here"


def test_who_is_suspended_does_nothing_more() -> None:
    """Each of its threads stands still, also those that had much to do."""
    code = "import threading\ndef work():\n    while True: pass\nfor _ in range(8): threading.Thread(target=work).start()\nprint(flush=True)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as busy:
        assert busy.stdout is not None
        busy.stdout.readline()
        suspended(psutil.Process(busy.pid))
        threads = psutil.Process(busy.pid).threads()
        assert len(threads) == 9
        assert psutil.Process(busy.pid).threads() == threads  # with the seconds that each has used
        busy.kill()


def test_a_hang_says_what_was_waited_for_and_seen_last() -> None:
    """A condition by its source, a process by its words, a thread by the place where it stands."""
    with pytest.raises(AssertionError, match=r"a hang: 0.1 s for .*seen == \[\].*; seen last: False"):  # fmt: skip
        until(lambda seen="x": seen == [], hang=0.1)  # type: ignore[misc]
    code = "import signal; signal.pause()"
    with (
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as silent,
        pytest.raises(AssertionError, match=r"a hang: 0.1 s for the end of .*pause\(\)"),
    ):
        finished(silent, hang=0.1)
    assert silent.returncode
    gate = Event()
    thread = Thread(target=gate.wait)
    thread.start()
    with pytest.raises(AssertionError, match=r"(?s)a hang: 0.1 s for the end of Thread.*wait"):
        joined(thread, hang=0.1)
    gate.set()
    joined(thread)


def test_a_process_that_ends_before_is_a_failure() -> None:
    """Nobody waits for what a dead process was to do."""
    dead = subprocess.Popen([sys.executable, "-c", "print('last words')"], stdout=subprocess.PIPE, text=True)  # fmt: skip
    with pytest.raises(AssertionError, match=r"ended before .*: \('last words"):
        until(lambda: None, dead)
