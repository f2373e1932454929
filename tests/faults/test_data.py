"""Faults in the data: null, copies, disorder, clocks, zones, a schema that changes; the oracle says what is right."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from itertools import cycle
from types import SimpleNamespace
from typing import Any, Final
from zoneinfo import ZoneInfo

import kafka
import psutil
import pyarrow as pa
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StringType, StructType

import rta
from rta.dataframes.producer import DeliveryReport
from rta.errors import QueryError
from rta.kafka import broker
from rta.store import ledger
from rta.testing import oracle
from tests.support.truth import KEY, late_places, setting, true_totals
from tests.support.waiting import HANG

pytestmark = pytest.mark.kafka
HOW: Final[dict[str, Any]] = {"key": KEY, "event": rta.USER_EVENTS}
FIVE_MINUTES: Final = timedelta(minutes=5)


def on_time(late: set[tuple[int, int]]) -> str:
    """Write the SELECT of the oracle's events without the late ones."""
    places = ", ".join(map(str, sorted(late))) or "(-1, -1)"
    return f'SELECT * FROM events WHERE (partition, "offset") NOT IN ({places})'


def listed_late(
    topic: str, table: str, transform: Callable[[DataFrame], DataFrame]
) -> set[tuple[int, int]]:
    """List the late events that rta tells: those that were kept, the same as those that are derived anew."""
    rows = rta.engines.late_events(topic, transform, table=table, event=rta.USER_EVENTS)
    anew = {tuple(row) for row in rows.select("partition", "offset").distinct().collect()}
    kept = rta.late(table)
    assert set(zip(kept["partition"], kept["offset"], strict=True)) == anew
    assert len(kept) == len(anew)
    return anew


def reasons(topic: str) -> list[tuple[str, bytes | None]]:
    """List what the dead letter queue of a topic holds: reason and value."""
    found = rta.dlq.read_dead_letters(topic).select("reason", "value").collect()
    return sorted(((r, None if v is None else bytes(v)) for r, v in found), key=repr)


def test_f23_null_value_and_null_key(spark: SparkSession, topic: Callable[..., str]) -> None:
    """A null value is quarantined as one, with its key; a null key is a good event's right: none is dropped."""
    name = topic()
    good = rta.user_events(spark, rows=200)
    rta.publish(good.where("user_id % 2 = 0"), name, key="user_id")
    rta.publish(good.where("user_id % 2 = 1"), name)  # without any key
    text = "key STRING, value STRING"
    rta.publish(spark.createDataFrame([("k", None), (None, None), (None, "")], text), name)

    rta.drain(name, rta.transforms.totals, table="f23", **HOW)

    assert sum(raw.key is None for raw in oracle.read_topic(name)) > 50
    assert oracle.differences(true_totals(name), "f23") == []
    oracle.check_accounted("f23", name, used=200, quarantined=3)
    assert reasons(name) == [("empty value", b""), ("null value", None), ("null value", None)]
    kept = [(raw.key, raw.value) for raw in oracle.read_topic(f"{name}.dlq")]
    assert sorted(kept, key=repr) == [(None, None), (None, b""), (b"k", None)]


def test_f26_copies_beyond_the_horizon_are_counted(
    spark: SparkSession, topic: Callable[..., str]
) -> None:
    """A copy is a duplicate while the watermark remembers its event, and late after: never counted twice."""
    name = topic()
    events = rta.user_events(
        spark, rows=500, rate=0.1, duplicates=0.2, duplicate_delay="40 minutes"
    )
    rta.publish(events, name, order_by="reported_at")
    copies = len(oracle.read_topic(name)) - 500

    def once(rows: DataFrame) -> DataFrame:
        return rta.transforms.totals(rta.transforms.deduplicate(rows), lateness=None)

    rta.drain(name, once, table="f26_beyond", max_events_per_batch=100, **HOW)

    late = late_places(name, "f26_beyond", delay=timedelta(minutes=10), window=None)
    assert 10 < len(late) < copies - 10
    counts = {"used": 500, "late": len(late), "duplicate": copies - len(late)}
    oracle.check_accounted("f26_beyond", name, quarantined=0, **counts)
    truth = true_totals(name, "SELECT DISTINCT ON (event_id) * FROM events")
    assert oracle.differences(truth, "f26_beyond") == []
    assert listed_late(name, "f26_beyond", once) == late


@pytest.mark.parametrize("lateness", ["1 hour", "10 seconds"])
def test_f27_out_of_order_by_up_to_an_hour(
    spark: SparkSession, topic: Callable[..., str], lateness: str
) -> None:
    """A watermark of an hour loses none of them; one of ten seconds loses exactly those that are listed."""
    name, table = topic(), f"f27_{lateness.replace(' ', '_')}"
    events = rta.user_events(spark, rows=500, rate=0.15, lateness="1 hour", late_share=0.5)
    rta.publish(events, name, key="user_id", order_by="reported_at")
    transform = partial(rta.transforms.totals, lateness=lateness)

    rta.drain(name, transform, table=table, max_events_per_batch=100, **HOW)

    delay = timedelta(hours=1) if lateness == "1 hour" else timedelta(seconds=10)
    late = late_places(name, table, delay=delay, window=FIVE_MINUTES)
    assert len(late) > 20 if lateness == "10 seconds" else not late
    oracle.check_accounted(table, name, late=len(late), used=500 - len(late), duplicate=0)
    assert oracle.differences(true_totals(name, on_time(late)), table) == []
    assert listed_late(name, table, transform) == late


class Jumped(kafka.KafkaProducer):  # type: ignore[misc]
    """A producer on a machine whose clock is wrong by `jump` seconds."""

    jump = 0.0

    def send(self, topic: str, **record: Any) -> Any:
        """Stamp the record by the wrong clock."""
        return super().send(topic, timestamp_ms=int((time.time() + self.jump) * 1000), **record)


def sent_by_clock(events: Sequence[dict[str, Any]], topic: str, jump: float) -> DeliveryReport:
    """Publish with the clock wrong by so many seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kafka, "KafkaProducer", Jumped)
        patch.setattr(Jumped, "jump", jump)
        return rta.kafka.publish_paced(events, topic, key="user_id", timeout=HANG)


def user_event(number: int, when: datetime | str | int, **others: Any) -> dict[str, Any]:
    """Make one good event in plain Python."""
    amount = Decimal(number % 700).scaleb(-2)
    event = {"event_id": f"e{number}", "user_id": number % 7, "action": "purchase"}
    return event | {"amount": amount, "timestamp": when} | others


@pytest.mark.soak
def test_f29_the_clock_jumps_by_an_hour(topic: Callable[..., str]) -> None:
    """Forth and back, at the producer and where the ledger is written: table, ledger, lateness as without it."""
    began = datetime(2024, 11, 15, 10, 30, tzinfo=UTC)
    # Each tenth comes 40 minutes late, so that the watermark has something to judge.
    events = [
        user_event(n, began + timedelta(seconds=6 * n - (2_400 if n % 10 == 9 else 0)))
        for n in range(600)
    ]
    results = {}
    for table, jumps in (("f29_steady", (0, 0, 0)), ("f29_jumped", (3_600, -3_600, 0))):
        name = topic(partitions=1)
        for third, jump in enumerate(jumps):
            sent = sent_by_clock(events[third * 200 : third * 200 + 200], name, jump)
            assert sent.ok == 200
        with ledger_clock(jumps):
            taken = rta.drain(
                name, rta.transforms.totals, table=table, max_events_per_batch=100, **HOW
            )
        batches = ledger.batches(table)
        assert (taken.start, taken.end) == ({0: 0}, {0: 600})
        results[table] = [(b.batch_id, b.end_offsets, b.watermark, b.used, b.late) for b in batches]
        late = late_places(name, table, delay=timedelta(minutes=10), window=FIVE_MINUTES)
        assert len(late) > 20
        oracle.check_accounted(table, name, late=len(late), quarantined=0)
        assert oracle.differences(true_totals(name, on_time(late)), table) == []
        assert listed_late(name, table, rta.transforms.totals) == late
        stamps = [raw.timestamp for raw in oracle.read_topic(name)]
        assert (max(stamps) - min(stamps) > 7_000_000) == (table == "f29_jumped")
    assert results["f29_steady"] == results["f29_jumped"]


@contextmanager
def ledger_clock(jumps: Sequence[float]) -> Iterator[None]:
    """Let the clock that stamps the ledger's entries jump from entry to entry."""
    jumped = cycle(timedelta(seconds=jump) for jump in jumps)
    clock = SimpleNamespace(now=lambda zone: datetime.now(zone) + next(jumped))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ledger, "dt", SimpleNamespace(datetime=clock, UTC=UTC))
        yield


@pytest.mark.parametrize("jump", [3_600, -3_600])
def test_f29_the_broker_is_known_again(jump: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the machine's clock, and all processes have started at another time: the broker stays ours all the same."""
    running = broker.up()
    booted = psutil.boot_time()
    monkeypatch.setattr("psutil._psplatform.boot_time", lambda: booted + jump)
    assert broker.status() == running


def test_f29_ahead_is_judged_by_the_record_not_by_a_clock(topic: Callable[..., str]) -> None:
    """Four minutes ahead of its record is good, six are not, wherever the producer's clock was; twice the same."""
    name = topic(partitions=1)
    for place, jump in enumerate((0.0, 3_600.0, -3_600.0)):
        clock = datetime.now(UTC) + timedelta(seconds=jump)
        ahead = [user_event(10 * place + m, clock + timedelta(minutes=m)) for m in (-6, 4, 6)]
        assert sent_by_clock(ahead, name, jump).ok == 3

    for table in ("f29_ahead", "f29_again"):
        rta.drain(name, partial(rta.transforms.totals, lateness="1 day"), table=table, **HOW)
        oracle.check_accounted(table, name, used=6, quarantined=3, late=0)
        assert oracle.differences(true_totals(name), table) == []
    assert [reason for reason, _ in reasons(name)] == ["ahead"] * 3


def test_f29_more_than_an_hour_ahead_is_refused_and_said(topic: Callable[..., str]) -> None:
    """Kafka takes no record from the future: each event is `failed`, none is on the topic, the reason is a sentence."""
    name = topic(partitions=1)
    events = [user_event(n, datetime(2024, 11, 15, tzinfo=UTC)) for n in range(5)]
    sent = sent_by_clock(events, name, 7_200)
    assert (sent.ok, sent.failed, sent.unknown) == (0, 5, 0)
    [reason] = sent.reasons
    assert reason.startswith("Kafka refuses the record's time: over an hour ahead")
    assert oracle.read_topic(name) == []


TURNS: Final = (  # the instants, in UTC, at which somebody's wall clock jumps; and a leap day
    datetime(2024, 2, 29, 5, tzinfo=UTC),  # midnight in New York
    datetime(2024, 3, 10, 7, tzinfo=UTC), datetime(2024, 3, 31, 1, tzinfo=UTC),
    datetime(2024, 10, 27, 1, tzinfo=UTC), datetime(2024, 11, 3, 6, tzinfo=UTC),
)  # fmt: skip


@contextmanager
def living_in(spark: SparkSession, zone: str) -> Iterator[None]:
    """Set the zone of the Spark session and of this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", zone)
        time.tzset()
        try:
            with setting(spark, "spark.sql.session.timeZone", zone):
                yield
        finally:
            patch.undo()
            time.tzset()


def seen(events: DataFrame) -> DataFrame:
    """Sum by hour and user; and keep an instant, to see that it stays one."""
    marked = events.withWatermark("timestamp", "10 minutes")
    hours = marked.groupBy(F.window("timestamp", "1 hour"), "user_id")
    return hours.agg(F.count("*").alias("event_count"), F.max("timestamp").alias("last_seen"))


def around_the_turns(zone: str) -> list[dict[str, Any]]:
    """Make events from two hours before each turn to two hours after it, written in a zone's own time."""
    minutes = range(-120, 120, 4)
    instants = [turn + timedelta(minutes=minute) for turn in TURNS for minute in minutes]
    for place in range(3, len(instants) - 120, 10):  # some come when the clock has turned again
        instants.insert(place + 120, instants.pop(place))
    return [
        user_event(number, when.astimezone(ZoneInfo(zone)).isoformat())
        for number, when in enumerate(instants)
    ]


@pytest.mark.soak
def test_f30_daylight_saving_and_zones(spark: SparkSession, topic: Callable[..., str]) -> None:
    """Producers, session and process in New York, Berlin, Kathmandu, over March, October, a leap day: all as in UTC."""
    results = {}
    for written, first, second in (
        ("UTC", "UTC", "UTC"),
        ("America/New_York", "Europe/Berlin", "America/New_York"),
        ("Europe/Berlin", "America/New_York", "Asia/Kathmandu"),
    ):
        name, table = topic(partitions=1), f"f30_{written.rpartition('/')[2].lower()}"
        events = around_the_turns(written)
        for lived, part in ((first, events[:150]), (second, events[150:])):
            rta.kafka.publish_paced(part, name, key="user_id")
            with living_in(spark, lived):
                rta.drain(name, seen, table=table, max_events_per_batch=75, **HOW)
        hour = timedelta(hours=1)
        late = late_places(name, table, delay=timedelta(minutes=10), window=hour)
        assert len(late) > 5
        with living_in(spark, first):
            assert listed_late(name, table, seen) == late
            oracle.check_accounted(table, name, used=300 - len(late), late=len(late))
            assert oracle.differences(true_hours(name, late), table) == []
            elsewhere = rta.read(table)
        here = rta.read(table)
        assert here.equals(elsewhere)
        results[written] = late, [b.watermark for b in ledger.batches(table)], here
    for zone in ("America/New_York", "Europe/Berlin"):
        assert results[zone][:2] == results["UTC"][:2]
        assert results[zone][2].equals(results["UTC"][2])


def true_hours(topic: str, late: set[tuple[int, int]]) -> pa.Table:
    """Compute seen() without Spark."""
    hour = "time_bucket(INTERVAL '1 hour', \"timestamp\")"
    return oracle.run(
        f"SELECT {hour} AS window_start, {hour} + INTERVAL '1 hour' AS window_end, user_id, "
        f'COUNT(*) AS event_count, MAX("timestamp") AS last_seen FROM ({on_time(late)}) GROUP BY ALL',
        events=oracle.events(topic, rta.USER_EVENTS),
    )


def test_f30_what_is_published_elsewhere_is_the_same(
    spark: SparkSession, topic: Callable[..., str]
) -> None:
    """The generator and publish() write the same bytes in New York's repeated hour as in UTC."""
    values = []
    for zone in ("UTC", "America/New_York"):
        name = topic(partitions=1)
        with living_in(spark, zone):
            events = rta.user_events(spark, rows=120, rate=0.01, start="2024-11-03T04:30:00")
            rta.publish(events, name, order_by="reported_at")
        values.append([raw.value for raw in oracle.read_topic(name)])
    assert len(set(values[0])) == 120
    assert values[0] == values[1]


def as_rows(events: DataFrame) -> DataFrame:
    """Keep the events as they are, one row for each."""
    return events.select("partition", "offset", *rta.USER_EVENTS.columns)


def test_f31_the_producers_change_their_schema(topic: Callable[..., str]) -> None:
    """A new field is ignored, an optional one may go; missing, renamed, of another type: quarantined by name."""
    name = topic()
    when = datetime(2024, 11, 15, 10, 30, tzinfo=UTC)
    how: dict[str, Any] = {"key": ["partition", "offset"], "event": rta.USER_EVENTS}
    old = [user_event(n, when, reported_at=when) for n in range(40)]
    rta.kafka.publish_paced(old, name, key="user_id")
    rta.drain(name, as_rows, table="f31", **how)

    renamed = {"total": Decimal("1.50")} | user_event(46, when)
    del renamed["amount"]
    missing = user_event(47, when)
    del missing["user_id"]
    new = [
        *(user_event(n, when, reported_at=when, channel="web") for n in range(40, 45)),
        user_event(45, when),  # without reported_at, which is optional
        user_event(49, when, amount="12.50"),  # a decimal may be quoted: exact all the same
        renamed,
        missing,
        user_event(48, when, user_id="7"),
        user_event(50, when, action=7),
        user_event(51, when, event_id=51),
        user_event(52, 1_731_666_600),  # seconds since the epoch, where text was agreed
        user_event(53, when, user_id=None),  # json_text leaves a null out
    ]
    rta.kafka.publish_paced(new, name)
    rta.drain(name, as_rows, table="f31", **how)

    truth = oracle.events(name, rta.USER_EVENTS)
    assert truth.num_rows == 47
    assert oracle.differences(truth, "f31") == []
    oracle.check_accounted("f31", name, used=47, quarantined=7)
    assert [reason for reason, _ in reasons(name)] == [
        "missing: amount", "missing: user_id", "missing: user_id",
        "wrong type: action", "wrong type: event_id", "wrong type: timestamp", "wrong type: user_id",
    ]  # fmt: skip
    kept = rta.read("f31")
    assert kept.reported_at.isna().sum() == 2  # the only null there is, and it was left out
    assert not kept.drop(columns="reported_at").isna().any().any()


def test_f31_the_reader_changes_its_schema(topic: Callable[..., str]) -> None:
    """With a wider event type the same table goes on; another result, or another type, needs another table."""
    name = topic()
    when = datetime(2024, 11, 15, 10, 30, tzinfo=UTC)
    rta.kafka.publish_paced([user_event(n, when) for n in range(20)], name, key="user_id")
    rta.drain(name, rta.transforms.totals, table="f31_reader", **HOW)
    rta.kafka.publish_paced([user_event(n, when, channel="web") for n in range(20, 50)], name)
    wider = with_field("channel", StringType())

    taken = rta.drain(name, rta.transforms.totals, table="f31_reader", key=KEY, event=wider)
    assert taken.accounting.used == 30
    assert oracle.differences(true_totals(name), "f31_reader") == []

    by_channel = partial(rta.transforms.totals, by=("user_id", "channel"))
    said = r"not the one that fills table.*channel.*another table.*rta\.reset\('f31_reader'\)"
    with pytest.raises(QueryError, match=said):
        rta.drain(name, by_channel, table="f31_reader", key=KEY, event=wider)
    assert oracle.differences(true_totals(name), "f31_reader") == []

    def channels(events: DataFrame) -> DataFrame:
        return events.select("partition", "offset", "channel")

    where = ["partition", "offset"]
    rta.drain(name, channels, table="f31_channels", key=where, event=wider)
    truth = oracle.events(name, wider).select(["partition", "offset", "channel"])
    assert truth["channel"].null_count == 20  # an older event has none, and says so
    assert oracle.differences(truth, "f31_channels") == []

    text = with_field("user_id", StringType())
    rta.drain(name, lambda events: events.select(*where), table="f31_text", key=where, event=text)
    oracle.check_accounted("f31_text", name, used=0, quarantined=50)
    assert {reason for reason, _ in reasons(name)} == {"wrong type: user_id"}


def with_field(name: str, kind: Any) -> rta.EventType:
    """Make the event type of user events with a field added, or one of another type."""
    known = [field for field in rta.USER_EVENTS.schema if field.name != name]
    required = any(field.name == name for field in rta.USER_EVENTS.schema)
    schema = StructType(known).add(name, kind, nullable=not required)
    return rta.EventType("wider", schema, "timestamp", "user_id")
