"""Drain two topics into a join, sessions and a processor, again after each failure, until all are done (F5)."""

import sys

import rta
from tests.support.two_topics import Pair, counted_by_hand, joined, sessions

pair = Pair(*sys.argv[1:])
while True:
    try:
        rta.spark(master="local[2]", conf={"spark.ui.enabled": "false"})
        rta.drain(pair.topics, joined("left"), table="f05_join", key=["view", "buy"])
        rta.drain(
            pair.views, sessions, table="f05_sessions", key=["session", "user_id"], **pair.one
        )
        rta.drain(pair.views, counted_by_hand, table="f05_processor", key=["user_id"], **pair.one)
        break
    except rta.RtaError as error:
        print("failed:", error, flush=True)
