"""data/: the files are the ones that data/README.md describes, and their times are right."""

import hashlib
import re
from datetime import UTC
from zoneinfo import ZoneInfo

import pyarrow.parquet as pq
import pytest

from rta.settings import settings

DATA = settings().data
README = (DATA / "README.md").read_text(encoding="utf-8")
FILES = re.findall(
    r"^\| (\w+\.parquet) \| (\d+) \| (\d+) \| ([0-9a-f]{64}) \| .*, (LICENSE-\S+) \|$",
    README,
    re.MULTILINE,
)
NEW_YORK = ZoneInfo("America/New_York")


def test_the_page_describes_every_file() -> None:
    """No Parquet file without its row in the table, and none that is only on paper."""
    assert {row[0] for row in FILES} == {path.name for path in DATA.glob("*.parquet")}


@pytest.mark.parametrize(("name", "rows", "size", "digest", "licence"), FILES)
def test_a_file_is_what_its_row_says(
    name: str, rows: str, size: str, digest: str, licence: str
) -> None:
    """Rows, bytes, sha256 and the licence text beside it."""
    path = DATA / name
    assert hashlib.sha256(path.read_bytes()).hexdigest() == digest
    assert (pq.read_metadata(path).num_rows, path.stat().st_size) == (int(rows), int(size))
    assert (DATA / licence).read_text(encoding="utf-8").strip()


@pytest.mark.parametrize("name", [row[0] for row in FILES])
def test_the_columns_are_what_the_page_says(name: str) -> None:
    """Names and types, in order; nothing is a float."""
    section = README.split(f"## {name}\n")[1].split("\n## ")[0]
    described = re.findall(r"^\| (\w+) \| (.+?) \| .+ \|$", section, re.MULTILINE)[1:]
    schema = pq.read_schema(DATA / name)
    assert described == [(field.name, str(field.type)) for field in schema]
    assert not any("float" in str(field.type) or "double" in str(field.type) for field in schema)


def test_f30_scheduled_departures_are_new_york_times() -> None:
    """In New York each scheduled departure falls on its date, both days of the clock change included."""
    table = pq.read_table(DATA / "flights.parquet", columns=["scheduled", "date"]).to_pydict()
    pairs = {
        (at.replace(tzinfo=UTC), day)
        for at, day in zip(table["scheduled"], table["date"], strict=True)
    }
    assert all(at.astimezone(NEW_YORK).date() == day for at, day in pairs)
    changes = ("2013-03-09", "2013-03-10", "2013-11-02", "2013-11-03")
    first = {day: min(at for at, on in pairs if str(on) == day) for day in changes}
    assert {at.astimezone(NEW_YORK).hour for at in first.values()} == {5}
    assert [first[day].hour for day in changes] == [10, 9, 9, 10]


def test_weather_has_the_hour_that_summer_time_repeats() -> None:
    """On 2013-11-03 one o'clock comes twice: two rows an airport, an hour apart."""
    table = pq.read_table(DATA / "weather.parquet", columns=["event_time", "origin"]).to_pylist()
    twice = [row for row in table if f"{row['event_time'].astimezone(NEW_YORK):%m%d%H}" == "110301"]
    assert sorted(row["event_time"].hour for row in twice) == [5, 5, 5, 6, 6, 6]
