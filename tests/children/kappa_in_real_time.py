"""Keep a Kappa up to date in real-time mode until killed (F10)."""

import sys

import rta
from tests.engines.test_materialized import HOW
from tests.support.schedule import once

rta.spark(conf={"spark.ui.enabled": "false", "spark.sql.shuffle.partitions": "1"})
wired = rta.kappa(sys.argv[1], once, table=sys.argv[2], **HOW)
print("wired", flush=True)
sys.stdin.read()
