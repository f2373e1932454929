"""StrictJson reads events in Java as rta reads them in Spark: the same reasons, the same values. No Spark and no broker are needed."""

from __future__ import annotations

import base64
import json
import re
import subprocess
from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rta import EventType
from rta.errors import InputError
from rta.events.strict_json import event_json, supported
from rta.jvm import engines_jar
from rta.setup.java import find_java
from rta.testing.reference_parser import strict
from tests.dataframes.test_quarantine import CASES, MUTATED, SALE, SALES, SENT, written

# No number of over a thousand characters, or with an exponent of five digits, is read; the reference reads both.
STRICTER = re.compile("[0-9.]{1000}|[eE][+-]?[0-9]{5}")


def judged(values: Sequence[bytes | None], event: EventType, folder: Path) -> list[dict[str, Any]]:
    """Read events in one JVM: the reason of each, and its values."""
    described = folder / "event.json"
    described.write_text(event_json(event))
    sent = int(SENT.timestamp() * 1000)
    lines = "".join(
        ("-" if each is None else base64.b64encode(each).decode()) + "\n" for each in values
    )
    command: list[str | Path] = [find_java().executable, "-XX:TieredStopAtLevel=1", "-cp", engines_jar(), "rta.Verdicts", described, str(sent)]  # fmt: skip
    ran = subprocess.run(command, input=lines.encode(), capture_output=True, check=True)
    return [json.loads(line, parse_float=Decimal) for line in ran.stdout.decode().split("\n")[:-1]]


def said(values: dict[str, Any]) -> dict[str, Any]:
    """Return values of the reference as the program writes them."""

    def one(value: Any) -> Any:
        match value:
            case datetime():
                return value.isoformat(timespec="microseconds") + "Z"
            case date():
                return value.isoformat()
            case float():
                return value
        return value

    return {name: one(value) for name, value in values.items()}


def same(ours: dict[str, Any], reference: dict[str, Any]) -> bool:
    """Compare values: decimals with their scale, a double by its bits."""
    wanted = said(reference)
    for each in SALE.schema:
        mine, theirs = ours[each.name], wanted[each.name]
        if each.dataType.typeName() in ("float", "double") and mine is not None:
            if each.dataType.typeName() == "double" and float(mine).hex() != float(theirs).hex():
                return False
        elif str(mine) != str(theirs):
            return False
    return True


def examples(strategy: st.SearchStrategy[Any], many: int) -> list[Any]:
    """Draw random examples: all of them are read in one JVM."""
    drawn: list[Any] = []

    @settings(max_examples=many, database=None, deadline=None)
    @given(strategy)
    def draw(each: Any) -> None:
        drawn.append(each)

    draw()
    return drawn


def test_each_reason_and_each_value_is_that_of_spark_and_of_the_reference(tmp_path: Path) -> None:
    """All cases of Spark's own tests have the same reasons; of random events those are good that the reference reads, with its values."""
    cases = [(value.encode() if isinstance(value, str) else value) for value, _ in CASES]
    sales = st.builds(
        lambda sale, *how: written(sale, ascii_only=how[0], quoted=how[1]),
        SALES,
        st.booleans(),
        st.booleans(),
    )
    random = examples(sales, 150) + examples(MUTATED, 300) + examples(st.binary(max_size=40), 50)
    ours = judged(cases + random, SALE, tmp_path)
    found = [(case, reason, mine["reason"]) for (case, reason), mine in zip(CASES, ours, strict=False) if mine["reason"] != reason]  # fmt: skip
    assert found == []
    for value, mine in zip(cases + random, ours, strict=True):
        reference = strict(value, SALE)
        if mine["reason"] is None:
            assert reference is not None, value
            assert same(mine["values"], reference), value
        elif reference is not None and mine["reason"] != "ahead":
            assert STRICTER.search((value or b"").decode()), (value, mine)
    assert sum(mine["reason"] is None for mine in ours) > 150


def test_times_as_numbers_and_renamed_fields_are_read(tmp_path: Path) -> None:
    """Epoch numbers keep their microseconds; a reason names the producer's field."""
    event = EventType(
        "reading", "size DECIMAL(5,1), at TIMESTAMP NOT NULL, seen TIMESTAMP", "at",
        fields={"size": "v x"}, times={"at": "epoch_ms", "seen": "epoch_s"},
    )  # fmt: skip
    values = [b'{"v x": 1.5, "at": 1700000000123.456, "seen": "1700000000.5"}', b'{"v x": 1.55, "at": 1}', b'{"at": 1.2345}',
              b'{"at": "x"}', b'{"at": 1e20}', b'{"at": 999999999999999}', b'{"at": 1735689900000}', b'{"at": 1735689900001}']  # fmt: skip
    ours = judged(values, event, tmp_path)
    assert [each["reason"] for each in ours] == [
        None, "inexact: v x", "inexact: at", "wrong type: at", "out of range: at", "out of range: at", None, "ahead",
    ]  # fmt: skip
    first = strict(values[0], event)
    assert first is not None
    assert ours[0]["values"] == said(first)


def test_clocks_of_a_zone_are_read(tmp_path: Path) -> None:
    """A time without a zone is that of the form: skipped in spring it is none, of two in autumn it is the first."""
    event = EventType("t", "at TIMESTAMP NOT NULL", "at", times="Europe/Berlin")
    texts = ["2024-07-01T12:00:00", "2024-07-01T12:00:00Z", "2024-03-31T02:30:00", "2024-10-27T02:30:00.5", "2024-07-01"]  # fmt: skip
    values = [json.dumps({"at": text}).encode() for text in texts]
    ours = judged(values, event, tmp_path)
    assert [each["reason"] for each in ours] == [None, None, "out of range: at", None, "wrong type: at"]  # fmt: skip
    for value, mine in zip(values, ours, strict=True):
        reference = strict(value, event)
        assert mine["values"] == (reference and said(reference))


@pytest.mark.parametrize(
    ("event", "why"),
    [
        (
            EventType("t", "at TIMESTAMP", "at", times="dd/MM/yyyy HH:mm XXX"),
            "'dd/MM/yyyy HH:mm XXX'",
        ),
        (EventType("t", "at TIMESTAMP, n INT", "at", format="csv"), "'csv'"),
    ],
)
def test_what_only_spark_reads_is_refused_in_a_sentence(event: EventType, why: str) -> None:
    """Other formats and times in a pattern: refused before anything starts, and told why."""
    assert why in str(supported(event))
    with pytest.raises(InputError, match="Spark alone"):
        event_json(event)
