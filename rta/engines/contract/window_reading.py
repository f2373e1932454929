"""Read the windows of event time that Spark has taken apart, and the delay of a watermark."""

from __future__ import annotations

import re
from typing import Final

from rta.engines.contract.description import Session, Window
from rta.engines.contract.nodes import Node, inside, refused

_MS: Final = {
    "day": 86_400_000,
    "hour": 3_600_000,
    "minute": 60_000,
    "second": 1_000,
    "millisecond": 1,
}


def of_window(condition: Node) -> bool:
    """Return whether Spark has added a filter for a window itself: rows without event time, windows that an event is not in."""
    return any(each["name"] == "PreciseTimestampConversion" for each in inside(condition))


def is_window(node: Node) -> bool:
    """Return whether a value is a window that Spark computes."""
    return node["name"] == "CreateNamedStruct" and of_window(node)


def window_of(node: Node, copies: int) -> Window | Session:
    """Return the window that Spark computes so; `copies` of an event are made for windows that hop."""
    nodes = list(inside(node))
    column = next(each for each in nodes if each["name"] == "AttributeReference")["called"]
    slides = [each["of"][1]["value"] for each in nodes if each["name"] == "Remainder"]
    sizes = [
        each["of"][1]["value"]
        for each in inside(node["of"][3])
        if each["name"] == "Add" and [inner["name"] for inner in each["of"]] == ["Subtract", "Literal"]
    ]  # fmt: skip
    if not slides or not sizes:
        return Session(str(column), _gap(node["of"][3]))
    size, slide = int(sizes[0]), int(slides[0])
    if size % 1000 or slide % 1000 or -(-size // slide) != copies:
        raise refused("a window that is not of whole milliseconds")
    return Window(str(column), size // 1000, slide // 1000)


def _gap(end: Node) -> int:
    """Return the gap of a session in milliseconds, of the expression for its end: event time and an interval."""
    parts = [each for each in inside(end) if each["name"] in ("Literal", "AttributeReference")]
    if [each["name"] for each in parts] != ["AttributeReference", "Literal"]:
        raise refused("a session window whose gap is computed for each event")
    told = str(parts[1]["value"])
    if (gap := _milliseconds(told)) is None or "day" in told:
        raise refused(f"a session window with the gap {told!r}: say it in hours, minutes or seconds")  # fmt: skip
    return gap


def _milliseconds(told: str) -> int | None:
    """Return a length of time in milliseconds; None if it has other units.

    >>> _milliseconds("1 hour 30 minutes"), _milliseconds("1 month")
    (5400000, None)
    """
    parts = re.findall(r"(\d+) (day|hour|minute|second|millisecond)s?", told)
    whole = re.fullmatch(r"(\d+ \w+ ?)+", told)
    if not whole or len(parts) != len(told.split()) / 2:
        return None
    return sum(int(number) * _MS[unit] for number, unit in parts)


def delay_of(plan: str) -> int | None:
    """Return the delay of the watermark in milliseconds, from the text of a plan."""
    told = re.search(r"EventTimeWatermark [^,]+, [^,]+, (.+)", plan)
    return _milliseconds(told[1].strip()) if told else None
