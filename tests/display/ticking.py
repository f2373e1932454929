"""A widget with rta's page and nothing else behind it: a thread counts, no Spark, no Kafka."""

from __future__ import annotations

import time
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Any, Final

import anywidget

import rta.display

COLUMNS: Final = [{"name": "origin", "type": "text"}, {"name": "flights", "type": "number"}]


class Ticking(anywidget.AnyWidget):
    """Sends a frame every 0.1 s; its rows count the frames."""

    _esm = Path(rta.display.__file__).with_name("live.js")

    def __init__(self) -> None:
        super().__init__()
        self._lock, self._stop = Lock(), Event()
        self._seq, self._state = -1, "running"
        self.on_msg(self._asked)
        Thread(target=self._tick, name="ticking", daemon=True).start()

    def _asked(self, _: Any, message: dict[str, Any], __: Any) -> None:
        if message["do"] == "hello":
            self._tell(full=True)
        if message["do"] == "stop":
            self._state = "stopped"
            self._stop.set()
            self._tell()

    def _tick(self) -> None:
        while not self._stop.wait(0.1):
            self._tell()

    def _tell(self, *, full: bool = False) -> None:
        with self._lock:
            self._seq += 1
            frame: dict[str, Any] = {
                "seq": self._seq,
                "full": full,
                "state": self._state,
                "total": 14_203,
            }
            frame["put"] = [[0, ["EWR", self._seq]], [1, ["<img src=x onerror=alert(1)>", 1_000]]]
            frame["vitals"] = {"at": int(time.time() * 1000), "in_rate": 10.0, "out_rate": 9.5}
            if full:
                frame |= {
                    "title": "ticking", "kind": "table", "mode": "update", "columns": COLUMNS, "order": [0, 1], "every": 0.1,
                    "verdict": {"text": "keeping up", "level": "good"},
                }  # fmt: skip
            self.send(frame)
