"""Drain a topic, again after each failure, until it is done (F5)."""

import sys

import rta

while True:
    try:
        rta.spark(master="local[4]", conf={"spark.ui.enabled": "false"})
        print(
            rta.drain(
                sys.argv[1],
                rta.transforms.totals,
                table="f05",
                key=["window", "user_id"],
                event=rta.USER_EVENTS,
                max_events_per_batch=300,
            ),
            flush=True,
        )
        break
    except rta.RtaError as error:
        print("failed:", error, flush=True)
