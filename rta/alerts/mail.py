"""Alerts by mail."""

from __future__ import annotations

import smtplib
import ssl
from collections.abc import Sequence
from email.message import EmailMessage
from email.utils import format_datetime
from typing import Final, Literal

from rta.alerts.states import Notice
from rta.errors import InputError, RtaError
from rta.settings import Secret

Security = Literal["starttls", "tls", "none"]
_PORTS: Final = {"starttls": 587, "tls": 465, "none": 25}
_LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")


class Mail:
    """A mailbox that gets each notice as a mail; what is said of one alert is one thread.

    A mail that is sent again, after a crash, has the same Message-ID, by which mail programs know it.

    Args:
        to: Who gets them.
        sender: Who they are from.
        host: The SMTP server.
        port: Its port; by default 587 for starttls, 465 for tls.
        security: "starttls", "tls", or "none" for a server of this machine.
        user: The user's name at the server.
        password: The password; it is never shown.
        timeout: Seconds to wait for the server.
        name: The name of the channel.

    Raises:
        InputError: If a password would go unencrypted over a network, or an address is none.
    """

    def __init__(
        self, to: str | Sequence[str], *, sender: str, host: str, port: int | None = None, security: Security = "starttls",
        user: str | None = None, password: str | Secret | None = None, timeout: float = 10.0, name: str = "mail",
    ) -> None:  # fmt: skip
        if security not in _PORTS:
            raise InputError("no security of this kind", found=repr(security), fix=f"choose from {', '.join(_PORTS)}")  # fmt: skip
        if security == "none" and user and host not in _LOOPBACK:
            raise InputError("a password must not go over a network unencrypted", found="security='none'", fix="use starttls or tls")  # fmt: skip
        self.to = [to] if isinstance(to, str) else list(to)
        for address in (*self.to, sender):
            if "@" not in address or not address.isprintable():
                raise InputError("this is no mail address", found=repr(address), fix="give name@host")  # fmt: skip
        self.sender, self.host, self.port = sender, host, port or _PORTS[security]
        self.name, self.timeout, self._security = name, timeout, security
        self._user = user
        self._password = Secret(password) if isinstance(password, str) else password

    def say(self, notice: Notice) -> None:
        """Send it. A recipient that is refused is an error."""
        try:
            with self._opened() as server:
                if self._security == "starttls":
                    server.starttls(context=ssl.create_default_context())
                if self._user and self._password:
                    server.login(self._user, self._password.get_secret_value())
                refused = server.send_message(as_mail(notice, self.sender, self.to))
        except (smtplib.SMTPException, OSError) as error:
            found = type(error).__name__ if isinstance(error, smtplib.SMTPAuthenticationError) else str(error)  # fmt: skip
            raise RtaError(f"the mail server {self.host}:{self.port} does not take an alert", found=found[:200], fix="check host, port, security, user and password") from None  # fmt: skip
        if refused:
            raise RtaError("the mail server refuses a recipient", found=", ".join(refused), fix="correct the address")  # fmt: skip

    def _opened(self) -> smtplib.SMTP:
        if self._security == "tls":
            return smtplib.SMTP_SSL(self.host, self.port, timeout=self.timeout, context=ssl.create_default_context())  # fmt: skip
        return smtplib.SMTP(self.host, self.port, timeout=self.timeout)

    def __repr__(self) -> str:
        return f"Mail(to {', '.join(self.to)} by {self.host}:{self.port})"


def as_mail(notice: Notice, sender: str, to: Sequence[str]) -> EmailMessage:
    r"""Return a notice as a mail; what it says cannot add a header.

    >>> from datetime import UTC, datetime
    >>> from rta.alerts.states import Alert
    >>> noon = datetime(2026, 11, 26, 12, tzinfo=UTC)
    >>> as_mail(Notice(Alert("lag", "a\nBcc: b@c", "firing", "warning", "12 s", noon), "mail", noon), "a@b", ["c@d"])["Subject"]
    '[WARNING] lag a Bcc: b@c: 12 s'
    """
    alert = notice.alert
    mail = EmailMessage()
    mail["From"], mail["To"] = sender, ", ".join(to)
    mail["Subject"] = " ".join(str(notice).split())[:200]
    mail["Date"] = format_datetime(notice.made_at)
    mail["Message-ID"] = f"<{notice.id}@rta.alerts>"
    mail["References"] = f"<{alert.id}@rta.alerts>"
    mail["Auto-Submitted"] = "auto-generated"
    times = {"since": alert.starts_at, "fired": alert.fired_at, "resolved": alert.ended_at}
    facts = {"rule": alert.rule, "subject": alert.subject, "severity": alert.severity, "state": alert.state}  # fmt: skip
    facts |= {name: f"{at:%Y-%m-%d %H:%M:%S} UTC" for name, at in times.items() if at}
    lines = [alert.says, "", *(f"{name:<9} {value}" for name, value in facts.items())]
    mail.set_content("\n".join(lines) + "\n")
    return mail
