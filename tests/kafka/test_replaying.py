"""rta.replay: history comes again byte for byte, in its order, by one clock that somebody may steer."""

import json
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import product
from pathlib import Path
from typing import Any, Final

import pandas as pd
import pytest
from kafka import TopicPartition

import rta
from rta.errors import InputError, RtaError, TopicError
from rta.kafka import client, topics
from rta.kafka.history import event_time
from rta.kafka.pace import Pace
from rta.testing import oracle
from tests.support.truth import KEY, true_totals
from tests.support.waiting import joined, until

pytestmark = pytest.mark.kafka
Topic = Callable[..., str]
CLICKS: Final = rta.EventType("clicks", "event_id STRING NOT NULL, at TIMESTAMP NOT NULL", event_time="at", key="event_id")  # fmt: skip
START: Final = datetime(2024, 11, 15, 10, tzinfo=UTC)
AT_ONCE: Final = 1e12
"""A speed at which years pass in a moment."""
STANDS: Final = 1e-6
"""A speed at which no test sees a second event."""
HEADERS: Final[list[tuple[str, bytes | None]]] = [("null", None), ("twice", b"\x00\xff"), ("twice", b"again"), ("", b"x")]  # fmt: skip


def at(minute: float) -> datetime:
    """Return a minute of the hour."""
    return START + timedelta(minutes=minute)


def click(name: str, minute: float) -> dict[str, Any]:
    """Make an event at a minute of the hour."""
    return {"event_id": name, "at": at(minute)}


def put(topic: str, *minutes: float) -> str:
    """Put an event for each minute onto a topic, named e0, e1 and so on; return the topic."""
    rta.publish([click(f"e{n}", m) for n, m in enumerate(minutes)], topic, event=CLICKS)
    return topic


def names(topic: str) -> list[str]:
    """Return the names of a topic's events, partition after partition."""
    return [json.loads(record.value)["event_id"] for record in oracle.read_topic(topic)]


def arrived(topic: str, records: Iterable[tuple[int, int, Any]]) -> None:
    """Put records onto a topic: partition, time in Kafka in milliseconds, value."""
    producer = client.producer()
    for partition, time, value in records:
        client.send(producer, topic, value, partition=partition, timestamp_ms=time)
    producer.flush()
    producer.close()


def test_every_record_comes_again_byte_for_byte(topic: Topic) -> None:
    """Bad ones too, each on its partition and in its place; only its time in Kafka is new."""
    name, again = topic(partitions=2), topic(partitions=2)
    awkward = [*product((None, b"", b"\xff\x00key"), (None, b"", b"\xff\xfe{"), ([], HEADERS))]
    producer = client.producer()
    for partition, (key, value, headers) in product((0, 1), awkward):
        client.send(producer, name, value, key, headers, partition=partition, timestamp_ms=1_400_000_000_123)  # fmt: skip
    producer.flush()
    producer.close()
    put(name, 0, 5, 2)
    before = datetime.now(UTC).timestamp()
    playing = rta.replay(name, into=again, event=CLICKS, speed=AT_ONCE)
    read, played = oracle.read_topic(name), oracle.read_topic(again)
    told = [[(r.partition, r.key, r.value, [*r.headers]) for r in each] for each in (read, played)]
    assert told[0] == told[1]
    assert min(record.timestamp for record in played) / 1000 > before - 1
    assert (playing.state, playing.sent, playing.position) == ("finished", len(read), at(5))
    assert playing.reports[again].ok == len(read)


def test_partitions_come_in_the_order_of_arrival(topic: Topic) -> None:
    """By the time that Kafka has noted; each partition keeps its own order, also if a clock was set back; few are read ahead."""
    name, again = topic(partitions=3), topic(partitions=1)
    told = [
        (p, 1_750_000_000_000 + n // 10 - (50 if n == 650 else 0), {"n": [p, n], "at": (START + timedelta(seconds=7 * n + p)).isoformat()})
        for p, count in ((0, 1_300), (1, 700), (2, 900)) for n in range(count)
    ]  # fmt: skip
    arrived(name, [(p, time, json.dumps(value).encode()) for p, time, value in told])
    rta.replay(name, into=again, event=CLICKS, speed=AT_ONCE, to=START + timedelta(days=1))
    played = [json.loads(record.value)["n"] for record in oracle.read_topic(again)]
    # Ten of a partition are of one millisecond; the event whose clock was set back comes right after the one before it.
    assert played == sorted(([p, n] for p, n in played), key=lambda each: (each[1], each[0]))
    assert len(played) == len(told)


def test_several_topics_share_one_clock(topic: Topic) -> None:
    """They were published one after the other; they are played as they happened, each in its own order."""
    flights, weather, both = (
        put(topic(partitions=1), 0, 20, 10, 40),
        put(topic(), 5, 30),
        topic(partitions=1),
    )
    rta.replay([flights, weather], into={flights: both, weather: both}, event=CLICKS, speed=AT_ONCE)
    played = [json.loads(record.value)["at"][14:16] for record in oracle.read_topic(both)]
    assert played == ["00", "05", "20", "10", "30", "40"]
    made = rta.replay([flights, weather], event={flights: CLICKS, weather: CLICKS}, speed=AT_ONCE)
    assert made.topics == {flights: f"{flights}.replay", weather: f"{weather}.replay"}
    assert names(f"{flights}.replay") == names(flights)
    assert topics.describe_topic(f"{weather}.replay").partitions == 2


def test_the_parts_of_a_history_are_the_whole(topic: Topic) -> None:
    """An event belongs to the part in which it arrived, by the clock, and not by its own time."""
    name, again = put(topic(partitions=1), 0, 20, 10, 40, 15, 50), topic(partitions=1)
    first = rta.replay(name, into=again, event=CLICKS, speed=AT_ONCE, to=at(40))
    assert first.sent == 3
    rta.replay(name, into=again, event=CLICKS, speed=AT_ONCE, from_=at(40))
    assert names(again) == names(name)
    assert rta.replay(name, into=again, event=CLICKS, from_=at(51)).sent == 0


@pytest.mark.parametrize("form", ["list", "pandas", "file", "spark"])
def test_a_frame_is_played_in_its_own_order(
    request: pytest.FixtureRequest, topic: Topic, tmp_path: Path, form: str
) -> None:
    """A list of dicts, a pandas or Spark frame, a file of JSON lines: with the key of the event type."""
    again, events = topic(partitions=1), [click("a", 0), click("b", 30), click("c", 10)]
    source: Any = events
    if form == "pandas":
        source = pd.DataFrame(events)
    if form == "spark":
        source = request.getfixturevalue("spark").createDataFrame(events)
    if form == "file":
        source = tmp_path / "clicks.jsonl"
        source.write_text("".join(json.dumps(e | {"at": e["at"].isoformat()}) + "\n" for e in events))  # fmt: skip
    rta.replay(source, into=again, event=CLICKS, speed=AT_ONCE)
    assert [(r.key, json.loads(r.value)["event_id"]) for r in oracle.read_topic(again)] == [(b"a", "a"), (b"b", "b"), (b"c", "c")]  # fmt: skip


def test_it_is_steered_while_it_plays(topic: Topic) -> None:
    """Pause, seek, speed and resume take effect on the event that is waited for."""
    name, again = put(topic(), 0, 10, 20, 30), topic(partitions=1)
    with rta.replay(name, into=again, event=CLICKS, speed=STANDS, wait=False) as playing:
        until(lambda: playing.sent == 1)
        playing.pause()
        playing.speed = AT_ONCE
        playing.seek(at(15))
        until(lambda: playing.position == at(20))
        assert (playing.state, playing.sent) == ("paused", 1)
        playing.resume()
        playing.wait()
        assert (playing.state, playing.speed, playing.position) == ("finished", AT_ONCE, at(30))
    assert names(again) == ["e0", "e2", "e3"]
    with pytest.raises(InputError, match="has ended; found: finished"):
        playing.seek(at(0))


def test_a_seek_backward_sends_events_again(topic: Topic) -> None:
    """From the moment on, in the order in which they were sent before."""
    name, again = put(topic(partitions=1), 0, 10, 5, 20, 400_000), topic(partitions=1)
    with rta.replay(name, into=again, event=CLICKS, speed=1e4, wait=False) as playing:
        until(lambda: playing.sent == 4)
        playing.seek(at(10))
        until(lambda: playing.sent == 7)
    assert playing.state == "stopped"
    assert names(again) == ["e0", "e1", "e2", "e3", "e1", "e2", "e3"]


def test_history_that_is_deleted_meanwhile_is_an_error(topic: Topic) -> None:
    """A seek backward to what Kafka has no more fails and says so; nothing is skipped in silence."""
    name, again = put(topic(partitions=1), 0, 10, 400_000), topic(partitions=1)
    playing = rta.replay(name, into=again, event=CLICKS, speed=1e4, wait=False)
    until(lambda: playing.sent == 2)
    with client.administrator() as admin:
        admin.delete_records({TopicPartition(name, 0): 1})
    playing.seek(at(0))
    with pytest.raises(TopicError, match="has deleted records"):
        playing.wait()
    assert (playing.state, names(again)) == ("failed", ["e0", "e1"])


def test_the_clock_goes_on_from_where_it_was_paused() -> None:
    """What was due meanwhile does not come all at once; nothing is due before its time."""
    pace = Pace(speed=1e6)
    assert pace.wait(0) is not None
    pace.pause()
    shown = pace.moment
    waiter = threading.Thread(target=pace.wait, args=(3_600 * 10**6,))
    waiter.start()
    until(lambda: pace.number == 2)
    pace.speed = STANDS
    pace.resume()
    assert shown is not None
    assert shown <= (pace.moment or 0) < 3_600 * 10**6
    pace.speed = AT_ONCE
    joined(waiter)
    assert pace.moment == 3_600 * 10**6


def test_stop_leaves_no_thread(topic: Topic) -> None:
    """Neither its own nor Kafka's; what was sent is acknowledged."""
    name, again = put(topic(), 0, 10), topic(partitions=1)
    topics.offsets(
        again
    )  # so the admin client of the process is there; it may be replaced by another

    def running() -> Counter[str]:
        return Counter(thread.name for thread in threading.enumerate())

    before = running()
    playing = rta.replay(name, into=again, event=CLICKS, speed=STANDS, wait=False)
    until(lambda: playing.sent == 1)
    playing.stop()
    playing.stop()
    assert (playing.state, playing.reports[again].ok) == ("stopped", 1)
    until(lambda: running() <= before)
    assert "stopped, 1 events sent, clock at 2024-11-15 10:00:00 UTC" in repr(playing)
    assert "stopped" in playing._repr_html_()


def test_a_cell_that_is_run_again_leaves_one_replay(topic: Topic) -> None:
    """The one before, into the same topic, is stopped first; a replay into another one is left alone."""
    name, other = put(topic(), 0, 10), topic()
    rest = rta.replay(name, into=other, event=CLICKS, speed=STANDS, wait=False)
    first = rta.replay(name, event=CLICKS, speed=STANDS, wait=False)
    with rta.replay(name, event=CLICKS, speed=STANDS, wait=False) as second:
        assert (first.state, rest.error) == ("stopped", None)
        until(lambda: rest.sent == second.sent == 1)
        assert second.state == "playing"
    rest.stop()


def test_stop_in_a_cell_that_waits_stops_the_replay(topic: Topic) -> None:
    """No thread goes on behind the back of the one who interrupted it."""
    name, again = put(topic(), 0, 10), topic(partitions=1)

    def interrupt() -> None:
        until(lambda: names(again))
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    other = threading.Thread(target=interrupt)
    other.start()
    with pytest.raises(KeyboardInterrupt):
        rta.replay(name, into=again, event=CLICKS, speed=STANDS)
    joined(other)
    assert not [each for each in threading.enumerate() if each.name.startswith("rta replay")]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"speed": 0}, "a number above 0; found: 0"),
        ({"speed": -1}, "above 0"),
        ({"speed": float("inf")}, "above 0"),
        ({"speed": float("nan")}, "above 0"),
        ({"speed": "fast"}, "above 0"),
        ({"from_": START.replace(tzinfo=None)}, "from_ is a moment with its zone"),
        ({"to": "2024-11-15"}, "to is a moment with its zone"),
        ({"from_": at(1), "to": at(1)}, "not after its start"),
        ({"event": None}, "no event type is called"),
        ({"into": "no/topic"}, "not a legal topic name"),
        ({"into": {"other": "x"}}, "not played; found: \\['other'\\]"),
        ({"source": [{"at": START}], "event": None}, "played by its event time"),
        ({"source": iter([{"at": START}])}, "readable twice"),
        ({"source": 7}, "cannot be published"),
        ({"source": ["a", "b"], "into": "c"}, "no topic 'a'|a topic each"),
    ],
)
def test_what_makes_no_sense_is_refused_before_a_topic_is_made(
    topic: Topic, wrong: dict[str, Any], said: str
) -> None:
    """Each error says what it is."""
    name, again = put(topic(), 0), topic() + "-never"
    with pytest.raises(RtaError, match=said):
        rta.replay(**{"source": name, "into": again, "event": CLICKS, **wrong})
    assert not {again, f"{name}.replay"} & {known.name for known in topics.list_topics()}


def test_no_topic_is_played_into_one_that_is_read(topic: Topic) -> None:
    """Not into itself, and not into another one of the same replay; a missing one is named."""
    one, two = put(topic(), 0), put(topic(), 0)
    for source, into in ((one, one), ([one, two], {one: two})):
        with pytest.raises(InputError, match="into a topic that is read"):
            rta.replay(source, into=into, event=CLICKS)
    with pytest.raises(InputError, match="named twice"):
        rta.replay([one, one], event=CLICKS)
    with pytest.raises(TopicError, match="no topic 'no-history'"):
        rta.replay([one, "no-history"], event=CLICKS)
    assert names(two) == ["e0"]


def test_events_of_another_type_have_no_clock(topic: Topic) -> None:
    """It fails, says why, and nothing is sent; the one who waits gets the error."""
    name, again = put(topic(), 0, 1), topic()
    with pytest.raises(InputError, match="'timestamp' that is an instant"):
        rta.replay(name, into=again, event=rta.USER_EVENTS)
    with (
        pytest.raises(InputError, match="event time"),
        rta.replay(name, into=again, event=rta.USER_EVENTS, wait=False) as playing,
    ):
        until(lambda: playing.state == "failed")
    assert "(the events of" in repr(playing)
    assert names(again) == []
    with pytest.raises(InputError, match="JSON cannot hold"):
        rta.replay([click("a", 0) | {"n": float("nan")}], into=again, event=CLICKS)
    assert rta.replay([], into=again, event=CLICKS).sent == 0


@pytest.mark.usefixtures("spark")
def test_an_event_that_was_late_is_late_again(topic: Topic) -> None:
    """In a query that follows the replay the same events are late as in history; all others are in the table."""
    name, again = topic(partitions=1), topic(partitions=1)
    minutes = (0, 40, 41, 41.5, 1, 33.5, 2, 42)  # 1 and 2 come when the watermark is at 30
    events = [
        {"event_id": f"e{n}", "user_id": 1, "action": "view", "amount": Decimal(n), "timestamp": at(m)}
        for n, m in enumerate(minutes)
    ]  # fmt: skip
    how: dict[str, Any] = {"key": KEY, "event": rta.USER_EVENTS}
    rta.publish(events, name, event=rta.USER_EVENTS)
    rta.drain(name, rta.transforms.totals, table="history", max_events_per_batch=2, **how)
    query = rta.follow(again, rta.transforms.totals, table="replayed", **how)
    how = {"into": again, "event": rta.USER_EVENTS, "speed": AT_ONCE}
    rta.replay(name, to=at(41), **how)
    until(lambda: rta.store.summed("replayed").consumed == 2, progress=lambda: query.lastProgress)
    rta.replay(name, from_=at(41), **how)
    until(lambda: rta.store.summed("replayed").consumed == 8, progress=lambda: query.lastProgress)
    query.stop()
    assert rta.late("history")["offset"].tolist() == rta.late("replayed")["offset"].tolist() == [4, 6]  # fmt: skip
    on_time = 'SELECT * FROM events WHERE "offset" NOT IN (4, 6)'
    assert oracle.differences(true_totals(again, on_time), "replayed") == []
    assert oracle.differences("history", "replayed") == []


@pytest.mark.parametrize(
    ("schema", "at", "times", "value", "micros"),
    [
        ("meta STRUCT<at TIMESTAMP>", "meta.at", "epoch_ms", b'{"meta": {"at": 1500}}', 1_500_000),
        ("meta STRUCT<at TIMESTAMP>", "meta.at", "epoch_ms", b'{"meta": null}', None),
        ("at TIMESTAMP", "at", "epoch_s", b'{"at": 1.5}', 1_500_000),
        ("at TIMESTAMP", "at", "Europe/Berlin", b'{"at": "1970-01-01T01:00:01"}', 1_000_000),
        ("at TIMESTAMP", "at", "Europe/Berlin", b'{"at": "1970-01-01T00:00:01Z"}', 1_000_000),
        ("n INT", "kafka_timestamp", "iso", b"no JSON", 7),
    ],
)
def test_the_event_time_of_each_form(schema: str, at: str, times: str, value: bytes, micros: int | None) -> None:  # fmt: skip
    """Nested, as a number, in a zone, or Kafka's own."""
    event = rta.EventType("t", schema, at, times=times)
    assert event_time(value, event, 7) == micros


def test_the_event_time_of_a_renamed_field() -> None:
    """The form stands under the column's name; a number that would fill the memory is no time."""
    event = rta.EventType("t", "at TIMESTAMP", "at", fields={"at": "@ts"}, times={"at": "epoch_s"})
    assert event_time(b'{"@ts": 2}', event) == 2_000_000
    assert event_time(b'{"@ts": 1e99999999}', event) is None
