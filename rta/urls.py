"""URLs that may hold a user and a password: as a repr, an error or a log may show them, and as a client asks with them."""

from __future__ import annotations

import base64
import re
from typing import Final
from urllib.parse import unquote, urlsplit

from rta.errors import InputError

_PARTS: Final = re.compile(r"(?s)(?P<scheme>(?:[^/]*//)?)(?P<user>.*)@(?P<rest>.*)")


def shown(url: object) -> str:
    """Return a URL as it may be shown: without its password; over HTTP without its user too, which may be a token.

    >>> shown("http://ana:planted@registry:8081"), shown("ana:planted@kafka:9092"), shown("abfss://box@account.net/t")
    ('http://***@registry:8081', '***@kafka:9092', 'abfss://box@account.net/t')
    """
    parts = _PARTS.fullmatch(text := str(url))
    if parts and (":" in parts["user"] or parts["scheme"].lower().startswith("http")):
        return f"{parts['scheme']}***@{parts['rest']}"
    return text


def asked(url: str) -> tuple[str, dict[str, str]]:
    """Return an HTTP URL without user and password, and the header that says them.

    Raises:
        InputError: It is no such URL.

    >>> asked("http://ana:p%40w@registry:8081/")
    ('http://registry:8081/', {'Authorization': 'Basic YW5hOnBAdw=='})
    >>> asked("http://ana:p/w@registry:8081/")
    Traceback (most recent call last):
    rta.errors.InputError: this is no URL of HTTP; found: 'http://***@registry:8081/'; fix: give http://… or https://…, with / ? # @ and : of a password as %2F %3F %23 %40 %3A
    """
    parts = _PARTS.fullmatch(url)
    user, bare = (parts["user"], parts["scheme"] + parts["rest"]) if parts else ("", url)
    if urlsplit(bare).scheme not in ("http", "https") or set("/?#@") & set(user):
        raise InputError(
            "this is no URL of HTTP", found=repr(shown(url)),
            fix="give http://… or https://…, with / ? # @ and : of a password as %2F %3F %23 %40 %3A",
        )  # fmt: skip
    known = base64.b64encode(unquote(user).encode()).decode()
    return bare, {"Authorization": f"Basic {known}"} if user else {}
