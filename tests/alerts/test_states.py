"""The life of an alert, on a virtual clock: pure, without a broker, a database or Spark."""

import datetime as dt
from collections.abc import Callable, Mapping

from rta.alerts.states import Alert, Found, Kind, Notice, step

START = dt.datetime(
    2026, 3, 29, 0, 30, tzinfo=dt.UTC
)  # the night in which Berlin's clocks go forward


def lived(
    kind: Kind, amiss: Callable[[int], Found], seconds: int, nearly: Callable[[int], Found] = lambda _: {}
) -> list[tuple[int, str, str]]:  # fmt: skip
    """Return the second, subject and state of each change, asked once a second."""
    alerts: Mapping[str, Alert] = {}
    changes: list[tuple[int, str, str]] = []
    for second in range(seconds):
        before = alerts
        after = step(kind, before, amiss(second), nearly(second), START + dt.timedelta(seconds=second))  # fmt: skip
        for subject, alert in after.items():
            if subject not in before or before[subject].state != alert.state:
                changes.append((second, subject, alert.state))
        changes += [(second, subject, "forgotten") for subject in before if subject not in after]
        alerts = {subject: each for subject, each in after.items() if each.state != "resolved"}
    return changes


def test_it_fires_once_after_its_time_and_resolves_once() -> None:
    """Amiss from 10 to 50: pending, firing after 30 s, resolved at 50; nothing is repeated in between."""
    changes = lived(Kind("lag", for_=30), lambda s: {"t": "behind"} if 10 <= s < 50 else {}, 100)
    assert changes == [(10, "t", "pending"), (40, "t", "firing"), (50, "t", "resolved")]


def test_what_is_over_before_its_time_is_forgotten() -> None:
    """A swing of 20 s every half minute never fires."""
    changes = lived(Kind("lag", for_=30), lambda s: {"t": "behind"} if s % 30 < 20 else {}, 300)
    assert {state for _, _, state in changes} == {"pending", "forgotten"}


def test_a_figure_that_swings_about_its_limit_fires_once() -> None:
    """Hysteresis: 60 begins it, below 30 ends it. And of one that is well for a moment only, keep_firing_for."""
    value = [70 if s % 2 else 40 for s in range(100)] + [20] * 50

    def above(limit: int) -> Callable[[int], Found]:
        return lambda s: {"t": str(value[s])} if value[s] > limit else {}

    assert lived(Kind("lag"), above(60), 150, above(30)) == [(1, "t", "firing"), (100, "t", "resolved")]  # fmt: skip
    kept = lived(Kind("lag", keep_firing_for=10), above(60), 150)
    assert kept == [(1, "t", "firing"), (109, "t", "resolved")]


def test_subjects_live_apart_and_one_may_come_back() -> None:
    """Each has its own alert; the second time it is another one."""
    found = lived(Kind("dead letters"), lambda s: {"a": "1"} if s in (1, 2, 5) else {"b": "2"} if s == 3 else {}, 8)  # fmt: skip
    assert found == [
        (1, "a", "firing"), (3, "a", "resolved"), (3, "b", "firing"), (4, "b", "resolved"), (5, "a", "firing"), (6, "a", "resolved"),
    ]  # fmt: skip
    ids = {Alert("r", "a", "firing", "warning", "", START + dt.timedelta(seconds=s)).id for s in (1, 5)}  # fmt: skip
    assert len(ids) == 2


def test_what_cannot_be_told_changes_nothing() -> None:
    """None holds an alert that fires, does not begin one, and lets no pending one fire."""
    assert lived(Kind("kpi"), lambda s: {"": "low"} if s == 1 else {"": None} if s < 9 else {}, 12) == [(1, "", "firing"), (9, "", "resolved")]  # fmt: skip
    assert lived(Kind("kpi"), lambda _: {"": None}, 5) == []
    held = lived(Kind("kpi", for_=3), lambda s: {"": "low"} if s in (1, 6) else {"": None}, 8)
    assert held == [(1, "", "pending"), (6, "", "firing")]


def test_a_clock_that_is_set_back_by_an_hour_fires_nothing_twice() -> None:
    """What fires goes on, and is resolved once; what is pending waits for its time from then on."""
    kind, found = Kind("lag", for_=30), {"t": "behind"}
    back = START - dt.timedelta(hours=1)
    one = step(kind, {}, found, {}, START)
    two = step(kind, one, found, {}, back)
    assert two["t"].state == "pending"
    assert step(kind, two, found, {}, back + dt.timedelta(seconds=29))["t"].state == "pending"
    three = step(kind, two, found, {}, back + dt.timedelta(seconds=30))
    assert three["t"].state == "firing"
    kept = Kind("lag", keep_firing_for=10)
    firing = step(kept, {}, found, {}, START)
    quiet = step(kept, firing, {}, {}, back)
    assert quiet["t"].state == "firing"
    assert step(kept, quiet, {}, {}, back + dt.timedelta(seconds=10))["t"].state == "resolved"


def test_a_notice_says_what_is_amiss_in_one_line_with_an_id_of_its_own() -> None:
    """Firing and resolved have two ids, and the same alert."""
    alert = Alert("lag", "totals", "firing", "warning", "12 s behind", START)
    fires = Notice(alert, "log", START)
    over = Notice(Alert("lag", "totals", "resolved", "warning", "12 s behind", START), "log", START)
    assert str(fires) == "[WARNING] lag totals: 12 s behind"
    assert str(over) == "[RESOLVED] lag totals: 12 s behind"
    assert fires.id != over.id
    assert fires.alert.id == over.alert.id
