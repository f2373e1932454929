"""The reader of events as a function of Spark's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from pyspark.sql import SparkSession

import rta
from rta.dataframes.parsing import parse
from tests.dataframes.test_nested import raw
from tests.support.waiting import HANG

PROGRAM = """
from pyspark.sql import SparkSession
spark = SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false").getOrCreate()
import rta
from rta.dataframes.parsing import parse
raw = spark.sql("SELECT binary('k') key, binary(value) value, 't' topic, 0 partition, 0L offset, current_timestamp() timestamp FROM VALUES ('{\\"n\\":5}'), ('{') AS t(value)")
event = rta.EventType("t", "n INT", "kafka_timestamp")
print([(row.n, row.reason) for row in parse(raw, event).collect()])
other = spark.newSession()
print([row.n for row in parse(other.sql("SELECT binary('k') key, binary('{\\"n\\":7}') value, 't' topic, 0 partition, 0L offset, current_timestamp() timestamp"), event).collect()])
"""


def test_somebody_elses_session_learns_to_read_events(tmp_path: Path) -> None:
    """Its classpath has no jar of rta: the first event type brings it, in each of its sessions."""
    program = tmp_path / "a folder with spaces"
    program.mkdir()
    (program / "program.py").write_text(PROGRAM)
    ran = subprocess.run(
        [sys.executable, program / "program.py"], capture_output=True, text=True, timeout=HANG, check=False,
        env=os.environ | {"RTA_HOME": str(tmp_path / "home")},
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr[-2000:]
    assert ran.stdout.splitlines() == ["[(5, None), (None, 'broken JSON')]", "[7]"]


def test_two_readings_of_one_topic_are_the_same_to_spark(spark: SparkSession) -> None:
    """What was cached is found by a second frame that is built in the same way."""
    event = rta.EventType("t", "n INT", "kafka_timestamp")
    rows = raw(spark, [b'{"n":5}'])
    first, second = parse(rows, event), parse(rows, event)
    assert first.sameSemantics(second)
    assert not first.sameSemantics(parse(rows, rta.EventType("t", "n BIGINT", "kafka_timestamp")))
