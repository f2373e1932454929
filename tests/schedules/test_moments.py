"""The moments of schedules, through both clock changes of five zones, leap days and a year."""

from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise, takewhile
from zoneinfo import ZoneInfo

import pytest

from rta.errors import InputError
from rta.jobs.scheduling.moments import of_cron, of_period, seconds_of

ZONES = ("Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "America/Santiago")  # fmt: skip
YEAR = datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)


def _at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def _cron(line: str, zone: str, after: str, count: int) -> list[str]:
    return [f"{each:%m-%dT%H:%M}" for each in islice(of_cron(line, zone, _at(after)), count)]


@pytest.mark.parametrize("zone", ZONES)
def test_a_daily_line_runs_once_on_each_day_of_a_year(zone: str) -> None:
    """Whatever the clocks do: one moment a local day, at its time, or at the end of the jump that leaves it out."""
    start, end = (each.replace(tzinfo=ZoneInfo(zone)) for each in YEAR)
    for line in ("30 2 * * *", "0 0 * * *", "59 23 * * *", "15 1 * * *"):
        found = list(takewhile(lambda each: each < end, of_cron(line, zone, start - timedelta(seconds=1))))  # fmt: skip
        local = [each.astimezone(ZoneInfo(zone)) for each in found]
        days = {each.date() for each in local}
        assert len(found) == len(days) == 365
        minute, hour = map(int, line.split()[:2])
        odd = [each for each in local if (each.hour, each.minute) != (hour, minute)]
        assert len(odd) <= 1
        assert all(each.fold == 0 for each in local)


@pytest.mark.parametrize("zone", ZONES)
def test_an_hourly_line_goes_by_the_time_that_passes(zone: str) -> None:
    """8,760 moments a year, strictly one after the other; a zone that jumps by half an hour has one of half an hour."""
    found = list(takewhile(lambda each: each < YEAR[1], of_cron("0 * * * *", zone, YEAR[0] - timedelta(seconds=1))))  # fmt: skip
    assert abs(len(found) - 8760) <= 1
    assert {after - before for before, after in pairwise(found)} <= {
        timedelta(minutes=30), timedelta(hours=1), timedelta(minutes=90),
    }  # fmt: skip


def test_the_night_without_an_hour_and_the_night_with_two() -> None:
    """In spring the missing time runs when the jump ends, in autumn only the first of two; wherever the scheduler looks from."""
    assert _cron("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00", 2) == ["03-29T01:00", "03-30T00:30"]  # fmt: skip
    assert _cron("0,15,45 2 * * *", "Europe/Berlin", "2026-03-28T12:00", 2) == ["03-29T01:00", "03-30T00:00"]  # fmt: skip
    assert _cron("45 2 * * *", "Europe/Berlin", "2026-10-24T12:00", 2) == ["10-25T00:45", "10-26T01:45"]  # fmt: skip
    # Between the two: 01:10 UTC is ten past two for the second time.
    assert _cron("45 2 * * *", "Europe/Berlin", "2026-10-25T01:10", 1) == ["10-26T01:45"]
    assert _cron("*/30 * * * *", "Europe/Berlin", "2026-10-25T00:00", 4) == [
        "10-25T00:30", "10-25T01:00", "10-25T01:30", "10-25T02:00",
    ]  # fmt: skip


def test_from_wherever_it_looks_the_moments_are_the_same() -> None:
    """A scheduler that starts at any quarter of the nights of the clock changes finds what the others found: none doubled, none lost."""
    for line in ("30 2 * * *", "*/20 2 * * *", "10,50 1-3 * * *", "0 * * * *"):
        for day in ("2026-03-28T20:00", "2026-10-24T20:00"):
            start, end = _at(day), _at(day) + timedelta(hours=12)
            whole = list(takewhile(end.__ge__, of_cron(line, "Europe/Berlin", start)))  # fmt: skip
            stepped: list[datetime] = []
            at = start
            while at < end:
                until = at + timedelta(minutes=15)
                stepped += takewhile(until.__ge__, of_cron(line, "Europe/Berlin", at))  # fmt: skip
                at = until
            assert stepped == whole


def test_leap_days_and_ends_of_months() -> None:
    """The 29th of February comes every four years; L is the last day of a month."""
    leap = [f"{each:%Y-%m-%d}" for each in islice(of_cron("0 12 29 2 *", "UTC", _at("2026-01-01T00:00")), 2)]  # fmt: skip
    assert leap == ["2028-02-29", "2032-02-29"]
    assert _cron("0 0 L * *", "UTC", "2028-02-01T00:00", 2) == ["02-29T00:00", "03-31T00:00"]


def test_every_so_often_is_the_same_for_all_who_look() -> None:
    """Periods are counted from 1970, so a schedule that is made again has the same moments."""
    quarter = seconds_of("15 minutes")
    assert [f"{each:%H:%M}" for each in islice(of_period(quarter, _at("2026-03-28T12:15")), 2)] == ["12:30", "12:45"]  # fmt: skip


@pytest.mark.parametrize(
    "line", ["", "0 2 * *", "61 2 * * *", "0 0 2 * * *", "@daily", "0 0 31 2 *", "a b c d e"]
)
def test_a_line_that_is_none_is_refused(line: str) -> None:
    """With what a line looks like."""
    with pytest.raises(InputError, match=r"not a cron line.*fix: write minute"):
        next(of_cron(line, "UTC", YEAR[0]))


def test_zones_and_durations_that_are_none_are_refused() -> None:
    """The near names are offered; no path leaves the folder of zones."""
    for zone in ("Europe/Berln", "../etc/passwd", "", "/etc/localtime"):
        with pytest.raises(InputError, match=r"no such time zone.*fix: choose from"):
            next(of_cron("0 2 * * *", zone, YEAR[0]))
    for wrong in ("soon", 0, -1, float("inf"), float("nan"), "-1 hour"):
        with pytest.raises(InputError, match="duration"):
            seconds_of(wrong)
