"""The rows: what is measured, in which company, and what each answer is worth."""

from __future__ import annotations

from typing import Final

from bench.measure import Row
from bench.setup import check_totals, trusted

NONE: Final = "none: in memory, amounts as floats, nothing counted or set aside"
HAND: Final = "idempotent upsert; a bad event vanishes, nothing is accounted for"
RTA: Final = "exactly once with its accounting; strict, bad events in the DLQ, late ones counted"
PURE: Final = "exact; strict, bad events left out"
EXACT: Final = "exact; the archive is trusted"
LEAST: Final = "at least once onto a topic; strict, bad events left out"
KEPT: Final = "exactly once, its accounting when the interval ends; strict, bad events in the DLQ"
NOWHERE: Final = "the answer is computed, and goes nowhere"
KEYS: Final = "every key is in the state; the result goes nowhere"
LOOP: Final = "no acknowledgement is looked at; amounts as floats"
ALL: Final = "acknowledged by all replicas, or an error"
REPLAY: Final = "as rta's drain; version 1 serves readers meanwhile, and both are the truth"
VIEW: Final = "in the table that readers see, with its accounting; bad events counted"
BARE: Final = "exact; into memory, nothing accounted for"
WAIT: Final = "exactly once with its accounting; each event's result was seen"
OPEN: Final = "each window of a user is in the state, or has left it"
SEEN: Final = "each event's result was seen in the browser"
SAME: Final = "the same query and micro-batches, in turns"
STAYS: Final = "kernel, JVM and browser: the last third of the time against the first"
DRAWN: Final = "the page of a view in Chromium, without a kernel"
SHOWN: Final = "a window's totals are on the screen; the stream is read from its beginning"
PRINTED: Final = "the article's query as printed has given a row to foreachBatch"
MANY: Final = "each viewer gets frames"
READ: Final = "every event is read; nothing is written"
STREAMS: Final = "exactly once with its accounting; strict, bad events in the DLQ, late ones counted by Kafka Streams' clock"
FLINK: Final = "exactly once with its accounting; strict, bad events in the DLQ; no event is late"
FLINK_SQL: Final = "exactly once onto a topic, then into SQLite; late and bad events vanish"
FLOATLESS: Final = "exact; into memory, a bad event ends it, nothing is accounted for"
EACH: Final = "each event's acknowledgement is kept, each has its intended time"

ROWS: Final = [
    Row("drain", "article", NONE, "bench.drain:article", check_totals, quick=True),
    Row("drain", "hand-written", HAND, "bench.drain:hand", check_totals, quick=True),
    Row("drain", "rta", RTA, "bench.drain:rta", check_totals, quick=True),
    Row("engines", "rta on Spark", RTA, "bench.drain:rta", check_totals),
    Row("engines", "rta on Flink", FLINK, "bench.engines:flink", check_totals),
    Row("engines", "Flink SQL by hand", FLINK_SQL, "bench.engines:flink_by_hand", check_totals),
    Row("engines", "rta on Kafka Streams", STREAMS, "bench.engines:kafka_streams", check_totals),
    Row(
        "engines", "kafka-python and a dict", FLOATLESS, "bench.engines:kafka_python", check_totals
    ),
    Row("engines", "confluent-kafka and Polars", FLOATLESS, "bench.engines:polars", check_totals),
    Row("batch", "replay by rta.drain", RTA, "bench.drain:rta", check_totals),
    Row("batch", "rta.read_batch", PURE, "bench.batch:spark", check_totals),
    Row("batch", "DuckDB over the archive", EXACT, "bench.batch:duckdb", check_totals),
    Row(
        "start", "a notebook", "the row is in the table", "bench.start:session", trusted, quick=True
    ),
    Row("start", "the broker", "it answers", "bench.start:broker", trusted, quick=True),
    Row("start", "the flights job", "totals as DuckDB has them", "bench.start:job", trusted),
    Row("start", "the demo", "totals as DuckDB has them", "bench.start:demo", trusted),
    Row("micro-batch", "Spark alone", NOWHERE, "bench.micro_batch:spark", trusted),
    Row("micro-batch", "hand-written", HAND, "bench.micro_batch:hand", trusted),
    Row("micro-batch", "rta", RTA, "bench.micro_batch:rta", trusted),
    Row("metrics", "beside a query", SAME, "bench.metrics:beside", trusted),
    Row("latency", "article", NONE, "bench.latency:article", trusted),
    Row("latency", "micro-batch", RTA, "bench.latency:micro_batch", trusted),
    Row("latency", "real-time mode", LEAST, "bench.latency:real_time", trusted),
    Row("latency", "real-time mode, table", KEPT, "bench.latency:materialized", trusted),
    Row("latency", "Flink, table", FLINK, "bench.latency:flink", trusted),
    Row("latency", "Kafka Streams, table", STREAMS, "bench.latency:kafka_streams", trusted),
    Row("memory", "a notebook", "the drain is accounted for", "bench.memory:kernel", trusted),
    Row("memory", "state of 1,000 keys", KEYS, "bench.state:state_1k", trusted),
    Row("memory", "state of 100,000 keys", KEYS, "bench.state:state_100k", trusted),
    Row("memory", "state of 1,000,000 keys", KEYS, "bench.state:state_1m", trusted),
    Row("replay", "Kappa, nothing arrives", REPLAY, "bench.replays:quiet", trusted),
    Row("replay", "Kappa, 1,000 events/s arrive", REPLAY, "bench.replays:live", trusted),
    Row("recompute", "Lambda", VIEW, "bench.recompute:lambda_", check_totals),
    Row("recompute", "the batch view alone", VIEW, "bench.recompute:view", check_totals),
    Row("recompute", "Spark", BARE, "bench.recompute:spark", check_totals),
    Row("recompute", "DuckDB", BARE, "bench.recompute:duckdb", check_totals),
    Row("outage", "micro-batch, 1,000 events/s", WAIT, "bench.outage:micro_batch", trusted),
    Row("plateau", "with watermark", OPEN, "bench.state:with_watermark", trusted),
    Row("plateau", "without watermark", OPEN, "bench.state:without_watermark", trusted),
    Row("live", "table", SEEN, "bench.live:table", trusted),
    Row("live", "real-time table", SEEN, "bench.live:real_time", trusted),
    Row("live", "beside a query", SAME, "bench.live:beside", trusted),
    Row("live", "a table for minutes", STAYS, "bench.live:minutes", trusted, timeout=3_600),
    Row("live", "10,000 rows", DRAWN, "bench.live:scroll", trusted),
    Row("live", "a dashboard", MANY, "bench.live:viewers", trusted),
    Row("live", "rta.live", SHOWN, "bench.live:first", trusted),
    Row("live", "rta.live, a spare driver", SHOWN, "bench.live:with_spare", trusted),
    Row("live", "PySpark by hand", PRINTED, "bench.live:by_hand", trusted),
    Row("parse", "a nested event of 25 fields", READ, "bench.parsing:nested", trusted),
    Row("parse", "flat events", READ, "bench.parsing:flat", trusted),
    Row("publish", "article", LOOP, "bench.publish:article", trusted),
    Row("publish", "rta.publish, in order", ALL, "bench.publish:ordered", trusted),
    Row("publish", "rta.publish", ALL, "bench.publish:bulk", trusted),
    Row("publish", "rta.kafka.publish_paced", EACH, "bench.publish:paced", trusted),
]
GROUPS: Final = list(dict.fromkeys(row.group for row in ROWS))
