"""Follow a topic, and tell of the driver what stdin asks for (F42)."""

import json
import sys
from typing import Any

import rta

spark = rta.spark()
query = rta.follow(
    sys.argv[1],
    rta.transforms.totals,
    table="f42",
    key=["window", "user_id"],
    event=rta.USER_EVENTS,
)
jvm: Any = spark._jvm
runtime = jvm.java.lang.Runtime.getRuntime()
print("following", flush=True)
for wish in sys.stdin:
    if wish.strip() == "collect":
        runtime.gc()
    if wish.strip() == "settle":
        query.processAllAvailable()
    progress: Any = query.lastProgress or {}
    print(
        json.dumps(
            {
                "driver_heap": runtime.totalMemory() - runtime.freeMemory(),
                "batch": progress.get("batchId", -1),
                "state_rows": sum(op["numRowsTotal"] for op in progress.get("stateOperators", [])),
                "batch_ms": progress.get("durationMs", {}).get("triggerExecution", 0),
            }
        ),
        flush=True,
    )
query.stop()
