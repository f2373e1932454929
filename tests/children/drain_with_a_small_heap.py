"""Drain a topic with a heap that is too small for its keys (F38)."""

import sys

import rta

conf = {
    "spark.ui.enabled": "false",
    "spark.driver.memory": "256m",
    "spark.testing.reservedMemory": "20000000",
    "spark.sql.streaming.stateStore.providerClass": "org.apache.spark.sql.execution.streaming.state.HDFSBackedStateStoreProvider",
}
rta.spark(master="local[4]", conf=conf)
try:
    rta.drain(
        sys.argv[1],
        rta.transforms.totals,
        table="f38",
        key=["window", "user_id"],
        event=rta.USER_EVENTS,
        max_events_per_batch=200_000,
    )
except rta.RtaError as error:
    print(error)
