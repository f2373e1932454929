"""What one drain() has taken."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rta import html
from rta.store.ledger import Accounting, Batch, by_topic


@dataclass(frozen=True)
class Drained:
    """What one drain() took from a topic, or several, into a table.

    Args:
        table: The table.
        topic: The topic, or the topics.
        accounting: Where the events went, those of all topics together.
        start: partition → the first offset taken; empty if there are several topics.
        end: partition → the next offset to take; empty if there are several topics.
        rows: How many rows were written or replaced in the table.
        seconds: How long it took.
        by_topic: topic → where its events went.
    """

    table: str
    topic: str
    accounting: Accounting
    start: Mapping[int, int]
    end: Mapping[int, int]
    rows: int
    seconds: float
    by_topic: Mapping[str, Accounting] = field(default_factory=dict)

    @staticmethod
    def of(table: str, topic: str, taken: Sequence[Batch], seconds: float) -> Drained:
        """Summarize the batches of one drain."""
        accounting, each = Accounting.of(taken), by_topic(taken)
        start: dict[int, int] = {}
        end: dict[int, int] = {}
        for batch in taken if len(each) == 1 else ():
            start = dict(batch.start_offsets) | start
            end |= batch.end_offsets
        return Drained(table, topic, accounting, start, end, accounting.rows, seconds, each)

    def __str__(self) -> str:
        if not self.accounting.consumed + self.accounting.lost:
            return f"{self.table}: nothing new in {self.topic} ({self.seconds:.1f} s)"
        rate = self.accounting.consumed / max(self.seconds, 1e-9)
        several = self.by_topic.items() if len(self.by_topic) > 1 else ()
        return (
            f"{self.table}: {self.accounting}\n"
            + "".join(f"  {topic}: {accounting}\n" for topic, accounting in several)
            + f"  {self.rows:,} rows written from {self.topic} in {self.seconds:.1f} s, {rate:,.0f} events/s"
        )

    __repr__ = __str__

    def _repr_html_(self) -> str:
        facts = [("table", self.table), ("topic", self.topic), ("rows written", f"{self.rows:,}"), ("seconds", f"{self.seconds:,.1f}")]  # fmt: skip
        several = self.by_topic.items() if len(self.by_topic) > 1 else ()
        each = "".join(
            html.card([("topic", topic)]) + terms._repr_html_() for topic, terms in several
        )
        return (
            html.card(facts) + (each or self.accounting._repr_html_()) + html.card([], self._next())
        )

    def _next(self) -> str:
        """Say what a person can do with it."""
        late = f", `rta.late({self.table!r})` its late events" if self.accounting.late else ""
        bad = "".join(
            f", `rta.dlq.dead_letters({topic!r})` the bad ones"
            for topic, terms in self.by_topic.items() if terms.quarantined
        )  # fmt: skip
        return f"`rta.read({self.table!r})` reads the table{late}{bad}"
