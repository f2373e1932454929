"""The figures for Prometheus: an address that it scrapes, or a text file for node-exporter."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Final, Self

from rta.errors import InputError
from rta.metrics.families import families
from rta.metrics.observer import Observer

if TYPE_CHECKING:
    from prometheus_client.core import Metric
    from prometheus_client.registry import CollectorRegistry

PORT: Final = 9464
"""The port that the field uses for an exporter of this kind."""
_ONCE: Final = 30.0  # seconds to wait for a part if nobody asks again soon
_FRESH: Final = 1.0  # seconds for which a look serves others who ask


class _Collector:
    """Looks when it is asked; those who ask at once get the same look."""

    def __init__(self, observer: Observer) -> None:
        self._observer, self._one = observer, Lock()
        self._found: list[Metric] = []
        self._at = -_FRESH

    def describe(self) -> list[Metric]:
        """Return nothing: registering it must not look."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield the families of a look."""
        with self._one:
            if time.monotonic() - self._at >= _FRESH:
                self._found, self._at = families(self._observer.look()), time.monotonic()
            found = self._found
        yield from found


def _registry(observer: Observer) -> CollectorRegistry:
    from prometheus_client.registry import CollectorRegistry

    registry = CollectorRegistry()
    registry.register(_Collector(observer))
    return registry


class Exporter:
    """An address that Prometheus scrapes; serve() makes it. It is a context manager that closes at its end.

    Attributes:
        address: Its address.
    """

    def __init__(self, host: str, port: int) -> None:
        from prometheus_client import start_http_server

        self._observer = Observer()
        try:
            self._server, self._thread = start_http_server(port, host, _registry(self._observer))
        except OSError as error:
            self._observer.close()
            raise InputError(
                f"port {port} of {host} cannot be used", found=error.strerror, fix="give another port, or 0 for a free one",
            ) from None  # fmt: skip
        self.port = int(self._server.server_port)
        self.address = f"http://{f'[{host}]' if ':' in host else host}:{self.port}/metrics"

    def close(self) -> None:
        """Stop to answer."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        self._observer.close()

    def wait(self) -> None:
        """Wait until another thread closes it."""
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Exporter({self.address})"


def serve(port: int = PORT, *, host: str = "127.0.0.1") -> Exporter:
    """Serve the figures to Prometheus, until close().

    It looks when it is scraped: at the queries of this process as Spark knows them, at those of others by the ledger, at tables,
    dead letters, consumer groups and jobs. If Kafka or the database is away, `rta_up{part}` is 0 and the rest is served. It starts
    neither a broker nor Spark.

    Args:
        port: The port; 0 for any that is free.
        host: The address to listen on. With another than loopback's the whole network can read the figures.

    Returns:
        The exporter: address, close().

    Raises:
        InputError: If the port cannot be used.

    Example:
        >>> from urllib.request import urlopen
        >>> with serve(port=0) as exporter:
        ...     b'rta_up{part="database"} 1.0' in urlopen(exporter.address).read()
        True
    """
    return Exporter(host, port)


def exposition() -> str:
    """Return the figures of now as Prometheus' text. It waits up to 30 s: a first look reads all dead letter queues.

    >>> exposition().startswith("# HELP rta_up 1 if the part answered")
    True
    """
    from prometheus_client import generate_latest

    with closing(Observer(patience=_ONCE)) as observer:
        return generate_latest(_registry(observer)).decode()


def write(path: str | Path) -> Path:
    """Write the figures of now into a file for the textfile collector of node-exporter, completely or not at all.

    Args:
        path: The file; node-exporter reads those that end with .prom.

    Raises:
        InputError: If the file does not end with .prom, or its folder is not there.

    Example:
        >>> write("figures.txt")
        Traceback (most recent call last):
        rta.errors.InputError: node-exporter reads files that end with .prom; found: figures.txt; fix: name it so
    """
    target = Path(path)
    if target.suffix != ".prom":
        raise InputError("node-exporter reads files that end with .prom", found=target.name, fix="name it so")  # fmt: skip
    if not target.parent.is_dir():
        raise InputError("there is no such folder", found=target.parent, fix="make it, or correct the path")  # fmt: skip
    draft = target.with_name(f"{target.name}.{os.getpid()}")
    try:
        draft.write_text(exposition())
        draft.chmod(0o644)  # node-exporter is another user
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)
    return target
