"""Clients that are not ours: every codec is read, every record comes back byte for byte, topics are made, transactions are respected."""

import json
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from itertools import product
from typing import Any, Final

import pytest
from confluent_kafka import Producer
from kafka import TopicPartition
from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F

import rta
from rta.architectures.archives import all_archived
from rta.dlq.dead_letter import DeadLetter
from rta.dlq.queue import FOREIGN, NAMES
from rta.engines import changelog
from rta.errors import TopicError
from rta.kafka import client, tail
from rta.testing import oracle
from tests.dlq.test_dead_letters import milliseconds, quarantine_new, sent_raw, user_event
from tests.support.truth import KEY
from tests.support.waiting import HANG, terminated

pytestmark = pytest.mark.kafka
Topic = Callable[..., str]
CODECS: Final = ("none", "gzip", "snappy", "lz4", "zstd")
HEADERS: Final[list[tuple[str, bytes | None]]] = [
    ("null", None), ("empty", b""), ("twice", b"\x00\xff\xfe"), ("twice", b"again"), ("schlüssel-\u202e", b"\xc3"), ("", b"x"),
]  # fmt: skip
LONG_AGO: Final = 1_400_000_000_123  # milliseconds: in 2014, with a fraction
# (key, value, headers), none of them an event: they meet every path, also that of the bad.
AWKWARD: Final = [
    (key, value, headers)
    for key, value in product((None, b"", b"\xff\x00key"), (None, b"", b"\xff\xfe\x00{"))
    for headers in ([], HEADERS)
]


def foreign(**options: Any) -> Producer:
    """Open a producer of librdkafka."""
    return Producer({"bootstrap.servers": rta.kafka.bootstrap(), "linger.ms": 20, **options})


def sent(
    records: Sequence[tuple[Any, Any, Any]], topic: str, *, timestamp: int = 0, codec: str = "none"
) -> None:
    """Put records onto partition 0 of a topic, at a time in milliseconds; 0 is now."""
    producer = foreign(**{"compression.type": codec})
    for key, value, headers in records:
        producer.produce(topic, value, key, 0, timestamp=timestamp, headers=headers)
    assert producer.flush(HANG) == 0


def raws(topic: str) -> list[tuple[Any, Any, Any]]:
    """Read all records of a topic by another road: key, value, headers."""
    return [(raw.key, raw.value, list(raw.headers)) for raw in oracle.read_topic(topic)]


def as_sent(record: Any) -> tuple[Any, Any, Any]:
    """Return key, value and headers of a dead letter or of Spark's row, as Python has them."""

    def raw(value: Any) -> bytes | None:
        return None if value is None else bytes(value)

    return raw(record.key), raw(record.value), [(name, raw(v)) for name, v in record.headers or ()]


def raw_frame(spark: SparkSession) -> DataFrame:
    """Make a frame of the awkward records, as Spark's own Kafka source gives it."""
    columns = "key binary, value binary, headers array<struct<key:string,value:binary>>, number int"
    return spark.createDataFrame(
        [(*record, number) for number, record in enumerate(AWKWARD)], columns
    )


def test_every_codec_is_read_everywhere(spark: SparkSession, topic: Topic) -> None:
    """Batches of each codec on one topic, its queue and a results topic: read_batch, tail, dead letters, redrive and the reader of results take all."""
    name = topic(partitions=1)
    event = json.dumps(user_event(1)).encode()
    for codec in CODECS:
        batch: list[Any] = [
            (b"k", event, []),
            (b"k", b"{" * 3_000, []),
            (b"k", b"{" + b"0" * 900_000, []),
        ]
        sent(batch, name, codec=codec)
    assert rta.read_batch(name, event=rta.USER_EVENTS).count() == len(CODECS)
    assert len(list(tail.records(name, count=99))) == 3 * len(CODECS)
    quarantine_new(name)
    queue = f"{name}.dlq"
    for codec in CODECS:
        sent([(b"k", b"!" * 3_000, [])], queue, codec=codec)
    assert len(rta.dlq.dead_letters(name)) == 3 * len(CODECS)
    assert rta.dlq.redrive(name, lambda _: event).sent == 3 * len(CODECS)
    assert rta.read_batch(name, event=rta.USER_EVENTS).count() == 4 * len(CODECS)

    found = changelog.opened(changelog.note("foreign_codecs"))
    for codec in CODECS:
        sent([(None, b'{"n":%d}' % n, []) for n in range(200)], found.topic, codec=codec)  # fmt: skip
    with closing(changelog.reading(found)) as reader:
        [place] = reader.assignment()
        taken: list[Any] = []
        while reader.position(place) < reader.end_offsets([place])[place]:
            taken += reader.poll(timeout_ms=500).get(place, [])
    assert [record.value for record in taken] == [b'{"n":%d}' % n for n in range(200)] * len(CODECS)
    changelog.forget("foreign_codecs")


def test_what_is_published_arrives_byte_for_byte(spark: SparkSession, topic: Topic) -> None:
    """Null, empty and binary keys and values, null, repeated and non-ASCII headers: by both ways, in order, with the constant headers behind."""
    frame = raw_frame(spark)
    constant, one = {"mine": None, "app": "rta"}, partial(topic, partitions=1)
    last: list[Any] = [("mine", None), ("app", b"rta")]
    expected = [(key, value, [*headers, *last]) for key, value, headers in AWKWARD]
    rta.publish(frame, bulk := one(), order_by="number", headers=constant)
    assert raws(bulk) == expected
    rta.publish(frame, plain := one(), order_by="number")
    assert raws(plain) == AWKWARD
    done = rta.kafka.publish_paced(frame.orderBy("number").drop("number"), paced := one(), headers=constant)  # fmt: skip
    assert done.ok == len(AWKWARD), done
    assert [(key, value, headers[:-1]) for key, value, headers in raws(paced)] == expected
    keyed = rta.kafka.publish_paced([{"k": None}, {"k": True}], one(), key="k")
    assert (keyed.ok, [key for key, _, _ in raws(keyed.topic)]) == (2, [None, b"true"])


def test_a_bad_event_comes_back_byte_for_byte_at_its_time(
    spark: SparkSession, topic: Topic
) -> None:
    """Quarantined, listed, archived, redriven as it is and fixed: bytes, headers and the record's time stay; the fix changes what it names."""
    name = topic(partitions=1)
    sent(AWKWARD, name, timestamp=LONG_AGO)
    quarantine_new(name)
    found = rta.dlq.dead_letters(name)
    assert [as_sent(dead_letter) for dead_letter in found] == AWKWARD
    assert {milliseconds(dead_letter) for dead_letter in found} == {LONG_AGO}
    terminated(rta.architectures.archive(name, event=rta.USER_EVENTS))
    kept = all_archived(name, rta.USER_EVENTS).orderBy("offset").collect()
    assert [as_sent(row) for row in kept] == AWKWARD

    def fix(dead_letter: DeadLetter) -> Any:
        later = replace(dead_letter, kafka_timestamp=dead_letter.kafka_timestamp.replace(year=2015))
        return later if dead_letter.offset == 0 else dead_letter.value or b"{}" if dead_letter.offset % 2 else dead_letter  # fmt: skip

    assert rta.dlq.redrive(name, fix).sent == len(AWKWARD)
    back = oracle.read_topic(name)[len(AWKWARD) :]
    wanted = [(k, v or b"{}" if at % 2 else v, h) for at, (k, v, h) in enumerate(AWKWARD)]
    assert [(raw.key, raw.value, list(raw.headers[:-2])) for raw in back] == wanted
    assert [raw.headers[-2][0] for raw in back] == ["rta.attempts"] * len(AWKWARD)
    assert [raw.timestamp for raw in back] == [1_431_536_000_123, *[LONG_AGO] * (len(AWKWARD) - 1)]


def test_relay_sends_what_the_transform_made_byte_for_byte(
    spark: SparkSession, topic: Topic
) -> None:
    """A result with value, key and headers is sent as it is, like a frame of publish()."""
    name, into = topic(partitions=1), topic(partitions=1)
    rta.publish(rta.user_events(spark, rows=1), name)

    def awkward(events: DataFrame) -> DataFrame:
        return events.select("user_id").crossJoin(F.broadcast(raw_frame(spark))).select("key", "value", "headers")  # fmt: skip

    query = rta.engines.relay(name, awkward, into=into, event=rta.USER_EVENTS, real_time=None)
    try:
        query.processAllAvailable()
    finally:
        query.stop()
    assert sorted(map(repr, raws(into))) == sorted(map(repr, AWKWARD))


class Bytes(str):
    """A header's name that is no UTF-8."""

    __slots__ = ()

    def encode(self, *_: Any) -> bytes:
        """Return the bytes."""
        return b"\xff\xfename"


def test_foreign_records_in_the_queue_are_listed_as_foreign_by_both(
    spark: SparkSession, topic: Topic
) -> None:
    """Dead letters and read_dead_letters agree, row for row, whatever another program wrote: none, half or malformed headers, or names that are no UTF-8."""
    name = topic(partitions=1)
    sent_raw(name, b"{")
    quarantine_new(name)
    ours = [b"broken JSON", name.encode(), b"0", b"7", b"1700000000000"]
    queue = f"{name}.dlq"
    wrong: dict[int, list[bytes | None]] = {
        0: [None, b"", b"\xff", b"\x1b[31m"], 1: [b"../x", b"..", b"a b", b"n" * 250], 2: [b"zero", b"-1", b"1_0", b" 1", b"9" * 10, None],
        3: [b"\xd9\xa3", b"9" * 30, b""], 4: [b"now", b"9" * 15],
    }  # fmt: skip
    forged = [[*ours[:at], value, *ours[at + 1 :]] for at in wrong for value in wrong[at]]
    names = [f"rta.{each}" for each in NAMES]
    told: list[list[tuple[str, bytes | None]]] = [
        [], [("rta.attempts", b"many")], list(zip(names[:4], ours[:4], strict=True)), list(zip(names[::-1], ours[::-1], strict=True)),
        *(list(zip(names, values, strict=True)) for values in forged), [("x", None), *zip(names, ours, strict=True)],
    ]  # fmt: skip
    with closing(client.producer(enable_idempotence=False)) as producer:
        last: list[tuple[str, bytes | None]] = [(Bytes("name"), b"\xff")]
        for headers in [*told, told[-1], last]:
            client.send(producer, queue, b"foreign", None, headers)
    found = rta.dlq.dead_letters(name)
    assert len(found) == len(told) + 2
    known = [dead_letter for dead_letter in found if dead_letter.reason != FOREIGN]
    assert [(dead_letter.offset, dead_letter.value) for dead_letter in known] == [
        (0, b"{"),
        (7, b"foreign"),
    ]
    assert [dead_letter.origin for dead_letter in found if dead_letter.reason == FOREIGN] == [
        f"{queue}/0/{at}" for at in range(1, len(told) + 3) if at not in {len(told), len(told) + 1}
    ]
    assert found[-1].headers == (("\ufffd\ufffdname", b"\xff"),)

    def row(each: DeadLetter | Row) -> tuple[Any, ...]:
        return each.topic, each.partition, each.offset, each.reason, each.key, each.value

    listed = rta.dlq.read_dead_letters(name).orderBy(F.col("topic").desc(), "offset").collect()
    listed = [Row(**{**r.asDict(), "value": bytes(r.value), "key": r.key and bytes(r.key)}) for r in listed]  # fmt: skip
    assert sorted(map(row, listed)) == sorted(map(row, found))
    assert rta.dlq.read_dead_letters(name).groupBy("topic").count().count() == 2
    assert len(list(tail.records(queue, count=99))) == len(told) + 3


def test_a_producer_makes_its_topic_and_a_reader_makes_none(
    spark: SparkSession, topic: Topic
) -> None:
    """confluent-kafka publishes to a topic that nobody made: there it is, as rta makes one; a name that is mistyped when read stays an error."""
    name, typo = topic() + ".new", topic() + ".typo"
    sent([(b"k", json.dumps(user_event(n)).encode(), []) for n in range(3)], name)
    assert rta.read_batch(name, event=rta.USER_EVENTS).count() == 3
    assert len(rta.kafka.offsets(name)) == 4
    for ask in (
        lambda: rta.read_batch(typo, event=rta.USER_EVENTS), lambda: rta.read_stream(typo, event=rta.USER_EVENTS),
        lambda: rta.drain(typo, rta.transforms.totals, table="foreign_typo", key=KEY, event=rta.USER_EVENTS),
        lambda: list(tail.records(typo)), lambda: rta.dlq.dead_letters(typo), lambda: rta.dlq.redrive(typo), lambda: rta.kafka.offsets(typo),
        lambda: rta.engines.relay(name, rta.transforms.totals, into=typo, event=rta.USER_EVENTS, real_time=None),
    ):  # fmt: skip
        with pytest.raises(TopicError, match="there is no topic"):
            ask()
    with closing(client.consumer()) as reader:
        assert reader.partitions_for_topic(typo) == set()
        reader.subscribe([typo])
        assert reader.poll(timeout_ms=500) == {}
    assert rta.dlq.read_dead_letters(name).count() == 0
    assert [
        each.name for each in rta.kafka.list_topics() if each.name.startswith((name, typo))
    ] == [name]


def test_nothing_uncommitted_is_a_dead_letter(spark: SparkSession, topic: Topic) -> None:
    """A transaction that was aborted, and one that is open, in the queue: not listed, not sent back; the committed one is. tail shows what Spark reads."""
    name = topic(partitions=1)
    sent_raw(name, b"{")
    quarantine_new(name)
    producer = foreign(**{"transactional.id": name})
    producer.init_transactions(HANG)

    def transaction(value: bytes) -> None:
        producer.begin_transaction()
        producer.produce(f"{name}.dlq", value)
        assert producer.flush(HANG) == 0

    transaction(b"aborted")
    producer.abort_transaction(HANG)
    transaction(b"committed")
    producer.commit_transaction(HANG)
    transaction(b"open")
    try:
        # Who waits for the open one gives up in the end, with an error.
        assert [dead_letter.value for dead_letter in rta.dlq.dead_letters(name)] == [
            b"{",
            b"committed",
        ]
        assert rta.dlq.read_dead_letters(name).count() == 2
        assert rta.dlq.redrive(name).sent == 2
        newest = [record.value for record in tail.records(f"{name}.dlq", count=4)]
        assert newest == ["{", "aborted", "committed", "open"]
    finally:
        producer.abort_transaction(HANG)
    assert rta.dlq.redrive(name).sent == 0
    with closing(client.consumer()) as reader:
        place = TopicPartition(name, 0)
        back = [record.value for record in client.until(reader, place, 1, reader.end_offsets([place])[place])]  # fmt: skip
    assert back == [b"{", b"committed"]
