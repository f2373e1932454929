"""What the tests of every engine share: broken events, and the rows of a result and of a table, each value as text."""

from __future__ import annotations

from pyspark.sql import DataFrame

import rta

BROKEN = (b"{broken", b"", b'{"event_id": "x"}', None)
KEY = ("window", "user_id")


def rows(frame: DataFrame) -> list[tuple[str, ...]]:
    """Return the rows of a result as a table has them, each value as text."""
    flat = frame.select("window.start", "window.end", "*").drop("window")
    columns = [*flat.columns[:2], *sorted(flat.columns[2:])]
    return sorted(tuple(map(str, row)) for row in flat.select(*columns).toPandas().itertuples(index=False, name=None))  # fmt: skip


def kept(table: str) -> list[tuple[str, ...]]:
    """Return the rows of a table, each value as text."""
    frame = rta.read(table)
    for name in frame.select_dtypes("datetimetz"):
        frame[name] = frame[name].dt.tz_localize(None)
    frame = frame.rename(columns={"window_start": "start", "window_end": "end"})
    columns = ["start", "end", *sorted(set(frame.columns) - {"start", "end"})]
    return sorted(tuple(map(str, row)) for row in frame[columns].itertuples(index=False, name=None))  # fmt: skip
