"""Publish until the broker's disk is full, free it, and look at what is there (F15)."""

import json
import sys
from pathlib import Path

import rta
from rta.errors import BrokerError
from rta.kafka import broker
from rta.testing import oracle

data, log = Path(sys.argv[1]), Path(sys.argv[2])
broker.up()
try:
    (data / "filler").write_bytes(bytes(24 * 2**20))
    log.touch()
    asked = (n for n in range(600) if "unknown" not in log.read_text())
    events = ({"event_id": f"e{n}", "text": "x" * 100_000} for n in asked)
    made = rta.kafka.publish_paced(events, "full", partitions=1, log=log, timeout=10)
    assert made.ok, made
    assert made.unknown, made
    assert not made.failed, made
    while broker.status():
        pass
    refused = "not: it runs on a full disk"
    try:
        broker.up()
    except BrokerError as error:
        refused = str(error)
    assert "MB of disk free" in refused, refused
    assert "free disk space" in refused, refused
    (data / "filler").unlink()
    broker.up()
    there = {
        raw.offset: json.loads(raw.value or b"")["event_id"] for raw in oracle.read_topic("full")
    }
    said = [json.loads(line) for line in log.read_text().splitlines()]
    for each in said:
        assert each["outcome"] != "ok" or there[each["offset"]] == f"e{each['sequence']}", each
    assert rta.kafka.publish_paced([{"event_id": "last"}], "full").ok == 1
    print(repr(made))
finally:
    broker.down()
