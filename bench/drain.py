"""Drain the topic to the final table: the article's query as printed, the same by hand and tuned, rta.

Cold: a new process, so the start of Spark is in it. Warm: the same again in that process, elsewhere.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from bench.child import Setup, first_record, save, timed

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import DataFrame, SparkSession

PHASES: Final = ("cold", "warm")
KEY: Final = ["window", "user_id"]
HAND: Final = """
    CREATE TABLE totals (
        window_start TEXT, window_end TEXT, user_id INTEGER, total_amount TEXT, event_count INTEGER,
        PRIMARY KEY (window_start, user_id)
    )
"""
UPSERT: Final = """
    INSERT INTO totals VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE
    SET total_amount = excluded.total_amount, event_count = excluded.event_count
"""


def printed(
    setup: Setup, sink: str, *, topic: str | None = None, starting: str | None = None
) -> str:
    """Return the article's query as printed, but for address, topic, sink, and where it starts."""
    changes = {
        '"localhost:9092"': repr(setup.bootstrap),
        '"user-events"': repr(topic or setup.topic),
        '.format("console")': sink,
    }
    if starting:
        changes[".load()"] = f'.option("startingOffsets", "{starting}").load()'
    code = setup.article
    for old, new in changes.items():
        if code.count(old) != 1:
            raise ValueError(f"the article has {old} {code.count(old)} times")
        code = code.replace(old, new)
    return code


def article_session(setup: Setup) -> dict[str, Any]:
    """Return what the article takes for granted: a connector on the class path, and a schema."""
    from pyspark.sql.types import DoubleType, LongType, StringType, StructType, TimestampType

    jars = setup.spark["spark.driver.extraClassPath"]
    os.environ["PYSPARK_SUBMIT_ARGS"] = f"--driver-class-path {jars} pyspark-shell"
    fields = {"user_id": LongType(), "action": StringType(), "amount": DoubleType(), "timestamp": TimestampType()}  # fmt: skip
    schema = StructType()
    for name, kind in fields.items():
        schema = schema.add(name, kind)
    return {"schema": schema}


def article(setup: Setup, scratch: Path) -> None:
    """Run the article's query to the end of the topic, into the memory sink: the nearest to a console."""
    for name in PHASES:
        sink = f'.format("memory").queryName("{name}").trigger(availableNow=True)'
        code = compile(printed(setup, sink, starting="earliest"), "article", "exec")
        phase, space = timed(name, partial(_as_printed, setup, code))
        columns = "window.start AS window_start, user_id, total_amount, event_count"
        answer = space["spark"].sql(f"SELECT {columns} FROM {name}").toArrow()
        _tell(phase, space["spark"], save(answer, scratch / f"{name}.parquet"))


def _as_printed(setup: Setup, code: Any) -> dict[str, Any]:
    space = article_session(setup)
    exec(code, space)  # noqa: S102 - the article's own text
    return space


def hand(setup: Setup, scratch: Path) -> None:
    """Run what a good engineer would write with the same settings, into SQLite."""
    for name in PHASES:
        phase, spark = timed(name, partial(_by_hand, setup, scratch, name))
        with closing(sqlite3.connect(scratch / f"{name}.db")) as database:
            _tell(phase, spark, save(stored(database), scratch / f"{name}.parquet"))


def totals_by_hand(spark: SparkSession, setup: Setup, **options: str) -> DataFrame:
    """Write the article's query with the best settings; options are the source's."""
    from pyspark.sql import functions as F

    schema = "user_id BIGINT, action STRING, amount DECIMAL(12, 2), timestamp TIMESTAMP"
    raw = (
        spark.readStream.format("kafka")
        .option("kafka.bootstrap.servers", setup.bootstrap)
        .option("subscribe", setup.topic)
        .option("startingOffsets", "earliest")
        .options(**setup.fetch, **options)
        .load()
    )
    events = raw.select(F.from_json(F.col("value").cast("string"), schema).alias("e")).select("e.*")
    return (
        events.withWatermark("timestamp", "10 minutes")
        .groupBy(F.window("timestamp", "5 minutes"), "user_id")
        .agg(F.sum("amount").alias("total_amount"), F.count("*").alias("event_count"))
        .selectExpr(
            "string(window.start)", "string(window.end)", "user_id", "string(total_amount)", "event_count"
        )
    )  # fmt: skip


def upserting(database: sqlite3.Connection) -> Callable[[DataFrame, int], None]:
    """Make the table, and return what writes the answer of a micro-batch into it."""
    database.execute("PRAGMA journal_mode=WAL")
    database.execute(HAND)

    def upsert(frame: DataFrame, _: int) -> None:
        columns = [column.to_pylist() for column in frame.toArrow().columns]
        with database:
            database.executemany(UPSERT, zip(*columns, strict=True))

    return upsert


def _by_hand(setup: Setup, scratch: Path, name: str) -> SparkSession:
    from pyspark.sql import SparkSession

    spark = SparkSession.builder.config(map=dict(setup.spark)).getOrCreate()
    with closing(sqlite3.connect(scratch / f"{name}.db", check_same_thread=False)) as database:
        query = (
            totals_by_hand(spark, setup)
            .writeStream.outputMode("update")
            .option("checkpointLocation", str(scratch / f"{name}-checkpoint"))
            .trigger(availableNow=True)
            .foreachBatch(upserting(database))
            .start()
        )
        query.awaitTermination()
    return spark


def stored(database: sqlite3.Connection) -> pa.Table:
    """Return what a table made by HAND has, without the ends of its windows."""
    import pyarrow as pa

    columns = ["window_start", "user_id", "total_amount", "event_count"]
    rows = database.execute(f"SELECT {', '.join(columns)} FROM totals").fetchall()
    stored = pa.table(dict(zip(columns, map(list, zip(*rows, strict=True)), strict=True)))
    moments = stored["window_start"].cast(pa.timestamp("us"))
    return stored.set_column(0, "window_start", moments)


def rta(setup: Setup, scratch: Path) -> None:
    """Run rta.drain() as a notebook would."""
    for name in PHASES:
        table = f"bench_{name}_{uuid4().hex[:8]}"
        phase, _ = timed(name, partial(_by_rta, setup, table))
        import pyarrow as pa

        import rta

        answer = pa.Table.from_pandas(rta.read(table), preserve_index=False)
        _tell(phase, rta.spark(), save(answer, scratch / f"{name}.parquet"))
        rta.reset(table)


def _by_rta(setup: Setup, table: str) -> None:
    import rta

    rta.spark()
    rta.drain(setup.topic, rta.transforms.totals, table=table, key=KEY, event=rta.USER_EVENTS)


def _tell(phase: Any, spark: SparkSession, answer: str) -> None:
    """Tell a drain: its cold phase counts from the start of the process."""
    first = first_record(spark, phase.began)
    phase.tell(answer=answer, first_record=first, from_start=phase.name == "cold")
