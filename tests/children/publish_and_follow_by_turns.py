"""Publish and follow a topic, a turn for each line of stdin, while the clock is set by somebody else (F29)."""

import sys

import rta

spark = rta.spark(conf={"spark.ui.enabled": "false"})
rta.kafka.create_topic("jumps", partitions=1)
query = rta.follow(
    "jumps",
    rta.transforms.totals,
    table="jumps",
    key=["window", "user_id"],
    event=rta.USER_EVENTS,
    max_events_per_batch=40,
)
for part, _ in enumerate(sys.stdin):
    events = rta.user_events(
        spark, rows=120, first_row=120 * part, rate=0.05, lateness="40 minutes", late_share=0.3
    )
    # Of the first ten minutes.
    stragglers = rta.user_events(spark, rows=20, seed=part + 1, rate=0.03)
    rta.publish(events.union(stragglers), "jumps", order_by="reported_at")
    query.processAllAvailable()
    [now] = spark.sql("SELECT unix_seconds(current_timestamp())").collect()[0]
    print(now, flush=True)
query.stop()
