"""Schedules that wait for events, with a real broker."""

import json
import socket
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import pytest
from kafka import KafkaProducer

from rta import jobs
from rta.jobs.scheduling import slots as store
from rta.jobs.scheduling.scheduler import Scheduler
from rta.jobs.states import State
from rta.kafka import broker, topics
from rta.kafka.topics import TopicDescription, delete_topic, description
from tests.support.notebooks import SELDOM, written
from tests.support.waiting import finished, until


@pytest.mark.kafka
def test_a_schedule_that_waits_for_events(topic: Callable[..., str], tmp_path: Path) -> None:
    """Three new events make one run, two do not; what one run has seen is not new again; a topic that is gone is said once."""
    name = topic(partitions=2)
    jobs.schedule(written(tmp_path / "on_new.ipynb", "print('ran')"), on_new=name, events=3)
    seconds, said = count(step=10), list[str]()
    begun = datetime.now(UTC)
    ours = Scheduler(say=said.append, clock=lambda: begun + timedelta(seconds=next(seconds)))
    producer = KafkaProducer(bootstrap_servers=broker.up().bootstrap)

    def look(events: int) -> int:
        for number in range(events):
            producer.send(name, json.dumps({"n": number}).encode(), partition=number % 2)
        producer.flush()
        ours.tick()
        return len(store.slots("on_new"))

    assert [look(0), look(2), look(0), look(1), look(0)] == [0, 0, 0, 1, 1]
    until(lambda: [ours.tick(), store.slots("on_new")[0].state.ended][1])  # type: ignore[func-returns-value]
    [slot] = store.slots("on_new")
    assert (slot.state, slot.reason, sum((slot.offsets or {}).values())) == (State.SUCCEEDED, "new", 3)  # fmt: skip
    assert [look(2), look(0), look(1)] == [1, 1, 2]
    until(lambda: [ours.tick(), store.slots("on_new")[0].state.ended][1])  # type: ignore[func-returns-value]
    for child in ours._children.values():
        finished(child)
    producer.close()
    delete_topic(name)
    for _ in range(3):
        ours.tick()
    assert len([line for line in said if line.startswith("✗ on_new")]) == 1
    jobs.remove("on_new")


def test_a_kafka_that_is_away_is_waited_for_once_in_a_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    """However many schedules wait for its events: each says so once, and a job that is due by its time runs in the same look."""
    monkeypatch.setenv("RTA_HOME", str(tmp_path / "home"))
    path = written(tmp_path / "waits.ipynb", "print('ran')")
    for number in range(3):
        jobs.schedule(path, on_new=f"topic-{number}", name=f"waits_{number}")
    jobs.schedule(path, every=SELDOM, name="due")
    jobs.run_now("due")
    asked, said = list[str](), list[str]()

    def noted(topic: str) -> TopicDescription:
        asked.append(topic)
        return description(topic)

    monkeypatch.setattr(topics, "description", noted)
    ours = Scheduler(say=said.append)
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and does not listen
        monkeypatch.setenv("RTA_KAFKA_BOOTSTRAP", f"127.0.0.1:{nobody.getsockname()[1]}")
        ours.tick()
    [child] = ours._children.values()
    finished(child)
    ours._reap()
    assert asked == ["topic-0"]
    assert [line.split(":")[0] for line in said if "Kafka does not answer" in line] == [f"✗ waits_{number}" for number in range(3)]  # fmt: skip
    assert store.slots("due")[0].state == State.SUCCEEDED
