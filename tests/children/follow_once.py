"""Follow a topic into a table until killed (F41)."""

import sys

import rta
from tests.support.schedule import HOW, once

rta.spark(conf={"spark.ui.enabled": "false"})
query = rta.follow(sys.argv[1], once, table=sys.argv[2], **HOW)
print("following", flush=True)
query.awaitTermination()
