"""Follow a topic, kill the driver's JVM, and print what two looks find: before it, and after."""

import os
import signal
import sys
from contextlib import closing

import rta
from rta.dataframes.internals import own_jvm
from tests.support.waiting import until

spark = rta.spark(conf={"spark.ui.enabled": "false"})
how = {"table": "observed_dead", "key": ["window", "user_id"], "event": rta.USER_EVENTS}
rta.publish(rta.user_events(spark, rows=20), sys.argv[1])
query = rta.follow(sys.argv[1], rta.transforms.totals, **how)  # type: ignore[arg-type]
query.processAllAvailable()
with closing(rta.metrics.Observer(patience=60)) as observer:
    for step in ("before", "after"):
        if step == "after":
            jvm = own_jvm()
            assert jvm is not None
            os.kill(jvm.pid, signal.SIGKILL)
            until(lambda: not observer.look().up.get("spark", True))
        seen = observer.look()
        states = {each.name: each.state for each in seen.queries}
        print(step, seen.up["spark"], seen.up["kafka"], states["observed_dead"], "|", seen.away.get("spark"), flush=True)  # fmt: skip
