"""Follow a topic on a Flink whose checkpoints have no space, give it space, and follow it again (F68)."""

import os
import sys
from pathlib import Path
from typing import Any

import rta
from rta.engines import flink
from tests.support.engine_faults import exact, followed
from tests.support.waiting import until

name, disk, records = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
rta.spark(master="local[2]", conf={"spark.ui.enabled": "false"})
flink.up()
query: Any = followed(name, "flink_full", "flink")
query.processAllAvailable()
filler, there = disk / "filler", os.statvfs(disk)
filler.write_bytes(bytes(there.f_bavail * there.f_frsize))
rta.publish(rta.user_events(rta.spark(), rows=500, seed=2), name, key="user_id")
try:
    until(lambda: not query.isActive)
    print(query.exception(), flush=True)
    filler.unlink()
    again: Any = followed(name, "flink_full", "flink")
    again.processAllAvailable()
    again.stop()
    exact(name, "flink_full", records + 500)
    print("whole", flush=True)
finally:
    flink.down()
