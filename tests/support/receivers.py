"""Real receivers of alerts on loopback: an HTTP server and a mail server, which note what they get and can be made to refuse."""

from __future__ import annotations

import json
import ssl
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import socket
from threading import Thread
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session


def free_port() -> int:
    """Return a port that nobody listens on now: aiosmtpd and Prometheus take no 0."""
    with socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class HttpReceiver:
    """What an HTTP server has got. `refusals` of the next requests are answered with `status`."""

    def __init__(self) -> None:
        self.got: list[tuple[dict[str, str], Any]] = []
        self.refusals, self.status, self.location = 0, 503, ""
        self.url = ""

    def take(self, headers: dict[str, str], body: bytes) -> int:
        """Note a request; return the status of its answer."""
        if self.refusals > 0:
            self.refusals -= 1
            return self.status
        self.got.append((headers, json.loads(body)))
        return 200


@contextmanager
def http_receiver(port: int = 0) -> Iterator[HttpReceiver]:
    """Run one while the block runs."""
    receiver = HttpReceiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            """Take an alert."""
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status = receiver.take(dict(self.headers), body)
            self.send_response(status)
            if receiver.location:
                self.send_header("Location", receiver.location)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    receiver.url = f"http://127.0.0.1:{server.server_port}/hook/planted-token"
    thread = Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class MailReceiver:
    """What a mail server has got; it takes the user `ops` with the password `planted-password`."""

    def __init__(self) -> None:
        self.got: list[EmailMessage] = []
        self.users: list[str] = []
        self.port = 0

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's name
        """Take a mail."""
        assert isinstance(envelope.content, bytes)
        mail = message_from_bytes(envelope.content, policy=policy.default)
        assert isinstance(mail, EmailMessage)
        self.got.append(mail)
        return "250 OK"

    async def handle_RCPT(  # noqa: N802
        self,
        _server: SMTP,
        _session: Session,
        envelope: Envelope,
        address: str,
        _options: list[str],
    ) -> str:
        """Take a recipient, unless it is nobody."""
        if address.startswith("nobody@"):
            return "550 no such mailbox"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    def authenticate(self, _server: SMTP, _session: Session, _envelope: Envelope, _how: str, data: Any) -> AuthResult:  # fmt: skip
        """Let the one user in."""
        self.users.append(data.login.decode())
        return AuthResult(success=(data.login, data.password) == (b"ops", b"planted-password"), handled=False)  # fmt: skip


@contextmanager
def mail_receiver(*, users: bool = False, tls: ssl.SSLContext | None = None) -> Iterator[MailReceiver]:  # fmt: skip
    """Run one while the block runs; with users it takes no mail without a password, with tls none before STARTTLS."""
    receiver = MailReceiver()
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", UserWarning
        )  # it asks for a password without TLS, on loopback
        controller = Controller(
            receiver, hostname="127.0.0.1", port=free_port(), authenticator=receiver.authenticate, auth_required=users,
            auth_require_tls=tls is not None, tls_context=tls, require_starttls=tls is not None,
        )  # fmt: skip
        controller.start()
        receiver.port = controller.port
        try:
            yield receiver
        finally:
            controller.stop()
