"""The article's own examples run as printed, but for address and schema; their answers are the oracle's."""

import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from pyspark.sql.streaming.query import StreamingQuery
from pyspark.sql.types import DecimalType, LongType, StringType, StructType, TimestampType

import rta
from rta.errors import TopicError
from rta.settings import settings
from rta.testing import oracle
from tests.support.truth import true_totals
from tests.support.waiting import joined, until

pytestmark = pytest.mark.kafka

# Checksums of the two examples, taken from the article itself.
SPARK_PRINTED = "ba5ac5f169a747bad771c98ba0b7a24fb9fac087489926e5510dea1db52b33ac"
KAFKA_PRINTED = "6102e116e82c54c289e12eabd55ae8e5a55ae3828c3966bfdfec368587ff95af"

SPARK_QUERY = r"""from pyspark.sql import SparkSession
from pyspark.sql.functions import *
# Kappa architecture with Spark Structured Streaming
spark = SparkSession.builder \
.appName("RealTimeAnalytics") \
.getOrCreate()
# Read from Kafka
events = spark \
.readStream \
.format("kafka") \
.option("kafka.bootstrap.servers", "localhost:9092") \
.option("subscribe", "user-events") \
.load()
# Parse and process
parsed_events = events \
.select(from_json(col("value").cast("string"), schema).alias("data")) \
.select("data.*")
# Aggregate in real-time
aggregated = parsed_events \
.groupBy(
window(col("timestamp"), "5 minutes"),
col("user_id")
) \
.agg(
sum("amount").alias("total_amount"),
count("*").alias("event_count")
)
# Write to sink
query = aggregated \
.writeStream \
.outputMode("update") \
.format("console") \
.start()
query.awaitTermination()
"""

KAFKA_EXAMPLE = r"""from kafka import KafkaProducer, KafkaConsumer
import json
# Producer example
producer = KafkaProducer(
bootstrap_servers=['localhost:9092'],
value_serializer=lambda v: json.dumps(v).encode('utf-8')
)
# Send event
event = {
'user_id': 12345,
'action': 'purchase',
'amount': 99.99,
'timestamp': '2024-11-15T10:30:00Z'
}
producer.send('user-events', value=event)
# Consumer example
consumer = KafkaConsumer(
'user-events',
bootstrap_servers=['localhost:9092'],
value_deserializer=lambda m: json.loads(m.decode('utf-8')),
group_id='analytics-group'
)
for message in consumer:
    event = message.value
    process_event(event)
"""

SCHEMA = (
    StructType()
    .add("user_id", LongType())
    .add("action", StringType())
    .add("amount", DecimalType(12, 2))
    .add("timestamp", TimestampType())
)
SHOWN = re.compile(r"\|\{(\d{4}-\d\d-\d\d \d\d:\d\d)\.\.\.\|\s*(\d+)\|\s*(-?\d+\.\d\d)\|\s*(\d+)\|")


@pytest.fixture
def starts() -> dict[int, int]:
    """Make the article's topic if it is not there, and give the offset where each partition ends now."""
    try:
        found = rta.kafka.offsets("user-events")
    except TopicError:
        rta.kafka.create_topic("user-events", partitions=2)
        found = rta.kafka.offsets("user-events")
    return {partition: latest for partition, (_, latest) in found.items()}


def test_the_text_is_the_articles() -> None:
    """What is run differs from what is printed by the address, and by the indent that the loop needs."""
    assert hashlib.sha256(SPARK_QUERY.encode()).hexdigest() == SPARK_PRINTED
    flat = KAFKA_EXAMPLE.replace("\n    ", "\n")
    assert hashlib.sha256(flat.encode()).hexdigest() == KAFKA_PRINTED


def test_the_spark_query_as_printed(spark: SparkSession, starts: dict[int, int]) -> None:
    """What it prints to the console at the end, for each window and user, is what the oracle says."""
    console = settings().home / "spark-console.log"
    seen_before = console.stat().st_size
    namespace: dict[str, Any] = {"schema": SCHEMA}
    with running(SPARK_QUERY, namespace) as thread:
        query: StreamingQuery = waited_for(lambda: namespace.get("query"), thread)
        query.processAllAvailable()  # as printed, it starts at the latest offsets: those are fixed now
        few = rta.user_events(spark, rows=60, users=3, rate=0.05)  # a console batch shows 20 rows
        for part in ("id % 2 = 0", "id % 2 = 1"):
            numbered = few.withColumn("id", F.split("event_id", "-")[1].cast("int"))
            rta.publish(numbered.where(part).drop("id"), "user-events", key="user_id")
            query.processAllAvailable()
        query.stop()
        joined(thread)
    with console.open() as output:
        output.seek(seen_before)
        rows = [found.groups() for line in output if (found := SHOWN.match(line))]
    shown = {(start, int(user)): (Decimal(total), int(count)) for start, user, total, count in rows}
    new = " OR ".join(f'(partition = {p} AND "offset" >= {first})' for p, first in starts.items())
    truth = true_totals("user-events", f"SELECT * FROM events WHERE {new}").to_pylist()
    assert len(truth) > 5
    assert shown == {
        (f"{row['window_start']:%Y-%m-%d %H:%M}", row["user_id"]): (
            row["total_amount"],
            row["event_count"],
        )
        for row in truth
    }


@pytest.mark.filterwarnings("ignore:value_(de)?serializer does not implement:DeprecationWarning")
def test_the_producer_and_consumer_as_printed(starts: dict[int, int]) -> None:
    """The consumer gets the event that the producer sent, where its group has been here before.

    In a group without committed offsets it would begin at "latest": after the event, so with nothing.
    """
    been_here("analytics-group", starts)
    processed = []

    def process_event(event: dict[str, Any]) -> None:
        processed.append(event)
        raise Enough  # as printed, the loop never ends

    namespace: dict[str, Any] = {"process_event": process_event}
    with running(KAFKA_EXAMPLE, namespace) as thread:
        joined(thread)
    assert processed == [
        {
            "user_id": 12345,
            "action": "purchase",
            "amount": 99.99,
            "timestamp": "2024-11-15T10:30:00Z",
        }
    ]
    namespace["producer"].close()
    namespace["consumer"].close()
    newest = [
        raw for raw in oracle.read_topic("user-events") if raw.offset >= starts[raw.partition]
    ]
    assert [json.loads(raw.value or b"") for raw in newest] == processed


class Enough(Exception):  # noqa: N818 - not an error
    """Ends the consumer's loop."""


@contextmanager
def running(code: str, namespace: dict[str, Any]) -> Iterator[threading.Thread]:
    """Run printed code in a thread, with our broker's address in place of the article's."""
    here = code.replace("localhost:9092", rta.kafka.bootstrap())
    failures: list[BaseException] = []

    def run() -> None:
        try:
            exec(compile(here, "article", "exec"), namespace)  # noqa: S102 - this is the test
        except Enough:
            pass
        except BaseException as error:  # noqa: BLE001 - shown below, in the test's own thread
            failures.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    yield thread
    assert not thread.is_alive()
    assert not failures, failures


def waited_for(look: Callable[[], Any], thread: threading.Thread) -> Any:
    """Poll until there is something."""
    until(lambda: look() is not None or not thread.is_alive())
    found = look()
    assert found is not None
    return found


def been_here(group: str, positions: dict[int, int]) -> None:
    """Commit these positions for a consumer group."""
    from kafka import KafkaConsumer, OffsetAndMetadata, TopicPartition

    consumer = KafkaConsumer(
        bootstrap_servers=rta.kafka.bootstrap(), group_id=group, enable_auto_commit=False
    )
    places = {
        TopicPartition("user-events", p): OffsetAndMetadata(at, "", -1)
        for p, at in positions.items()
    }
    consumer.assign(list(places))
    consumer.commit(places)
    consumer.close()
