"""The contract's analyses in plain SQL, which DuckDB runs over the topic itself: nothing here is shared with rta or an engine.

An engine leaves out what is late: an event, or one of its windows, whose end is not after a threshold. Each engine has a clock of its
own, so what is given is one thing: a threshold for each event, or none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import pandas as pd
import pyarrow as pa

import rta
from rta.store import ledger
from rta.testing import oracle

Rows = list[tuple[str, ...]]
_TOTALS: Final = "SUM(amount) AS total_amount, COUNT(*) AS event_count"
_TENS: Final = (
    "CAST(10000 * 100 * SUM(amount) AS HUGEINT)"  # of the mean's last place, times the count
)
_MEAN: Final = f"""
    CAST(SIGN(SUM(amount)) * ((2 * ABS({_TENS}) + COUNT(*)) // (2 * COUNT(*))) AS DECIMAL(30, 0)) * CAST('0.000001' AS DECIMAL(7, 6))
"""
GRACE: Final = "INTERVAL 10 MINUTE"


@dataclass(frozen=True)
class Truth:
    """An analysis in SQL.

    Args:
        select: Its aggregates.
        keys: The keys of its groups, beside the window.
        where: Which events it takes.
        derived: A column that it computes before that.
        minutes: How long a window is.
        slide: How far apart windows begin, in minutes.
    """

    select: str = _TOTALS
    keys: str = "user_id"
    where: str = "TRUE"
    derived: str = "NULL AS nothing"
    minutes: int = 5
    slide: int = 5

    def answer(self, events: pa.Table, threshold: str = "NULL", **tables: pa.Table) -> tuple[Rows, int]:  # fmt: skip
        """Return the rows, each value as text, and how many events are late.

        Args:
            events: The good events, each with its partition and offset.
            threshold: SQL over the events that are taken: the end of a window is late unless it is after that.
            tables: What else the threshold reads.
        """
        windows = f"""
            WITH taken AS (SELECT * FROM (SELECT *, {self.derived} FROM events) WHERE {self.where}),
            judged AS (SELECT *, CAST({threshold} AS TIMESTAMP) AS threshold FROM taken),
            placed AS (
                SELECT *, time_bucket(INTERVAL '{self.slide} minutes', "timestamp") - back * INTERVAL '{self.slide} minutes' AS "start",
                       "start" + INTERVAL '{self.minutes} minutes' AS "end"
                FROM judged CROSS JOIN range({self.minutes // self.slide}) AS hops(back)
            )
        """
        open_, closed = '(threshold IS NULL OR "end" > threshold)', '"end" <= threshold'
        rows = oracle.run(f'{windows} SELECT "start", "end", {self.keys}, {self.select} FROM placed WHERE {open_} GROUP BY ALL', events=events, **tables)  # fmt: skip
        late = oracle.run(f'{windows} SELECT COUNT(DISTINCT (partition, "offset")) AS n FROM placed WHERE {closed}', events=events, **tables)  # fmt: skip
        return as_text(rows.to_pandas()), late.column("n")[0].as_py()


TRUTHS: Final = {
    "totals": Truth(),
    "filtered": Truth(where="action = 'purchase' AND amount > 10"),
    "hopping": Truth("SUM(amount) AS total, COUNT(*) AS n", minutes=10),
    "spread": Truth(
        f"""MIN(amount) AS lowest, MAX(amount) AS highest, {_MEAN} AS mean, COUNT(reported_at) AS reported,
            MIN("timestamp") AS first, COUNT(*) AS n"""
    ),
    "texts": Truth(
        """SUM(CASE WHEN action IN ('view', '', 'größer ') OR starts_with(action, 'pu') OR ends_with(action, '%') OR contains(action, 'ß\\_') THEN amount
               ELSE 0 END) AS about,
           SUM(CASE WHEN length(said) > 9 THEN 1::DECIMAL(1, 0) END) AS long,
           SUM(CASE WHEN NOT starts_with(action, trim(action, ' ')) THEN 1::DECIMAL(1, 0) END) AS odd, COUNT(*) AS n""",
        keys="user_id, said",
        derived="trim(action, ' ') || '·' || action AS said",
        where="length(action) < 9",
    ),
    "derived": Truth(
        "SUM(twice) AS total_amount, COUNT(*) AS event_count",
        derived="amount * 2 + 1 AS twice",
        where="twice > 5",
    ),
    "by_case": Truth(
        "SUM(CASE WHEN action = 'purchase' THEN amount ELSE 0 END) AS bought, SUM(amount) AS \"all\", COUNT(*) AS n",
        keys="user_id, size",
        derived="CASE WHEN amount > 100 THEN 'large' WHEN amount > 10 THEN 'middle' ELSE 'small' END AS size",
    ),
}
"""Name of an analysis of the contract → the same in SQL."""

KAFKA_STREAMS: Final = f"""MAX("timestamp") OVER (PARTITION BY partition ORDER BY "offset" ROWS UNBOUNDED PRECEDING) - {GRACE}"""
"""Its clock is the newest event of the partition so far, of those that it takes."""
SPARK: Final = 'SELECT watermark FROM batches WHERE number = taken.partition AND taken."offset" >= begin AND taken."offset" < until'
"""Its clock is the watermark with which the event's micro-batch began."""


def batches(table: str) -> pa.Table:
    """Return what each micro-batch of Spark has read of each partition, and the watermark with which it began."""
    fields = [("number", pa.int32()), ("begin", pa.int64()), ("until", pa.int64()), ("watermark", pa.timestamp("us"))]  # fmt: skip
    rows = [
        {
            "number": number, "begin": batch.start_offsets.get(number, 0), "until": end,
            "watermark": batch.watermark and batch.watermark.replace(tzinfo=None),
        }
        for batch in ledger.batches(table)
        for number, end in batch.end_offsets.items()
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, schema=pa.schema(fields))


def kept(table: str) -> Rows:
    """Return the rows of a table as text."""
    return as_text(rta.read(table).rename(columns={"window_start": "start", "window_end": "end"}))


def of_batch(frame: Any) -> Rows:
    """Return the rows of a result of Spark as text."""
    return as_text(frame.select("window.start", "window.end", "*").drop("window").toPandas())


def as_text(frame: pd.DataFrame) -> Rows:
    """Return rows as sorted text: times in UTC without a zone, decimals with all their places, nothing for null."""
    for name in frame.select_dtypes("datetimetz"):
        frame[name] = frame[name].dt.tz_localize(None)
    columns = ["start", "end", *sorted(set(frame.columns) - {"start", "end"})]
    return sorted(tuple("" if pd.isna(value) else str(value) for value in row) for row in frame[columns].itertuples(index=False, name=None))  # fmt: skip
