"""For each kind of query: random events, out of order, late, doubled, in random cuts: stream == batch == plain Python."""

from dataclasses import replace
from datetime import UTC, datetime
from itertools import count
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

import rta
from rta.engines import Source
from tests.support.query_kinds import KINDS, Kind
from tests.support.two_topics import (
    BUYS,
    VIEWS,
    Pair,
    Row,
    minutes,
    publish,
    require_accounted,
    rows,
    truth,
)

pytestmark = pytest.mark.kafka
FOREVER: Final = datetime.max.replace(tzinfo=UTC)
_numbers = count(1)


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
@settings(max_examples=2, deadline=None)
@given(seed=st.integers(0, 2**32), cut=st.integers(4, 9))
def test_stream_equals_batch_equals_plain_python(spark: SparkSession, kind: Kind, seed: int, cut: int) -> None:  # fmt: skip
    """Two examples of each kind."""
    hold(kind, seed, cut)


@pytest.mark.soak
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32), cut=st.integers(1, 30))
def test_stream_equals_batch_equals_plain_python_again_and_again(spark: SparkSession, kind: Kind, seed: int, cut: int) -> None:  # fmt: skip
    """As many as one has patience for."""
    hold(kind, seed, cut)


def hold(kind: Kind, seed: int, cut: int) -> None:
    """Drain random events in micro-batches of at most so many; compare the table with the batch and with plain Python."""
    table = f"kinds_{next(_numbers)}"
    pair = Pair(f"{table}-views", f"{table}-buys")
    named = {"views": (pair.views, VIEWS, "view"), "buys": (pair.buys, BUYS, "buy")}
    read = {name: named[name] for name in (("views", "buys") if kind.two else ("views",))}
    for number, (topic, _, what) in enumerate(read.values()):
        rta.kafka.create_topic(topic, partitions=1)
        publish(topic, what, minutes(seed + number, 18), seed + number)
    how: dict[str, Any] = {"table": table, "key": kind.key, "mode": kind.mode}
    if kind.two:
        sources = {name: Source(topic, event, max_events_per_batch=cut) for name, (topic, event, _) in read.items()}  # fmt: skip
        rta.drain(sources, kind.transform, **how)
    else:
        rta.drain(pair.views, kind.transform, event=VIEWS, max_events_per_batch=cut, **how)
    found = truth(table, {topic: pair.events_of(topic) for topic, _, _ in read.values()}, kind.ends)
    copies = {t: len(kept) - len({e.name for e in kept}) for t, kept in found.kept.items()}
    require_accounted(table, found, bad=0, **(copies if kind.copies else {}))
    assert rows(table, *kind.columns) == sorted(kind.truth(found, pair))
    frames = {name: on_time(rta.read_batch(topic, event=event), found.late[topic]) for name, (topic, event, _) in read.items()}  # fmt: skip
    same = kind.batch or kind.transform
    batch = same(**frames) if kind.two else same(frames["views"])
    assert flat(batch, kind.columns) == sorted(kind.truth(replace(found, closed=FOREVER), pair))


def on_time(events: DataFrame, late: set[int]) -> DataFrame:
    """Leave the late events out."""
    return events.where(~F.col("offset").isin([*late])) if late else events


def flat(frame: DataFrame, columns: tuple[str, ...]) -> list[Row]:
    """Return the rows of a batch as its table would have them, sorted."""
    named = [F.col(name if name in frame.columns else name.replace("_", ".")).alias(name) for name in columns]  # fmt: skip
    return sorted(tuple(row.values()) for row in frame.select(*named).toArrow().to_pylist())
