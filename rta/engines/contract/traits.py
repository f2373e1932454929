"""What an engine promises, whatever the query: the facts that a person compares."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Traits:
    """What an engine promises.

    Args:
        guarantee: For the rows of a table.
        late: What happens to an event that is later than the watermark allows.
        latency: How long a result waits, as a class; `rta.compare_engines` measures it.
    """

    guarantee: str
    late: str
    latency: str
