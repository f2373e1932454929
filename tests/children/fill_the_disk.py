"""Drain onto a disk that is full, free it, and drain again (F16)."""

import os
import sys
from pathlib import Path
from typing import Any

import rta
from rta.errors import QueryError
from rta.store import database
from rta.testing import oracle
from tests.support.truth import true_totals

database.PATIENCE = 0.5  # type: ignore[misc]
name, disk, url_of_table = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
rta.spark(master="local[4]", conf={"spark.ui.enabled": "false"})
how: dict[str, Any] = {
    "key": ["window", "user_id"],
    "event": rta.USER_EVENTS,
    "max_events_per_batch": 100,
}
for table, checkpoint, url in (
    ("full_checkpoint", disk / "checkpoint", ""),
    ("full_table", None, url_of_table),
):
    os.environ["RTA_DATABASE_URL"] = url
    filler = disk / "filler"
    if url:
        rta.store.tables()  # made while there is space
    there = os.statvfs(disk)
    filler.write_bytes(bytes(there.f_bavail * there.f_frsize - 2**10 * (200 if url else 800)))
    try:
        rta.drain(name, rta.transforms.totals, table=table, checkpoint=checkpoint, **how)
        raise AssertionError(f"{table}: the disk did not fill")
    except QueryError as error:
        print(table, "|", error, flush=True)
    done = rta.store.summed(table).consumed
    filler.unlink()
    taken = rta.drain(name, rta.transforms.totals, table=table, checkpoint=checkpoint, **how)
    assert taken.accounting.consumed + done == 3_000, (taken, done)
    assert oracle.differences(true_totals(name), table) == []
    oracle.check_accounted(table, name, used=3_000)
    print(table, "| whole after", done, flush=True)
