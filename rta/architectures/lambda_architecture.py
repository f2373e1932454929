"""Lambda: a batch view up to a cut-off and a speed view after it, merged when they are read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rta.architectures.archives import read_archive
from rta.architectures.base import Architecture
from rta.architectures.batch_views import without_copies_of
from rta.dataframes.sources import read_batch
from rta.engines import following
from rta.engines.spark import starting
from rta.engines.spark.lateness import Transform, applied
from rta.engines.spark.query_errors import failures_said
from rta.engines.spark.query_sources import ONLY, Topics, query_sources, require_parameters, titled
from rta.errors import InputError
from rta.events.event_types import EventType
from rta.progress import doing, waiting
from rta.store import views
from rta.store.ledger import Accounting
from rta.store.merge_rules import Merge, merges
from rta.store.views import Version

if TYPE_CHECKING:
    from pyspark.sql.streaming.query import StreamingQuery


def lambda_(
    topic: Topics,
    transform: Transform,
    *,
    table: str,
    key: Sequence[str],
    event: EventType | None = None,
    real_time: str | None = None,
) -> Lambda:
    """Set up Lambda: a batch view up to a cut-off and a speed view after it, merged when they are read.

    It continues the served version, or creates the first one.

    Args:
        topic: The topic; or several, as for rta.follow(), whose events the transform puts together by a union before it aggregates.
        transform: The analysis, as for rta.follow().
        table: The name by which readers find the answer.
        key: The columns of the result that identify a row.
        event: The type of the topic's events; by default the one with the name of the topic.
        real_time: An interval such as "5 minutes", for a speed view in Spark's real-time mode (experimental); by default it works in
            micro-batches.

    Raises:
        InputError: If two parts of the answer cannot be merged, see rta.store.merge_rules; or of several topics in real time.

    Example:
        >>> _ = rta.publish(rta.user_events(spark, rows=50), "doc-lambda", partitions=1)
        >>> with lambda_("doc-lambda", rta.transforms.totals, table="doc_lambda", key=["window", "user_id"], event=rta.USER_EVENTS) as wired:
        ...     _ = rta.publish(rta.user_events(spark, rows=50, first_row=50), "doc-lambda")
        ...     wired.catch_up()
        >>> wired.accounting().used
        100
    """
    sources = query_sources(topic, event)
    if real_time and ONLY not in sources:
        raise InputError("real-time mode reads one topic", found=titled(sources), fix="leave real_time away")  # fmt: skip
    require_parameters(transform, sources)
    return Lambda(sources, transform, table, key, real_time).started()


class Lambda(Architecture):
    """A batch view up to a cut-off and a speed view after it; at any moment each event counts in exactly one of them."""

    architecture = "lambda"
    after_a_crash = "the speed view goes on from its checkpoint; a half batch view is made anew"
    first_answer = "its view was dropped: call rta.lambda_(…) again"
    then = "`.read()` reads the answer, `.recompute()` makes the next batch view, `.stop()` stops it; `rta.live(…)` shows it move"

    def catch_up(self) -> None:
        """Wait until the speed view has everything that is in the topic now. In real-time mode its query is restarted."""
        for number in list(self._again):
            self._level(number)

    def recompute(self) -> Accounting:
        """Compute the next batch view, start its speed view, and show both to readers in one transaction.

        The old speed view stops when the new batch view is ready. The new one takes all events since the cut-off in one micro-batch, so it
        drops nothing as late that readers have seen, and no value decreases. Until then the old version is served.
        """
        with waiting(f"recomputing {self.table}"):
            self._recompute(self._next())
        return self.accounting()

    def _recompute(self, number: int) -> None:
        parts = self._parts(number)
        for part in parts:
            following.reset(part)
        with self._made(number, parts):
            merges = self._merges()
            cut_off = self._batch_view(parts[0])
            self.stop()
            self._speed(number, cut_off)
            if not self.real_time:
                self._level(number)
            doing("readers are switched")
            views.switch(self.table, number, Version(parts, cut_off), merges=merges)
        self._keep_only_served()

    def _start(self) -> None:
        """Continue the speed view of the served version; create the first version if there is none."""
        if (view := self.view) is None:
            self.recompute()
        else:
            with failures_said(starting.checkpoint_of(view.parts[-1]), self.table):
                self._merges()
            self._go_on(view)

    def _go_on(self, view: views.View) -> None:
        self._speed(view.served, view.versions[view.served].cut_off)

    def _speed(self, number: int, cut_off: Mapping[str, Mapping[int, int]]) -> StreamingQuery:
        """Follow each topic from its cut-off with the same transform."""
        transform = self.transform
        if ONLY in self.sources:  # of several topics none may remove copies
            known = read_archive(self.topic, event=self.event, before=cut_off[self.topic])
            transform = without_copies_of(known, transform, known, everywhere=self.real_time is not None)  # fmt: skip
        return self._follow(number, self._parts(number)[1], transform, cut_off)

    def _parts(self, number: int) -> tuple[str, str]:
        return f"{self.table}_batch_{number}", f"{self.table}_speed_{number}"

    def _merges(self) -> dict[str, Merge]:
        frames = {name: read_batch(source.topic, event=source.event) for name, source in self.sources.items()}  # fmt: skip
        return merges(applied(self.transform, frames), several=ONLY not in self.sources)
