"""The schemas of a topic in a schema registry with Confluent's API."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from http.client import HTTPException
from typing import Any, Final
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlsplit
from urllib.request import Request, urlopen

from rta.errors import InputError, SetupError
from rta.urls import asked

_PATIENCE: Final = 10.0  # seconds
_LARGEST: Final = 16 * 2**20  # bytes of an answer


def schemas(registry: str, topic: str) -> dict[int, str]:
    """Return all schemas of the subject `<topic>-value`: id → JSON.

    Args:
        registry: Its URL; a user and a password in it are sent as HTTP's own, and never shown.
        topic: The topic.

    Raises:
        InputError: The registry does not know the subject, or a schema of it is none of Avro.
        SetupError: The registry does not answer.
    """
    base, user = asked(registry)
    subject = f"{base.rstrip('/')}/subjects/{quote(f'{topic}-value', safe='')}/versions"
    found = {}
    for version in _answer(subject, topic, user):
        answer = _answer(f"{subject}/{int(version)}", topic, user)
        if answer.get("schemaType", "AVRO") != "AVRO":
            raise InputError(
                f"the registry has a schema for {topic!r} that is not Avro", found=answer["schemaType"],
                fix="give the format that the events have: rta.events.Protobuf(descriptors, message, framed=True) of Protobuf",
            )  # fmt: skip
        found[int(answer["id"])] = str(answer["schema"])
    return found


def _answer(url: str, topic: str, user: Mapping[str, str]) -> Any:
    wanted = Request(url, headers={"Accept": "application/vnd.schemaregistry.v1+json"})  # noqa: S310 - the scheme is checked
    for name, text in user.items():  # another host, to which it may be sent on, does not get it
        wanted.add_unredirected_header(name, text)
    try:
        with urlopen(wanted, timeout=_PATIENCE) as answer:  # noqa: S310
            return json.loads(answer.read(_LARGEST))
    except HTTPError as error:
        if error.code == HTTPStatus.NOT_FOUND:
            raise InputError(
                f"the registry knows no schema for the events of {topic!r}", found=f"no subject {topic}-value",
                fix="name the event type like the topic, or give Avro(schema=…, framed=True)",
            ) from None  # fmt: skip
        if error.code in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            raise SetupError(
                "the schema registry refuses this user", found=f"{urlsplit(url).netloc}: {error}",
                fix="give a user with its password: http://USER:PASSWORD@HOST",
            ) from None  # fmt: skip
        raise _silent(url, error) from error
    except (URLError, OSError, ValueError, HTTPException) as error:
        raise _silent(url, error) from error


def _silent(url: str, error: Exception) -> SetupError:
    return SetupError(
        "the schema registry does not answer", found=f"{urlsplit(url).netloc}: {error}"[:200], fix="check its URL, and that it runs"
    )  # fmt: skip
