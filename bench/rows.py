"""The rows: what is measured, in which company, and what each answer is worth."""

from __future__ import annotations

from typing import Final

from bench.measure import Row
from bench.setup import check_totals

NONE: Final = "none: in memory, amounts as floats, nothing counted or set aside"
HAND: Final = "idempotent upsert; a bad event vanishes, nothing is accounted for"
RTA: Final = "exactly once with its accounting; strict, bad events in the DLQ, late ones counted"

ROWS: Final = [
    Row("drain", "article", NONE, "bench.drain:article", check_totals, quick=True),
    Row("drain", "hand-written", HAND, "bench.drain:hand", check_totals, quick=True),
    Row("drain", "rta", RTA, "bench.drain:rta", check_totals, quick=True),
]
GROUPS: Final = list(dict.fromkeys(row.group for row in ROWS))
