"""explain(): which engine can run an analysis, as what, and what each promises."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

from rta.engines import portable
from rta.engines.contract.proof import described
from rta.engines.contract.traits import Traits
from rta.engines.spark.realtime import following as realtime
from rta.engines.spark.realtime.materializer import unsupported
from rta.errors import QueryError
from rta.events.event_types import EventType
from rta.events.strict_json import supported
from rta.html import Facts, Marked
from rta.progress import waiting

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

SPARK: Final = Traits(
    guarantee="exactly once",
    late="dropped behind the watermark, counted and kept: rta.late()",
    latency="a micro-batch: a second",
)


@dataclass(frozen=True)
class EnginePlan:
    """What an engine makes of an analysis.

    Args:
        engine: Its name, as for rta.follow(engine=…).
        why_not: Why it cannot run it; None if it can.
        traits: What it promises.
        definition: What the analysis becomes there; empty if it cannot run it.
    """

    engine: str
    why_not: str | None
    traits: Traits
    definition: str = field(repr=False)

    @property
    def runs(self) -> bool:
        """Whether it can run it."""
        return self.why_not is None


def explain(transform: Callable[[DataFrame], DataFrame], event: EventType) -> Facts[EnginePlan]:
    """Tell which engine can run an analysis, as what, and what each promises.

    Args:
        transform: The analysis, DataFrame to DataFrame.
        event: The type of its events.

    Returns:
        A plan for each engine. `.definition` is Spark's plan, also that of its real-time mode, Flink's SQL, or the topology of Kafka Streams.

    Example:
        >>> plans = explain(lambda events: rta.transforms.totals(rta.transforms.deduplicate(events), lateness=None), rta.USER_EVENTS)
        >>> [(each.engine, each.why_not) for each in plans]
        [('spark', None), ('flink', 'the operator Deduplicate'), ('kafka-streams', 'the operator Deduplicate'), ('spark-realtime', None)]
    """
    with waiting("explaining"):
        try:
            query, refusal = described(transform, event), None
        except QueryError as error:
            query, refusal = None, str(error.found)
        plans = [EnginePlan(portable.SPARK, None, SPARK, _sparks(transform, event))]
        for name in portable.ENGINES:
            engine = portable.engine(name)
            why = refusal if query is None else supported(event) or engine.unsupported(query, event)
            made = "" if query is None or why else engine.definition(query, event)
            plans.append(EnginePlan(name, why, engine.TRAITS, made))
        plans.append(_in_real_time(transform, event, plans[0].definition))
    return Facts(plans, row=_row, note=".definition of one shows what the analysis becomes there")  # fmt: skip


def _in_real_time(transform: Callable[[DataFrame], DataFrame], event: EventType, plan: str) -> EnginePlan:  # fmt: skip
    """Return the plan of Spark's real-time mode; what its physical operators refuse is said when it starts."""
    from rta.dataframes.session import spark

    with TemporaryDirectory(prefix="rta-empty-") as folder:
        why = unsupported(transform(spark().readStream.schema(event.schema).json(folder)))
    return EnginePlan(realtime.SPARK_REALTIME, why, realtime.TRAITS, "" if why else plan)


def _row(plan: EnginePlan) -> dict[str, object]:
    runs: Any = Marked("yes", "good") if plan.runs else Marked(f"no: {plan.why_not}", "idle")
    return {
        "engine": plan.engine, "runs it": runs, "guarantee": plan.traits.guarantee, "late events": plan.traits.late,
        "latency": plan.traits.latency, "definition": f"{len(plan.definition.splitlines())} lines" if plan.definition else "",
    }  # fmt: skip


def _sparks(transform: Callable[[DataFrame], DataFrame], event: EventType) -> str:
    """Return Spark's own plan."""
    from rta.dataframes.internals import analyzed
    from rta.dataframes.session import spark

    empty = spark().createDataFrame([], event.schema)
    return str(analyzed(transform(empty)).toString())
