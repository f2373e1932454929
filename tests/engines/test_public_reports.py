"""What people have reported of queries over streams, each with the right value; those about reading events are in tests/dataframes.

The numbers are those of Spark's tickets, or of the pull request in which the fault is told. Their addresses are in docs/bad-and-late-events.md.
"""

from collections.abc import Callable, Mapping
from datetime import timedelta

import pytest
from pyspark.sql import DataFrame

import rta
from rta.engines import Source
from tests.kafka.test_foreign import foreign
from tests.support.two_topics import BUYS, START, VIEWS, joined, marked, rows
from tests.support.waiting import HANG

pytestmark = pytest.mark.kafka


def seen(number: int, user: int, minute: int) -> Mapping[str, object]:
    """Make a view."""
    return {"view_id": f"v{number}", "user_id": user, "seen_at": START + timedelta(minutes=minute)}


def test_an_outer_join_puts_out_each_row_once(topic: Callable[..., str]) -> None:
    """SPARK-26154: a row that had a partner came without one, too. SPARK-49829: one that came and went in one micro-batch never came."""
    views, buys = topic(partitions=1), topic(partitions=1)
    events = [seen(0, 1, 0), seen(1, 1, 200), seen(2, 7, 100), seen(3, 1, 201)]
    bought = [(1, 0), (1, 200), (2, 200), (2, 201)]
    rta.kafka.publish_paced(events, views)
    rta.kafka.publish_paced([{"buy_id": "b", "user_id": user, "bought_at": START + timedelta(minutes=at)} for user, at in bought], buys)  # fmt: skip
    one_by_one = {"views": Source(views, VIEWS, max_events_per_batch=1), "buys": Source(buys, BUYS, max_events_per_batch=1)}  # fmt: skip
    drained = rta.drain(one_by_one, joined("left"), table="report_outer", key=["view", "buy"])
    # The third view is older than the watermark that its own micro-batch evicts by, and not late.
    assert rows("report_outer", "view", "buy", "user_id") == [(0, 0, 1), (1, 1, 1), (2, -1, 7)]
    assert (drained.accounting.used, drained.accounting.late) == (8, 0)


def test_what_is_shown_of_a_view_without_copies_does_not_change_which_are_there(topic: Callable[..., str]) -> None:  # fmt: skip
    """SPARK-50492: without the event time in the result the query ended. SPARK-58979: or took late events; then they are no late ones."""
    name = topic(partitions=1)
    rta.kafka.publish_paced([seen(0, 1, 60), seen(0, 1, 60), seen(1, 1, 61), seen(2, 1, 0)], name)

    def within(views: DataFrame) -> DataFrame:
        return marked(views).dropDuplicatesWithinWatermark(["view_id"]).select("view_id")

    def ever(views: DataFrame) -> DataFrame:
        return marked(views).dropDuplicates(["view_id"])

    for table, transform in (
        ("report_within", within),
        ("report_kept", lambda views: ever(views).select("view_id", "seen_at")),
        ("report_gone", lambda views: ever(views).select("view_id")),
    ):
        told = rta.drain(name, transform, table=table, event=VIEWS, max_events_per_batch=1).accounting  # fmt: skip
        there = [row[0] for row in rows(table, "view_id")]
        assert told.balanced
        assert (len(there), told.used, told.duplicate) == (told.used, 3 - told.late, 1), table
        assert there == ["v0", "v1", "v2"][: len(there)]
    assert rta.accounting("report_within").late == 1


def test_offsets_without_an_event_bring_none_twice(topic: Callable[..., str]) -> None:
    """SPARK-25214: with failOnDataLoss=false, events behind a gap came twice. SPARK-23685: without it, the query ended at the gap."""
    name = topic(partitions=1)
    producer = foreign(**{"transactional.id": name})
    producer.init_transactions(HANG)
    ends = (producer.commit_transaction, producer.abort_transaction)
    for number in range(8):
        producer.begin_transaction()
        event = seen(number, 1, number)
        producer.produce(name, rta.events.json_format.json_text(event))
        assert producer.flush(HANG) == 0
        ends[number % 2](HANG)
    for lost in ("true", "false"):
        options = {"kafka.isolation.level": "read_committed", "failOnDataLoss": lost}
        table = f"report_gaps_{lost}"
        told = rta.drain(name, lambda views: views.select("view_id"), table=table, event=VIEWS, max_events_per_batch=3, options=options).accounting  # fmt: skip
        assert [row[0] for row in rows(table, "view_id")] == ["v0", "v2", "v4", "v6"]
        assert (told.consumed, told.used, told.lost) == (4, 4, 0)
