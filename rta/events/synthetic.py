"""The article's user events, made up by a pure function of (seed, row number): the same rows everywhere."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from rta.errors import InputError
from rta.events.event_types import USER_EVENTS

_MICROSECONDS: Final = {
    "microsecond": 1, "millisecond": 10**3, "second": 10**6, "minute": 60 * 10**6, "hour": 3600 * 10**6,
    "day": 86_400 * 10**6,
}  # fmt: skip

_VIEWS, _PURCHASES = 0.50, 0.95  # half are views, 45 % purchases, 5 % refunds


def user_events(
    spark: SparkSession,
    *,
    rows: int = 100_000,
    first_row: int = 0,
    users: int = 1_000,
    seed: int = 0,
    skew: float = 1.0,
    lateness: str = "0 seconds",
    late_share: float = 0.1,
    duplicates: float = 0.0,
    duplicate_delay: str = "1 minute",
    start: str | datetime = "2024-11-15T10:30:00Z",
    rate: float = 100.0,
) -> DataFrame:
    """Make the article's events: user_id, action, amount, timestamp, with event_id and reported_at.

    amount is DECIMAL(12,2) in dollars: 0.00 for a view, above 0 for a purchase, below 0 for a refund. Rows are in the order of their
    timestamps: publish them with order_by="reported_at". An event_id is unique for its seed and row number.

    Args:
        spark: The session.
        rows: Distinct events, numbered from `first_row`; a longer run begins with the rows of a shorter one.
        users: How many users there are.
        first_row: The number of the first event.
        seed: Another seed, other events.
        skew: Zipf exponent of the users, user 1 the busiest; 0 is uniform.
        lateness: A `late_share` of the events arrives up to this long after its timestamp.
        late_share: From 0 to 1.
        duplicates: This share is sent again, same event_id, arriving up to `duplicate_delay` later.
        duplicate_delay: Such as "1 minute".
        start: The first timestamp; UTC if it names no zone.
        rate: Events per second of event time.

    Raises:
        InputError: If a share is outside 0 to 1, or a number or duration makes no sense.

    Example:
        >>> user_events(spark, rows=2, users=5, seed=7).select("event_id", "timestamp").show(truncate=False)
        +--------+----------------------+
        |event_id|timestamp             |
        +--------+----------------------+
        |7-0     |2024-11-15 10:30:00   |
        |7-1     |2024-11-15 10:30:00.01|
        +--------+----------------------+
        <BLANKLINE>
    """
    for name, share in (("late_share", late_share), ("duplicates", duplicates)):
        _require(0 <= share <= 1, f"{name} is a share from 0 to 1", share)
    _require(rows >= 0 and first_row >= 0, "rows and first_row are not negative", (rows, first_row))
    _require(
        users >= 1 and rate > 0 and skew >= 0,
        "users, rate and skew are positive",
        (users, rate, skew),
    )

    happened = F.lit(_instant(start)) + F.floor(F.col("id") * F.lit(1e6 / rate))
    late = F.when(_uniform(seed, "late") < late_share, _up_to(lateness, _uniform(seed, "lateness")))
    again = F.col("copy") * (1 + _up_to(duplicate_delay, _uniform(seed, "delay")))
    arrived = happened + F.coalesce(late, F.lit(0)) + again
    copies = F.when(_uniform(seed, "copies") < duplicates, F.array(F.lit(0), F.lit(1)))
    numbered = spark.range(first_row, first_row + rows).withColumn(
        "copy", F.explode(F.coalesce(copies, F.array(F.lit(0)))) if duplicates else F.lit(0)
    )
    kind = _uniform(seed, "action")
    return numbered.select(
        F.concat(F.lit(f"{seed}-"), F.col("id")).alias("event_id"),
        _user(users, skew, _uniform(seed, "user")).alias("user_id"),
        F.when(kind < _VIEWS, "view")
        .when(kind < _PURCHASES, "purchase")
        .otherwise("refund")
        .alias("action"),
        _amount(kind, _uniform(seed, "amount")).alias("amount"),
        F.timestamp_micros(happened).alias("timestamp"),
        F.timestamp_micros(arrived).alias("reported_at"),
    ).select(*USER_EVENTS.columns)


def _uniform(seed: int, salt: str) -> Column:
    """Build a number in [0, 1) that depends on seed, row number and salt alone: 53 bits of a hash."""
    hashed = F.xxhash64(F.col("id"), F.lit(seed).cast("bigint"), F.lit(salt))
    return F.shiftrightunsigned(hashed, 11) * F.lit(2.0**-53)


def _user(users: int, skew: float, uniform: Column) -> Column:
    """Draw a rank from 1 to `users` by the inverse of the continuous Zipf law.

    All powers are Spark's: it uses StrictMath, which gives the same bits on every machine.
    """
    if skew == 0:
        rank = 1 + uniform * users
    elif skew == 1:
        rank = F.pow(F.lit(users + 1.0), uniform)
    else:
        span = F.pow(F.lit(users + 1.0), F.lit(1.0 - skew)) - 1
        rank = F.pow(1 + uniform * span, F.lit(1 / (1.0 - skew)))
    return F.least(F.floor(rank), F.lit(users)).cast("bigint")


def _amount(kind: Column, uniform: Column) -> Column:
    """Draw an amount: from 2.99, with a Pareto tail to 5,000.00; cents are whole until they are DECIMAL."""
    cents = F.least(F.floor(299 / F.pow(1 - uniform, F.lit(0.7))), F.lit(500_000))
    signed = F.when(kind < _VIEWS, F.lit(0)).when(kind < _PURCHASES, cents).otherwise(-cents)
    return (signed.cast("decimal(10,0)") * F.lit(Decimal("0.01"))).cast("decimal(12,2)")


def _up_to(duration: str, uniform: Column) -> Column:
    """Draw whole microseconds from 0 to just under the duration."""
    return F.floor(uniform * _microseconds(duration))


def _microseconds(duration: str) -> int:
    """Read a duration as Spark writes it: "90 seconds", "1 hour"."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-z]+?)s?\s*", duration, re.IGNORECASE)
    unit = match and _MICROSECONDS.get(match[2].lower())
    if not match or not unit:
        raise InputError(
            "not a duration", found=repr(duration), fix='write it like "90 seconds" or "1 hour"'
        )
    return round(float(match[1]) * unit)


def _instant(start: str | datetime) -> int:
    """Return microseconds since the epoch."""
    try:
        moment = start if isinstance(start, datetime) else datetime.fromisoformat(start)
    except ValueError:
        raise InputError(
            "not an instant", found=repr(start), fix='write it like "2024-11-15T10:30:00Z"'
        ) from None
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    since = aware - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 10**6 + since.microseconds


def _require(holds: bool, what: str, found: object) -> None:  # noqa: FBT001 - reads as a sentence
    """Raise InputError where an argument is out of its range."""
    if not holds:
        raise InputError(what, found=found, fix="correct the argument")
