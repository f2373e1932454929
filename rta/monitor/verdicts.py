"""A verdict on a stream in words: `rta.live`, `rta.queries()` and `%rta status` say the same."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Final

from rta.html import Marked
from rta.monitor.vitals import MINUTE, Vitals

_SOON: Final = 5.0  # seconds behind that every query of micro-batches is now and then
_QUIET: Final = 10.0  # seconds without data, or without a batch, from which on it is said
_SPAN: Final = 3.0  # seconds of history without which "growing" is a guess
_UNITS: Final = (("days", 86_400, 172_800), ("h", 3_600, 6_000), ("min", 60, 100), ("s", 1, 1))


class Verdict(Marked):
    """What to think of a stream. level: "good", "idle", "warn" or "bad"."""


WITHOUT_ITS_KERNEL: Final = Verdict(
    "goes on without its kernel: results wait in Kafka until rta.follow(…) fills the table again",
    "warn",
)
"""Of a job of Flink that runs while no process fills its table."""


def verdict(history: Sequence[Vitals], state: str, error: str | None = None) -> Verdict:
    """Say in words how a stream does.

    It falls behind if what is unread takes longer than five seconds, and grew within the last minute by more than a batch.

    Args:
        history: Its vitals, the oldest first; the last are those of now.
        state: "running", "paused", "stopped", "ended" or "failed".
        error: Why it failed.

    Example:
        >>> import datetime as dt
        >>> def seen(*behind, rate=100.0, every=10):
        ...     start = dt.datetime(2024, 11, 15, tzinfo=dt.UTC)
        ...     return [Vitals(start + dt.timedelta(seconds=n * every), rate, rate, behind=b) for n, b in enumerate(behind)]
        >>> print(verdict(seen(0, 20, 10), "running"))
        keeping up
        >>> print(verdict(seen(100, 400, 800, 1200), "running"))
        falling behind: 12 s and growing
        >>> print(verdict(seen(4000, 3000, 2000, 1200), "running"))
        catching up: 12 s behind, and less
        >>> print(verdict(seen(1200, 1200, 1200), "running"))
        behind: 12 s, and not growing
        >>> print(verdict(seen(0, 0, 0, 0, 0, rate=0.0), "running"))
        no data for 40 s
        >>> print(verdict(seen(0, 7, 7, 7, 7, rate=0.0), "running"))
        no batch has ended for 30 s: 7 records wait
        >>> print(verdict([], "running"), verdict(seen(7), "paused"), verdict(seen(0), "stopped"), verdict([], "ended"), sep="; ")
        starting; paused: 7 records wait; stopped; ended
        >>> print(verdict(seen(-7), "stopped"))
        stopped: the topic ends before what it has read
        >>> verdict(seen(7), "failed", "the disk is full")
        Verdict(text='stopped: the disk is full', level='bad')
    """
    if error or state == "failed":
        return Verdict(f"stopped: {(error or 'it failed').splitlines()[0]}", "bad")
    if state != "running":
        unread = (history[-1].behind if history else None) or 0
        if unread < 0:  # its topic was made again
            return Verdict(f"{state}: the topic ends before what it has read", "bad")
        return Verdict(f"{state}: {_records(unread)} wait" if unread else state, "idle")
    return _of_running(history) if history else Verdict("starting", "idle")


def _of_running(history: Sequence[Vitals]) -> Verdict:
    now, behind = history[-1], history[-1].seconds_behind
    if all(each.in_rate is None and each.out_rate is None for each in history):  # no batch yet
        return Verdict(f"starting: {_records(now.behind)} to read" if now.behind else "starting", "idle")  # fmt: skip
    if not (now.in_rate or now.out_rate):  # nothing comes, or nothing is done
        seconds = _since(history, waiting=bool(now.behind))
        if now.behind and seconds >= _QUIET:
            return Verdict(f"no batch has ended for {spoken(seconds)}: {_records(now.behind)} wait", "warn")  # fmt: skip
        if seconds >= _QUIET:
            return Verdict(f"no data for {spoken(seconds)}", "idle")
    elif behind is None:  # not from Kafka: nobody knows what is to come
        return Verdict(f"running: {now.in_rate or now.out_rate:,.0f} events/s", "good")
    elif behind > _SOON:
        return _of_behind(history, behind)
    return Verdict("keeping up", "good")


def _of_behind(history: Sequence[Vitals], seconds: float) -> Verdict:
    way, batch = trend(history), (history[-1].batch_ms or 0) / 1000
    if way > 0:
        return Verdict(f"falling behind: {spoken(seconds)} and growing", "bad")
    if seconds <= 2 * batch:  # what arrived during two batches: one runs, one waits
        return Verdict("keeping up", "good")
    if way < 0:
        return Verdict(f"catching up: {spoken(seconds)} behind, and less", "warn")
    known = ", and not growing" if _minute(history)[1:] else ""
    return Verdict(f"behind: {spoken(seconds)}{known}", "warn")


def _since(history: Sequence[Vitals], *, waiting: bool) -> float:
    """Return for how many seconds nothing has come or, if records wait, nothing was done with them."""
    first = now = history[-1]
    for each in reversed(history):
        if each.in_rate or each.out_rate:  # the last data: the silence began then
            return (now.at - each.at).total_seconds()
        if bool(each.behind) != waiting and each.behind is not None:
            break
        first = each
    return (now.at - first.at).total_seconds()


def _minute(history: Sequence[Vitals]) -> list[int]:
    """Return what was unread at the moments of the last minute, the oldest first; none if they are too close to compare."""
    now = history[-1].at
    known = [each for each in history if each.behind is not None and (now - each.at).total_seconds() <= MINUTE]  # fmt: skip
    apart = (known[-1].at - known[0].at).total_seconds() if known else 0
    return [each.behind or 0 for each in known] if apart >= _SPAN else []


def trend(history: Sequence[Vitals]) -> int:
    """Tell whether what is unread grows, 1, shrinks, -1, or neither, 0: by more than a tenth, and more than arrives in a batch.

    >>> import datetime as dt
    >>> start = dt.datetime(2024, 11, 15, tzinfo=dt.UTC)
    >>> trend([Vitals(start + dt.timedelta(seconds=10 * n), behind=100 * n) for n in range(5)])
    1
    """
    seen = _minute(history)
    if not seen[1:]:
        return 0
    third = max(len(seen) // 3, 1)
    older, newer, last = median(seen[:third]), median(seen[-third:]), history[-1]
    noise = max(0.1 * max(older, newer), (last.in_rate or 0) * (last.batch_ms or 0) / 1000)
    return 0 if abs(newer - older) <= noise else 1 if newer > older else -1


def _records(many: int) -> str:
    return f"{many:,} record{'' if many == 1 else 's'}"


def spoken(seconds: float) -> str:
    """Return a duration as a person says it.

    >>> spoken(0.4), spoken(12), spoken(150), spoken(9000), spoken(200_000)
    ('0.4 s', '12 s', '2 min', '2 h', '2 days')
    """
    for unit, size, least in _UNITS:
        if seconds >= least:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.1f} s"
