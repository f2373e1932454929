"""compare(): what each architecture has read is counted, and answers that differ say where."""

from collections.abc import Callable
from typing import Any, Final

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

import rta
from rta.errors import InputError
from tests.support.truth import KEY

pytestmark = pytest.mark.kafka
HOW: Final[dict[str, Any]] = {"key": KEY, "event": rta.USER_EVENTS}


def generous(events: DataFrame) -> DataFrame:
    """Add up more than there is, as a second codebase may."""
    return rta.transforms.totals(events.withColumn("amount", F.col("amount") + 1))


def test_events_read_are_those_of_the_topic(spark: SparkSession, topic: Callable[..., str]) -> None:
    """Kappa reads each event once, and once more in a replay; so does a batch view."""
    name = topic(partitions=2)
    rta.publish(rta.user_events(spark, rows=400), name, key="user_id")
    rta.kafka.publish_paced([{"event_id": "bad"}], name)
    with (
        rta.batch(name, rta.transforms.totals, table="costs_batch", **HOW) as bat,
        rta.kappa(name, rta.transforms.totals, table="costs_kappa", **HOW) as kap,
    ):
        bat.catch_up()
        kap.catch_up()
        before = rta.compare(bat, kap).rows.set_index("architecture")
        kap.replay(rta.transforms.totals).wait()
        kap.switch()
        after = rta.compare(kap).rows.set_index("architecture")
    assert before["events_read"].tolist() == [401, 401]
    assert after["events_read"]["kappa"] == 802
    assert (before["quarantined"] == 1).all()
    assert (before["cpu_s"] > 0).all()
    assert (before["freshness_p99_s"] >= before["freshness_p50_s"]).all()


def test_what_differs_is_shown(spark: SparkSession, topic: Callable[..., str]) -> None:
    """The first lines that are not in both."""
    name = topic(partitions=1)
    rta.publish(rta.user_events(spark, rows=200), name, key="user_id")
    with (
        rta.batch(name, rta.transforms.totals, table="drift_batch", **HOW) as bat,
        rta.kappa(name, generous, table="drift_kappa", **HOW) as kap,
    ):
        bat.catch_up()
        kap.catch_up()
        found = rta.compare(bat, kap)
    assert not found.equal
    [*lines, last] = found.differences["kappa"]
    assert [line[0] for line in lines] == ["-"] * 5
    assert last.startswith("… and ")
    assert "NOT equal" in found._repr_html_()
    assert found.rows["hash"].nunique() == 2


def test_only_architectures_of_one_topic(topic: Callable[..., str], spark: SparkSession) -> None:
    """Two topics have no answers to compare."""
    one, other = topic(partitions=1), topic(partitions=1)
    for name in (one, other):
        rta.publish(rta.user_events(spark, rows=5), name)
    with (
        rta.batch(one, rta.transforms.totals, table="one_topic", **HOW) as left,
        rta.batch(other, rta.transforms.totals, table="other_topic", **HOW) as right,
        pytest.raises(InputError, match="only architectures of one topic"),
    ):
        rta.compare(left, right)
