"""Where the rows of each micro-batch go beside the table: a topic, Parquet files, a Delta table, a function of your own.

A micro-batch that died half-way comes again with the same number and the same rows. It goes to the sinks first, and last into the
table and the ledger; so each sink takes the same micro-batch twice as once. None of them needs a connector of Spark's.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from rta.errors import InputError, QueryError
from rta.names import checked
from rta.urls import shown

if TYPE_CHECKING:
    import pyarrow as pa
    from kafka import KafkaProducer


class BatchId(NamedTuple):
    """Which micro-batch it is. The same id always comes with the same rows.

    Args:
        table: The table that the query fills.
        query_id: Spark's id of the query; it stays the same as long as its checkpoint.
        batch_id: The number of the micro-batch.
    """

    table: str
    query_id: str
    batch_id: int


Sink = Callable[["pa.Table", BatchId], None]
"""Takes the rows that a micro-batch has written into the table, as Arrow, and which micro-batch it is."""


@dataclass
class TopicSink:
    """Send the rows of each micro-batch to a topic, exactly once for readers with isolation.level=read_committed.

    Each row is one JSON object; a row of an update says the whole value of its key. The rows of a micro-batch and its number are one
    transaction of Kafka's, so it is known after a crash whether they are there.

    Args:
        topic: The topic; it is made if it is missing.
        key: The column whose text becomes the key of the record.
        headers: Headers of each record.
        partitions: Of a new topic.

    Example:
        >>> import pyarrow as pa
        >>> sink = TopicSink("doc-topic-sink", key="page", partitions=1)
        >>> sink(pa.table({"page": ["home"], "views": [7]}), BatchId("views", "a-query-of-doc", 0))
        >>> sink(pa.table({"page": ["home"], "views": [7]}), BatchId("views", "a-query-of-doc", 0))
        >>> [(each.key, each.value) for each in rta.peek("doc-topic-sink")]
        [('home', '{"page":"home","views":7}')]
    """

    topic: str
    key: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    partitions: int = 4
    _open: tuple[str, KafkaProducer] | None = field(default=None, repr=False, compare=False)
    _done: int = field(default=-1, repr=False, compare=False)

    def __post_init__(self) -> None:
        checked("topic", self.topic)

    def __call__(self, rows: pa.Table, batch: BatchId) -> None:
        """Send the rows, if they are not there."""
        from rta.kafka import client
        from rta.store.nested import spark_schema, to_json

        if self.key is not None and self.key not in rows.column_names:
            raise InputError(
                f"the rows have no column {self.key!r} for the key of topic {self.topic!r}",
                found=rows.column_names, fix="choose from these",
            )  # fmt: skip
        producer = self._producer(batch.query_id)
        if batch.batch_id <= self._done:
            return
        headers = [(name, text.encode()) for name, text in self.headers.items()]
        kind = spark_schema(rows.schema)
        producer.begin_transaction()
        try:
            for row in rows.to_pylist():
                key = (
                    None
                    if self.key is None or row[self.key] is None
                    else str(row[self.key]).encode()
                )
                client.send(producer, self.topic, to_json(kind, row).encode(), key, headers)
            producer.send_offsets_to_transaction(*_number(self.topic, batch))
            producer.commit_transaction()
        except BaseException:
            self.close()  # what was begun is aborted by Kafka, at the latest when the next producer of this query comes
            raise
        self._done = batch.batch_id

    def _producer(self, query_id: str) -> KafkaProducer:
        """Return the producer of a query: it ends transactions that another one of the same query has left open."""
        from rta.kafka import client
        from rta.kafka.topics import ensure_topic

        if self._open is None or self._open[0] != query_id:
            self.close()
            ensure_topic(self.topic, partitions=self.partitions, right="WRITE")
            producer = client.producer(transactional_id=_group(self.topic, query_id))
            producer.init_transactions()
            self._open, self._done = (query_id, producer), _sent(self.topic, query_id)
        return self._open[1]

    def close(self) -> None:
        """Close its producer; the next rows open another one."""
        opened, self._open = self._open, None
        if opened:
            opened[1].close(timeout=5)


def _group(topic: str, query_id: str) -> str:
    return f"rta-{query_id}-{topic}"


def _number(topic: str, batch: BatchId) -> tuple[dict[Any, Any], Any]:
    """Return the offsets that note a micro-batch in its transaction, and the group that they are committed for."""
    from kafka import TopicPartition
    from kafka.structs import ConsumerGroupMetadata, OffsetAndMetadata

    noted = OffsetAndMetadata(batch.batch_id + 1, "", -1)
    return {TopicPartition(topic, 0): noted}, ConsumerGroupMetadata(_group(topic, batch.query_id), -1, "", None)  # fmt: skip


def _sent(topic: str, query_id: str) -> int:
    """Return the number of the last micro-batch of a query on a topic; -1 if there is none."""
    from kafka import TopicPartition

    from rta.kafka import client

    with closing(client.consumer(group_id=_group(topic, query_id))) as reader:
        return int(reader.committed(TopicPartition(topic, 0)) or 0) - 1


@dataclass(frozen=True)
class ParquetSink:
    """Write the rows of each micro-batch into a folder as one Parquet file, exactly once.

    A file has the number of its micro-batch in its name and comes whole, or not. In update mode a key is in each file whose micro-batch
    has changed it: the last one counts.

    Args:
        folder: On this machine.

    Example:
        >>> import pyarrow as pa, tempfile
        >>> folder = tempfile.mkdtemp()
        >>> ParquetSink(folder)(pa.table({"page": ["home"], "views": [7]}), BatchId("views", "a-query", 0))
        >>> spark.read.parquet(folder).collect()
        [Row(page='home', views=7)]
    """

    folder: str | Path

    def __call__(self, rows: pa.Table, batch: BatchId) -> None:
        """Write the rows; the file of the same micro-batch is replaced by itself."""
        import pyarrow.parquet as pq

        if not rows.num_rows:
            return
        folder = Path(self.folder)
        folder.mkdir(parents=True, exist_ok=True)
        name = f"{batch.batch_id:010d}-{batch.query_id}.parquet"
        draft = folder / f".{name}"  # readers skip names that begin with a dot
        with draft.open("wb") as file:
            pq.write_table(rows, file)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(folder / name)


@dataclass(frozen=True, repr=False)
class DeltaSink:
    """Write the rows of each micro-batch into a Delta table, exactly once: `pip install rta[delta]`.

    Delta keeps the number of the last micro-batch of a query in the same commit as its rows. Spark's own connector is not needed, so
    any version of Spark does.

    Args:
        path: The table: a folder, or a URL that delta-rs knows.
        key: The columns that identify a row: then a row replaces the one of its key. Without it rows are only added.

    Example:
        >>> import pyarrow as pa, tempfile
        >>> folder = tempfile.mkdtemp()
        >>> sink = DeltaSink(folder, key=["page"])
        >>> for number, views in [(0, 7), (0, 7), (1, 9)]:
        ...     sink(pa.table({"page": ["home"], "views": [views]}), BatchId("views", "a-query", number))
        >>> from deltalake import DeltaTable
        >>> DeltaTable(folder).to_pyarrow_table().to_pylist()
        [{'page': 'home', 'views': 9}]
    """

    path: str | Path
    key: Sequence[str] = ()

    def __repr__(self) -> str:
        """Show all but a password in the URL."""
        return f"DeltaSink(path={shown(self.path)!r}, key={self.key!r})"

    def __call__(self, rows: pa.Table, batch: BatchId) -> None:
        """Write the rows, if their micro-batch is not there."""
        try:
            from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake
        except ImportError:
            raise QueryError("Delta tables need a package that is not there", found="no deltalake", fix="pip install 'rta[delta]'") from None  # fmt: skip
        path = str(self.path)
        noted = CommitProperties(app_transactions=[Transaction(batch.query_id, batch.batch_id)])
        there = DeltaTable(path) if DeltaTable.is_deltatable(path) else None
        last = there.transaction_version(batch.query_id) if there else None
        if last is not None and last >= batch.batch_id:
            return
        if there is None or not self.key:
            write_deltalake(path, rows, mode="append", commit_properties=noted)
            return
        same = " AND ".join(f'old."{name}" = new."{name}"' for name in self.key)
        merge = there.merge(rows, same, source_alias="new", target_alias="old", commit_properties=noted)  # fmt: skip
        merge.when_matched_update_all().when_not_matched_insert_all().execute()
