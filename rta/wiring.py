"""What batch, Lambda and Kappa have in common: a topic, a function, a view for readers, and the queries behind it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Self

from rta import serving, sinks, views
from rta.archives import archive, archived
from rta.batch_views import batch_view
from rta.event_types import EventType
from rta.lateness import Transform
from rta.ledger import Accounting, Batch
from rta.names import checked

if TYPE_CHECKING:
    import pandas as pd
    from pyspark.sql.streaming.query import StreamingQuery


@dataclass
class Wiring(ABC):
    """What the three have in common."""

    topic: str
    transform: Transform
    table: str
    key: Sequence[str]
    event: EventType
    running: dict[int, StreamingQuery] = field(default_factory=dict)  # version → its query
    shown: list[Batch] = field(
        default_factory=list
    )  # what readers saw first in versions that are gone

    architecture: ClassVar[str]

    def __post_init__(self) -> None:
        checked("table", f"{self.table}_batch_99999")  # its parts have longer names

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def queries(self) -> list[StreamingQuery]:
        """Spark's own queries, the oldest version's first."""
        return [query for _, query in sorted(self.running.items())]

    @property
    def view(self) -> views.View | None:
        """What readers see: see rta.views."""
        return views.find(self.table)

    @abstractmethod
    def catch_up(self) -> None:
        """Return when everything that is in the topic now is in the answer."""

    def read(self) -> pd.DataFrame:
        """Read the answer, as one moment shows it."""
        return serving.read(self.table)

    def accounting(self) -> Accounting:
        """Sum where the events of the served version went."""
        parts = self.view.parts if self.view else ()
        return Accounting.of([taken for part in parts for taken in serving.batches(part)])

    def stop(self) -> None:
        """Stop the queries; readers keep the answer, and the next call goes on from there."""
        for query in self.queries:
            query.stop()
        self.running.clear()

    def _next(self) -> int:
        return max(self.view.versions, default=0) + 1 if self.view else 1

    def _follow(
        self,
        number: int,
        part: str,
        transform: Transform,
        starting: sinks.Position,
        **how: int | None,
    ) -> StreamingQuery:
        query = sinks.follow(
            self.topic, transform, table=part, key=self.key, event=self.event, starting=starting,
            max_events_per_batch=how.get("max_events_per_batch"),
        )  # fmt: skip
        self.running[number] = query
        return query

    def _batch_view(self, part: str) -> dict[int, int]:
        """Archive what is new, and compute the answer over the archive into a table; return where the archive ends."""
        archive(self.topic, event=self.event).awaitTermination()
        before = archived(self.topic)
        batch_view(
            self.topic, self.transform, table=part, key=self.key, event=self.event, before=before
        )
        return before

    def _keep_only(self, served: int) -> None:
        """Drop all versions but the one that is served."""
        self._forget(
            [number for number in (self.view.versions if self.view else ()) if number != served]
        )

    def _forget(self, numbers: Sequence[int]) -> None:
        """Drop versions that are not served: their queries, tables and checkpoints."""
        for number in numbers:
            if number in self.running:
                self.running.pop(number).stop()
        for part in views.forget(self.table, numbers):
            self.shown += serving.batches(part)
            sinks.reset(part)


def drop(table: str) -> None:
    """Drop the view of a wiring with all its versions: tables, ledgers, checkpoints; topic and archive stay.

    >>> drop("doc_never_wired")
    """
    for part in views.drop(table):
        sinks.reset(part)
