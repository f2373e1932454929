"""Watch a process tree a few times a second: its memory, the CPU of what ends meanwhile, the broker apart."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import psutil

from rta.kafka import broker

INTERVAL: Final = 0.25  # seconds between two looks


@dataclass(frozen=True)
class Sample:
    """One look at the tree and at the broker: resident bytes, and CPU seconds up to now."""

    time: float
    tree: int
    cpu: float
    broker: int
    broker_cpu: float


class Watch:
    """Looks at a process tree a few times a second, in a thread."""

    def __init__(self, pid: int) -> None:
        self.root, self.seen = psutil.Process(pid), {psutil.Process(pid)}
        running = broker.status()
        self.broker = psutil.Process(running.pid) if running else None
        self.samples: list[Sample] = []
        self.spent: dict[psutil.Process, float] = defaultdict(float)
        self.done = threading.Event()
        self.thread = threading.Thread(target=self._look, daemon=True)
        self.thread.start()

    def kill(self) -> None:
        """End a tree that takes too long."""
        for process in self.seen:
            with suppress(psutil.NoSuchProcess):
                process.kill()

    def end(self) -> None:
        """Stop looking, and wait until nothing of the tree runs that would disturb the next row."""
        self.done.set()
        self.thread.join()
        _, alive = psutil.wait_procs(self.seen, timeout=30)
        self.seen = set(alive)
        self.kill()

    def _look(self) -> None:
        while not self.done.wait(INTERVAL):
            before = set(self.seen)
            with suppress(psutil.NoSuchProcess):
                self.seen |= {self.root, *self.root.children(recursive=True)}
            sizes = {process: self._weigh(process) for process in self.seen}
            # What a JVM has just forked, to run a command, shares all of its pages: not counted twice.
            tree = sum(size for process, size in sizes.items() if process in before)
            spent = sum(self.spent[process] for process in self.seen)
            size = self._weigh(self.broker) if self.broker else 0
            spent_there = self.spent[self.broker] if self.broker else 0.0
            self.samples.append(Sample(time.time(), tree, spent, size, spent_there))

    def _weigh(self, process: psutil.Process) -> int:
        """Return resident bytes, 0 where it has ended; remember its CPU, which outlives it."""
        with suppress(psutil.NoSuchProcess):
            self.spent[process] = sum(process.cpu_times()[:2])
            return int(process.memory_info().rss)
        return 0
