"""The JVM that runs Kafka Streams: started with what it is to do, listened to, and stopped; it ends when this process does."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from rta.errors import QueryError
from rta.jvm import engines_jar
from rta.settings import private_folder
from rta.setup.jars import kafka_streams_jars
from rta.setup.java import find_java

_MAIN: Final = "rta.KafkaStreamsProgram"
_JVM_OPTIONS: Final = (
    "-Xmx512m", "-XX:+UseSerialGC", "-XX:+ExitOnOutOfMemoryError", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd HH:mm:ss",
)  # fmt: skip
_PATIENCE: Final = 180.0  # seconds until it runs; after a death Kafka may wait for what was open
_LAST_WORDS: Final = 400  # characters


class Program:
    """A running program of Kafka Streams.

    Args:
        told: What it is to do; passwords may be among it, so it goes through a pipe and nowhere else.
        folder: For its log and its state.
    """

    def __init__(self, told: Mapping[str, Any], folder: Path) -> None:
        self.application, self.log = str(told["application"]), folder / "kafka-streams.log"
        self.said: dict[str, Any] = {}
        self.stopped = False
        temporary = folder / "tmp"
        shutil.rmtree(temporary, ignore_errors=True)  # RocksDB's library stays there after a kill
        private_folder(temporary)
        classes = os.pathsep.join(map(str, [engines_jar(), *kafka_streams_jars()]))
        command = [str(find_java().executable), *_JVM_OPTIONS, f"-Djava.io.tmpdir={temporary}", "-cp", classes, _MAIN]  # fmt: skip
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, cwd=folder,
                start_new_session=True,  # Ctrl-C is for the kernel
            )  # fmt: skip
        assert self.process.stdin is not None  # noqa: S101 - it is a pipe
        with suppress(BrokenPipeError):  # it has ended already: wait() says why
            self.process.stdin.write(json.dumps(told).encode() + b"\n")
            self.process.stdin.flush()
        self._ran, self._reads = threading.Event(), False
        self._listener = threading.Thread(target=self._listen, daemon=True, name=f"{self.application} listener")  # fmt: skip
        self._listener.start()

    def _listen(self) -> None:
        assert self.process.stdout is not None  # noqa: S101 - they are pipes
        assert self.process.stdin is not None  # noqa: S101
        with self.process.stdout as lines:
            for line in lines:
                self.said = json.loads(line)
                self._reads = self._reads or self.said.get("state") in ("REBALANCING", "RUNNING")
                if self.said.get("state") == "RUNNING":
                    self._ran.set()
        with suppress(BrokenPipeError):
            self.process.stdin.close()

    @property
    def runs(self) -> bool:
        """Whether its process does."""
        return self.process.poll() is None

    @property
    def died(self) -> bool:
        """Whether it has ended without being told to, and without a word."""
        if self.runs or self.stopped:
            return False
        self._listener.join()
        return not self.said.get("error")

    def failure(self) -> str | None:
        """Return why it has ended; None if it runs, or was stopped."""
        if self.runs or self.stopped:
            return None
        self._listener.join()
        return self.said.get("error") or f"its process ended with {self.process.returncode}: {self._last_words()}"  # fmt: skip

    def wait(self) -> None:
        """Wait until it reads events; what it then finds in them ends the query, not its start.

        Raises:
            QueryError: It has ended, or it takes too long.
        """
        deadline = time.monotonic() + _PATIENCE
        while not self._ran.wait(0.1):
            if not self.runs or time.monotonic() > deadline:
                found = self.failure() or f"{self.said.get('state')} after {_PATIENCE:g} s"
                if (
                    self._reads and not self.runs
                ):  # one of its threads has met an event before all of them ran
                    return
                self.stop()
                raise QueryError("Kafka Streams did not start", found=found, fix=f"its log is {self.log}")  # fmt: skip

    def stop(self, *, patience: float = 60) -> None:
        """End it, once what it has read is committed.

        Args:
            patience: Seconds after which it is killed; the next start then goes on from its last commit.
        """
        self.stopped = self.stopped or self.runs
        assert self.process.stdin is not None  # noqa: S101 - it is a pipe
        with suppress(BrokenPipeError):
            self.process.stdin.close()
        try:
            self.process.wait(patience)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._listener.join()

    def _last_words(self) -> str:
        return self.log.read_text(errors="replace").strip()[-_LAST_WORDS:] or "an empty log"

    def __repr__(self) -> str:
        return f"Program({self.application!r}, process {self.process.pid}, {self.said.get('state', 'STARTING')})"
