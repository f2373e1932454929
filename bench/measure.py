"""Run a row as a process of its own: wall time, CPU and memory of its whole tree, the broker apart."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from bench.child import TOLD, Setup
from bench.watch import Sample, Watch

ROOT: Final = Path(__file__).parents[1]
KEPT: Final = ("RTA_CACHE", "RTA_JAVA_HOME", "RTA_DATA")
CAUSE: Final = re.compile(r"(\w+\.)*\w*(Error|Exception|Interrupt)\b")
_MB: Final = 1e6


@dataclass(frozen=True)
class Row:
    """One way to do the work of a group.

    guarantee: what its answer is worth. child: "module:function", called in a process of its own.
    check: says what is wrong with a phase, or "". quick: part of `make bench QUICK=1`.
    """

    group: str
    name: str
    guarantee: str
    child: str
    check: Callable[[Setup, Mapping[str, Any]], str]
    quick: bool = False
    timeout: float = 900


@dataclass(frozen=True)
class Measurement:
    """One phase of one row in one repetition; no figures where its answer was wrong."""

    group: str
    row: str
    phase: str
    repetition: int
    guarantee: str
    figures: Mapping[str, float] = field(default_factory=dict)
    fault: str = ""

    @staticmethod
    def of(
        row: Row, phase: str, repetition: int, figures: Mapping[str, float], fault: str
    ) -> Measurement:
        """Name a phase by its row."""
        return Measurement(row.group, row.name, phase, repetition, row.guarantee, figures, fault)


def measure(row: Row, setup: Setup, repetition: int) -> list[Measurement]:
    """Run a row once, and return its phases; a row that fails has one that says why."""
    scratch = Path(setup.home) / "runs" / f"{row.group}-{row.child.partition(':')[2]}-{repetition}"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    launched = time.time()
    phases, samples, code = _run(row, setup, scratch)
    found = []
    for phase in phases:
        fault = row.check(setup, phase)
        figures = {} if fault else _figures(phase, launched, samples)
        found.append(Measurement.of(row, phase["name"], repetition, figures, fault))
    if code:
        fault = f"ended with code {code}: {_last_words(scratch)}"
        found.append(Measurement.of(row, "process", repetition, {}, fault))
    if not any(each.fault for each in found):
        shutil.rmtree(scratch, ignore_errors=True)
    return found


def environment(home: str, **more: str) -> dict[str, str]:
    """Return the environment of a measured process: nothing of the user's own rta."""
    plain = {n: v for n, v in os.environ.items() if not n.startswith("RTA_") or n in KEPT}
    return plain | {
        "RTA_HOME": home,
        "RTA_CLASS_DATA": "off",
        "SPARK_LOCAL_IP": "127.0.0.1",
        **more,
    }


def _run(row: Row, setup: Setup, scratch: Path) -> tuple[list[dict[str, Any]], list[Sample], int]:
    """Start the process, sample its tree until it ends, and collect the phases that it tells."""
    command = [
        sys.executable,
        "-m",
        "bench.child",
        row.child,
        json.dumps(asdict(setup)),
        str(scratch),
    ]
    with (scratch / "log").open("w") as log:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment(setup.home),
            text=True,
            stdout=subprocess.PIPE,
            stderr=log,
        )
        watch = Watch(process.pid)
        guard = threading.Timer(row.timeout, watch.kill)
        guard.start()
        try:
            assert process.stdout is not None
            lines = list(process.stdout)
            code = process.wait()
        except BaseException:  # Ctrl-C: leave nothing behind
            watch.kill()
            raise
        finally:
            guard.cancel()
            watch.end()
    told = [line.removeprefix(TOLD) for line in lines if line.startswith(TOLD)]
    return [json.loads(line) for line in told], watch.samples, code


def _figures(
    phase: Mapping[str, Any], launched: float, samples: Sequence[Sample]
) -> dict[str, float]:
    """Turn the facts of a phase into figures: seconds, events a second, megabytes."""
    from_start = phase.get("from_start", False)
    began = launched if from_start else phase["began"]
    during = [s for s in samples if began <= s.time <= phase["ended"]]
    # The child knows the exact CPU of what lives at the end; only the watch knows of orphans.
    exact = phase["cpu"] - (0 if from_start else phase["cpu_before"])
    watched = during[-1].cpu - during[0].cpu if during else 0.0
    figures = {"seconds": phase["ended"] - began, "cpu_seconds": max(exact, watched)}
    if "first_record" in phase:
        figures["from_first_record"] = phase["ended"] - phase["first_record"]
    if during:
        figures |= {
            "peak_mb": max(s.tree for s in during) / _MB,
            "broker_peak_mb": max(s.broker for s in during) / _MB,
            "broker_cpu_seconds": during[-1].broker_cpu - during[0].broker_cpu,
        }
    return {name: round(value, 3) for name, value in (figures | phase.get("figures", {})).items()}


def _last_words(scratch: Path) -> str:
    """Return the line of the log that says why; of a Java trace not its last frame."""
    lines = (scratch / "log").read_text(errors="replace").strip().splitlines()
    causes = [line for line in lines if CAUSE.match(line)]
    return (causes or lines or ["it said nothing"])[-1][:300]
