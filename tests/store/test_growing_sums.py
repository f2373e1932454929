"""What is asked of the ledger each second is the same as all of it added up, and costs what is new."""

import datetime as dt
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine

from rta.store import database, growing_sums, ledger, serving_tables
from rta.store.catalog import BATCHES
from rta.store.ledger import Accounting, Batch

TERMS = st.tuples(*[st.integers(0, 3)] * 5)
STEPS = st.lists(st.tuples(st.sampled_from(["q1", "q2"]), st.lists(TERMS, min_size=1, max_size=2), st.sampled_from(["look", "on", "drop"])), max_size=12)  # fmt: skip


def by_hand(engine: Engine, query: str) -> Accounting:
    """Add up the entries of a query in Python."""
    return Accounting.of(ledger.batches(query_id=query, on=engine))


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=20
)
@given(steps=STEPS)
def test_they_are_the_sums_of_all_entries(engine: Engine, steps: list[Any]) -> None:
    """However often one looks, whatever comes between, and when a table was dropped and its query's id is used again."""
    numbers = dict.fromkeys(("q1", "q2"), 0)
    for query, topics, then in steps:
        with database.writing(engine) as connection:
            for topic, terms in enumerate(topics):
                assert ledger.enter(connection, f"of_{query}", Batch(query, numbers[query], f"t{topic}", {}, {}, None, *terms))  # fmt: skip
        numbers[query] += 1
        if then == "drop":
            with database.writing(engine) as connection:
                serving_tables.forget(connection, f"of_{query}")
            numbers[query] = 0
        if then != "on":
            assert growing_sums.summed_on(query, on=engine) == by_hand(engine, query)
    both = Accounting.added(by_hand(engine, each) for each in numbers)
    assert growing_sums.summed_on(*numbers, on=engine) == both
    assert ledger.summed("of_q1", "of_q2", on=engine) == both
    for query, number in numbers.items():
        with database.writing(engine) as connection:
            serving_tables.forget(connection, f"of_{query}")
        assert not number or growing_sums.summed_on(query, on=engine) == Accounting()


@given(
    queries=st.dictionaries(st.text("ab", min_size=1, max_size=3), st.integers(1, 4), max_size=5)
)
@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=20
)
def test_the_newest_batch_of_each_query(engine: Engine, queries: dict[str, int]) -> None:
    """The index leads from one query to the next; none is missed, and none of another table is taken."""
    with database.writing(engine) as connection:
        for query, many in queries.items():
            for number in range(many):
                ledger.enter(connection, "mine", Batch(query, number, "t"))
        ledger.enter(connection, "another", Batch("aaaa", 9, "t"))
    found = {each.query_id: each.batch_id for each in ledger.newest("mine", on=engine)}
    assert found == {query: many - 1 for query, many in queries.items()}
    with database.writing(engine) as connection:
        for table in ("mine", "another"):
            serving_tables.forget(connection, table)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_look_costs_what_is_new(engine: Engine) -> None:
    """SQLite's own count of what it does: after ten thousand micro-batches a look does no more than after a hundred."""
    steps = [0]

    @sa.event.listens_for(engine, "checkout")
    def _counted(connection: Any, *_: object) -> None:
        def more() -> None:
            steps[0] += 1

        connection.set_progress_handler(more, 10)

    def look() -> int:
        before = steps[0]
        growing_sums.summed_on("q", on=engine)
        ledger.newest("t", on=engine)
        ledger.offsets("t", on=engine)
        return steps[0] - before

    entry = {"query_id": "q", "table_name": "t", "topic": "clicks", "start_offsets": {}, "end_offsets": {"0": 5}, "committed_at": dt.datetime.now(dt.UTC)}  # fmt: skip
    entry |= dict.fromkeys(("consumed", "used", "duplicate", "late", "quarantined", "rows"), 1)

    def fill(numbers: range) -> None:
        with database.writing(engine) as connection:
            connection.execute(BATCHES.insert(), [entry | {"batch_id": number} for number in numbers])  # fmt: skip

    took = []
    for numbers in (range(100), range(101, 10_000)):
        fill(numbers)
        look()
        fill(range(numbers.stop, numbers.stop + 1))
        took.append(look())
    assert growing_sums.summed_on("q", on=engine) == ledger.summed("t", on=engine)
    assert took[1] <= took[0] + 5, took
