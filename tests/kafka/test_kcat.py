"""kcat, which many people have: what it writes is seen, typed and read as it is."""

import shutil
import subprocess
from collections.abc import Callable

import pytest
from pyspark.sql import SparkSession

import rta
from rta.testing import oracle
from tests.kafka.test_foreign_types import LIMIT

pytestmark = pytest.mark.kafka
CODECS = ("gzip", "snappy", "lz4", "zstd")


@pytest.fixture
def kcat() -> Callable[..., None]:
    """Write lines to a topic: key, a bar, value."""
    program = shutil.which("kcat")
    assert program, "kcat is not there: apt-get install kcat"

    def write(topic: str, text: str, *more: str) -> None:
        command = [program, "-P", "-b", rta.kafka.bootstrap(), "-t", topic, "-K", "|", *more]
        subprocess.run(command, input=text.encode(), check=True)

    return write


def test_what_kcat_has_written(kcat: Callable[..., None], topic: Callable[..., str], spark: SparkSession) -> None:  # fmt: skip
    """Each compression; keys, headers and a tombstone; an event type that is inferred reads all that fits."""
    name = topic(partitions=1)
    for number, codec in enumerate(CODECS):
        at = 1_731_666_600_000 + number
        view = f'u{number}|{{"user": "u{number}", "ts": {at}, "device": {{"os": "iOS"}}, "items": [{{"price": {number}.5}}]}}\n'
        kcat(name, view, "-z", codec, "-H", f"codec={codec}")
    kcat(name, "u0|\n", "-Z")
    kcat(name, 'u9|{"user": "u9", "ts": 1731666600009, "device": {"os": 9}}\n')
    assert [dict(each.headers).get("codec") for each in rta.peek(name)][:4] == list(CODECS)
    found = rta.infer(name)
    assert (found.tombstones, found.arguments["key"], found.arguments["times"]) == (1, "user", {"ts": "epoch_ms"})  # fmt: skip
    event = found.event_type()
    good = rta.read_batch(name, event=event)
    assert [(r.user, r.device.os) for r in good.orderBy("offset").collect()] == [(f"u{n}", "iOS") for n in range(4)]  # fmt: skip
    reasons = rta.dataframes.quarantined(name, event=event).orderBy("offset")
    assert [row.reason for row in reasons.collect()] == ["null value", "wrong type: device.os"]


def test_a_message_of_kcat_at_the_limit_of_the_broker(kcat: Callable[..., None], topic: Callable[..., str], spark: SparkSession) -> None:  # fmt: skip
    """As large as a message may be that is not compressed: each byte is read, by Spark and by peek."""
    name = topic(partitions=1)
    text = f'{{"user": "{"x" * (LIMIT - 12)}"}}'
    assert len(text) == LIMIT
    kcat(name, f"k|{text}\n", "-X", f"message.max.bytes={2 * LIMIT}")
    [raw] = oracle.read_topic(name)
    assert raw.value == text.encode()
    event = rta.EventType(name, "user STRING NOT NULL", "kafka_timestamp")
    [row] = rta.read_batch(name, event=event).collect()
    assert row.user == "x" * (LIMIT - 12)
    assert [each.value for each in rta.peek(name)] == [text]
