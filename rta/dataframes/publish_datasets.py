"""The data sets of data/, and generated user events, onto their topics in the order of arrival."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from rta.dataframes.producer import DeliveryReport, Published, publish, publish_paced
from rta.dataframes.session import spark
from rta.errors import InputError, TopicError
from rta.events import datasets
from rta.events.event_types import event_type
from rta.events.synthetic import user_events
from rta.kafka import broker, topics
from rta.progress import step

_REAL: Final = {
    "flights": datasets.flights,
    "weather": datasets.weather,
    "purchases": datasets.purchases,
}
NAMES: Final = (*_REAL, "user-events")


def publish_dataset(
    dataset: str,
    *,
    topic: str | None = None,
    start: datetime | None = None,
    end: datetime | None = None,
    rows: int = 100_000,
    rate: float | None = None,
    speed_up: float | None = None,
    once: bool = False,
) -> Published | DeliveryReport | None:
    """Publish a data set, or what arrived in a part of its time; in bulk, or paced.

    Args:
        dataset: "flights", "weather", "purchases" or "user-events".
        topic: By default the name of the data set.
        start: The first arrival (UTC); by default the first of all.
        end: The arrival before which the part ends; by default it ends with the last.
        rows: How many user events to make; the other data sets have as many as they have.
        rate: Events per second, by an open-loop clock.
        speed_up: Replay in event time, so many times faster than it happened.
        once: Publish nothing if the topic has that many events already.

    Returns:
        What was published; None if `once` is set and the topic has the events already.

    Raises:
        InputError: There is no such data set.
        TopicError: The topic has a part of the events: an earlier publish stopped midway.

    Example:
        >>> publish_dataset("weather", topic="doc-weather", end=datetime(2013, 1, 2)).events
        52
    """
    if dataset not in NAMES:
        raise InputError(f"there is no data set {dataset!r}", fix=f"choose from {', '.join(NAMES)}")
    topic = topic or dataset
    chosen = _between(_frame(dataset, rows), start, end)
    if once and topic in {known.name for known in topics.list_topics()}:
        held = topics.describe_topic(topic).events
        wanted = chosen.count()
        if held >= wanted:
            return None
        if held:
            raise TopicError(
                f"topic {topic!r} holds a part of the data set: an earlier publish stopped midway",
                found=f"{held:,} of {wanted:,} events",
                fix=f"delete it with `rta topics delete {topic}`, then publish again",
            )
    key = event_type(dataset).key
    with step(f"publishing {dataset} to topic {topic}"):
        if speed_up:
            return publish_paced(chosen, topic, key=key, time="reported_at", speed_up=speed_up)
        if rate:
            return publish_paced(chosen.orderBy("reported_at"), topic, key=key, rate=rate)
        return publish(chosen, topic, key=key, order_by="reported_at")


def _frame(dataset: str, rows: int) -> DataFrame:
    """Read or make the events of one data set."""
    with broker.starting():  # both are needed
        session = spark()
    if dataset == "user-events":
        return user_events(session, rows=rows)
    return _REAL[dataset](session)


def _between(frame: DataFrame, start: datetime | None, end: datetime | None) -> DataFrame:
    """Keep the events that arrived between two moments."""
    if start:
        frame = frame.where(F.col("reported_at") >= F.lit(start.isoformat()).cast("timestamp"))
    if end:
        frame = frame.where(F.col("reported_at") < F.lit(end.isoformat()).cast("timestamp"))
    return frame
