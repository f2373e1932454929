"""The second law can fail: each term is counted on its own, and a sum that does not hold is said aloud."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from confluent_kafka import Producer
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from sqlalchemy import Engine

import rta
from rta.engines.spark import checkpoints, exactly_once
from rta.engines.spark.lateness import Transform, operators
from rta.errors import AccountingWarning
from rta.kafka.topics import description
from rta.kafka.topics import topic_id as topic_id_of
from rta.store import database, ledger, serving, serving_tables
from rta.store.ledger import Accounting, Batch, flaws_said
from rta.testing import oracle
from tests.support.databases import create
from tests.support.schedule import once
from tests.support.truth import KEY

HOW: dict[str, Any] = {"key": KEY, "event": rta.USER_EVENTS}
COMMITTED = {"kafka.isolation.level": "read_committed"}


@pytest.mark.parametrize(
    ("terms", "said"),
    [
        ({"used": 4}, None),
        ({"used": 3, "late": 1}, None),
        ({"used": 3}, "consumed 4 ≠ 3, the sum: +1"),
        ({"used": -2, "duplicate": 6}, "used -2 is below 0; duplicate 6 is more than consumed 4"),
        ({"used": 9, "consumed": 9}, "consumed 9 is more than the 4 offsets read"),
    ],
)
def test_what_cannot_be_true_is_said(terms: dict[str, Any], said: str | None) -> None:
    """0 ≤ each term ≤ consumed ≤ offsets, and the sum: each breach has its words."""
    batch = Batch("q", 0, "t", {0: 10}, {0: 14}, **{"consumed": 4, **terms})
    assert batch.flaw == said
    assert Accounting.of([batch]).balanced == (said is None)


def test_two_flaws_that_cancel_each_other_are_still_flaws(engine: Engine) -> None:
    """One batch has an event too many, the next one too few: the sums agree, the law does not hold; SQL sees where."""
    schema = rta.spark().range(1).schema
    table = create("cancelled", schema, ["id"], on=engine)
    for number, used in enumerate((3, 1)):
        batch = Batch("q-cancelled", number, "t", {0: 2 * number}, {0: 2 * number + 2}, consumed=2, used=used)  # fmt: skip
        serving.commit_batch(engine, table, batch, [(number,)])
    found = serving.accounting("cancelled", on=engine)
    assert (found.difference, found.flawed, found.balanced) == (0, 2, False)
    assert "consumed 4 ≠ used 4" in repr(found)
    query = "SELECT batch_id, difference, flaw FROM rta_batches WHERE flaw IS NOT NULL AND query_id = 'q-cancelled' ORDER BY batch_id"
    told = serving.sql(query, on=engine)
    assert told["difference"].tolist() == [-1, 1]
    assert told["flaw"][1] == "consumed 2 ≠ 1, the sum: +1"
    assert "and 1 more" in flaws_said("cancelled", ledger.batches("cancelled", on=engine))
    serving_tables.drop("cancelled", on=engine)


@pytest.mark.kafka
def test_rows_that_are_no_events_are_not_passed_off_as_events(
    spark: SparkSession, topic: Callable[..., str]
) -> None:
    """Exploded before duplicates are dropped, rows are counted, not events: ≠, a warning, and the ledger tells by how much."""
    name = topic(partitions=1)
    rta.publish(rta.user_events(spark, rows=50), name)

    def exploded(events: DataFrame) -> DataFrame:
        items = events.withColumn("item", F.explode(F.array(F.lit(1), F.lit(1), F.lit(2))))
        return rta.transforms.totals(
            items.withWatermark("timestamp", "10 minutes").dropDuplicates(["event_id", "timestamp"]), lateness=None,
        )  # fmt: skip

    with pytest.warns(AccountingWarning, match="do not add up: batch 0: .*the sum: -100"):
        drained = rta.drain(name, exploded, table="exploded", **HOW)
    assert "consumed 50 ≠ used 50 + duplicate 100" in repr(drained.accounting)
    assert not rta.accounting("exploded").balanced


@pytest.mark.kafka
def test_what_a_transform_leaves_out_before_it_drops_copies_is_used(
    spark: SparkSession, topic: Callable[..., str]
) -> None:
    """A filter of its own, then a join with a static frame, then no copies: four counts, and they agree."""
    name = topic(partitions=1)
    rta.publish(rta.user_events(spark, rows=200, duplicates=0.3), name)
    kinds = spark.createDataFrame([("view",), ("purchase",)], "action STRING")

    def chosen(events: DataFrame) -> DataFrame:
        return rta.transforms.totals(rta.transforms.deduplicate(events.where("user_id % 2 = 0").join(F.broadcast(kinds), "action")), lateness=None)  # fmt: skip

    found = rta.drain(name, chosen, table="chosen", **HOW).accounting
    rows = oracle.run(
        "SELECT count(*) AS n, count(DISTINCT event_id) AS ids FROM events WHERE user_id % 2 = 0 AND action IN ('view', 'purchase')",
        events=oracle.events(name, rta.USER_EVENTS),
    ).to_pylist()[0]
    copies = rows["n"] - rows["ids"]
    assert copies > 5
    oracle.check_accounted("chosen", name, duplicate=copies, used=found.consumed - copies, late=0)


def _user_event(number: int, minute: int) -> bytes:
    at = f"2024-11-15T10:{minute:02d}:00Z"
    event = {"event_id": f"e{number}", "user_id": number % 2, "action": "view", "amount": 1, "timestamp": at}  # fmt: skip
    return json.dumps(event).encode()


def _transaction(producer: Producer, name: str, values: list[bytes], *, commit: bool) -> None:
    producer.begin_transaction()
    for value in values:
        producer.produce(name, value)
    producer.flush()
    producer.commit_transaction() if commit else producer.abort_transaction()


@pytest.mark.kafka
def test_f43_what_was_aborted_is_nowhere(spark: SparkSession, topic: Callable[..., str]) -> None:
    """Late and broken events, half of them aborted: counted, listed, quarantined and redriven are the committed ones alone."""
    name = topic(partitions=1)
    producer = Producer({"bootstrap.servers": rta.kafka.bootstrap(), "transactional.id": name})
    producer.init_transactions()
    on_time = [_user_event(number, 30 + number) for number in range(20)]
    early = [_user_event(100 + number, number) for number in range(3)]
    take: dict[str, Any] = {"table": "f43", "options": COMMITTED} | HOW
    for values in (on_time[:10], on_time[10:]):
        _transaction(producer, name, values, commit=True)
        rta.drain(name, rta.transforms.totals, **take)
    _transaction(producer, name, [*early, b"{broken"], commit=False)
    _transaction(producer, name, [early[0], b"{also"], commit=True)
    taken = rta.drain(name, rta.transforms.totals, **take).accounting
    assert (taken.consumed, taken.late, taken.quarantined, taken.used) == (2, 1, 1, 0)
    assert taken.balanced
    assert [bytes(dead_letter.value or b"") for dead_letter in rta.dlq.dead_letters(name)] == [
        b"{also"
    ]
    committed = rta.read_batch(name, event=rta.USER_EVENTS, options=COMMITTED)
    [late] = rta.late("f43")["offset"].tolist()
    assert late in {row["offset"] for row in committed.where("event_id = 'e100'").collect()}
    listed = rta.engines.late_events(name, rta.transforms.totals, table="f43", event=rta.USER_EVENTS, options=COMMITTED)  # fmt: skip
    assert [row["offset"] for row in listed.collect()] == [late]
    assert rta.dlq.redrive(name).sent == 1


def _plan(
    spark: SparkSession, name: str, place: str, transform: Transform = rta.transforms.totals
) -> exactly_once.Plan:
    """Return the plan of a query that counts totals of a topic."""
    source = rta.engines.Source(name, rta.USER_EVENTS)
    found = operators(source.stream(description(name), goes_on=False).transform(transform))
    return exactly_once.Plan({"": source}, {name: topic_id_of(name)}, transform, found, spark, place, database.engine(), None)  # fmt: skip


def _counted(name: str, dropped_late: int = 0, **counts: int) -> exactly_once.Counted:
    """Return what Spark would have counted: events of a topic, and rows that its only operator dropped."""
    dropped = exactly_once.OperatorMetrics(dropped_late)
    return exactly_once.Counted({f"rta_source:{name}": counts}, [dropped])


@pytest.mark.kafka
def test_f46_a_task_that_ran_twice_counts_once(
    spark: SparkSession, topic: Callable[..., str]
) -> None:
    """Spark has merged the counts of a retried task twice: known to have run again, they are counted anew; else it is said."""
    name = topic(partitions=1)
    rta.publish(rta.events.poisoned(rta.user_events(spark, rows=40), share=0.2), name)
    rta.drain(name, rta.transforms.totals, table="f46", **HOW)
    [true] = [batch for batch in ledger.batches("f46") if batch.consumed]
    place = str(rta.engines.spark.starting.checkpoint_of("f46"))
    plan = _plan(spark, name, place)
    spans = checkpoints.spans(spark, place, true.batch_id)
    doubled = _counted(name, consumed=2 * true.consumed, quarantined=2 * true.quarantined, good=2 * true.used)  # fmt: skip

    [known], _ = exactly_once.accounted(plan, spans, doubled, "q", 0, retried_tasks=True)
    assert known.flaw is None
    assert replace(known, query_id=true.query_id, table=true.table, rows=true.rows, committed_at=true.committed_at, batch_id=true.batch_id) == true  # fmt: skip
    [unknown], _ = exactly_once.accounted(plan, spans, doubled, "q", 0)
    read = f"consumed {2 * true.consumed} is more than the {true.consumed} offsets read"
    assert unknown.flaw == read


@pytest.mark.kafka
def test_late_rows_that_are_not_found_again_are_said(
    spark: SparkSession, topic: Callable[..., str]
) -> None:
    """Spark says that it has dropped rows as late, and the second read finds none: the sum alone would not tell."""
    name = topic(partitions=1)
    rta.publish(rta.user_events(spark, rows=10), name)
    rta.drain(name, rta.transforms.totals, table="not_again", **HOW)
    place = str(rta.engines.spark.starting.checkpoint_of("not_again"))
    plan = _plan(spark, name, place)
    counted = _counted(name, consumed=10, quarantined=0, good=10, dropped_late=2)
    [batch], _ = exactly_once.accounted(plan, checkpoints.spans(spark, place, 0), counted, "q", 0)
    assert batch.difference == 0
    assert batch.flaw == "Spark dropped 2 rows as late, and none of the events was found late again"


@pytest.mark.kafka
def test_late_rows_that_are_no_events_are_said(spark: SparkSession, topic: Callable[..., str]) -> None:  # fmt: skip
    """An operator behind another one drops what that has made: which events they were is not known, and the entry says of which operator."""
    name = topic(partitions=1)
    rta.publish(rta.user_events(spark, rows=10), name)
    rta.drain(name, once, table="not_known", **HOW)
    place = str(rta.engines.spark.starting.checkpoint_of("not_known"))
    plan = _plan(spark, name, place, once)
    assert [each.name for each in plan.operators] == ["Aggregate", "Deduplicate"]
    counts = {f"rta_source:{name}": {"consumed": 10, "quarantined": 0, "good": 10}, f"rta_rows:{name}:reached:1": {"reached": 10}}  # fmt: skip
    counted = exactly_once.Counted(counts, [exactly_once.OperatorMetrics(dropped_late=2), exactly_once.OperatorMetrics(passed=10)])  # fmt: skip
    [batch], _ = exactly_once.accounted(plan, checkpoints.spans(spark, place, 0), counted, "q", 0)
    assert (batch.used, batch.late, batch.difference) == (10, 0, 0)
    assert batch.flaw == "late: not known for Aggregate, which dropped 2 rows that are no events but made of them"  # fmt: skip
