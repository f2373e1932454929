"""Start a session in a folder of its own, say which JVM it has, and work until killed."""

import sys
from pathlib import Path

import rta

Path("two.txt").write_text("one\ntwo\n")
spark = rta.spark()
driver = spark.sparkContext._gateway.proc.pid  # type: ignore[union-attr]
rta.publish(rta.user_events(spark, rows=30), sys.argv[1], key="user_id")
drained = rta.drain(sys.argv[1], rta.transforms.totals, table="spare", key=["window", "user_id"], event=rta.USER_EVENTS)  # fmt: skip
print(driver, spark.read.text("two.txt").count(), drained.accounting.used, flush=True)
sys.stdin.read()
