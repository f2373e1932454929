"""Watch: look, ask the rules, keep what they find, say it. One watch of a name at a time."""

from __future__ import annotations

import datetime as dt
import fcntl
import logging
import os
from collections.abc import Iterable, Sequence
from threading import Event, RLock, Thread
from typing import IO, Any, Final, Self

from rta.alerts import table
from rta.alerts.channels import Channel, Log, as_channels
from rta.alerts.courier import Courier
from rta.alerts.ready_made import usual
from rta.alerts.rules import Rule, as_rules
from rta.alerts.states import Alert, Found, Notice, step
from rta.errors import InputError, RtaError
from rta.html import Facts
from rta.metrics.observation import Observation
from rta.metrics.observer import Observer
from rta.names import checked
from rta.settings import private_folder, settings

_log: Final = logging.getLogger(__name__)
CHANNEL_FAILS: Final = Rule("channel fails", lambda _: {}, for_=30.0, needs=())
"""Fires if a channel has not taken an alert for half a minute; the others say it."""
RULE_FAILS: Final = Rule("rule fails", lambda _: {}, needs=())
"""Fires if a rule cannot be asked: a mistake in it must not look like peace."""


class Watch:
    """A watch over rules; watch() starts it. It is a context manager that stops at its end.

    Attributes:
        rules: Its rules.
        channels: Where it says what they find.
        seen: What the last look has found; None before the first.
    """

    def __init__(
        self, rules: Iterable[Rule], channels: Iterable[Any], *, every: float, remind: float | None = None, name: str = "alerts",
        observer: Observer | None = None,
    ) -> None:  # fmt: skip
        self.rules, self.channels = as_rules(rules), as_channels(channels)
        if not every > 0 or (remind is not None and not remind > 0):
            raise InputError("every and remind are times above 0", found=f"{every}, {remind}", fix="give seconds")  # fmt: skip
        self.every, self.remind, self.name = every, remind, checked("job", name)
        self.seen: Observation | None = None
        self._lock_file = _alone(self.name)
        self._observer, self._lock = observer or Observer(), RLock()
        self._couriers = {each.name: Courier(each, self._was_said) for each in self.channels}
        self._alerts: dict[tuple[str, str], Alert] = {}
        self._told_at: dict[tuple[str, str], dt.datetime] = {}
        self._unkept: list[tuple[list[Alert], list[Alert], list[Notice]]] = []
        self._unmarked: list[Notice] = []
        self._remembered, self._ended, self._wake = False, Event(), Event()
        self._thread = Thread(target=self._run, daemon=True, name=f"watch {name}")

    @property
    def alerts(self) -> Facts[Alert]:
        """What is pending or fires now, as a table."""
        with self._lock:
            return Facts(self._alerts.values(), row=table.as_row)

    def start(self) -> Self:
        """Watch in a thread."""
        self._thread.start()
        return self

    def run(self) -> None:
        """Watch in this thread, until stop() is called in another."""
        self._run()

    def look(self) -> Observation:
        """Look now, without waiting for the next turn; return what was seen."""
        seen = self._observer.look()
        self.take(seen)
        return seen

    def take(self, seen: Observation) -> None:
        """Ask the rules about a look, and say what is new."""
        with self._lock:
            self.seen = seen
            self._remember()
            self._save()
            now, broken = seen.at, dict[str, str]()
            for rule in self.rules:
                if not rule.silenced_by(seen):
                    try:
                        amiss, nearly = rule.found(seen)
                    except RtaError as error:
                        broken[rule.name] = str(error).splitlines()[0]
                    else:
                        self._step(rule, amiss, nearly, now)
            failing = {name: each.trouble for name, each in self._couriers.items() if each.trouble}
            self._step(CHANNEL_FAILS, failing, {}, now)
            self._step(RULE_FAILS, broken, {}, now)
            self._remind(now)

    def stop(self, *, patience: float = 5.0) -> None:
        """End the watch; what is not said within so many seconds is said by the next one of this name."""
        self._ended.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(30)
        for courier in self._couriers.values():
            courier.stop(patience)
        with self._lock:
            self._save()
        self._observer.close()
        self._lock_file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def __repr__(self) -> str:
        firing = sum(each.state == "firing" for each in self.alerts)
        return f"Watch({self.name}: {len(self.rules)} rules, {firing} firing, to {', '.join(self._couriers) or 'nobody'})"

    def _repr_html_(self) -> str:
        return self.alerts._repr_html_()

    def _run(self) -> None:
        while not self._ended.is_set():
            try:
                self.look()
            except Exception:  # noqa: BLE001 - it is logged; a watch that ends at a mistake would say nothing any more
                _log.exception("a look has failed; the watch goes on")
            self._wake.wait(self.every)
            self._wake.clear()

    def _remember(self) -> None:
        """Take up what a watch of this name has left: its alerts, and what it has not said."""
        if self._remembered:
            return
        try:
            left, unsaid = table.open_alerts(self.name), table.unsaid(self.name)
            table.tidy(self.name)
        except RtaError as error:
            _log.warning("the alerts of before are not known: %s", error)
            return
        self._remembered = True
        known = {rule.name for rule in (*self.rules, CHANNEL_FAILS, RULE_FAILS)}
        now = dt.datetime.now(dt.UTC)
        for alert in left:
            if alert.rule in known:
                if here := self._alerts.get((alert.rule, alert.subject)):  # the database was away
                    self._unkept.append(([], [here], []))
                self._alerts[alert.rule, alert.subject] = alert
            else:  # its rule is gone
                self._changed([Alert(**{**vars(alert), "state": "resolved", "ended_at": now, "says": "its rule was removed"})], [], now)  # fmt: skip
        for notice in unsaid:
            if notice.channel in self._couriers:
                self._couriers[notice.channel].bring(notice)

    def _step(self, rule: Rule, amiss: Found, nearly: Found, now: dt.datetime) -> None:
        before = {subject: alert for (name, subject), alert in self._alerts.items() if name == rule.name}  # fmt: skip
        after = step(rule.kind, before, amiss, nearly, now)
        for subject in before:
            del self._alerts[rule.name, subject]
        self._alerts |= {(rule.name, each.subject): each for each in after.values() if each.state != "resolved"}  # fmt: skip
        new = [each for subject, each in after.items() if subject not in before or before[subject].state != each.state]  # fmt: skip
        gone = [alert for subject, alert in before.items() if subject not in after]
        if new or gone:
            self._changed(new, gone, now)

    def _changed(self, new: list[Alert], gone: list[Alert], now: dt.datetime) -> None:
        """Keep what is new, and say what fires or is resolved."""
        told = [each for each in new if each.state != "pending"]
        self._say(new, gone, [Notice(each, name, now) for each in told for name in self._couriers])
        for each in told:
            self._told_at[each.rule, each.subject] = now

    def _remind(self, now: dt.datetime) -> None:
        """Say again what still fires, if that is wanted."""
        for key, alert in self._alerts.items() if self.remind else ():
            told = self._told_at.setdefault(key, alert.fired_at or now)
            if alert.state == "firing" and (now - told).total_seconds() >= (self.remind or 0):
                self._told_at[key] = now
                self._say([alert], [], [Notice(alert, name, now) for name in self._couriers])

    def _say(self, new: list[Alert], gone: list[Alert], notices: list[Notice]) -> None:
        """Keep first, then say; if the database is away, it is said all the same, and kept later."""
        self._unkept.append((new, gone, notices))
        self._save()
        for notice in notices:
            self._couriers[notice.channel].bring(notice)

    def _save(self) -> None:
        """Write what was not written yet, in order."""
        try:
            while self._unkept:
                table.keep(self.name, *self._unkept[0])
                self._unkept.pop(0)
            if self._unmarked:
                table.mark_said(self.name, self._unmarked)
                self._unmarked = []
        except RtaError as error:
            _log.warning("alerts are not kept: %s", error)

    def _was_said(self, notice: Notice) -> None:
        with self._lock:
            self._unmarked.append(notice)
            self._save()


def watch(
    rules: Sequence[Rule] | None = None, *, channels: Sequence[Channel | Any] | None = None, every: float = 5.0,
    remind: float | None = None, name: str = "alerts",
) -> Watch:  # fmt: skip
    """Watch over queries, tables, topics and jobs in a thread, and say what is amiss, once, and when it is over.

    What it knows is kept in the serving database (`rta_alerts`), so that a restart neither repeats nor forgets.

    Args:
        rules: The rules; by default rta.alerts.usual().
        channels: Where it is said: Log(), Topic(…), Webhook(…), Mail(…), View(…), or functions of a Notice; by default the log.
        every: Seconds from one look to the next.
        remind: Seconds after which what still fires is said again; by default never.
        name: The name of the watch; only one of a name runs.

    Returns:
        The watch: alerts, look(), stop().

    Raises:
        InputError: If a rule, a channel or a time is wrong, or a watch of this name runs already.

    Example:
        >>> said = []
        >>> rule = rta.alerts.Rule("always", lambda seen: {"all": "is amiss"})
        >>> with watch([rule], channels=[said.append], name="doc_watch") as watching:
        ...     _ = watching.look()
        >>> [str(notice) for notice in said]
        ['[WARNING] always all: is amiss']
    """
    return Watch(usual() if rules is None else rules, [Log()] if channels is None else channels, every=every, remind=remind, name=name).start()  # fmt: skip


def _alone(name: str) -> IO[str]:
    """Lock the name of a watch as long as this process lives, or until the file is closed."""
    folder = private_folder(private_folder(settings().home.absolute()) / "alerts")
    lock = (folder / f"{name}.lock").open("a+")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        holder = lock.read().strip()
        lock.close()
        raise InputError(f"the watch {name!r} runs already", found=f"process {holder}", fix="stop it, or give another name=") from None  # fmt: skip
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()
    return lock
