"""Sinks beside the table: a micro-batch that comes twice is there once, also after a death in the middle."""

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from rta.engines.sinks import BatchId, DeltaSink, ParquetSink, TopicSink
from rta.errors import InputError
from rta.kafka import client, topics


def rows(*pages: str) -> pa.Table:
    """Give rows as a query gives them: a struct, a decimal, an array."""
    return pa.table(
        {
            "window": pa.array([{"start": 1, "end": 2} for _ in pages], pa.struct([("start", pa.int64()), ("end", pa.int64())])),
            "page": pa.array(pages, pa.string()),
            "paid": pa.array([Decimal("1.50") for _ in pages], pa.decimal128(12, 2)),
            "tags": pa.array([["a"] for _ in pages], pa.list_(pa.string())),
        }
    )  # fmt: skip


def committed(topic: str) -> list[tuple[bytes | None, bytes | None, list[tuple[str, bytes]]]]:
    """Read what a reader with read_committed sees."""
    from kafka import TopicPartition

    reader = client.consumer(**client.COMMITTED)
    found = [
        (each.key, each.value, list(each.headers))
        for partition, (first, end) in topics.offsets(topic).items()
        for each in client.until(reader, TopicPartition(topic, partition), first, end)
    ]
    reader.close()
    return found


@pytest.mark.kafka
def test_a_topic_has_each_micro_batch_once(topic: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    """A death before the commit leaves nothing that counts; a death after it sends nothing again; another query is another."""
    name = topic(partitions=2)
    TopicSink(name, key="page", headers={"by": "rta", "für": "é"})(
        rows("a", "b"), BatchId("t", "q1", 0)
    )
    dying = TopicSink(name, key="page")
    with monkeypatch.context() as patch:
        patch.setattr("kafka.KafkaProducer.send_offsets_to_transaction", lambda *_: 1 // 0)
        with pytest.raises(ZeroDivisionError):
            dying(rows("c"), BatchId("t", "q1", 1))
    again = TopicSink(name, key="page")
    for number in (0, 1, 1):
        again(rows("c"), BatchId("t", "q1", number))
    TopicSink(name)(rows(), BatchId("t", "q2", 0))
    found = committed(name)
    assert sorted(key or b"" for key, *_ in found) == [b"a", b"b", b"c"]
    assert {value for key, value, _ in found if key == b"a"} == {b'{"window":{"start":1,"end":2},"page":"a","paid":1.50,"tags":["a"]}'}  # fmt: skip
    ours = [("by", b"rta"), ("für", "é".encode())]
    assert {key: headers for key, _, headers in found} == {b"a": ours, b"b": ours, b"c": []}
    with pytest.raises(InputError, match="key of topic"):
        TopicSink(name, key="user")(rows("d"), BatchId("t", "q3", 0))


def test_a_file_comes_whole_and_once(tmp_path: Path) -> None:
    """The same micro-batch writes the same file again; a draft is no file; no rows, no file."""
    sink = ParquetSink(tmp_path / "deep" / "out")
    for number in (0, 1, 1):
        sink(rows("a", "b"), BatchId("t", "q", number))
    sink(rows(), BatchId("t", "q", 2))
    (tmp_path / "deep" / "out" / ".0000000003-q.parquet").write_bytes(b"half")
    assert pq.read_table(tmp_path / "deep" / "out").num_rows == 4
    assert len(list((tmp_path / "deep" / "out").glob("[!.]*"))) == 2


def test_a_delta_table_has_each_micro_batch_once(tmp_path: Path) -> None:
    """Added rows once each; with a key the newest row of it; another query counts for itself."""
    added, kept = DeltaSink(tmp_path / "added"), DeltaSink(tmp_path / "kept", key=["page"])
    for query, number in (("q", 0), ("q", 0), ("q", 1), ("other", 0), ("q", 0)):
        added(rows("a"), BatchId("t", query, number))
        kept(rows("a", query), BatchId("t", query, number))
    assert DeltaTable(tmp_path / "added").to_pyarrow_table().num_rows == 3
    pages: list[Any] = DeltaTable(tmp_path / "kept").to_pyarrow_table()["page"].to_pylist()
    assert sorted(pages) == ["a", "other", "q"]
