"""The moments of a schedule: a cron line in a zone, or every so many seconds. Pure: no clock is read here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta, tzinfo
from difflib import get_close_matches
from zoneinfo import ZoneInfo

from rta.errors import InputError

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def of_cron(line: str, zone: str, after: datetime) -> Iterator[datetime]:
    """Yield the moments of a cron line after a moment, in UTC, each once and in order.

    As Debian's cron: a time that the clock jumps over runs when the jump ends, one that comes twice runs the first time; a line with
    `*` as its minute or hour goes by the time that passes.

    Args:
        line: Five fields: minute, hour, day of the month, month, day of the week.
        zone: The name of a time zone, such as "Europe/Berlin".
        after: The moment; the first one is later.

    Raises:
        InputError: If the line or the zone is none.

    >>> berlin = of_cron("30 2 * * *", "Europe/Berlin", datetime(2026, 3, 28, tzinfo=UTC))
    >>> [f"{next(berlin):%d %H:%M}" for _ in range(3)]  # the night of the 29th has no half past two
    ['28 01:30', '29 01:00', '30 00:30']
    """
    from cronsim import CronSim, CronSimError

    local = after.astimezone(zone_of(zone))
    try:
        if len(line.split()) != 5:  # noqa: PLR2004 - cronsim takes six, with seconds
            raise CronSimError("it has five fields")
        found = CronSim(line, local)
    except (CronSimError, AttributeError) as error:
        raise InputError(
            f"not a cron line: {error}", found=repr(line),
            fix='write minute, hour, day, month, weekday, as in "0 2 * * *"',
        ) from None  # fmt: skip
    last = after
    for each in found:
        moment = each.astimezone(UTC)
        # In the hour that comes twice cronsim can go back, and two times of the hour that is left out are one moment.
        if moment > last:
            last = moment
            yield moment


def of_period(seconds: float, after: datetime) -> Iterator[datetime]:
    """Yield each moment after a moment that is a multiple of a period since 1970: a quarter of an hour begins at :00, :15, :30, :45.

    >>> f"{next(of_period(900, datetime(2026, 3, 28, 12, 1, tzinfo=UTC))):%H:%M}"
    '12:15'
    """
    period = timedelta(seconds=seconds)
    moment = EPOCH + ((after - EPOCH) // period + 1) * period
    while True:
        yield moment
        moment += period


def zone_of(name: str) -> tzinfo:
    """Return a time zone.

    Raises:
        InputError: If there is none of this name.

    >>> zone_of("Europe/Berlin")
    zoneinfo.ZoneInfo(key='Europe/Berlin')
    """
    from zoneinfo import ZoneInfoNotFoundError, available_timezones

    try:
        return UTC if name == "UTC" else ZoneInfo(name)  # cronsim takes a short way with UTC
    except (ZoneInfoNotFoundError, ValueError, OSError, TypeError):
        near = get_close_matches(str(name), available_timezones(), n=3, cutoff=0.4)
        raise InputError("no such time zone", found=repr(name), fix=f"choose from {', '.join(near) or 'those of IANA'}") from None  # fmt: skip


def seconds_of(given: float | str | timedelta) -> float:
    """Return a duration in seconds; a number without a unit has seconds, as text too.

    Raises:
        InputError: If it is none, or not above 0.

    >>> seconds_of("15 minutes"), seconds_of(1), seconds_of("90"), seconds_of(timedelta(hours=1))
    (900.0, 1.0, 90.0, 3600.0)
    """
    if isinstance(given, str):
        try:
            given = _read(given)
        except ValueError:
            raise InputError("not a duration", found=repr(given), fix='write it like "90 seconds" or "1 hour"') from None  # fmt: skip
    seconds = given.total_seconds() if isinstance(given, timedelta) else float(given)
    if not 0 < seconds < float("inf"):
        raise InputError("a duration is above 0", found=seconds, fix='write it like "1 hour"')
    return seconds


def _read(text: str) -> float:
    """Return the seconds that a text says; to pandas a number alone would be nanoseconds."""
    with suppress(ValueError):
        return float(text)
    import pandas as pd

    return float(pd.Timedelta(text).total_seconds())
