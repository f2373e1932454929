"""A streaming frame as it is: a query of its own fills a bounded ring of rows in the driver, and leaves nothing behind."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

from rta.dataframes.internals import streams_of
from rta.display.feeds import Mode, OneQuery
from rta.display.rows import Rows, types_of
from rta.engines.spark.checkpoint_lock import begun, none_left_behind, stop
from rta.engines.spark.query_errors import failures_said
from rta.settings import private_folder, settings
from rta.setup.processes import runs
from rta.store.columns import KINDS, series
from rta.store.merge_rules import grouping
from rta.store.stored_types import storable

if TYPE_CHECKING:
    import pandas as pd
    from pyspark.sql import DataFrame
    from pyspark.sql.streaming.query import StreamingQuery

_KEPT: Final = (
    10_000  # rows of a micro-batch that come to the driver, the newest ones; and of the ring
)
_AT: Final = "rta.live.at"
_numbers = itertools.count(1)


class FrameFeed(OneQuery):
    """A streaming frame; the checkpoint of its query is removed with it."""

    kind = "frame"

    def __init__(
        self, frame: DataFrame, *, mode: Mode | None, key: Sequence[str], every: float
    ) -> None:
        grouped = grouping(frame)
        self.mode = mode or ("append" if grouped is None else "update")
        structs = _structs(frame)
        by = [*key] or (grouped or [] if self.mode == "update" else [])
        self.key = tuple(part for name in by for part in structs.get(name, [name]))
        self.frame, self.title = _flattened(frame), f"stream of {', '.join(streams_of(frame))}"
        self._name = f"live_{next(_numbers)}"
        self._every, self._lock, self._ring = every, Lock(), dict[Any, tuple[Any, ...]]()
        self._count, self._unread, self._dropped = 0, True, False
        self._types = types_of(self.frame.schema)
        self._places = [self.frame.columns.index(name) for name in self.key]
        self._folder = _folder() / f"{os.getpid()}-{self._name}"
        self.query = self._started()

    def _started(self) -> StreamingQuery:
        writer = (
            self.frame.writeStream.queryName(self._name).outputMode(self.mode).foreachBatch(self._take)
            .option("checkpointLocation", str(self._folder)).trigger(processingTime=f"{self._every * 1000:.0f} milliseconds")
        )  # fmt: skip
        with failures_said(str(self._folder), self.title), none_left_behind():
            return begun(writer.start)

    def _take(self, batch: DataFrame, _: int) -> None:
        """Put the newest rows of a micro-batch into the ring: one pass, at most _KEPT rows leave Spark."""
        from pyspark.sql import Observation
        from pyspark.sql import functions as F

        counted = Observation()
        newest = storable(
            batch.observe(counted, F.count(F.lit(1)).alias("rows")).withColumn(_AT, F.monotonically_increasing_id())
            .orderBy(F.col(f"`{_AT}`").desc()).limit(_KEPT).drop(_AT)
        ).toArrow()  # fmt: skip
        rows = list(zip(*(column.to_pylist() for column in newest.columns), strict=True))[::-1]
        with self._lock:
            if self.mode == "complete":
                self._ring, self._count = {}, 0
            for row in rows:
                name: Any = tuple(row[at] for at in self._places) if self._places else object()
                self._ring.pop(name, None)
                self._ring[name] = row
            self._count += counted.get["rows"]
            self._dropped = self._dropped or len(self._ring) > _KEPT or counted.get["rows"] > _KEPT
            for name in itertools.islice([*self._ring], max(len(self._ring) - _KEPT, 0)):
                del self._ring[name]
            self._unread = True

    def rows(self, limit: int) -> Rows | None:
        with self._lock:
            if not self._unread:
                return None
            self._unread = False
            rows = list(self._ring.values())[::-1]
            known = self.mode == "complete" or not self._places
            total = self._count if known else None if self._dropped else len(rows)
        if self._places:
            rows.sort(key=self._by_time, reverse=True)
        return Rows(self._framed(rows[:limit]), self._types, self.key, total)

    def _by_time(self, row: tuple[Any, ...]) -> list[Any]:
        times = [at for at in self._places if self._types[self.frame.columns[at]] == "time"]
        return [(row[at] is not None, row[at]) for at in times]

    def _framed(self, rows: Sequence[tuple[Any, ...]]) -> pd.DataFrame:
        """Return rows as pandas has those of a table."""
        import pandas as pd

        columns = {}
        for at, field in enumerate(self.frame.schema):
            values, kind = [row[at] for row in rows], field.dataType.typeName()
            exact = kind in KINDS
            columns[field.name] = series(values, kind, nullable=True) if exact else pd.Series(values, dtype=object)  # fmt: skip
        return pd.DataFrame(columns)

    def restart(self) -> None:
        self.query.stop()
        self.query = self._started()

    def close(self) -> None:
        stop(self.query)
        shutil.rmtree(self._folder, ignore_errors=True)


def _structs(frame: DataFrame) -> dict[str, list[str]]:
    """Return the columns that become several, as in a table: window → window_start, window_end."""
    from pyspark.sql.types import StructType

    return {f.name: [f"{f.name}_{n}" for n in f.dataType.names] for f in frame.schema if isinstance(f.dataType, StructType)}  # fmt: skip


def _flattened(frame: DataFrame) -> DataFrame:
    """Return a frame with its structs flattened one level."""
    from pyspark.sql import functions as F

    structs, columns = _structs(frame), []
    for field in frame.schema:
        outer = f"`{field.name}`"
        inner = field.dataType.names if field.name in structs else []  # type: ignore[attr-defined]
        columns += [F.col(f"{outer}.`{n}`").alias(f"{field.name}_{n}") for n in inner] or [
            F.col(outer)
        ]
    return frame.select(*columns) if structs else frame


def _folder() -> Path:
    """Return the folder of the checkpoints of live views, without those that a killed kernel has left."""
    folder = private_folder(settings().home / "live")
    for each in folder.iterdir():
        if not runs(int(each.name.partition("-")[0])):
            shutil.rmtree(each, ignore_errors=True)
    return folder
