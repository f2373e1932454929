"""What several repetitions say together: medians with their spread, ratios between rows of one repetition."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

Runs = Sequence[Mapping[str, Any]]  # as in a results file
Place = tuple[str, str, str]  # group, row, phase


@dataclass(frozen=True)
class Spread:
    """A median between the least and the greatest value."""

    median: float
    low: float
    high: float
    count: int

    @staticmethod
    def of(values: Sequence[float]) -> Spread | None:
        """Sum up some values; None where there are none.

        >>> str(Spread.of([3.0, 1.0, 2.0]))
        '2.00 (1.00 to 3.00)'
        """
        return Spread(median(values), min(values), max(values), len(values)) if values else None

    def __str__(self) -> str:
        among = f" ({number(self.low)} to {number(self.high)})" if self.count > 1 else ""
        return number(self.median) + among


def number(value: float) -> str:
    """Write a figure with three digits that count, and no more.

    >>> number(0.0412), number(13.94), number(1234.5)
    ('0.041', '13.9', '1,234')
    """
    digits = next((d for d, least in enumerate((100, 10, 1)) if abs(value) >= least), 3)
    return f"{value:,.{digits}f}"


def places(runs: Runs, group: str) -> list[Place]:
    """Return the rows and phases of a group, in the order in which they first came.

    >>> places([{"measurements": []}], "drain")
    []
    """
    found = {place(m): None for run in _in_order(runs) for m in run if m["group"] == group}
    return list(found)


def place(measurement: Mapping[str, Any]) -> Place:
    """Name what a measurement is one of."""
    return measurement["group"], measurement["row"], measurement["phase"]


def figure(runs: Runs, where: Place, name: str) -> Spread | None:
    """Sum up one figure of a row over all repetitions; wrong ones have none."""
    return Spread.of(list(_values(runs, where, name).values()))


def ratio(runs: Runs, above: Place, below: Place, name: str) -> Spread | None:
    """Divide one row's figure by another's, each time within one repetition.

    >>> rows = [{"group": "g", "row": r, "phase": "p", "repetition": 0, "figures": {"s": s}} for r, s in (("a", 6.0), ("b", 2.0))]
    >>> str(ratio([{"measurements": rows}], ("g", "a", "p"), ("g", "b", "p"), "s"))
    '3.00'
    """
    one, other = _values(runs, above, name), _values(runs, below, name)
    return Spread.of([one[each] / other[each] for each in one if other.get(each)])


def faults(runs: Runs, where: Place) -> list[str]:
    """Return what was wrong with a row, once each."""
    found = [m["fault"] for run in runs for m in run["measurements"] if place(m) == where]
    return list(dict.fromkeys(filter(None, found)))


def _values(runs: Runs, where: Place, name: str) -> dict[tuple[int, int], float]:
    """Return a figure by run and repetition."""
    return {
        (which, m["repetition"]): m["figures"][name]
        for which, run in enumerate(runs)
        for m in run["measurements"]
        if place(m) == where and name in m["figures"]
    }


def _in_order(runs: Runs) -> list[list[Mapping[str, Any]]]:
    """Return the measurements of each run by repetition, the rows in the order of the first one."""
    return [sorted(run["measurements"], key=lambda m: m["repetition"]) for run in runs]
