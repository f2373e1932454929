"""compare(): one transform of a topic as several architectures: whether the answers are equal, how fresh they are, and what they cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

from rta.architectures.base import Architecture
from rta.charts import durations
from rta.dataframes import sources
from rta.dataframes.task_metrics import spent
from rta.engines.spark.late_reading import late
from rta.errors import InputError
from rta.events.type_checks import ORIGIN
from rta.html import table
from rta.progress import waiting
from rta.store import ledger
from rta.store.ledger import Batch

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd

_SHOWN: Final = 5
_MARKS: Final = 900  # events in the chart
_LEAST: Final = 0.001  # seconds: where the chart's axis begins


@dataclass(frozen=True)
class Comparison:
    """The result of compare().

    Args:
        rows: One row for each architecture.
        differences: Architecture → the first rows that are not both in its answer and in the first one.
        freshness: Columns architecture and seconds, one row for each event.
    """

    rows: pd.DataFrame
    differences: Mapping[str, Sequence[str]]
    freshness: pd.DataFrame

    @property
    def equal(self) -> bool:
        """Whether all answers are the same, row for row."""
        return not any(self.differences.values())

    def chart(self) -> alt.VConcatChart:
        """Draw freshness and cost side by side."""
        import altair as alt

        order = list(self.rows["architecture"])
        name = alt.Y("architecture:N").sort(order).title("architecture")
        colour = alt.Color("architecture:N").sort(order).legend(None)
        # If two clocks differ, an event may seem to be visible before it arrived: its mark is at the left end.
        known = self.freshness.assign(seconds=self.freshness["seconds"].clip(lower=_LEAST)).dropna()
        events = known.sample(min(len(known), _MARKS), random_state=1)
        waited = durations("seconds", known["seconds"], title="time from append to visible")
        marks = alt.Chart(events).mark_tick(opacity=0.35).encode(
            waited, name, colour, tooltip=[alt.Tooltip("architecture:N"), alt.Tooltip("seconds:Q", format=",.3f")]
        )  # fmt: skip
        median = alt.Chart(known.groupby("architecture", as_index=False).median()).encode(
            waited, name, tooltip=[alt.Tooltip("architecture:N"), alt.Tooltip("seconds:Q", title="median seconds", format=",.3f")]
        )  # fmt: skip
        some = f" ({_MARKS:,} of {len(known):,})" if len(known) > _MARKS else ""
        fresh = (marks + median.mark_tick(color="black", thickness=3)).properties(
            title=alt.Title("How fresh is the answer?", subtitle=f"Each mark is an event{some}; black: the median"), height=90
        )  # fmt: skip
        cpu = alt.X("cpu_s:Q").title("CPU seconds of Spark's tasks so far")
        seconds = alt.Tooltip("cpu_s:Q", title="CPU seconds", format=",.1f")
        bars = alt.Chart(self.rows).encode(cpu, name, tooltip=["architecture:N", seconds])
        cost = bars.mark_bar().encode(colour) + bars.mark_text(align="left", dx=4).encode(text=alt.Text("cpu_s:Q", format=",.1f"))  # fmt: skip
        return alt.vconcat(fresh, cost.properties(title="What did it cost so far?", height=90))

    def _repr_html_(self) -> str:
        said = "equal, row for row" if self.equal else "NOT equal"
        names, *facts = [[name, *self.rows[name]] for name in self.rows]
        differing = [[name, line] for name, found in self.differences.items() for line in found]
        lines = table(differing) if differing else ""
        return f"<p>The answers are <b>{said}</b>.</p>{table(facts, names)}{lines}"

    def __repr__(self) -> str:
        return f"{self.rows.T.to_string(header=False)}\n{'equal' if self.equal else dict(self.differences)}"


def compare(*architectures: Architecture, since: datetime | None = None) -> Comparison:
    """Compare architectures over one topic. Nothing is recomputed, so first let each catch_up().

    The rows of the result have, for each architecture:

    - used, duplicate, late, quarantined: its accounting. late_corrected: events that were late, by the version that contains them now;
      each is a row of rta.late().
    - freshness_p50_s, freshness_p99_s: seconds from the Kafka timestamp of a record to the commit of the first micro-batch, or batch
      view, that showed it, as far as these objects have seen it. NaN in real-time mode: an event is visible milliseconds after it
      arrived, but recorded only when its interval ends.
    - events_read: by all micro-batches and batch views, those of a replay and of deleted versions included.
    - cpu_s: CPU seconds of Spark's tasks in this process, for tables and archive (architectures of one topic share the archive, which
      counts for each of them).
    - history_again_s: seconds of the newest recompute(), or replay that was waited for, in this process.

    Args:
        architectures: Two or more of one topic.
        since: Only events with a later Kafka timestamp count for freshness, so that a backlog does not.

    Raises:
        InputError: If they are of different topics.

    Example:
        >>> _ = rta.publish(rta.user_events(spark, rows=20), "doc-compare", partitions=1)
        >>> how = {"key": ["window", "user_id"], "event": rta.USER_EVENTS}
        >>> with rta.batch("doc-compare", rta.transforms.totals, table="doc_compare_b", **how) as b, rta.kappa("doc-compare", rta.transforms.totals, table="doc_compare_k", **how) as k:
        ...     b.catch_up(); k.catch_up()
        ...     compare(b, k).equal
        True
    """
    if len({wired.topic for wired in architectures}) != 1:
        found = sorted({wired.topic for wired in architectures})
        raise InputError(
            "only architectures of one topic can be compared",
            found=found,
            fix="give two or more of one topic",
        )
    if len(architectures[0].sources) > 1:
        raise InputError(
            "architectures of several topics are not compared", found=architectures[0].topic,
            fix="compare what rta.read(…) returns of each",
        )  # fmt: skip
    with waiting("comparing " + ", ".join(wired.table for wired in architectures)):
        return _compared(architectures, since)


def _compared(architectures: Sequence[Architecture], since: datetime | None) -> Comparison:
    import pandas as pd

    answers = [wired.read() for wired in architectures]
    records = _good_records(architectures[0])
    if since is not None:
        records = records[records["kafka_timestamp"] >= pd.to_datetime(since, utc=True)]
    rows, differences, fresh = [], {}, []
    for wired, answer in zip(architectures, answers, strict=True):
        shown = _shown(wired)
        waited = _waited(records, [] if wired.real_time else shown)
        rows.append(_row(wired, answer, waited, shown))
        fresh.append(pd.DataFrame({"architecture": wired.architecture, "seconds": waited}))
        if answer is not answers[0]:
            differences[wired.architecture] = differing(answers[0], answer)
    return Comparison(pd.DataFrame(rows), differences, pd.concat(fresh))


def _row(
    wired: Architecture, answer: pd.DataFrame, waited: pd.Series[float], shown: Sequence[Batch]
) -> dict[str, Any]:
    accounting, owners = wired.accounting(), {batch.table for batch in shown}
    if wired.architecture != "kappa":
        owners.add(f"archive of {wired.topic}")
    return {
        "architecture": wired.architecture,
        "rows": len(answer),
        "hash": sha256(answer.to_csv(index=False).encode()).hexdigest()[:12],
        "used": accounting.used, "duplicate": accounting.duplicate, "late": accounting.late,
        "quarantined": accounting.quarantined, "late_corrected": _corrected(wired),
        "freshness_p50_s": round(waited.quantile(0.5), 3), "freshness_p99_s": round(waited.quantile(0.99), 3),
        "events_read": sum(batch.consumed for batch in shown),
        "cpu_s": round(sum(map(spent, owners)), 1),
        "history_again_s": round(wired.reprocessed, 1),
        "tables": len(wired.view.parts) if wired.view else 0,
        "after_a_crash": wired.after_a_crash,
    }  # fmt: skip


def _corrected(wired: Architecture) -> str:
    """Say how many events that were late are in the answer now, and which version contains them."""
    counts = late(wired.table)["corrected_by"].value_counts(sort=False)
    return ", ".join(f"{count:,} by {by}" for by, count in counts.items()) or "none"


def differing(left: pd.DataFrame, right: pd.DataFrame) -> list[str]:
    """Return the first rows that are in only one of two answers."""
    if left.equals(right):
        return []
    lefts, rights = (set(side.astype(str).itertuples(index=False, name=None)) for side in (left, right))  # fmt: skip
    lines = [f"- {row}" for row in sorted(lefts - rights)]
    lines += [f"+ {row}" for row in sorted(rights - lefts)]
    more = len(lines) - _SHOWN
    return lines[:_SHOWN] + ([f"… and {more:,} more"] if more > 0 else [])


def _good_records(wired: Architecture) -> pd.DataFrame:
    """Read partition, offset and kafka_timestamp of each good event."""
    import pandas as pd

    found = sources.read_batch(wired.topic, event=wired.event).select(*ORIGIN[1:]).toPandas()
    return found.assign(kafka_timestamp=pd.to_datetime(found["kafka_timestamp"], utc=True))


def _shown(wired: Architecture) -> list[Batch]:
    """List the batches that the answer was made from, the oldest first."""
    versions = wired.view.versions.values() if wired.view else ()
    parts = {part for version in versions for part in version.parts}
    there = [batch for part in parts for batch in ledger.batches(part)]
    return sorted([*wired.shown, *there], key=lambda batch: str(batch.committed_at))


def _waited(records: pd.DataFrame, batches: Sequence[Batch]) -> pd.Series[float]:
    """Return how many seconds each record waited for the first batch that has it, without records that are in none."""
    import pandas as pd

    waits, seen = [], dict[int, int]()
    for batch in batches:
        for partition, end in batch.end_offsets.items():
            start = max(batch.start_offsets.get(partition, 0), seen.get(partition, 0))
            seen[partition] = max(end, seen.get(partition, 0))
            here = records[
                (records["partition"] == partition) & records["offset"].between(start, end - 1)
            ]
            stamp = pd.Timestamp(batch.committed_at)  # type: ignore[arg-type]
            waits.append((stamp - here["kafka_timestamp"]).dt.total_seconds())
    return pd.Series([each for wait in waits for each in wait], dtype="float64")
