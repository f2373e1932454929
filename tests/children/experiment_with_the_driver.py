"""Kill the driver of this process in a fault laboratory, and tell what came back (F47)."""

import json
import sys
from typing import Any

import rta
from rta.dataframes.internals import own_jvm
from rta.display.feeds import TableFeed
from rta.display.live_view import LiveView
from rta.errors import QueryError
from tests.support.waiting import HANG, until

spark = rta.spark(master="local[4]", conf={"spark.ui.enabled": "false", "spark.sql.shuffle.partitions": "1"})  # fmt: skip
how: dict[str, Any] = {"key": ["window", "user_id"], "event": rta.USER_EVENTS}
query = rta.follow(sys.argv[1], rta.transforms.totals, table="f47_driver", **how)
rta.follow(sys.argv[1], rta.transforms.totals, table="f47_other", **how)
query.processAllAvailable()
view = LiveView(TableFeed("f47_driver")).start()
lab = rta.lab("f47_driver", view, patience=HANG)

plain = spark.readStream.format("rate").load().writeStream.format("noop").queryName("plain").start()
try:
    lab.kill_driver()
    refused = False
except QueryError as error:
    refused = "cannot be started again; found: plain" in str(error)
plain.stop()

before = own_jvm()
done = lab.kill_driver()
print(done, file=sys.stderr)
until(lambda: view.history[-1].used == 220)
told = {
    "expected": done.expected, "counted": done.counted.used, "lost": done.lost, "as_expected": done.as_expected,
    "recovered": done.seconds is not None, "other": rta.queries()["f47_other"].state, "another_jvm": own_jvm() is not before,
    "partitions": rta.spark().conf.get("spark.sql.shuffle.partitions"), "marks": [each["label"] for each in view.snapshot().marks],
    "view": view.state, "refused": refused,
}  # fmt: skip
print(json.dumps(told))
view.stop()
for each in rta.spark().streams.active:
    each.stop()
rta.spark().stop()
