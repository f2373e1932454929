"""Publish with a clock that is ahead of Kafka's, and say why it is refused (F29)."""

import sys

import rta
from rta.errors import InputError

spark = rta.spark(conf={"spark.ui.enabled": "false"})
try:
    rta.publish(rta.user_events(spark, rows=3), sys.argv[1])
except InputError as error:
    print(error)
