"""The schemas of a topic in a schema registry with Confluent's API."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any, Final
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlsplit
from urllib.request import Request, urlopen

from rta.errors import InputError, SetupError

_PATIENCE: Final = 10.0  # seconds
_LARGEST: Final = 16 * 2**20  # bytes of an answer


def schemas(registry: str, topic: str) -> dict[int, str]:
    """Return all schemas of the subject `<topic>-value`: id → JSON.

    Raises:
        InputError: The registry does not know the subject, or a schema of it is none of Avro.
        SetupError: The registry does not answer.
    """
    base = registry.rstrip("/")
    if urlsplit(base).scheme not in ("http", "https"):
        raise InputError(
            "the registry is a URL", found=repr(registry), fix="give http://… or https://…"
        )
    subject = f"{base}/subjects/{quote(f'{topic}-value', safe='')}/versions"
    found = {}
    for version in _asked(subject, topic):
        answer = _asked(f"{subject}/{int(version)}", topic)
        if answer.get("schemaType", "AVRO") != "AVRO":
            raise InputError(
                f"the registry has a schema for {topic!r} that is not Avro", found=answer["schemaType"],
                fix="give the format that the events have",
            )  # fmt: skip
        found[int(answer["id"])] = str(answer["schema"])
    return found


def _asked(url: str, topic: str) -> Any:
    wanted = Request(url, headers={"Accept": "application/vnd.schemaregistry.v1+json"})  # noqa: S310 - the scheme is checked
    try:
        with urlopen(wanted, timeout=_PATIENCE) as answer:  # noqa: S310
            return json.loads(answer.read(_LARGEST))
    except HTTPError as error:
        if error.code == HTTPStatus.NOT_FOUND:
            raise InputError(
                f"the registry knows no schema for the events of {topic!r}", found=f"no subject {topic}-value",
                fix="name the event type like the topic, or give Avro(schema=…, framed=True)",
            ) from None  # fmt: skip
        raise _silent(url, error) from error
    except (URLError, OSError, ValueError) as error:
        raise _silent(url, error) from error


def _silent(url: str, error: Exception) -> SetupError:
    parts = urlsplit(url)
    return SetupError(
        "the schema registry does not answer", found=f"{parts.hostname}:{parts.port}: {error}"[:200], fix="check its URL, and that it runs"
    )  # fmt: skip
