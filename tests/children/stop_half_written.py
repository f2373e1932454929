"""Drain a topic, and stop in the middle of a micro-batch's write, with the transaction open (F7)."""

import sys
from typing import Any

import rta
from rta.store import upserts

upsert = upserts.upsert


def half(connection: Any, table: Any, rows: Any) -> Any:
    """Write half of the rows, once the ledger's entry is made; then wait for the end."""
    if rows.num_rows:
        upsert(connection, table, rows.slice(0, rows.num_rows // 2))
        print("half is written", rows.num_rows // 2, flush=True)
        sys.stdin.readline()
    return upsert(connection, table, rows)


upserts.upsert = half  # type: ignore[assignment]
rta.spark(master="local[4]", conf={"spark.ui.enabled": "false"})
rta.drain(
    sys.argv[1],
    rta.transforms.totals,
    table="f07",
    key=["window", "user_id"],
    event=rta.USER_EVENTS,
)
