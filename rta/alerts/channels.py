"""Where alerts are said: the log, a topic, a live view, a function of your own; rta.alerts.webhook and rta.alerts.mail are others."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Protocol, runtime_checkable

from rta.alerts.states import Notice
from rta.errors import BrokerError, InputError
from rta.names import checked

if TYPE_CHECKING:
    from kafka import KafkaProducer

log: Final = logging.getLogger("rta.alerts")
_LEVELS: Final = {"critical": logging.ERROR, "warning": logging.WARNING, "info": logging.INFO}
_PATIENCE: Final = 10.0  # seconds for Kafka to acknowledge


@runtime_checkable
class Channel(Protocol):
    """Where notices are said. `say` raises if it could not: then it is tried again, and others are told.

    Attributes:
        name: Its name, different from those of the other channels.
    """

    name: str

    def say(self, notice: Notice) -> None:
        """Say one notice. It is called in a thread of the channel's own, for one notice at a time."""


class Log:
    """The log: Python's logger `rta.alerts`, as error, warning or info by the severity; what is resolved as info."""

    name = "log"

    def say(self, notice: Notice) -> None:
        """Write one line."""
        alert = notice.alert
        level = logging.INFO if alert.state == "resolved" else _LEVELS[alert.severity]
        log.log(level, "%s", _one_line(str(notice)))

    def __repr__(self) -> str:
        return "Log()"


class Topic:
    """A topic: each notice is a JSON object; its key is the alert's id, so that a compacted topic keeps the last word.

    Args:
        topic: The topic; it is made with one partition if it is not there.
        name: The name of the channel.
    """

    def __init__(self, topic: str = "alerts", *, name: str | None = None) -> None:
        self.topic = checked("topic", topic)
        self.name = name or f"topic {topic}"
        self._producer: KafkaProducer | None = None

    def say(self, notice: Notice) -> None:
        """Send it, and wait until Kafka has acknowledged it."""
        from kafka.errors import KafkaError

        from rta.kafka import client
        from rta.kafka.auth_errors import raising_refused
        from rta.kafka.topics import ensure_topic

        try:
            with raising_refused():
                if self._producer is None:
                    ensure_topic(self.topic, partitions=1)
                    self._producer = client.producer()
                value = json.dumps(as_fields(notice), ensure_ascii=False).encode()
                client.send(self._producer, self.topic, value, notice.alert.id.encode()).get(_PATIENCE)  # fmt: skip
        except KafkaError as error:
            self._close()
            raise BrokerError(f"Kafka does not take an alert for topic {self.topic!r}", found=type(error).__name__, fix="see `rta status`") from error  # fmt: skip

    def _close(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.close(timeout=1)

    def __repr__(self) -> str:
        return f"Topic({self.topic!r})"


class View:
    """A live view: each notice is a mark on its time axis.

    Args:
        view: What rta.live() returned.
        name: The name of the channel.
    """

    def __init__(self, view: Any, *, name: str = "view") -> None:
        if not callable(getattr(view, "mark", None)):
            raise InputError("this is no live view", found=type(view).__name__, fix="give what rta.live(…) returned")  # fmt: skip
        self.name, self._view = name, view

    def say(self, notice: Notice) -> None:
        """Mark it."""
        alert = notice.alert
        word = "resolved" if alert.state == "resolved" else alert.severity
        self._view.mark(f"{word}: {alert.rule} {alert.subject}".rstrip(), notice.made_at)

    def __repr__(self) -> str:
        return "View(…)"


class Call:
    """A function of your own, which takes a notice."""

    def __init__(self, function: Callable[[Notice], Any]) -> None:
        self.name = f"function {getattr(function, '__name__', 'of yours')}"
        self._function = function

    def say(self, notice: Notice) -> None:
        """Call it."""
        self._function(notice)


def as_channels(given: Any) -> list[Channel]:
    """Return channels as a list; a function becomes one.

    Raises:
        InputError: If one is none, or two have one name.

    >>> as_channels([Log(), print])
    [Log(), <rta.alerts.channels.Call object at ...>]
    """
    found: list[Channel] = []
    for each in given:
        if isinstance(each, Channel) and not isinstance(each, type):
            found.append(each)
        elif callable(each) and not isinstance(each, type):
            found.append(Call(each))
        else:
            raise InputError("this is no channel", found=repr(each)[:80], fix="give rta.alerts.Log(), Topic(…), Webhook(…), Mail(…), View(…) or a function")  # fmt: skip
    names = [each.name for each in found]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InputError("two channels have one name", found=", ".join(twice), fix="name them differently: name=")  # fmt: skip
    return found


def as_fields(notice: Notice) -> dict[str, Any]:
    """Return a notice as JSON has it: times in ISO 8601.

    Returns:
        id, alert, rule, subject, state, severity, says, starts_at, fired_at, ended_at, made_at.
    """
    alert = notice.alert
    times = {name: getattr(alert, name) for name in ("starts_at", "fired_at", "ended_at")} | {"made_at": notice.made_at}  # fmt: skip
    told = {"id": notice.id, "alert": alert.id, "rule": alert.rule, "subject": alert.subject, "state": alert.state,
            "severity": alert.severity, "says": alert.says}  # fmt: skip
    return told | {name: at and at.isoformat() for name, at in times.items()}


def _one_line(text: str) -> str:
    """Return a text in which nothing begins a new line, or moves a terminal.

    >>> print(_one_line("a" + chr(10) + "b"))
    a b
    """
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
