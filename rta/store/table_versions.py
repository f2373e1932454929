"""A serving table as it was: kept under the name of its content, so that a stream joined with it gives the same again."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from rta.errors import TableError
from rta.html import Facts
from rta.names import checked
from rta.settings import private_folder, settings
from rta.store import serving, serving_tables

if TYPE_CHECKING:
    from pathlib import Path

    from pyspark.sql import DataFrame

_DIGITS: Final = 12  # of the hash that names a version
OBSERVED: Final = "rta_snapshot"
"""The metric of a snapshot is called `rta_snapshot:<table>:<version>`: so the version stands in the plan of each query that uses it."""


@dataclass(frozen=True)
class Snapshot:
    """A serving table as it was at one moment.

    Args:
        table: The table.
        version: The beginning of the SHA-256 of its rows: the same rows are the same version.
        kept_at: When it was kept first.
        rows: How many rows it has.
    """

    table: str
    version: str
    kept_at: datetime
    rows: int

    def frame(self) -> DataFrame:
        """Return its rows as a static DataFrame, to join a stream with.

        A query that uses it notes the version with its transform: it does not go on with another one unasked.
        """
        from pyspark.sql import functions as F

        from rta.dataframes.session import spark

        rows = spark().read.parquet(str(_file(self.table, self.version)))
        return rows.observe(f"{OBSERVED}:{self.table}:{self.version}", F.count("*").alias("rows"))


def snapshot(name: str, version: str | None = None) -> Snapshot:
    """Keep a serving table as it is now, or find it as it was, for a stream that is joined with it.

    A replay gives the same answer if it joins with the same version, whatever the table has become.

    Args:
        name: The table, or the view of an architecture.
        version: One that was kept, see snapshots(); by default the table as it is now.

    Raises:
        TableError: There is no such table, or no such version of it.

    Example:
        >>> from pyspark.sql.types import StructType
        >>> from rta.store.serving_tables import make, planned
        >>> _ = make(planned("doc_users", StructType().add("user_id", "long").add("country", "string"), ["user_id"]))
        >>> users = snapshot("doc_users")
        >>> users.rows, users.frame().columns, snapshot("doc_users", users.version) == users
        (0, ['user_id', 'country'], True)
    """
    table = serving_tables.table(name).name
    if version is not None:
        for each in snapshots(table):
            if each.version == version:
                return each
        raise TableError(
            f"no such version of table {table!r} is kept", found=repr(version), fix=f"choose one of rta.store.snapshots({table!r})"
        )  # fmt: skip
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = serving.read_arrow(table)
    sink = pa.BufferOutputStream()
    pq.write_table(rows, sink)
    content = sink.getvalue().to_pybytes()
    made = sha256(content).hexdigest()[:_DIGITS]
    file = _file(table, made)
    if not file.exists():
        private_folder(file.parent)
        draft = file.with_name(f".{file.name}")
        draft.write_bytes(content)
        draft.replace(file)
    return _of(table, file)


def snapshots(name: str) -> Facts[Snapshot]:
    """List the kept versions of a serving table, the newest first.

    Example:
        >>> [each.rows for each in snapshots("doc_users")]  # see snapshot()
        [0]
    """
    files = _file(checked("table", name), "").parent.glob("[0-9a-f]*.parquet")
    found = [_of(name, file) for file in files]
    return Facts(sorted(found, key=lambda each: each.kept_at, reverse=True))


def _file(table: str, version: str) -> Path:
    return settings().home / "snapshots" / table / f"{version}.parquet"


def _of(table: str, file: Path) -> Snapshot:
    import pyarrow.parquet as pq

    kept_at = datetime.fromtimestamp(file.stat().st_mtime, UTC)
    return Snapshot(table, file.stem, kept_at, pq.read_metadata(file).num_rows)
