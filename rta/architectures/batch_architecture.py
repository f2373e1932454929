"""Batch: recompute() computes the answer again over the whole archive."""

from __future__ import annotations

from collections.abc import Sequence

from rta.architectures.base import Architecture
from rta.engines import following
from rta.engines.spark.lateness import Transform
from rta.engines.spark.query_sources import Topics, query_sources
from rta.events.event_types import EventType
from rta.progress import waiting
from rta.store import views
from rta.store.ledger import Accounting
from rta.store.views import Version


def batch(
    topic: Topics,
    transform: Transform,
    *,
    table: str,
    key: Sequence[str],
    event: EventType | None = None,
) -> Batch:
    """Set up batch: recompute() archives what is new and computes the answer over the whole archive.

    Args:
        topic: The topic, or several by the names of the transform's parameters, as for rta.follow().
        transform: The analysis, as for rta.follow().
        table: The name by which readers find the answer.
        key: The columns of the result that identify a row.
        event: The type of the topic's events; by default the one with the name of the topic.

    Example:
        >>> _ = rta.publish(rta.user_events(spark, rows=50), "doc-batch", partitions=1)
        >>> with batch("doc-batch", rta.transforms.totals, table="doc_batch", key=["window", "user_id"], event=rta.USER_EVENTS) as wired:
        ...     wired.catch_up()
        >>> wired.accounting()
        consumed 50 = used 50 + duplicate 0 + late 0 + quarantined 0 (1 batch)
    """
    return Batch(query_sources(topic, event), transform, table, key).started()


class Batch(Architecture):
    """The answer as of the last recompute()."""

    architecture = "batch"
    after_a_crash = "the answer stays; the next recompute() starts over"
    first_answer = "call recompute() or catch_up()"
    then = "`.recompute()` takes what is new, `.read()` reads the answer"

    def catch_up(self) -> None:
        """Recompute the answer over everything that is in the topic now."""
        self.recompute()

    def recompute(self) -> Accounting:
        """Archive what is new, compute the answer over the whole archive, and show it to readers in one transaction."""
        number = self._next()
        part = f"{self.table}_batch_{number}"
        following.reset(part)
        with waiting(f"recomputing {self.table}"), self._made(number, (part,)):
            self._batch_view(part)
            views.switch(self.table, number, Version((part,)))
        self._keep_only_served()
        return self.accounting()

    def _start(self) -> None:
        """Nothing runs before recompute()."""

    def _go_on(self, view: views.View) -> None:
        """Nothing runs after recompute()."""
