"""The alerts and what was said of them, in the serving database: `rta_alerts` and `rta_notices`, readable with plain SQL.

An alert and its notices are written in one transaction before anything is said, and a notice is marked once it was said. So after a
death no notice is missing, and one that was said but not yet marked is said again, with the same id.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from rta.alerts.states import Alert, Notice
from rta.html import Facts, Marked
from rta.store import database
from rta.store.rows import own_rows

if TYPE_CHECKING:
    from sqlalchemy import Table

_LEVELS: Final = {"critical": "bad", "warning": "warn", "info": "idle"}
_ALERT: Final = "rule, subject, state, severity, says, starts_at, fired_at, ended_at"
_KEPT: Final = dt.timedelta(days=90)  # for which what is over is kept


def alerts(*, state: str | None = None, limit: int = 100) -> Facts[Alert]:
    """List alerts, those that fire first, then the newest: of all watches of this serving database.

    Args:
        state: Only those that are "pending", "firing" or "resolved".
        limit: At most this many.

    Returns:
        A list that shows itself as a table; rta.live(rta.alerts.alerts) shows it move.

    Example:
        >>> [alert for alert in alerts(state="firing") if alert.subject == "nobody"]
        []
    """
    which = "" if state is None else "WHERE state = ?"
    query = f"""SELECT {_ALERT} FROM rta_alerts {which}
    ORDER BY CASE state WHEN 'firing' THEN 0 WHEN 'pending' THEN 1 ELSE 2 END, starts_at DESC, rule, subject LIMIT {limit:d}"""  # noqa: S608 - names of ours
    found = own_rows(query, [] if state is None else [state])
    return Facts((Alert(**row) for row in found), row=as_row)


def as_row(alert: Alert) -> dict[str, object]:
    """Return the cells of an alert by column."""
    level = _LEVELS.get(alert.severity, "bad") if alert.state == "firing" else "good" if alert.state == "resolved" else "idle"  # fmt: skip
    return {
        "state": Marked(alert.state, level), "rule": alert.rule, "subject": alert.subject, "says": alert.says,
        "severity": alert.severity, "since": alert.starts_at, "until": alert.ended_at,
    }  # fmt: skip


def open_alerts(watch: str) -> list[Alert]:
    """Return the alerts of a watch that are pending or firing.

    >>> open_alerts("doc_nobody_watches")
    []
    """
    query = f"SELECT {_ALERT} FROM rta_alerts WHERE watch = ? AND state <> 'resolved'"  # noqa: S608 - names of ours
    return [Alert(**row) for row in own_rows(query, [watch])]


def unsaid(watch: str) -> list[Notice]:
    """Return the notices of a watch that were not said yet, the oldest first.

    >>> unsaid("doc_nobody_watches")
    []
    """
    query = """SELECT n.rule, n.subject, n.state, n.severity, n.says, n.starts_at, a.fired_at, a.ended_at, n.channel, n.made_at
    FROM rta_notices AS n JOIN rta_alerts AS a ON a.watch = n.watch AND a.rule = n.rule AND a.subject = n.subject
    AND a.starts_at = n.starts_at WHERE n.watch = ? AND n.said_at IS NULL ORDER BY n.made_at"""
    found = []
    for row in own_rows(query, [watch]):
        channel, made_at = row.pop("channel"), row.pop("made_at")
        ended = row["ended_at"] if row["state"] == "resolved" else None
        found.append(Notice(Alert(**row | {"ended_at": ended}), channel, made_at))
    return found


def keep(watch: str, changed: Iterable[Alert], forgotten: Iterable[Alert], notices: Iterable[Notice]) -> None:  # fmt: skip
    """Write alerts and what is to be said of them, all or nothing; writing them again changes nothing.

    Raises:
        TableError: If the database is away.
    """
    from rta.store.catalog import ALERTS, NOTICES

    with database.writing(database.engine()) as connection:
        for alert in forgotten:
            connection.execute(ALERTS.delete().where(*_same(ALERTS, _key(watch, alert))))
        for alert in changed:
            values = {name: getattr(alert, name) for name in ("state", "severity", "says", "fired_at", "ended_at")}  # fmt: skip
            key = _key(watch, alert)
            if not connection.execute(ALERTS.update().where(*_same(ALERTS, key)).values(values)).rowcount:  # fmt: skip
                connection.execute(ALERTS.insert().values(key | values))
        for notice in notices:
            key = _notice_key(watch, notice)
            there = connection.execute(NOTICES.select().where(*_same(NOTICES, key))).first()
            if there is None:
                alert = notice.alert
                connection.execute(NOTICES.insert().values(key | {"says": alert.says, "severity": alert.severity}))  # fmt: skip


def mark_said(watch: str, notices: Sequence[Notice]) -> None:
    """Note that notices were said.

    Raises:
        TableError: If the database is away.
    """
    from rta.store.catalog import NOTICES

    now = dt.datetime.now(dt.UTC)
    with database.writing(database.engine()) as connection:
        for notice in notices:
            same = _same(NOTICES, _notice_key(watch, notice))
            connection.execute(NOTICES.update().where(*same).values(said_at=now))


def tidy(watch: str) -> None:
    """Delete what has been over for 90 days."""
    from rta.store.catalog import ALERTS, NOTICES

    before = dt.datetime.now(dt.UTC) - _KEPT
    with database.writing(database.engine()) as connection:
        connection.execute(NOTICES.delete().where(NOTICES.c.watch == watch, NOTICES.c.said_at < before))  # fmt: skip
        connection.execute(ALERTS.delete().where(ALERTS.c.watch == watch, ALERTS.c.ended_at < before))  # fmt: skip


def _key(watch: str, alert: Alert) -> dict[str, Any]:
    return {"watch": watch, "rule": alert.rule, "subject": alert.subject, "starts_at": alert.starts_at}  # fmt: skip


def _notice_key(watch: str, notice: Notice) -> dict[str, Any]:
    rest = {"state": notice.alert.state, "channel": notice.channel, "made_at": notice.made_at}
    return _key(watch, notice.alert) | rest


def _same(table: Table, key: Mapping[str, Any]) -> list[Any]:
    return [table.c[name] == value for name, value in key.items()]
