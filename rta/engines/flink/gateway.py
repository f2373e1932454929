"""Flink's SQL gateway over HTTP: a session, a statement, its rows. Source: Flink's documentation, "REST Endpoint" of the SQL gateway."""

from __future__ import annotations

import json
import re
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import takewhile
from typing import Any, Final, Self

from rta.errors import QueryError
from rta.settings import settings

_VERSION: Final = "v4"
CAUSE: Final = "Caused by: "
_FRAME: Final = re.compile(r"at \S+\(|\.\.\. \d+ more")
_ASK: Final = 0.05  # seconds between two questions for a result
_LOGIN: Final = (401, 403, 407)
_PATIENCE: Final = 120.0  # seconds for one answer: the first statement loads Flink's planner


@dataclass(frozen=True)
class Answer:
    """What a statement gave: the names of its columns, their types as Flink's JSON has them, its rows, and the job that it started, if any."""

    columns: tuple[str, ...]
    types: tuple[Mapping[str, Any], ...]
    rows: tuple[tuple[Any, ...], ...]
    job: str | None


@dataclass
class Session:
    """A session of the gateway: its tables and properties are its own.

    Args:
        url: Of the gateway, such as http://127.0.0.1:8083.
        properties: Flink's own, such as {"pipeline.name": "totals"}.

    Raises:
        QueryError: The gateway does not answer.
    """

    url: str
    properties: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Open it."""
        answer = call("POST", f"{self.url}/{_VERSION}/sessions", {"properties": dict(self.properties)})  # fmt: skip
        self._place = f"{self.url}/{_VERSION}/sessions/{answer['sessionHandle']}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close it; jobs that it has started go on."""
        with suppress(QueryError):  # the gateway may have gone, and with it the session
            call("DELETE", self._place)

    def told(self) -> Mapping[str, str]:
        """Return its properties: Flink's own configuration, with those that it was opened with."""
        found: Mapping[str, str] = call("GET", self._place)["properties"]
        return found

    def sql(self, statement: str, *, limit: int | None = None) -> Answer:
        """Run a statement to its end, or until there are so many rows.

        Raises:
            QueryError: Flink refuses it, in Flink's own words.
        """
        operation = call("POST", f"{self._place}/statements", {"statement": statement})["operationHandle"]  # fmt: skip
        page = f"{self._place}/operations/{operation}/result/0?rowFormat=JSON"
        rows: list[tuple[Any, ...]] = []
        job = None
        while True:
            answer = call("GET", page)
            if answer["resultType"] == "NOT_READY":
                time.sleep(_ASK)
                continue
            job = answer.get("jobID") or job
            told = answer["results"]["columns"]
            rows += [tuple(each["fields"]) for each in answer["results"]["data"]]
            following = answer.get("nextResultUri")
            if answer["resultType"] == "EOS" or not following or (limit and len(rows) >= limit):
                names, types = zip(*((each["name"], each["logicalType"]) for each in told), strict=True) if told else ((), ())  # fmt: skip
                return Answer(names, types, tuple(rows[:limit]), job)
            page = self.url + following
            if not answer["results"]["data"]:
                time.sleep(_ASK)


def call(method: str, url: str, body: Any = None, *, patience: float = _PATIENCE) -> Any:
    """Ask Flink, and return its answer.

    Raises:
        QueryError: It does not answer, or refuses; with the last cause that it names.
    """
    data = None if body is None else json.dumps(body).encode()
    asked = urllib.request.Request(  # noqa: S310 - http and https alone: see Cluster and rta.settings
        url, method=method, data=data, headers={"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(asked, timeout=patience) as answer:  # noqa: S310
            return json.loads(answer.read() or "{}", parse_float=Decimal)
    except urllib.error.HTTPError as error:
        if error.code in _LOGIN:
            raise QueryError("Flink is behind a login, which rta does not give", found=f"{url}: {error}", fix="let a proxy on this machine give it, and name the proxy") from None  # fmt: skip
        raise QueryError("Flink refuses it", found=cause(error.read().decode(errors="replace")), fix=f"change what the sentence names; the log is {log()}") from None  # fmt: skip
    except OSError as error:
        start = "see that it runs" if settings().flink_gateway else "start it with `rta up --engine flink`"  # fmt: skip
        raise QueryError("Flink does not answer", found=f"{url}: {error}", fix=f"{start}; the log is {log()}") from None  # fmt: skip
    except ValueError:
        raise QueryError("what answers is no Flink", found=url, fix="correct the address") from None


def log() -> str:
    """Say where Flink's log is.

    >>> log()
    'flink.log in flink/ under RTA_HOME'
    """
    return "your Flink's own" if settings().flink_gateway else "flink.log in flink/ under RTA_HOME"


def cause(told: str) -> str:
    """Return the last cause of one of Flink's errors, which are whole traces.

    >>> trace = ["java.lang.RuntimeException: it failed", "Caused by: org.apache.Error: Unsupported options:", "", "a.b", "  at A.b(A.java)"]
    >>> cause(json.dumps({"errors": [chr(10).join(trace)]}))
    'Unsupported options: a.b'
    """
    with suppress(ValueError, KeyError, TypeError):  # else it is the trace itself
        told = "\n".join(json.loads(told)["errors"])
    lines = [line.strip() for line in told.splitlines() if line.strip()]
    begin = max((place for place, line in enumerate(lines) if line.startswith(CAUSE)), default=0)
    said = " ".join(takewhile(lambda line: not _FRAME.match(line), lines[begin:]))
    last = said.removeprefix(CAUSE)
    return last.partition(": ")[2][:400] or last[:400]
