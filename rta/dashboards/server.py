"""The server of a dashboard: a page and its feed for those who have the link, and a sentence for all others."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import json
import logging
import socket
from collections.abc import Collection
from importlib.resources import files
from typing import Any, Final
from urllib.parse import quote, urlsplit

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler
from tornado.websocket import WebSocketClosedError, WebSocketHandler

from rta.dashboards.board import Board, Viewer
from rta.errors import InputError

LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS: Final = {
    "Content-Security-Policy": _POLICY, "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin", "Cross-Origin-Opener-Policy": "same-origin", "Cache-Control": "no-store", "Server": "rta",
}  # fmt: skip
_HEARD: Final = 4096  # bytes of what a page says at most


class PageServer:
    """Serves a board on one address.

    Args:
        board: What is shown.
        token: Who has it may look.
        host: The address to listen on.
        port: The port to listen on; 0 for one that is free.
        names: Names other than the host's own under which a proxy serves it.
    """

    def __init__(self, board: Board, token: str, *, host: str, port: int, names: Collection[str] = ()) -> None:  # fmt: skip
        try:
            # Without a shared port: a second server of the same port would take some of its viewers.
            sockets = bind_sockets(port, host)
        except OSError as error:
            raise InputError(f"nothing can listen at {host}:{port}", found=error.strerror or str(error), fix="choose another --port or --host") from None  # fmt: skip
        self.port = int(sockets[0].getsockname()[1])
        self.address = f"http://{_shown(host)}:{self.port}"
        gate = {"board": board, "gate": _Gate(token, host, names)}
        self._server = HTTPServer(Application(
            [(r"/feed", _Feed, gate), (r"/(.*)", _Page, gate)], log_function=lambda _: None, compress_response=True,
            websocket_max_message_size=_HEARD, websocket_ping_interval=20, websocket_ping_timeout=20,
        ))  # fmt: skip
        self._server.add_sockets(sockets)

    async def close(self, reason: str) -> None:
        """Say goodbye to all viewers, and end."""
        for feed in [*_Feed.open_feeds]:
            feed.close(1001, reason[:100])
        self._server.stop()
        await self._server.close_all_connections()


class _Gate:
    """Who may come in."""

    def __init__(self, token: str, host: str, names: Collection[str]) -> None:
        self.token, self._names = token, LOOPBACK | {host, socket.gethostname().lower(), *names}
        self._any = _is_any(host)

    def knows(self, host: str) -> bool:
        """Tell whether we serve under a name: a page of somebody else's whose name leads to this machine brings its own."""
        name = urlsplit(f"//{host}").hostname or ""
        return name in self._names or (self._any and _is_address(name))

    def closed(self, request: RequestHandler) -> str | None:
        """Return why a request is refused, or None."""
        host = request.request.host
        if not self.knows(host):
            return f"this dashboard is not served under the name {host.partition(':')[0][:100]!r}"
        given = request.get_query_argument("token", "")
        if not hmac.compare_digest(given.encode(), self.token.encode()):
            return (
                "this page opens by its link with the token: `rta dashboard --link NAME` prints it"
            )
        return None


class _Guarded(RequestHandler):
    """A handler behind the gate; what it logs has no address, for the token is in it."""

    def initialize(self, board: Board, gate: _Gate) -> None:
        self.board, self.gate = board, gate

    def set_default_headers(self) -> None:
        for name, value in _HEADERS.items():
            self.set_header(name, value)

    def prepare(self) -> None:
        if (why := self.gate.closed(self)) is not None:
            self._refuse(403, why)
        elif self.request.method != "GET":
            self._refuse(405, "this page is read only")

    def _refuse(self, status: int, why: str) -> None:
        self.set_status(status)
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.finish(f"{why}\n")

    def log_exception(self, kind: Any, value: Any, trace: Any) -> None:
        logging.getLogger("rta").error("dashboard: a request failed", exc_info=(kind, value, trace))


class _Page(_Guarded):
    """The page, and the files that it is made of."""

    def get(self, name: str) -> None:
        module = f"{_fingerprint()}.js"
        if name == "":
            page = _source("page.html").replace("{{module}}", module)
            self._send(page.replace("{{token}}", quote(self.gate.token)), "text/html")
        elif name == "page.css":
            self._send(_source("page.css"), "text/css")
        elif name == module:
            self.set_header("Cache-Control", "private, max-age=31536000, immutable")
            self._send(_module(), "text/javascript")
        else:
            self._refuse(404, "there is no such page")

    def _send(self, text: str, kind: str) -> None:
        self.set_header("Content-Type", f"{kind}; charset=utf-8")
        self.finish(text)


class _Feed(_Guarded, WebSocketHandler):
    """The connection of one open page."""

    open_feeds: Final[set[_Feed]] = set()
    viewer: Viewer | None = None

    def check_origin(self, origin: str) -> bool:
        """Let only our own page connect; a program without an origin has the token."""
        return urlsplit(origin).netloc == self.request.host

    def get_compression_options(self) -> dict[str, Any]:
        return {"compression_level": 1, "mem_level": 5}

    def open(self, *_: str, **__: str) -> None:
        self.open_feeds.add(self)
        self.viewer = Viewer(self._send, self._busy)
        self.board.joined(self.viewer)

    def on_message(self, message: str | bytes) -> None:
        try:
            said = json.loads(message)
        except ValueError:
            return  # no page of ours says this
        if self.viewer is not None:
            self.board.heard(self.viewer, said)

    def on_close(self) -> None:
        self.open_feeds.discard(self)
        if self.viewer is not None:
            self.board.left(self.viewer)

    def _send(self, text: str) -> None:
        try:
            sent = self.write_message(text)
        except WebSocketClosedError:
            return  # on_close follows
        sent.add_done_callback(lambda done: done.cancelled() or done.exception())

    def _busy(self) -> bool:
        connection: Any = self.ws_connection
        return connection is None or connection.stream.writing()


def _source(name: str) -> str:
    return files("rta.dashboards").joinpath(name).read_text()


def _script() -> str:
    return f"{files('rta.display').joinpath('live.js').read_text()}\n{_source('page.js')}"


def _fingerprint() -> str:
    return hashlib.sha256(_script().encode()).hexdigest()[:16]


def _module() -> str:
    """Return the page's script: that of live views with Vega in it, and what connects it."""
    from rta.display.cell import bundled

    return bundled(_script())


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _is_any(host: str) -> bool:
    return _is_address(host) and ipaddress.ip_address(host).is_unspecified


def _shown(host: str) -> str:
    if _is_any(host):
        return socket.gethostname()
    return f"[{host}]" if ":" in host else host
