"""Safe by default, and with a cluster that is secured: a real one, with TLS, SCRAM and ACLs."""

import json
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from pyspark.errors import StreamingQueryException
from pyspark.sql import SparkSession

import rta
from rta.cli import doctor
from rta.cli.app import main
from rta.errors import RefusedError
from rta.kafka import client, tail
from rta.testing import oracle
from tests.support.secured import CORE, EVENT, PASSWORD, Secured
from tests.support.truth import KEY, true_totals
from tests.support.waiting import terminated

pytestmark = pytest.mark.kafka
HOW: dict[str, Any] = {"key": KEY, "event": rta.USER_EVENTS}
QUICK = {"fetchOffset.retryIntervalMs": "10"}  # Spark asks three times, a second apart
PROMPT = 120.0  # seconds for all that a test asks: each refusal takes below 4 on two quiet cores, so only a hang is longer
Case = tuple[str, dict[str, str], str]
WRONG_PASSWORD: Case = ("MAIN", {"SASL_PASSWORD": "guessed"}, "refuses this user with this pass")
EXPIRED: Case = ("OLD", {}, "certificate of the Kafka broker has expired")
OTHER_HOST: Case = ("OTHER", {}, "certificate of the Kafka broker is for another host name")
REFUSED = [WRONG_PASSWORD, EXPIRED, OTHER_HOST]
MISPLACED: list[Case] = [
    ("MAIN", {"SSL_CAFILE": ""}, "is not from a trusted authority"),
    ("MAIN", {"SASL_MECHANISM": "SCRAM-SHA-256"}, "does not support this SASL mechanism"),
    ("MAIN", {"SSL_CAFILE": __file__}, "is not valid PEM"),
    ("MUTUAL", {}, "requires a client certificate"),
]


@pytest.fixture(scope="module")
def cluster_of_ana(secured: Secured) -> Iterator[Secured]:
    """Let rta use the secured cluster as ana; on it are topics that she may not read, or not see."""
    with secured.used("INSIDE"):
        for name in ("seen-events", "hidden-events"):
            rta.kafka.create_topic(name, partitions=1)
        rta.kafka.publish_paced([EVENT] * 3, "seen-events")
    with secured.used():
        yield secured


def command(*arguments: str) -> str:
    """Run `rta …` in this process, and return what it printed."""
    answer = CliRunner().invoke(main, list(arguments))
    assert answer.exit_code == 0, answer.output
    return answer.stdout


def test_the_whole_way_through_tls_and_scram(spark: SparkSession, cluster_of_ana: Secured) -> None:
    """Publish, drain, read, look, count: all with ana's password, and with the rights of one prefix."""
    events = rta.events.poisoned(
        rta.user_events(spark, rows=300), share=0.05, kinds=["nan"]
    ).cache()
    bad = events.count() - 300
    rta.publish(events, "sec-way", order_by="reported_at")
    assert rta.kafka.publish_paced([EVENT] * 5, "sec-way").ok == 5
    rta.drain("sec-way", rta.transforms.totals, table="sec_way", **HOW)
    assert oracle.differences(true_totals("sec-way"), "sec_way") == []
    oracle.check_accounted("sec_way", "sec-way", used=305, quarantined=bad)
    assert rta.read_batch("sec-way", event=rta.USER_EVENTS).count() == 305
    assert rta.dlq.read_dead_letters("sec-way").count() == bad
    listed = {topic["name"]: topic["events"] for topic in json.loads(command("topics", "--json"))}
    assert listed.items() >= {"sec-way": 305 + bad, "sec-way.dlq": bad, "seen-events": 3}.items()
    assert "hidden-events" not in listed
    assert len(command("tail", "sec-way", "-n", "3").splitlines()) == 3
    assert rta.lag("sec-group") == []
    [broker] = [check for check in doctor.examine() if check.name == "broker"]
    assert f"{cluster_of_ana.address()}, SASL_SSL, {len(listed)} topics" in broker.detail


@pytest.mark.parametrize(("listener", "changed", "sentence"), REFUSED + MISPLACED)
def test_a_refusal_is_a_sentence_for_whoever_asks(
    secured: Secured, listener: str, changed: dict[str, str], sentence: str
) -> None:
    """Python's clients: listing, publishing, looking, and the command line say the same, soon, and are not retried."""
    began = time.monotonic()
    asks: list[Callable[[], Any]] = [
        rta.kafka.list_topics,
        lambda: rta.kafka.publish_paced([EVENT], "sec-refused"),
        lambda: list(tail.records("sec-refused")),
    ]
    with secured.used(listener, **changed):
        for ask in asks:
            with pytest.raises(RefusedError, match=sentence) as refused:
                ask()
            assert not refused.value.retriable
        told = CliRunner().invoke(main, ["--trace", "topics"])
    assert told.exit_code == 1
    assert sentence in told.stderr
    assert f"found: {secured.address(listener)}" in told.stderr
    assert CORE not in told.output
    assert time.monotonic() - began < PROMPT


@pytest.mark.parametrize(("listener", "changed", "sentence"), REFUSED)
def test_spark_is_refused_with_the_same_sentence(
    spark: SparkSession, cluster_of_ana: Secured, listener: str, changed: dict[str, str], sentence: str
) -> None:  # fmt: skip
    """What Java says over pages becomes the same sentence, from a sink and from a stream."""
    rta.kafka.create_topic("sec-spark", partitions=1)
    with cluster_of_ana.used(listener, **changed):
        refused = client.spark_options()
    events = rta.user_events(spark, rows=3)
    began = time.monotonic()
    with pytest.raises(RefusedError, match=sentence):
        rta.publish(events, "sec-spark", options=refused)
    with pytest.raises(RefusedError, match=sentence):
        rta.drain(
            "sec-spark", rta.transforms.totals, table="sec_spark", options=refused | QUICK, **HOW
        )
    assert time.monotonic() - began < PROMPT
    assert rta.kafka.offsets("sec-spark") == {0: (0, 0)}


def test_a_missing_right_to_a_topic_is_a_sentence(
    spark: SparkSession, cluster_of_ana: Secured
) -> None:
    """A topic that ana may see but not read, one that she may not see, one that she may not make: named, and by whom."""
    events = rta.user_events(spark, rows=3)
    asks: dict[str, list[Callable[[], Any]]] = {
        "seen-events": [
            lambda: list(tail.records("seen-events")),
            lambda: rta.kafka.publish_paced([EVENT], "seen-events"),
            lambda: rta.publish(events, "seen-events"),
            lambda: rta.read_batch("seen-events", event=rta.USER_EVENTS),
            lambda: rta.drain("seen-events", rta.transforms.totals, table="sec_denied", **HOW),
            lambda: rta.kafka.delete_topic("seen-events"),
        ],
        "hidden-events": [lambda: rta.kafka.offsets("hidden-events")],
        "new-events": [lambda: rta.kafka.create_topic("new-events")],
    }
    for name, each in asks.items():
        for ask in each:
            with pytest.raises(RefusedError, match=f"denies this user a topic; found: {name}, user ana; fix: .*ACL"):  # fmt: skip
                ask()
    assert rta.kafka.offsets("seen-events") == {0: (0, 3)}


def test_a_right_that_only_spark_lacks_is_the_same_sentence(
    spark: SparkSession, cluster_of_ana: Secured
) -> None:
    """A right that was taken away after rta had asked for it: said by publish(), and by health() of a query."""
    rta.kafka.publish_paced([EVENT], "sec-later")
    denied = "denies this user a topic; found: seen-events, user ana"
    with pytest.raises(RefusedError, match=denied):
        rta.publish(rta.user_events(spark, rows=3), "sec-later", options={"topic": "seen-events"})
    elsewhere = {"subscribe": "seen-events", "startingOffsets": "earliest"}
    query = rta.follow(
        "sec-later", rta.transforms.totals, table="sec_later", options=elsewhere, **HOW
    )
    with pytest.raises(StreamingQueryException):
        terminated(query)
    assert denied in (rta.health(query).error or "")


def test_a_missing_right_to_a_group_is_a_sentence(cluster_of_ana: Secured) -> None:
    """The lag of somebody else's consumer group."""
    with pytest.raises(
        RefusedError, match=r"a consumer group; found: others, user ana; fix: .*ACL"
    ):
        rta.lag("others")
    assert rta.lag("sec-mine") == []


def test_a_certificate_instead_of_a_password(
    spark: SparkSession, secured: Secured, tmp_path: Path
) -> None:
    """Mutual TLS: the same topic through Python and through Spark, which reads the key from its file."""
    certificate, key = secured.client_pem(spark, tmp_path)
    with secured.used("MUTUAL", SSL_CERTFILE=str(certificate), SSL_KEYFILE=str(key)):
        rta.publish(rta.user_events(spark, rows=3), "sec-mutual", partitions=1)
        assert rta.kafka.offsets("sec-mutual") == {0: (0, 3)}
        assert rta.read_batch("sec-mutual", event=rta.USER_EVENTS).count() == 3
        assert "PRIVATE" not in repr(client.spark_options())


def test_no_client_shows_the_password(
    spark: SparkSession, cluster_of_ana: Secured, caplog: pytest.LogCaptureFixture
) -> None:
    """Not in a repr of what clients get, in kafka-python's debug log, or in a plan of Spark's."""
    assert CORE not in repr(client.client_options())
    assert client.client_options()["sasl_plain_password"] == PASSWORD
    with caplog.at_level(logging.DEBUG, logger="kafka"):
        rta.kafka.publish_paced([EVENT], "sec-shown")
        assert list(tail.records("sec-shown"))
    assert "sasl_plain_password" in caplog.text
    stream = rta.read_stream("sec-shown", event=rta.USER_EVENTS)
    batch = rta.read_batch("sec-shown", event=rta.USER_EVENTS)
    plans = [frame._jdf.queryExecution().toString() for frame in (stream, batch)]
    assert "kafka.sasl.jaas.config=*********(redacted)" in plans[0]
    assert CORE not in caplog.text + "".join(plans)
