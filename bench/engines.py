"""Drain the topic into the final table by Flink and by Kafka Streams, by hand on Flink, and by consumers without an engine.

The engines' own programs: the JVM of Flink starts in the cold phase and stays, that of Kafka Streams starts in each. The analysis is
read by Spark, whose session starts in the cold phase. Kafka Streams has no row by hand: it would be a Java program.
"""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from bench.child import Setup, save, timed
from bench.drain import HAND, KEY, PHASES, UPSERT, stored

if TYPE_CHECKING:
    import pyarrow as pa
    from confluent_kafka import Message

MANY: Final = 50_000  # records that are taken at once
# What a good engineer would set; more are those of rta's own jobs.
PROPERTIES: Final = {
    "table.local-time-zone": "UTC", "table.dml-sync": "true", "parallelism.default": "2", "state.backend.type": "rocksdb",
}  # fmt: skip
SOURCE: Final = """
    CREATE TEMPORARY TABLE events (
        user_id BIGINT, amount DECIMAL(12, 2), `timestamp` TIMESTAMP_LTZ(3), WATERMARK FOR `timestamp` AS `timestamp` - INTERVAL '10' MINUTES
    ) WITH (
        'connector' = 'kafka', 'topic' = '{topic}', 'properties.bootstrap.servers' = '{servers}', 'properties.group.id' = '{into}',
        'scan.startup.mode' = 'earliest-offset', 'scan.bounded.mode' = 'latest-offset',
        'format' = 'json', 'json.timestamp-format.standard' = 'ISO-8601', 'json.ignore-parse-errors' = 'true'
    )
"""
SINK: Final = """
    CREATE TEMPORARY TABLE totals (
        window_start STRING, window_end STRING, user_id BIGINT, total_amount DECIMAL(38, 2), event_count BIGINT,
        PRIMARY KEY (window_start, user_id) NOT ENFORCED
    ) WITH (
        'connector' = 'upsert-kafka', 'topic' = '{into}', 'properties.bootstrap.servers' = '{servers}', 'key.format' = 'json',
        'value.format' = 'json', 'value.json.encode.decimal-as-plain-number' = 'true', 'sink.delivery-guarantee' = 'exactly-once',
        'sink.transactional-id-prefix' = '{into}', 'properties.transaction.timeout.ms' = '900000'
    )
"""
INSERT: Final = """
    INSERT INTO totals SELECT CAST(window_start AS STRING), CAST(window_end AS STRING), user_id, SUM(amount), COUNT(*)
    FROM TUMBLE(TABLE events, DESCRIPTOR(`timestamp`), INTERVAL '5' MINUTES) GROUP BY window_start, window_end, user_id
"""


def flink(setup: Setup, scratch: Path) -> None:
    """Run rta.drain() on Flink."""
    with fresh_flink():
        _by_rta("flink", setup, scratch)


def flink_by_hand(setup: Setup, scratch: Path) -> None:
    """Run the same sums as Flink SQL into a topic, and that topic into SQLite."""
    with fresh_flink():
        _each_phase(setup, scratch, _by_hand)


def kafka_streams(setup: Setup, scratch: Path) -> None:
    """Run rta.drain() on Kafka Streams."""
    _by_rta("kafka-streams", setup, scratch)


def kafka_python(setup: Setup, scratch: Path) -> None:
    """Add the events up in a dict."""
    _each_phase(setup, scratch, _by_dict)


def polars(setup: Setup, scratch: Path) -> None:
    """Take the records by confluent-kafka, and add them up by Polars."""
    _each_phase(setup, scratch, _by_polars)


def _each_phase(setup: Setup, scratch: Path, drained: Callable[[Setup, Path], pa.Table]) -> None:
    for name in PHASES:
        phase, answer = timed(name, partial(drained, setup, scratch))
        phase.tell(answer=save(answer, scratch / f"{name}.parquet"), from_start=name == "cold")


@contextmanager
def fresh_flink() -> Iterator[None]:
    """Let Flink start anew, and stop it at the end."""
    from rta.engines import flink

    flink.down()
    try:
        yield
    finally:
        flink.down()


def _by_rta(engine: str, setup: Setup, scratch: Path) -> None:
    import pyarrow as pa

    import rta

    made: list[str] = []

    def drained(setup: Setup, _: Path) -> pa.Table:
        made.append(f"bench_{engine.replace('-', '_')}_{uuid4().hex[:8]}")
        rta.drain(setup.topic, rta.transforms.totals, table=made[-1], key=KEY, event=rta.USER_EVENTS, engine=engine)  # fmt: skip
        return pa.Table.from_pandas(rta.read(made[-1]), preserve_index=False)

    _each_phase(setup, scratch, drained)
    for table in made:
        rta.reset(table)


def _by_hand(setup: Setup, scratch: Path) -> pa.Table:
    import rta
    from rta.engines import flink
    from rta.engines.flink.job import CHECKPOINTS, SPEED

    into = rta.kafka.create_topic(f"bench-by-hand-{uuid4().hex[:8]}", partitions=4).name
    place = {"topic": setup.topic, "servers": setup.bootstrap, "into": into}
    checkpoints = {"execution.checkpointing.interval": CHECKPOINTS, "execution.checkpointing.dir": (scratch / into).as_uri()}  # fmt: skip
    with flink.Session(flink.up().gateway, PROPERTIES | SPEED | checkpoints) as session:
        for statement in (SOURCE, SINK):
            session.sql(statement.format(**place))
        session.sql(INSERT)
    with closing(sqlite3.connect(scratch / f"{into}.db")) as database:
        database.execute(HAND)
        for some in _records(into):
            rows = [json.loads(value, parse_float=str) for each in some if (value := each.value())]
            with database:
                database.executemany(UPSERT, [tuple(row.values()) for row in rows])
        answer = stored(database)
    rta.kafka.delete_topic(into)
    return answer


def _by_dict(setup: Setup, _: Path) -> pa.Table:
    import pyarrow as pa

    from bench.topic import records

    totals: dict[tuple[datetime, int], list[Any]] = defaultdict(lambda: [Decimal(0), 0])
    for record in records(setup.topic):
        event = json.loads(record.value, parse_float=Decimal)
        at = datetime.fromisoformat(event["timestamp"])
        total = totals[
            at.replace(minute=at.minute // 5 * 5, second=0, microsecond=0), event["user_id"]
        ]
        total[0] += event["amount"]
        total[1] += 1
    starts, users, sums, counts = zip(
        *((*key, *total) for key, total in totals.items()), strict=True
    )
    moments = pa.array(starts, pa.timestamp("us", "UTC"))
    return pa.table({"window_start": moments, "user_id": users, "total_amount": sums, "event_count": counts})  # fmt: skip


def _by_polars(setup: Setup, _: Path) -> pa.Table:
    import polars as pl

    told = pl.Struct({"user_id": pl.Int64, "amount": pl.String, "timestamp": pl.String})
    start = pl.col("timestamp").str.to_datetime(time_unit="us", time_zone="UTC").dt.truncate("5m")  # fmt: skip
    sums = pl.sum("total_amount"), pl.sum("event_count")
    parts = []
    for some in _records(setup.topic):
        events = pl.Series("value", [value.decode() for each in some if (value := each.value()) is not None]).str.json_decode(told).struct.unnest()  # fmt: skip
        keyed = events.select(start.alias("window_start"), "user_id", pl.col("amount").cast(pl.Decimal(12, 2)).alias("total_amount"), event_count=pl.lit(1, pl.Int64))  # fmt: skip
        parts.append(keyed.group_by("window_start", "user_id").agg(*sums))
    return pl.concat(parts).group_by("window_start", "user_id").agg(*sums).to_arrow()


def _records(topic: str) -> Iterator[list[Message]]:
    """Yield what is committed in a topic, many records at once, to its end at the time of the call."""
    from confluent_kafka import Consumer, KafkaException, TopicPartition

    import rta

    consumer = Consumer({"bootstrap.servers": rta.kafka.bootstrap(), "group.id": "bench", "enable.auto.commit": False, "enable.partition.eof": False})  # fmt: skip
    ranges = rta.kafka.offsets(topic)
    consumer.assign([TopicPartition(topic, partition, first) for partition, (first, _) in ranges.items()])  # fmt: skip
    left = {partition: end for partition, (first, end) in ranges.items() if first < end}
    while left:
        some = consumer.consume(MANY, 1.0)
        for error in filter(None, (each.error() for each in some)):
            raise KafkaException(error)
        yield some
        places = consumer.position([TopicPartition(topic, partition) for partition in left])
        left = {each.partition: left[each.partition] for each in places if each.offset < left[each.partition]}  # fmt: skip
    consumer.close()
