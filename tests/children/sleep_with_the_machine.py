"""Keep a table; at each line drain what is new and say how many events count. Spark misses a heartbeat within seconds."""

import sys

import rta

QUICK = {"spark.network.timeout": "3s", "spark.network.timeoutInterval": "100ms"}
spark = rta.spark(conf=QUICK)
print(spark.sparkContext._gateway.proc.pid, flush=True)  # type: ignore[union-attr]
for _ in sys.stdin:
    rta.drain(sys.argv[1], rta.transforms.totals, table="slept", key=["window", "user_id"], event=rta.USER_EVENTS)  # fmt: skip
    print(rta.accounting("slept").used, flush=True)
