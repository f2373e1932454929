"""The dead letter queue as a tool: listed, inspected, fixed and sent back, each dead letter once, nothing lost."""

import json
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from random import Random
from typing import Any, Final

import psutil
import pytest
from click.testing import CliRunner, Result
from kafka import KafkaProducer
from pyspark.sql import SparkSession

import rta
from rta.cli.app import main
from rta.dataframes import sources
from rta.dlq import queue, redriving
from rta.dlq.browse import NOTES, DeadLetterCount, find
from rta.dlq.dead_letter import DeadLetter
from rta.dlq.queue import FOREIGN
from rta.errors import BrokerError, InputError, TopicError
from rta.kafka import broker
from rta.testing import oracle
from tests.support.truth import KEY, true_totals
from tests.support.waiting import HANG, suspended

pytestmark = pytest.mark.kafka
Topic = Callable[..., str]
TOTALS: Final = partial(
    rta.transforms.totals, lateness="3650 days"
)  # what is redriven is not to be late here
HOW: Final[dict[str, Any]] = {"key": KEY, "event": rta.USER_EVENTS}
AMOUNT: Final = b'{"amount":2.50,'


def rta_dlq(*arguments: str, typed: str | None = None) -> Result:
    """Run `rta dlq …` in this process."""
    return CliRunner().invoke(main, ["dlq", *arguments], input=typed)


def user_event(number: int) -> dict[str, Any]:
    """Make one good event, a second after the one before."""
    when = datetime(2024, 11, 15, 10, tzinfo=UTC) + timedelta(seconds=number)
    return {"event_id": f"e{number}", "user_id": number % 7, "action": "view", "amount": 1.25,
            "timestamp": when.isoformat()}  # fmt: skip


def spoilt(number: int, kind: str) -> bytes | None:
    """Make a bad event of a kind."""
    event = user_event(number)
    if kind == "wrong_type":
        return json.dumps(event | {"amount": "many"}).encode()
    if kind == "missing":
        del event["amount"]
    text = json.dumps(event).encode()
    return {"missing": text, "truncated": text[:-9], "empty": b"", "null": None}[kind]


def poisoned(topic: str, rows: int, **kinds: int) -> None:
    """Publish good events, over all partitions, and between them so many bad ones of each kind."""
    bad = [spoilt(1_000 * rows + number, kind) for kind in kinds for number in range(kinds[kind])]
    good = [json.dumps(user_event(number)).encode() for number in range(rows)]
    values: list[bytes | None] = [*good, *bad]
    Random(7).shuffle(values)  # noqa: S311 - the same order each time
    partitions = len(rta.kafka.offsets(topic))
    for partition in range(partitions):
        sent_raw(topic, *values[partition::partitions], partition=partition)


def sent_raw(
    topic: str, *values: bytes | None, key: bytes | None = b"k", headers: Any = (), partition: int = 0
) -> None:  # fmt: skip
    """Put bytes onto a topic."""
    producer = KafkaProducer(bootstrap_servers=rta.kafka.bootstrap(), max_request_size=2**22)
    answers = [producer.send(topic, value, key, list(headers), partition) for value in values]
    for answer in answers:
        answer.get(HANG)
    producer.close()


def quarantine_new(topic: str, start: int = 0) -> None:
    """Send the bad events of a topic to its queue as a micro-batch does, without a table."""
    known = {partition: end for partition, (_, end) in rta.kafka.offsets(topic).items()}
    starts = dict.fromkeys(known, start)
    queue.send(sources.quarantined(topic, event=rta.USER_EVENTS, start=starts, end=known), topic)


def milliseconds(dead_letter: DeadLetter) -> int:
    """Return the time of the record that a dead letter was."""
    return round(dead_letter.kafka_timestamp.timestamp() * 1000)


def with_amount(dead_letter: DeadLetter) -> bytes | None:
    """Fix what lacks its amount, or has a word for it; leave the rest."""
    value = dead_letter.value or b""
    if dead_letter.reason == "missing: amount":
        return AMOUNT + value[1:]
    return value.replace(b'"many"', b"2.50") if dead_letter.reason == "wrong type: amount" else None


def test_dead_letters_are_what_was_quarantined(spark: SparkSession, topic: Topic) -> None:
    """Each bad event once, though its batch ran twice: bytes, key, time and origin are the topic's, the reason is said."""
    name = topic(partitions=3)
    poisoned(name, 60, wrong_type=7, missing=5, empty=3, null=2)
    quarantine_new(name)
    quarantine_new(name)
    found = rta.dlq.dead_letters(name)
    there = {(raw.partition, raw.offset): raw for raw in oracle.read_topic(name)}
    assert len(found) == 17 == len(oracle.read_topic(f"{name}.dlq")) // 2
    for dead_letter in found:
        raw = there[dead_letter.partition, dead_letter.offset]
        assert (dead_letter.topic, dead_letter.key, dead_letter.value) == (name, raw.key, raw.value)
        assert dead_letter.kafka_timestamp.timestamp() == raw.timestamp / 1000
        assert (dead_letter.attempts, dead_letter.headers, dead_letter.redriven) == (0, (), False)
    of_spark = rta.dlq.read_dead_letters(name).select("partition", "offset", "reason").collect()
    assert sorted(map(tuple, of_spark)) == sorted((x.partition, x.offset, x.reason) for x in found)
    assert rta.dlq.counts(name) == [
        DeadLetterCount("wrong type: amount", 7, 7), DeadLetterCount("missing: amount", 5, 5),
        DeadLetterCount("empty value", 3, 3), DeadLetterCount("null value", 2, 2),
    ]  # fmt: skip
    assert rta.dlq.dead_letters(name, reason="missing") == rta.dlq.dead_letters(
        name, reason="missing: amount"
    )
    assert rta.dlq.dead_letters(name, reason="miss") == []
    assert rta.dlq.dead_letters(name, limit=2) == found[:2]
    assert rta.dlq.dead_letters(name, limit=0) == rta.dlq.dead_letters(name, redriven=True) == []
    with pytest.raises(InputError):
        rta.dlq.dead_letters(name, limit=-1)


def test_no_queue_is_no_dead_letters_and_no_topic_is_an_error(topic: Topic) -> None:
    """Nothing was ever quarantined: nothing is listed or sent, no topic is made. A topic that is not there is said."""
    name = topic()
    assert (rta.dlq.dead_letters(name), rta.dlq.counts(name), rta.dlq.redrive(name).sent) == (
        [],
        [],
        0,
    )
    assert not [each.name for each in rta.kafka.list_topics() if each.name.startswith(f"{name}.")]
    for ask in (rta.dlq.dead_letters, rta.dlq.counts, rta.dlq.redrive):
        with pytest.raises(TopicError, match="there is no topic"):
            ask(name + "x")
    with pytest.raises(TopicError, match="no dead letter of"):
        find(name, 0, 0)


def test_fixed_in_bulk_the_table_is_the_truth(spark: SparkSession, topic: Topic) -> None:
    """Poisoned, drained, fixed, redriven, drained: every fixed event is used once, what was left stays; a second call sends nothing."""
    name, table = topic(), "letters_fixed"
    poisoned(name, 100, wrong_type=8, missing=6, truncated=3)
    rta.drain(name, TOTALS, table=table, **HOW)
    oracle.check_accounted(table, name, used=100, quarantined=17)

    would = rta.dlq.redrive(name, with_amount, dry_run=True)
    assert (would.sent, would.left, len(would.first)) == (14, 3, 5)
    assert f"14 dead letters would be sent back to '{name}'" in repr(would)
    assert rta.drain(name, TOTALS, table=table, **HOW).accounting.consumed == 0
    done = rta.dlq.redrive(name, with_amount)
    assert (done.sent, done.left, done.refused, done.before) == (14, 3, 0, 0)
    assert "14 dead letters sent back" in repr(done)

    taken = rta.drain(name, TOTALS, table=table, **HOW)
    assert (taken.accounting.consumed, taken.accounting.used) == (14, 14)
    assert oracle.differences(true_totals(name), table) == []
    oracle.check_accounted(table, name, used=114, quarantined=17)

    again = rta.dlq.redrive(name, with_amount)
    assert (again.sent, again.left, again.before) == (0, 3, 14)
    assert [dead_letter.reason for dead_letter in rta.dlq.dead_letters(name, redriven=False)] == [
        "broken JSON"
    ] * 3
    assert [count.still_open for count in rta.dlq.counts(name)] == [0, 0, 3]
    assert rta.drain(name, TOTALS, table=table, **HOW).accounting.consumed == 0


def test_what_is_bad_again_counts_its_attempts_and_stops(spark: SparkSession, topic: Topic) -> None:
    """Sent back unchanged, it is quarantined once more with its count, twice; the third time it is refused, aloud."""
    name, table = topic(partitions=2), "letters_attempts"
    own = [("trace", b"7"), ("rta.reason", b"of another queue")]
    sent_raw(name, b"{", b"{}", headers=own)
    for attempt in (0, 1, 2):
        taken = rta.drain(name, TOTALS, table=table, **HOW)
        assert (taken.accounting.consumed, taken.accounting.quarantined) == (2, 2)
        found = rta.dlq.dead_letters(name, redriven=False)
        assert [dead_letter.attempts for dead_letter in found] == [attempt, attempt]
        assert [dead_letter.headers for dead_letter in found] == [tuple(own), tuple(own)]
        assert {dead_letter.value for dead_letter in found} == {b"{", b"{}"}
        before = {f"{name}/0/{2 * attempt - 2 + place}" for place in (0, 1)} if attempt else {None}
        assert {dead_letter.redriven_from for dead_letter in found} == before
        if attempt < 2:
            assert rta.dlq.redrive(name, max_attempts=2).sent == 2
    stopped = rta.dlq.redrive(name, max_attempts=2)
    assert (stopped.sent, stopped.refused, stopped.before) == (0, 2, 4)
    assert "2 times: it was sent back 2 times already (max_attempts=2)" in repr(stopped)
    oracle.check_accounted(table, name, quarantined=6, used=0)
    assert rta.dlq.redrive(name, max_attempts=3, reason="broken JSON").sent == 1
    headers = oracle.read_topic(name)[-1].headers
    assert headers == [*own, ("rta.attempts", b"3"), ("rta.redriven-from", f"{name}/0/4".encode())]
    with pytest.raises(InputError, match="max_attempts"):
        rta.dlq.redrive(name, max_attempts=0)


def test_death_between_send_and_note_doubles_at_most(
    spark: SparkSession, topic: Topic, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dead in the second part, its events sent and not noted: the next call sends these twice, the others once, all at least once."""
    name, table = topic(partitions=1), "letters_death"
    poisoned(name, 40, missing=11)
    rta.drain(name, TOTALS, table=table, **HOW)
    monkeypatch.setattr(redriving, "CHUNK", 4)
    note, parts = redriving.RedriveProducer.note, iter(range(9))

    def dies(self: Any, arrived: Any) -> None:
        if next(parts) == 1:
            raise SystemExit("killed")
        note(self, arrived)

    with monkeypatch.context() as patch:
        patch.setattr(redriving.RedriveProducer, "note", dies)
        with pytest.raises(SystemExit):
            rta.dlq.redrive(name, with_amount)
    assert (rta.dlq.redrive(name, with_amount).sent, rta.dlq.redrive(name, with_amount).sent) == (
        7,
        0,
    )

    back = Counter(
        header for raw in oracle.read_topic(name) for header in raw.headers if "from" in header[0]
    )
    assert sorted(back.values()) == [1] * 7 + [2] * 4
    origins = {
        dead_letter.origin.encode() for dead_letter in rta.dlq.dead_letters(name, redriven=True)
    }
    assert {origin for _, origin in back} == origins
    assert len(origins) == 11

    def once(events: Any) -> Any:
        marked = rta.transforms.deduplicate(events, lateness="3650 days")
        return rta.transforms.totals(marked, lateness=None)

    rta.drain(name, once, table=f"{table}_once", **HOW)
    oracle.check_accounted(f"{table}_once", name, used=51, duplicate=4, quarantined=11)


@pytest.mark.usefixtures("spark")
def test_kafka_goes_silent_in_the_midst(topic: Topic, monkeypatch: pytest.MonkeyPatch) -> None:
    """The broker stops answering after the dead letters are read: one sentence; then it goes on, and none is missing."""
    name = topic(partitions=1)
    sent_raw(name, *(b"{%d" % number for number in range(6)))
    quarantine_new(name)
    monkeypatch.setattr(
        redriving, "TIMEOUT", 5.0
    )  # enough for a busy machine to note the first three
    process = psutil.Process(broker.up().pid)

    def silence(dead_letter: DeadLetter) -> bytes | None:
        if dead_letter.offset == 5:
            suspended(process)
        return b"fixed " + (dead_letter.value or b"")

    monkeypatch.setattr(redriving, "CHUNK", 3)
    try:
        with pytest.raises(
            BrokerError, match=r"Kafka does not answer; found: .*0 of 3 events"
        ) as away:
            rta.dlq.redrive(name, silence)
    finally:
        process.resume()
    assert "goes on with what is not noted" in str(away.value)
    assert len(rta.dlq.dead_letters(name, redriven=True)) == 3
    monkeypatch.setattr(redriving, "TIMEOUT", 30.0)
    assert (
        rta.dlq.redrive(name, lambda dead_letter: b"fixed " + (dead_letter.value or b"")).sent == 3
    )
    back = Counter(raw.value for raw in oracle.read_topic(name)[6:])
    assert set(back) == {b"fixed {%d" % number for number in range(6)}
    assert max(back.values()) <= 2


HOSTILE: Final[dict[str, bytes | None]] = {
    "html": b"<script>alert('x')</script><img src=x onerror=alert(1)>",
    "ansi": b"\x1b[2J\x1b]0;owned\x07\x9b31m red\r\n",
    "bidi": "{\u202eevil\u2066\u200b".encode(),
    "invalid": b"\xff\xfe\x00{",
    "huge": b"{" + b"x" * (2**20 - 100),
    "null": None,
    "empty": b"",
}


@pytest.mark.usefixtures("spark")
def test_any_payload_is_shown_harmlessly_and_comes_back_byte_for_byte(topic: Topic) -> None:
    """HTML, terminal escapes, bidi, invalid UTF-8, 1 MiB, null, null key, null header: escaped for people, whole for JSON and Kafka."""
    name = topic(partitions=2)
    for which, value in HOSTILE.items():
        sent_raw(name, value, key=which.encode() + b"\x1b[31m", headers=[("<b>\x1b", b"\x1b\xff")])
    spark = rta.spark()
    nothing = "CAST(NULL AS BINARY)"
    rta.publish(spark.sql(f"SELECT {nothing} key, {nothing} value, array(struct('n' key, {nothing} value)) headers"), name)  # fmt: skip
    quarantine_new(name)
    found = rta.dlq.dead_letters(name)
    assert len(found) == len(HOSTILE) + 1

    for dead_letter in found:
        place = str(dead_letter.partition), str(dead_letter.offset)
        page = dead_letter._repr_html_()
        assert "<script" not in page
        assert "<img" not in page
        assert len(page) < 4_000
        assert len(repr(dead_letter)) < 400
        seen = page + repr(dead_letter) + rta_dlq("inspect", name, *place).output
        assert all(c.isprintable() or c == "\n" for c in seen)
        told = json.loads(rta_dlq("inspect", name, *place, "--json").stdout)
        packed = told["value"] or {}
        whole = (
            packed["text"].encode() if "text" in packed else bytes.fromhex(packed.get("hex", ""))
        )
        assert (whole, told["value"] is None) == (
            dead_letter.value or b"",
            dead_letter.value is None,
        )
    assert all(c.isprintable() or c == "\n" for c in rta_dlq("list", name).output)
    assert "hex ff fe 00 7b" in rta_dlq("inspect", name, "0", "3").stdout
    assert "<script>alert('x')</script>" in rta_dlq("inspect", name, "0", "0").stdout
    assert len(rta_dlq("inspect", name, "0", "4").stdout) > 2**20 - 100

    assert rta.dlq.redrive(name).sent == len(found)
    raws = oracle.read_topic(name)
    back = {
        (dict(raw.headers)["rta.redriven-from"] or b"").decode(): raw
        for raw in raws
        if len(raw.headers) == 3
    }
    assert len(back) == len(found)
    for dead_letter in found:
        raw = back[dead_letter.origin]
        assert (raw.partition, raw.key, raw.value) == (
            dead_letter.partition,
            dead_letter.key,
            dead_letter.value,
        )
        assert (raw.headers[0], raw.timestamp) == (
            dead_letter.headers[0],
            milliseconds(dead_letter),
        )


@pytest.mark.usefixtures("spark")
def test_an_event_that_kafka_refuses_is_said_and_stays(topic: Topic) -> None:
    """A fix that makes it too large, one that raises, one of a wrong type: refused with the reason, the others are sent."""
    name = topic(partitions=1)
    sent_raw(name, b"{0", b"{1", b"{2", b"{3", b"{4", b"{5", b"{6")
    quarantine_new(name)
    # What gzip cannot pack: the broker's limit is for the packed batch.
    noise = os.urandom(3 * 2**20)

    def fix(dead_letter: DeadLetter) -> Any:
        made: dict[bytes | None, Any] = {b"{0": noise, b"{2": "text", b"{3": None}
        made[b"{4"] = replace(dead_letter, headers=(("a", "text"),))  # type: ignore[arg-type]
        made[b"{6"] = replace(dead_letter, kafka_timestamp=datetime(2024, 11, 15))  # noqa: DTZ001
        made[b"{5"] = replace(dead_letter, key=b"other", headers=(("a", None),))
        return made[dead_letter.value]

    done = rta.dlq.redrive(name, fix)
    assert (done.sent, done.left, done.refused) == (1, 1, 5)
    assert sorted(done.reasons.values()) == [1, 1, 1, 2]
    for words in (
        "max.message.bytes",
        "raised KeyError",
        "returned str",
        "headers are not",
    ):
        assert words in repr(done)
    assert [dead_letter.value for dead_letter in rta.dlq.dead_letters(name, redriven=True)] == [
        b"{5"
    ]
    [raw] = oracle.read_topic(name)[7:]
    assert (raw.key, raw.value) == (b"other", b"{5")
    assert dict(raw.headers)["a"] is None


@pytest.mark.usefixtures("spark")
def test_what_another_program_wrote_into_the_queue_is_a_dead_letter_too(topic: Topic) -> None:
    """No origin, or one that is none: it is listed by its place in the queue, can be sent back, and never steers where to."""
    name, other = topic(partitions=1), topic(partitions=1)
    sent_raw(name, b"{")
    quarantine_new(name)
    names = ("rta.reason", "rta.topic", "rta.partition", "rta.offset", "rta.kafka_timestamp")
    forged = [
        (b"broken JSON", other.encode(), b"0", b"7", b"0"),
        (b"\x1b[31m", b"../x", b"0", b"7", b"0"),
        (b"r", name.encode(), b"zero", b"7", b"0"),
        (b"r", name.encode(), b"0", b"7", b"9" * 30),
    ]
    sent_raw(f"{name}.dlq", b"plain", headers=[("rta.attempts", b"many")])
    for values in forged:
        sent_raw(f"{name}.dlq", b"forged", headers=list(zip(names, values, strict=True)))
    found = rta.dlq.dead_letters(name)
    assert [dead_letter.reason for dead_letter in found] == ["broken JSON", FOREIGN, "broken JSON", *[FOREIGN] * 3]  # fmt: skip
    assert [dead_letter.origin for dead_letter in found[1:]] == [
        f"{name}.dlq/0/1", f"{other}/0/7", *(f"{name}.dlq/0/{place}" for place in (3, 4, 5))
    ]  # fmt: skip
    assert rta.dlq.redrive(name).sent == 6
    assert oracle.read_topic(other) == []
    assert len(oracle.read_topic(name)) == 7
    assert rta.dlq.redrive(name).sent == 0


@pytest.mark.usefixtures("spark")
def test_a_topic_that_was_made_again_has_other_dead_letters(topic: Topic) -> None:
    """The same offset of a new topic is another event: it is listed beside the old one, and not taken for redriven."""
    name = topic(partitions=1)
    sent_raw(name, b"{old")
    quarantine_new(name)
    assert rta.dlq.redrive(name, lambda _: None).left == 1
    assert rta.dlq.redrive(name).sent == 1
    rta.kafka.delete_topic(name)
    rta.kafka.create_topic(name, partitions=1)
    sent_raw(name, b"{new")
    quarantine_new(name)
    assert [(x.offset, x.value, x.redriven) for x in rta.dlq.dead_letters(name)] == [
        (0, b"{old", True), (0, b"{new", False)
    ]  # fmt: skip
    assert rta.dlq.read_dead_letters(name).count() == 2
    assert find(name, 0, 0).value == b"{new"
    assert rta.dlq.redrive(name).sent == 1


def test_the_command_line_lists_inspects_and_redrives(spark: SparkSession, topic: Topic) -> None:
    """`rta dlq`: it asks before it sends; a text replacement is the fix; what is done is not done again."""
    name, table = topic(partitions=1), "letters_cli"
    poisoned(name, 40, wrong_type=6, truncated=2)
    rta.drain(name, TOTALS, table=table, **HOW)
    listed = rta_dlq("list", name, "--reason", "wrong type", "--limit", "2")
    assert listed.exit_code == 0, listed.output
    assert listed.stdout.splitlines()[0].split() == [
        "partition", "offset", "sent", "reason", "attempts", "redriven", "key", "value"
    ]  # fmt: skip
    assert listed.stdout.count("wrong type: amount") == 2
    assert "more than 2" in listed.stderr
    dead_letters = json.loads(rta_dlq("list", name, "--json").stdout)
    assert len(dead_letters) == 8
    one = next(each for each in dead_letters if each["reason"] == "wrong type: amount")
    counts = json.loads(rta_dlq("list", name, "--reasons", "--json").stdout)
    assert counts[0] == {"reason": "wrong type: amount", "dead_letters": 6, "still_open": 6}
    shown = rta_dlq("inspect", name, str(one["partition"]), str(one["offset"])).stdout
    assert f"{name}/0/{one['offset']}" in shown
    assert one["value"]["text"] in shown

    def redriven(*arguments: str, typed: str | None = None) -> Result:
        return rta_dlq("redrive", name, "--replace", '"many"', "3.25", *arguments, typed=typed)

    for answer in (redriven("--dry-run"), redriven(typed="n\n")):
        assert "6 dead letters would be sent back" in answer.stdout
        assert answer.stdout.count('"amount": 3.25') == 5
        assert len(oracle.read_topic(f"{name}.dlq")) == 8
        assert rta.dlq.dead_letters(name, redriven=True) == []
    assert redriven(typed="n\n").exit_code == 1
    assert redriven("--dry-run").exit_code == 0
    would = json.loads(redriven("--dry-run", "--json").stdout)
    assert (would["sent"], would["left"], would["dry_run"]) == (6, 2, True)
    assert would["first"][0]["topic"] == name
    asked = redriven(typed="y\n")
    assert f"6 dead letters sent back to '{name}' (2 left by the fix" in asked.stdout
    rta.drain(name, TOTALS, table=table, **HOW)
    assert oracle.differences(true_totals(name), table) == []
    oracle.check_accounted(table, name, used=46, quarantined=8)
    assert "0 dead letters sent back" in redriven("--yes").stdout
    assert "Send them" not in redriven().stdout
    assert len(json.loads(rta_dlq("list", name, "--open", "--json").stdout)) == 2
    assert rta.dlq.counts(name) == [
        DeadLetterCount("wrong type: amount", 6, 0), DeadLetterCount("broken JSON", 2, 2)
    ]  # fmt: skip
    assert name + NOTES in [each.name for each in rta.kafka.list_topics()]


def test_the_command_line_says_what_is_wrong(topic: Topic) -> None:
    """A missing topic, a dead letter that is not there: exit code 1 and a sentence; wrong usage: 2."""
    name = topic(partitions=1)
    assert "(none)" in rta_dlq("list", name).stderr
    missing = rta_dlq("list", name + "x")
    assert (missing.exit_code, "there is no topic" in missing.stderr) == (1, True)
    nobody = rta_dlq("inspect", name, "0", "7")
    assert (nobody.exit_code, f"rta dlq list {name}" in nobody.stderr) == (1, True)
    assert rta_dlq("inspect", name, "zero", "7").exit_code == 2
    assert rta_dlq("redrive", name, "--replace", "", "x").exit_code == 2
    assert rta_dlq("redrive", name, "--max-attempts", "0").exit_code == 2
    assert "0 dead letters would be sent" in rta_dlq("redrive", name).stdout
    assert json.loads(rta_dlq("redrive", name, "--yes", "--json").stdout)["sent"] == 0
    for command in ("list", "inspect", "redrive"):
        assert rta_dlq(command, "--help").exit_code == 0
