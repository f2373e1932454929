"""A real Prometheus on a port of its own, which scrapes one address."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urlencode, urlsplit
from urllib.request import Request, urlopen

import yaml

from tests.support.receivers import free_port
from tests.support.waiting import finished, until


def fetched(address: str, **headers: str) -> str:
    """Return what an address of loopback answers."""
    with urlopen(Request(address, headers=headers)) as answer:  # noqa: S310 - http://127.0.0.1
        return str(answer.read().decode())


class Prometheus:
    """It answers queries and tells which alerts there are."""

    def __init__(self, port: int) -> None:
        self._api = f"http://127.0.0.1:{port}/api/v1"

    def asked(self, path: str, **arguments: str) -> Any:
        """Ask its API; None while it starts."""
        try:
            return json.loads(fetched(f"{self._api}/{path}?{urlencode(arguments)}"))["data"]
        except URLError:
            return None

    def query(self, expression: str) -> dict[tuple[tuple[str, str], ...], float]:
        """Return labels → value of a query now; empty while it starts."""
        found = (self.asked("query", query=expression) or {}).get("result", [])
        ours = ("job", "instance", "__name__")
        return {
            tuple(sorted((name, value) for name, value in each["metric"].items() if name not in ours)): float(each["value"][1])
            for each in found
        }  # fmt: skip

    def firing(self) -> set[str]:
        """Return the names of the alerts that fire."""
        found = (self.asked("alerts") or {}).get("alerts", [])
        return {each["labels"]["alertname"] for each in found if each["state"] == "firing"}


def advised() -> dict[str, Any]:
    """Return the scrape that docs/monitoring.md tells people to use."""
    page = (Path(__file__).parents[2] / "docs" / "monitoring.md").read_text()
    [text] = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    [job] = yaml.safe_load(text)["scrape_configs"]
    return dict(job)


@contextmanager
def prometheus(folder: Path, address: str, *, rules: Sequence[Path] = ()) -> Iterator[Prometheus]:
    """Run one while the block runs; it scrapes the address every second."""
    place = urlsplit(address)
    job = advised() | {"metrics_path": place.path, "static_configs": [{"targets": [place.netloc]}]}
    often = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config = {"global": often, "rule_files": [str(each) for each in rules], "scrape_configs": [job]}
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    port = free_port()
    server = subprocess.Popen(
        ["prometheus", f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}", f"--web.listen-address=127.0.0.1:{port}"],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        running = Prometheus(port)
        until(lambda: running.query("up"), server)
        yield running
    finally:
        server.terminate()
        finished(server)
