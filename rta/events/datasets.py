"""Three real data sets as events."""

from __future__ import annotations

from pathlib import Path

from pyspark.sql import DataFrame, SparkSession

from rta.errors import SetupError
from rta.events.event_types import PURCHASES, WEATHER
from rta.progress import waiting
from rta.settings import settings


def flights(spark: SparkSession) -> DataFrame:
    """Return the 336,776 flights that were to leave New York in 2013, as events of type FLIGHTS.

    event_time is the scheduled departure. reported_at is the actual departure (not the landing), at which it is reported; so the event of
    a late flight is late (up to 1,301 minutes), and that of an early one comes before its time. A cancelled flight has delay_minutes
    null, and is reported at the scheduled time. delay_minutes: minutes, negative if early.
    distance: miles. event_id: flight, local date and origin.

    Args:
        spark: The session.

    Raises:
        SetupError: The data files are not there.

    Example:
        >>> flights(spark).where("event_id = 'UA1545-20130101-EWR'").select("event_time", "reported_at").show()
        +-------------------+-------------------+
        |         event_time|        reported_at|
        +-------------------+-------------------+
        |2013-01-01 10:15:00|2013-01-01 10:17:00|
        +-------------------+-------------------+
        <BLANKLINE>
    """
    return _read(spark, "flights").selectExpr(
        "concat(carrier, flight, '-', replace(string(date), '-', ''), '-', origin) event_id",
        "scheduled event_time",
        "timestamp_micros(unix_micros(scheduled) + coalesce(delay_minutes, 0) * 60000000L) reported_at",
        "carrier", "flight", "origin", "dest", "distance", "tailnum", "delay_minutes",
    )  # fmt: skip


def weather(spark: SparkSession) -> DataFrame:
    """Return the 26,115 hourly observations at New York's airports in 2013, as events of type WEATHER.

    Temperatures in °F, humidity in %, wind in miles an hour and degrees, precipitation in inches, pressure in millibar, visibility in
    miles. reported_at is event_time: the real one is not recorded.

    Args:
        spark: The session.

    Raises:
        SetupError: The data files are not there.

    Example:
        >>> weather(spark).where("event_id = 'JFK-20130101T06'").select("temp", "visib").show()
        +-----+-----+
        | temp|visib|
        +-----+-----+
        |39.02|10.00|
        +-----+-----+
        <BLANKLINE>
    """
    frame = _read(spark, "weather").selectExpr(
        # Not date_format: it would depend on the session's time zone.
        "concat(origin, '-', replace(string(date_from_unix_date(int(floor(unix_seconds(event_time) / 86400)))), '-', ''),"
        " 'T', lpad(string(pmod(floor(unix_seconds(event_time) / 3600), 24)), 2, '0')) event_id",
        "event_time reported_at",
        "*",
    )
    return frame.select(*WEATHER.columns)


def purchases(spark: SparkSession) -> DataFrame:
    """Return CDNOW's 69,659 purchases of 1997 and 1998, as user events with a quantity (type PURCHASES).

    amount: US dollars. timestamp: midnight UTC of the day, since the time of day is not recorded; reported_at is the same. quantity: CDs.
    event_id: the line of the source.

    Args:
        spark: The session.

    Raises:
        SetupError: The data files are not there.

    Example:
        >>> purchases(spark).where("event_id = 'cdnow-1'").select("user_id", "action", "amount", "timestamp").show()
        +-------+--------+------+-------------------+
        |user_id|  action|amount|          timestamp|
        +-------+--------+------+-------------------+
        |      1|purchase| 11.77|1997-01-01 00:00:00|
        +-------+--------+------+-------------------+
        <BLANKLINE>
    """
    day = "timestamp_micros(unix_date(date) * 86400000000L)"
    frame = _read(spark, "purchases").selectExpr(
        "concat('cdnow-', line) event_id", "bigint(customer) user_id", "'purchase' action", "dollars amount",
        f"{day} timestamp", "quantity", f"{day} reported_at",
    )  # fmt: skip
    return frame.select(*PURCHASES.columns)


def _read(spark: SparkSession, name: str) -> DataFrame:
    """Read one of the data files."""
    path = Path(settings().data) / f"{name}.parquet"
    if not path.exists():
        raise SetupError(
            f"the data set {name!r} is not there",
            found=str(path),
            fix="set RTA_DATA to the repository's data/",
        )
    with waiting(f"opening {name}"):  # the first plan of a session takes seconds
        return spark.read.parquet(str(path))
