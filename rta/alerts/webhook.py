"""A webhook: alerts by HTTP, in the form of Prometheus' Alertmanager, so that its receivers understand them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from rta.alerts.states import Notice
from rta.errors import InputError, RtaError

_NEVER: Final = "0001-01-01T00:00:00Z"  # what Alertmanager says for: not yet


class _NoRedirect(HTTPRedirectHandler):
    """A redirect is an error: what is said to one address must not go to another."""

    def redirect_request(self, *_: Any) -> None:
        return None


class Webhook:
    """An address that takes alerts by POST, in the form of Alertmanager's webhook, version 4.

    Args:
        url: The address. What is after its host may be a secret, so it is never shown.
        headers: More headers, such as {"Authorization": "Bearer …"}; they are never shown.
        timeout: Seconds to wait for an answer.
        name: The name of the channel; by default the host's.

    Raises:
        InputError: If it is no address of http or https.
    """

    def __init__(
        self, url: str, *, headers: Mapping[str, str] | None = None, timeout: float = 5.0, name: str | None = None
    ) -> None:  # fmt: skip
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InputError("a webhook needs an address of http or https", found=parts.scheme or "no scheme", fix="give https://HOST/PATH")  # fmt: skip
        if parts.username or parts.password:
            raise InputError("user and password do not belong into an address", fix='give headers={"Authorization": …}')  # fmt: skip
        self._url, self._headers, self.timeout = url, dict(headers or {}), timeout
        self._host = f"{parts.hostname}:{parts.port}" if parts.port else str(parts.hostname)
        self.name = name or f"webhook {self._host}"

    def say(self, notice: Notice) -> None:
        """Send it. Any answer but 2xx is an error."""
        body = json.dumps(payload(notice, self.name)).encode()
        headers = {"Content-Type": "application/json", "User-Agent": "rta"} | self._headers
        request = Request(self._url, data=body, headers=headers, method="POST")  # noqa: S310 - http or https
        try:
            with build_opener(_NoRedirect).open(request, timeout=self.timeout):
                return
        except HTTPError as error:
            found = f"{error.code} {error.reason}"
        except (URLError, OSError) as error:
            found = str(getattr(error, "reason", error)) or type(error).__name__
        raise RtaError(f"{self._host} does not take an alert", found=found, fix="check the address and its receiver")  # fmt: skip

    def __repr__(self) -> str:
        return f"Webhook({self._host})"


def payload(notice: Notice, receiver: str) -> dict[str, Any]:
    """Return a notice as Alertmanager's webhook has it.

    >>> from rta.alerts.states import Alert
    >>> noon = datetime(2026, 11, 26, 12, tzinfo=UTC)
    >>> payload(Notice(Alert("lag", "totals", "firing", "warning", "12 s behind", noon), "log", noon), "log")["alerts"][0]["labels"]
    {'alertname': 'lag', 'severity': 'warning', 'subject': 'totals'}
    """
    alert = notice.alert
    labels = {"alertname": alert.rule, "severity": alert.severity, "subject": alert.subject}
    notes = {"summary": f"{alert.rule} {alert.subject}".rstrip(), "description": alert.says}
    status = "resolved" if alert.state == "resolved" else "firing"
    one = {
        "status": status, "labels": labels, "annotations": notes, "startsAt": _moment(alert.starts_at), "endsAt": _moment(alert.ended_at),
        "generatorURL": "", "fingerprint": alert.id,
    }  # fmt: skip
    return {
        "version": "4", "groupKey": f'{{}}:{{alertname="{alert.rule}", subject="{alert.subject}"}}', "truncatedAlerts": 0, "status": status,
        "receiver": receiver, "groupLabels": {"alertname": alert.rule}, "commonLabels": labels, "commonAnnotations": notes,
        "externalURL": "", "alerts": [one],
    }  # fmt: skip


def _moment(at: datetime | None) -> str:
    return _NEVER if at is None else at.astimezone(UTC).isoformat().replace("+00:00", "Z")
