"""kcat, which many people have: what it writes is seen, typed and read as it is."""

import json
import shutil
import subprocess
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import nbformat
import pytest
from pyspark.sql import SparkSession

import rta
from rta import jobs
from rta.testing import oracle
from tests.kafka.test_foreign_types import LIMIT
from tests.support.notebooks import written

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


# From bytes to a chart as a newcomer writes it, in a notebook that is a job, too.
PATH = """import altair as alt
from pyspark.sql import functions as F
import rta
VIEWS = rta.infer("views-by-kcat").event_type()
def revenue(views):
    baskets = views.select("ts", "device.os", F.explode("items").alias("item"))
    grouped = baskets.withWatermark("ts", "10 minutes").groupBy(F.window("ts", "1 hour"), "os")
    return grouped.agg(F.count("*").alias("items"), F.sum("item.price").alias("worth"))
rta.drain("views-by-kcat", revenue, table="revenue_by_kcat", key=["window", "os"], event=VIEWS)
rta.live("revenue_by_kcat", chart=alt.Chart().mark_bar().encode(x="window_start:T", y="worth:Q", color="os:N"), for_=1.0)
"""


def test_five_thousand_events_of_kcat_become_a_table_a_chart_and_a_job(
    kcat: Callable[..., None], spark: SparkSession, tmp_path: Path
) -> None:
    """Page views with a device and a list of items; under twenty lines, and the sums are those of plain Python."""
    lines = PATH.splitlines()
    assert len(lines) < 20
    rta.kafka.create_topic("views-by-kcat", partitions=2)
    views = [_view(number) for number in range(5_000)]
    kcat("views-by-kcat", "".join(f"{each['user']}|{json.dumps(each)}\n" for each in views))
    run = jobs.run(written(tmp_path / "views.ipynb", "\n".join(lines[:-1]), lines[-1]))
    assert run.state == jobs.State.SUCCEEDED, run.message
    assert run.accounting["revenue_by_kcat"].used == 5_000
    table = rta.read("revenue_by_kcat")
    found = {(row.window_start.timestamp(), row.os): (row["items"], row.worth) for _, row in table.iterrows()}  # fmt: skip
    truth: dict[tuple[float, str], tuple[int, Decimal]] = {}
    for each in views:
        hour, worth = each["ts"] // 3_600_000 * 3_600.0, [Decimal(str(item["price"])) for item in each["items"]]  # fmt: skip
        for price in worth:
            count, total = truth.get((hour, each["device"]["os"]), (0, Decimal(0)))
            truth[hour, each["device"]["os"]] = count + 1, total + price
    assert found == truth
    assert run.executed
    shown = [output for cell in nbformat.read(run.executed, 4).cells for output in cell.get("outputs", [])]  # fmt: skip
    assert any('alt="revenue_by_kcat" src="data:image/png' in output.get("data", {}).get("text/html", "") for output in shown)  # fmt: skip
    rta.kafka.delete_topic("views-by-kcat")


def _view(number: int) -> dict[str, Any]:
    """Make a page view: some have no item, some have three."""
    items = [{"sku": f"s{number % 7}", "price": number % 50 + 0.25}] * (number % 4)
    device = {"os": ("iOS", "Android", "Windows")[number % 3], "mobile": number % 3 < 2}
    return {"ts": 1_731_650_400_000 + number * 4_000, "user": f"u{number % 300}", "device": device, "items": items}  # fmt: skip


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
