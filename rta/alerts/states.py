"""The life of an alert: pending, firing, resolved. Pure: what a rule finds now, and what was before, to what is now.

amiss ──► pending ──(still amiss after `for_` seconds)──► firing ──(not even nearly amiss for `keep_firing_for` seconds)──► resolved
└──(no longer amiss)──► forgotten
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Literal

AlertState = Literal["pending", "firing", "resolved"]
Found = Mapping[str, str | None]
"""Subject → what is amiss with it, in words; None: that cannot be told now, and its alert stays as it is."""


@dataclass(frozen=True)
class Alert:
    """Something that is amiss, or was.

    Args:
        rule: The rule that found it.
        subject: What it is about: a table, a topic, a job.
        state: "pending", "firing" or "resolved".
        severity: "critical", "warning" or "info".
        says: What is amiss, in words.
        starts_at: Since when it is.
        fired_at: When it had lasted for long enough.
        ended_at: When it was over.
        seen_at: When it was seen last.
    """

    rule: str
    subject: str
    state: AlertState
    severity: str
    says: str
    starts_at: dt.datetime
    fired_at: dt.datetime | None = None
    ended_at: dt.datetime | None = None
    seen_at: dt.datetime | None = None

    @property
    def id(self) -> str:
        """What identifies it for a receiver: the same when it is said again, and when it is resolved."""
        text = "\0".join((self.rule, self.subject, self.starts_at.astimezone(dt.UTC).isoformat()))
        return sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Notice:
    """One thing to say on a channel: that an alert fires, still fires, or is resolved.

    Args:
        alert: The alert as it was then.
        channel: The name of the channel.
        made_at: When it was found.
    """

    alert: Alert
    channel: str
    made_at: dt.datetime

    @property
    def id(self) -> str:
        """What identifies it: a notice that is sent again, after a crash, has the same."""
        return f"{self.alert.id}-{self.alert.state}-{self.made_at.timestamp():.0f}"

    def __str__(self) -> str:
        alert = self.alert
        word = "RESOLVED" if alert.state == "resolved" else alert.severity.upper()
        about = f" {alert.subject}" if alert.subject else ""
        return f"[{word}] {alert.rule}{about}: {alert.says}"


@dataclass(frozen=True)
class Kind:
    """What the alerts of one rule have in common: see rta.alerts.Rule for the two times, in seconds."""

    rule: str
    severity: str = "warning"
    for_: float = 0.0
    keep_firing_for: float = 0.0


def step(
    kind: Kind, before: Mapping[str, Alert], amiss: Found, nearly: Found, now: dt.datetime
) -> dict[str, Alert]:
    """Return the alerts of a rule as they are now, by subject.

    Args:
        kind: The rule's name, severity and times.
        before: Its alerts that were pending or firing.
        amiss: What it finds now.
        nearly: What keeps an alert firing, though it would not begin one: the other threshold of a hysteresis.
        now: The moment. If the clock was set back, nothing fires or ends twice.

    Returns:
        Those of before that are pending, firing or just resolved, and new ones. What was pending and is over is not among them.

    Example:
        >>> at = [dt.datetime(2026, 11, 26, 12, 0, s, tzinfo=dt.UTC) for s in range(3)]
        >>> lag, found = Kind("lag", for_=1), {"totals": "12 s behind"}
        >>> one = step(lag, {}, found, {}, at[0])
        >>> two = step(lag, one, found, {}, at[1])
        >>> three = step(lag, two, {}, {}, at[2])
        >>> [each["totals"].state for each in (one, two, three)]
        ['pending', 'firing', 'resolved']
    """
    after = {}
    for subject in [*before, *(each for each in amiss if each not in before)]:
        alert = before.get(subject)
        if alert is None or alert.state == "resolved":
            if (says := amiss.get(subject)) is None:
                continue
            alert = Alert(kind.rule, subject, "pending", kind.severity, says, now, seen_at=now)
        if (lived := _lived(alert, kind, amiss, nearly, now)) is not None:
            after[subject] = lived
    return after


def _lived(alert: Alert, kind: Kind, amiss: Found, nearly: Found, now: dt.datetime) -> Alert | None:  # fmt: skip
    """Return an alert as it is now; None if it was pending, and is over."""
    subject, firing = alert.subject, alert.state == "firing"
    if subject in amiss:
        says = amiss[subject]
    elif firing and subject in nearly:
        says = nearly[subject]
    elif not firing:
        return None
    else:
        quiet = (now - min(alert.seen_at or now, now)).total_seconds()
        over = quiet >= kind.keep_firing_for
        return replace(alert, state="resolved", ended_at=now) if over else replace(alert, seen_at=min(alert.seen_at or now, now))  # fmt: skip
    alert = replace(alert, seen_at=now, says=says or alert.says)
    if firing or says is None:  # what cannot be told begins nothing
        return alert
    alert = replace(alert, starts_at=min(alert.starts_at, now))  # the clock was set back
    long_enough = (now - alert.starts_at).total_seconds() >= kind.for_
    return replace(alert, state="firing", fired_at=now) if long_enough else alert
