"""Start Kafka and Spark, publish and drain; print the broker's process (F37)."""

import sys

import rta

name = sys.argv[1]
spark = rta.spark(master="local[4]", conf={"spark.ui.enabled": "false"})
rta.publish(rta.user_events(spark, rows=300), name, key="user_id", partitions=2)
rta.drain(name, rta.transforms.totals, table=name, key=["window", "user_id"], event=rta.USER_EVENTS)
print(rta.up().pid)
