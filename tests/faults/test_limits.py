"""What Kafka does not take, and what is no Kafka: events over the limit, a wrong address, a port that is taken."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from pyspark.sql import SparkSession

import rta
from rta.cli.app import main
from rta.errors import InputError
from rta.kafka import broker, broker_config
from rta.testing import oracle
from tests.faults.test_broker import HOW, user_event
from tests.support.truth import true_totals
from tests.support.waiting import HANG, finished

pytestmark = pytest.mark.kafka
PROMPT = (
    50.0  # seconds: 6 on a quiet machine, 5 of them by the clock; Kafka's own patience is a minute
)


def test_f24_large_events_among_small_ones(
    spark: SparkSession, topic: Callable[..., str], tmp_path: Path
) -> None:
    """Over the limit the producer names it; all others pass, through the query; a bad one of full size is quarantined."""
    from kafka import KafkaProducer

    name, limit = topic(partitions=1), 1_048_576
    sizes = {1: 900_000, 2: 1_100_000, 4: 20_000_000}
    events = [user_event(n, action="x" * sizes.get(n, 5)) for n in range(6)]
    made = rta.kafka.publish_paced(events, name, key="user_id", log=tmp_path / "log.jsonl")
    assert (made.ok, made.failed, made.unknown) == (4, 2, 0)
    assert [f"{limit:,}" in reason for reason in made.reasons] == [True]
    frame = spark.sql(
        "SELECT 'e9' event_id, 7L user_id, 8.00BD amount, timestamp '2024-11-15 10:00:09Z' timestamp"
    )
    for size in (1_100_000, 20_000_000):
        with pytest.raises(InputError, match=rf"{limit:,}"):
            rta.publish(frame.selectExpr("*", f"repeat('x', {size}) action"), name)
    rta.publish(frame.selectExpr("*", "repeat('x', 900000) action"), name)
    producer = KafkaProducer(bootstrap_servers=rta.kafka.bootstrap())
    producer.send(name, b"x" * (limit - 100)).get(HANG)
    producer.close()

    rta.drain(name, rta.transforms.totals, table="f24", **HOW)
    assert oracle.differences(true_totals(name), "f24") == []
    oracle.check_accounted("f24", name, used=5, quarantined=1)
    [dead_letter] = rta.dlq.read_dead_letters(name).collect()
    assert len(dead_letter.value) == limit - 100


def test_f35_a_wrong_bootstrap_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """A closed port, a name of nobody, no number, a program that is silent: the fix, exit code 1, and no waiting."""
    told: list[tuple[str, int, str]] = []
    with socket.create_server(("127.0.0.1", 0)) as silent:
        wrong = ["no-such-host.invalid:9092", "127.0.0.1:kafka", f"127.0.0.1:{silent.getsockname()[1]}"]  # fmt: skip
        runs = [
            subprocess.Popen(
                [sys.executable, "-m", "rta.cli", "tail", "t"], stderr=subprocess.PIPE, text=True,
                env=os.environ | {"RTA_KAFKA_BOOTSTRAP": address},
            )
            for address in wrong
        ]  # fmt: skip
        monkeypatch.setenv("RTA_KAFKA_BOOTSTRAP", "127.0.0.1:1")
        began = time.monotonic()
        here = CliRunner().invoke(main, ["topics"])
        assert time.monotonic() - began < PROMPT
        told.append(("127.0.0.1:1", here.exit_code, here.stderr))
        for address, run in zip(wrong, runs, strict=True):
            said = finished(run)[1]
            told.append((address, run.returncode, said))
    for address, code, said in told:
        assert code == 1, said
        assert said.startswith("✗"), said
        assert f"found: {address}" in said
        assert "fix:   " in said
        assert "RTA_KAFKA_BOOTSTRAP" in said
        assert len(said.splitlines()) == 3, said


def test_f35_the_port_is_taken_in_the_last_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look and Kafka's start somebody takes the port: another one is taken; if that goes as well, it is said."""
    monkeypatch.setenv("RTA_HOME", str(tmp_path))
    with socket.create_server(("127.0.0.1", 0)) as taker:
        port = taker.getsockname()[1]
        with monkeypatch.context() as race:
            race.setattr(broker, "free_port", lambda **_: port)
            refused = CliRunner().invoke(main, ["up"])
        assert refused.exit_code == 1, refused.output
        assert "Address already in use" in refused.stderr
        assert "run it again" in refused.stderr
        looks = iter([port, broker_config.free_port()])
        monkeypatch.setattr(broker, "free_port", lambda **_: next(looks))
        try:
            again = CliRunner().invoke(main, ["up"])
            assert again.exit_code == 0, again.output
            assert f":{port} " not in again.stdout
        finally:
            broker.down()
