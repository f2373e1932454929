"""Drain a topic on the Spark master that RTA_SPARK_MASTER names (F9)."""

import sys

import rta

rta.spark(
    conf={
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.ui.enabled": "false",
        "spark.executor.memory": "1g",
    }
)
rta.drain(
    sys.argv[1],
    rta.transforms.totals,
    table="clustered",
    key=["window", "user_id"],
    event=rta.USER_EVENTS,
    max_events_per_batch=2_000,
)
print("drained")
