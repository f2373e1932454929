"""F41: a random schedule of faults; its seed repeats it."""

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from tests.support import wired_schedule
from tests.support.schedule import EVERYWHERE, HERE, World, happen

pytestmark = pytest.mark.kafka


def test_f41_half_a_dozen_actions(
    spark: SparkSession, topic: Callable[..., str], tmp_path: Path
) -> None:
    """Six actions in this process, always the same ones."""
    dice = random.Random(41)  # noqa: S311 - dice, not secrets
    happen(World(spark, topic(), "f41_six", dice, tmp_path, most=60), HERE, 6)


@pytest.mark.soak
def test_f41_two_hundred_random_actions(
    spark: SparkSession,
    topic: Callable[..., str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Kills of drivers and of Kafka among them: SEED=… make soak repeats a schedule."""
    happen(World(spark, topic(), "f41", seeded(capsys), tmp_path), EVERYWHERE, 200)


def test_f41_lambda_and_kappa_a_few_actions(
    spark: SparkSession, topic: Callable[..., str], tmp_path: Path
) -> None:
    """Publish, stop, lose a commit, start: with both wirings in this process; then a recomputation and a replay."""
    dice = random.Random(156)  # noqa: S311 - dice, not secrets
    world = wired_schedule.Wired(spark, topic(), "f41_few", dice, tmp_path, most=60)
    happen(world, wired_schedule.HERE, 4)


@pytest.mark.soak
def test_f41_lambda_and_kappa_a_hundred_random_actions(
    spark: SparkSession,
    topic: Callable[..., str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Recomputation, replay and switch among kills of drivers and of Kafka; two readers look all the time."""
    world = wired_schedule.Wired(spark, topic(), "f41_wired", seeded(capsys), tmp_path)
    happen(world, wired_schedule.EVERYWHERE, 100)


def seeded(capsys: pytest.CaptureFixture[str]) -> random.Random:
    """Draw the dice that SEED names, or others, and say which."""
    seed = int(os.environ.get("SEED") or random.SystemRandom().randrange(1_000_000))
    with capsys.disabled():
        print(f"\nF41: SEED={seed} make soak repeats this schedule")
    return random.Random(seed)  # noqa: S311 - dice, not secrets
