"""compare_engines(): one analysis of one topic on each engine that can run it: the answers held to each other, and what each costs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from rta.architectures.comparison import differing
from rta.dataframes import sources
from rta.dataframes.internals import own_jvm
from rta.engines import following, portable
from rta.engines.contract.description import Description, Filter
from rta.engines.contract.expressions import Call, Column
from rta.engines.contract.proof import described
from rta.engines.explaining import EnginePlan, explain
from rta.engines.portable import SPARK
from rta.engines.spark.realtime.following import SPARK_REALTIME
from rta.errors import InputError, QueryError
from rta.events.event_types import EventType, event_type
from rta.html import table as html_table
from rta.kafka import client, topics
from rta.kafka.pace import Pace as Clock
from rta.kafka.paced import bounded_producer
from rta.progress import doing, waiting
from rta.store import database, ledger, serving, serving_tables
from rta.store.stored_types import storable
from rta.store.upserts import upsert

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd
    import psutil
    from pyspark.sql import DataFrame

    from rta.kafka.topics import TopicDescription

_SAMPLE: Final = 0.2  # seconds between two looks at memory
_POLL: Final = 0.02  # seconds between two looks at the table
_PATIENCE: Final = 60.0  # seconds for the last result


@dataclass(frozen=True)
class EngineComparison:
    """The result of compare_engines().

    Args:
        rows: One row for each engine that ran it.
        differences: Engine → the first rows that are not both in its answer and in that of Spark's batch.
        plans: What each engine makes of the analysis, those that cannot run it with the reason.
        latencies: Columns engine and seconds, one row for each event of the paced part; empty if it was left out.
    """

    rows: pd.DataFrame
    differences: Mapping[str, Sequence[str]]
    plans: Sequence[EnginePlan] = field(repr=False)
    latencies: pd.DataFrame = field(repr=False)

    @property
    def equal(self) -> bool:
        """Whether all answers are those of Spark's batch, row for row."""
        return not any(self.differences.values())

    def chart(self) -> alt.VConcatChart:
        """Draw speed, cost and latency side by side."""
        import altair as alt

        order = list(self.rows["engine"])
        name = alt.Y("engine:N").sort(order).title(None)
        colour = alt.Color("engine:N").sort(order).legend(None)

        def bars(column: str, title: str, form: str) -> Any:
            drawn = alt.Chart(self.rows).encode(alt.X(f"{column}:Q").title(title), name, tooltip=["engine:N", alt.Tooltip(f"{column}:Q", format=form)])  # fmt: skip
            return drawn.mark_bar().encode(colour) + drawn.mark_text(align="left", dx=4).encode(text=alt.Text(f"{column}:Q", format=form))  # fmt: skip

        parts = [
            bars("events_per_s", "events per second, drained", ",.0f").properties(title="How fast?", height=80),
            bars("cpu_s", "CPU seconds of the engine's JVM", ",.1f").properties(title="At what cost?", height=80),
        ]  # fmt: skip
        if len(self.latencies):
            waited = alt.X("seconds:Q").scale(type="log").title("seconds from append to the table")
            ticks = alt.Chart(self.latencies).mark_tick(opacity=0.3).encode(waited, name, colour)
            parts.append(ticks.properties(title="How fresh?", height=80))
        return alt.vconcat(*parts)

    def _repr_html_(self) -> str:
        said = "equal to Spark's batch, row for row" if self.equal else "NOT equal"
        names, *facts = [[name, *self.rows[name]] for name in self.rows]
        left = [[each.engine, f"cannot run it: {each.why_not}"] for each in self.plans if not each.runs]  # fmt: skip
        differing = [[name, line] for name, found in self.differences.items() for line in found]
        return f"<p>The answers are <b>{said}</b>.</p>{html_table(facts, names)}{html_table([*left, *differing])}"

    def __repr__(self) -> str:
        return f"{self.rows.T.to_string(header=False)}\n{'equal' if self.equal else dict(self.differences)}"


def compare_engines(
    topic: str,
    transform: Callable[[DataFrame], DataFrame],
    *,
    key: Sequence[str],
    event: EventType | None = None,
    engines: Sequence[str] | None = None,
    rate: int | None = None,
    seconds: float = 10,
) -> EngineComparison:
    """Run an analysis of a topic on each engine that can, one after the other, and compare answers and costs.

    The rows of the result have, for each engine:

    - equal: whether its answer is that of Spark's batch over the same topic, row for row.
    - start_s: seconds until the query runs; drain_s: from then until all of the topic is in the table; events_per_s: of the drain.
    - cpu_s and memory_mb: CPU seconds and the peak memory of the engine's JVM meanwhile.
    - used, late, quarantined: where the events went.
    - latency_p50_s, latency_p99_s: only with `rate`: from append until a reader of the table sees the event counted.
    - lines: of its definition; guarantee: what it promises.

    Spark runs in the session of this kernel, which is warm; Flink is warm if it runs already; Kafka Streams starts each time.

    Args:
        topic: The topic; nothing is written to it.
        transform: The analysis.
        key: The columns of the result that identify a row.
        event: The type of the events; by default the one with the name of the topic.
        engines: Only these.
        rate: Events per second of a second part, which measures latency: the topic's own records are sent to a copy of it. It needs a
            COUNT(*) of all events in the result.
        seconds: The length of that part.

    Raises:
        InputError: `rate` is given, and the result does not count all events.

    Example:
        >>> _ = rta.publish(rta.user_events(spark, rows=20), "doc-engines", key="user_id", partitions=1)
        >>> compare_engines("doc-engines", rta.transforms.totals, key=["window", "user_id"], event=rta.USER_EVENTS, engines=["spark"]).equal
        True
    """
    kind = event or event_type(topic)
    counted = _counted(described(transform, kind)) if rate else None
    if rate and counted is None:
        raise InputError("latency is measured by a count of all events", found="no COUNT(*), or a filter before it", fix="leave out rate, or add F.count('*') to agg(…)")  # fmt: skip
    pace = Pace(rate, seconds, counted) if rate and counted else None
    with waiting(f"comparing engines over {topic}"):
        # Real-time mode answers as Spark does, and holds its task slots: benchmarks measure it on its own.
        plans = [plan for plan in explain(transform, kind) if plan.engine != SPARK_REALTIME]
        chosen = tuple(engines or [plan.engine for plan in plans])
        return _compared(topic, Run(transform, kind, tuple(key), chosen), plans, pace)


def _compared(topic: str, what: Run, plans: Sequence[EnginePlan], pace: Pace | None) -> EngineComparison:  # fmt: skip
    import pandas as pd

    found, differences, waits, told = [], {}, [pd.DataFrame({"engine": [], "seconds": []})], list[EnginePlan]()  # fmt: skip
    with _scratch() as fresh:
        answer = _truth(topic, what, fresh("batch"))
        for plan in plans:
            told.append(plan)
            if not (plan.runs and plan.engine in what.engines):
                continue
            doing(plan.engine)
            how = replace(what, engine=plan.engine)
            try:
                row, given = _drained(how, topic, fresh(plan.engine))
            except (
                QueryError
            ) as error:  # of these events, perhaps: the others can still be compared
                told[-1] = replace(plan, why_not=str(error.found or error))
                continue
            differences[plan.engine] = differing(answer, given)
            row |= {"equal": not differences[plan.engine], "lines": len(plan.definition.splitlines()), "guarantee": plan.traits.guarantee}  # fmt: skip
            if pace is not None:
                doing(f"{plan.engine}: latency")
                waited = _latency(how, topic, fresh(plan.engine), pace)
                row |= {"latency_p50_s": waited.quantile(0.5), "latency_p99_s": waited.quantile(0.99)}  # fmt: skip
                waits.append(pd.DataFrame({"engine": plan.engine, "seconds": waited}))
            found.append(row)
    return EngineComparison(pd.DataFrame(found).round(3), differences, told, pd.concat(waits))


@dataclass(frozen=True)
class Pace:
    """So many events a second, for so many seconds, are seen by the column that counts them."""

    rate: int
    seconds: float
    counted: str


@dataclass(frozen=True)
class Run:
    """What is run, and where."""

    transform: Callable[[DataFrame], DataFrame]
    event: EventType
    key: tuple[str, ...]
    engines: tuple[str, ...]
    engine: str = SPARK

    def follow(self, topic: str, table: str) -> Any:
        """Start the query."""
        return following.follow(topic, self.transform, table=table, key=self.key, event=self.event, engine=self.engine)  # fmt: skip

    def processes(self) -> list[psutil.Process]:
        """Return the engine's JVM, as soon as there is one."""
        import psutil

        if self.engine == SPARK:
            pids = [found.pid] if (found := own_jvm()) else []
        else:
            pids = portable.engine(self.engine).processes()
        return [psutil.Process(pid) for pid in pids]


@contextmanager
def _scratch() -> Iterator[Callable[[str], str]]:
    """Lend names for tables and topics; what was made under them is removed at the end."""
    made: list[str] = []

    def fresh(what: str) -> str:
        made.append(f"compare_{what.replace('-', '_')}_{uuid4().hex[:8]}")
        return made[-1]

    try:
        yield fresh
    finally:
        for name in made:
            following.reset(name)
            topics.delete_topic(name, missing_ok=True)


def _truth(topic: str, what: Run, table: str) -> pd.DataFrame:
    """Return the answer of Spark's batch, as a table has it."""
    frame = sources.read_batch(topic, event=what.event).transform(what.transform)
    made = serving_tables.make(serving_tables.planned(table, frame.schema, what.key))
    with database.writing(database.engine()) as connection:
        upsert(connection, made, storable(frame).toArrow())
    return serving.read(table)


def _drained(how: Run, topic: str, table: str) -> tuple[dict[str, Any], pd.DataFrame]:
    """Drain the topic on one engine; return what it cost, and the answer."""
    with _watched(how) as cost:
        began = time.monotonic()
        query = how.follow(topic, table)
        started = time.monotonic()
        query.processAllAvailable()
        ended = time.monotonic()
        query.stop()
    told = ledger.summed(table)
    return {
        "engine": how.engine, "start_s": started - began, "drain_s": ended - started, "events_per_s": round(told.consumed / (ended - started)),
        **cost, "used": told.used, "late": told.late, "quarantined": told.quarantined,
    }, serving.read(table)  # fmt: skip


@contextmanager
def _watched(how: Run) -> Iterator[dict[str, float]]:
    """Measure CPU seconds and peak memory of the engine's JVM while the block runs."""
    import psutil

    cost: dict[str, float] = {"cpu_s": 0.0, "memory_mb": 0.0}
    before = {each.pid: sum(each.cpu_times()[:2]) for each in how.processes()}
    over = threading.Event()

    def look() -> None:
        spent: dict[int, float] = {}
        while not over.wait(_SAMPLE):
            with suppress(psutil.Error):
                here = how.processes()
                spent |= {each.pid: sum(each.cpu_times()[:2]) - before.get(each.pid, 0.0) for each in here}  # fmt: skip
                cost["memory_mb"] = max(cost["memory_mb"], sum(each.memory_info().rss for each in here) / 1e6)  # fmt: skip
                cost["cpu_s"] = sum(spent.values())

    watching = threading.Thread(target=look, daemon=True)
    watching.start()
    yield cost
    over.set()
    watching.join()


def _latency(how: Run, topic: str, name: str, pace: Pace) -> pd.Series[float]:
    """Send records of the topic to a copy of it at a pace; return how long each waited until a reader of the table saw it counted.

    The n-th event is seen when the table counts n events.
    """
    import pandas as pd

    description = topics.description(topic)
    topics.create_topic(name, partitions=description.partitions)
    records = [*islice(_records(description), round(pace.rate * pace.seconds))]
    query = how.follow(name, name)
    total = f'SELECT COALESCE(SUM("{pace.counted}"), 0) AS seen FROM "{name}"'  # noqa: S608 - checked names
    sent: list[float] = []
    seen: list[float] = []
    sender = threading.Thread(target=_send, args=(name, records, pace.rate, sent), daemon=True)
    sender.start()
    deadline = time.monotonic() + pace.seconds + _PATIENCE
    while len(seen) < len(records) and time.monotonic() < deadline:
        seen += [time.time()] * (int(serving.sql(total)["seen"][0]) - len(seen))
        time.sleep(_POLL)
    sender.join()
    query.stop()
    waits = [after - before for before, after in zip(sent, seen, strict=False)]
    return pd.Series(waits + [float("nan")] * (len(sent) - len(seen)))


def _records(topic: TopicDescription) -> Iterator[Any]:
    """Yield the records of a topic, those of one partition after those of another."""
    from kafka import TopicPartition

    with closing(client.consumer(auto_offset_reset="none")) as reader:
        for partition, (first, end) in topic.ranges.items():
            yield from client.until(reader, TopicPartition(topic.name, partition), first, end)


def _send(topic: str, records: Sequence[Any], rate: int, sent: list[float]) -> None:
    """Send records at a rate, each with its intended time: one that is sent late has waited from then on."""
    with bounded_producer(_PATIENCE, linger_ms=1) as producer:
        clock = Clock(rate)
        for record in records:
            due = clock.wait(None)
            client.send(producer, topic, record.value, record.key, record.headers, partition=record.partition)  # fmt: skip
            sent.append((due or 0) / 1e6)


def _counted(query: Description) -> str | None:
    """Return the column that counts all events; None if there is none."""
    in_time = Call(
        "isnotnull", (Column(query.window.column, "timestamp"),), "boolean"
    )  # Spark's own
    filtered = any(isinstance(step, Filter) and step.condition != in_time for step in query.steps)
    if filtered or not query.window.tumbles:
        return None
    counts = {each.name for each in query.aggregates if each.function == "count" and each.of is None}  # fmt: skip
    return next((name for name, old in query.taken.items() if old in counts), None)
