"""Every rule fires once and is resolved once in a seeded hour with a fault, and a quiet hour fires none: on a virtual clock."""

import datetime as dt
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest

import rta
from rta.alerts import Notice, Rule, Watch
from rta.alerts.rules import as_rules
from rta.errors import InputError, RtaError
from rta.metrics import Observation, ObservedQuery, ObservedTable
from rta.monitor import Verdict, Vitals
from rta.store.ledger import Accounting
from tests.alerts.world import FAULT, FAULTS, OVER, START, looks
from tests.support.waiting import until

pytestmark = pytest.mark.usefixtures("home")
_now = {"users": 50.0}


def rules() -> list[Rule]:
    """Make all ready-made rules."""
    own = [rta.alerts.not_running("totals"), rta.alerts.band("users", lambda: _now["users"], low=10, margin=2)]  # fmt: skip
    return [*rta.alerts.usual(), *own]


@pytest.fixture
def said() -> list[Notice]:
    """Lend what was said."""
    return []


@pytest.fixture
def watched(said: list[Notice], request: pytest.FixtureRequest) -> Iterator[Watch]:
    """Lend a watch over all rules that is given looks; it keeps its alerts in the real database."""
    watching = Watch(rules(), [said.append], every=5, name=f"w{abs(hash(request.node.name))}")
    yield watching
    watching.stop()


def through(watching: Watch, looked: Iterator[Observation]) -> None:
    """Give a watch all looks, and wait until all was said."""
    for seen in looked:
        watching.take(seen)
    watching.stop()


@pytest.mark.parametrize("fault", FAULTS)
def test_each_rule_fires_once_and_is_resolved_once(
    fault: str, watched: Watch, said: list[Notice]
) -> None:
    """For a quarter of an hour something is amiss: one alert of its rule fires in that time, and is resolved after it."""

    def with_users() -> Iterator[Observation]:
        for seen in looks(fault=fault, seed=7):
            amiss = fault == "users" and FAULT <= (seen.at - START).total_seconds() < OVER
            _now["users"] = 3.0 if amiss else 50.0
            yield seen

    through(watched, with_users())
    of_it = [each for each in said if each.alert.rule == fault]
    assert [each.alert.state for each in of_it] == ["firing", "resolved"], said
    begin, end = ((each.made_at - START).total_seconds() for each in of_it)
    assert FAULT <= begin < OVER + 60
    assert begin < end < OVER + 660
    assert of_it[0].alert.id == of_it[1].alert.id
    for other in said:  # what goes together with it, such as lag with slowness, is over, too
        states = [each.alert.state for each in said if each.alert.id == other.alert.id]
        assert states == ["firing", "resolved"]
    kept = rta.sql(f"SELECT state FROM rta_alerts WHERE watch = '{watched.name}' AND rule = '{fault}'")  # fmt: skip
    assert kept["state"].tolist() == ["resolved"]


def test_each_ready_made_rule_has_a_fault() -> None:
    """The faults of the virtual hour are exactly the rules: the usual ones, and the two that need a name."""
    assert sorted(FAULTS) == sorted(each.name for each in rules())
    assert {each.name for each in rules()} - {each.name for each in rta.alerts.usual()} == {"not running", "users"}  # fmt: skip


def _query(second: float, *, age: float = 0.0, growth: int = 0, in_rate: float = 0.0, out_rate: float = 400.0) -> Observation:  # fmt: skip
    """Make a look at one query: the age of its oldest unread record, by how many records a second what is unread grows, its rates."""
    now = START + dt.timedelta(seconds=second)
    history = [
        Vitals(now - dt.timedelta(seconds=ago), in_rate, out_rate, behind=max(100_000 - growth * ago, 0))
        for ago in range(55, -1, -5)
    ]  # fmt: skip
    query = ObservedQuery(
        "totals", "running", Verdict("", "idle"), history[-1], history, {("clicks", 0): history[-1].behind or 0}, {("clicks", 0): age}, now, START,
    )  # fmt: skip
    return Observation(now, {"database": True, "kafka": True}, queries=[query])


def _late(second: float, late: int) -> Observation:
    recent = Accounting(consumed=10_000, used=10_000 - late, late=late)
    table = ObservedTable("totals", recent, recent=recent)
    return Observation(START + dt.timedelta(seconds=second), {"database": True}, tables=[table])


def _users(second: float, users: float) -> Observation:
    _now["users"] = users
    return Observation(START + dt.timedelta(seconds=second), {"database": True})


def test_a_query_that_catches_up_is_no_alert_however_far_behind(said: list[Notice]) -> None:
    """Ten minutes over the target while what is unread shrinks, or stays as it is: nothing is said; it grows: that is."""
    seconds = iter(range(0, 3600, 5))
    with Watch([rta.alerts.lag(over=60)], [said.append], every=5, name="catching_up") as watching:
        for growth in (-100, 0):
            for _ in range(120):
                watching.take(_query(next(seconds), age=600, growth=growth))
        assert watching.alerts == []
        for _ in range(4):
            watching.take(_query(next(seconds), age=600, growth=500))
    assert [each.alert.state for each in said] == ["firing"]


@dataclass(frozen=True)
class _Hysteresis:
    """A rule with two limits, a look at a level, and levels: amiss, between the limits, well."""

    rule: Rule
    look: Callable[[float, Any], Observation]
    amiss: Any
    between: tuple[Any, ...]
    well: Any


@pytest.mark.parametrize(
    "of",
    [
        _Hysteresis(rta.alerts.lag(over=60), lambda s, level: _query(s, age=level[0], growth=level[1]), (61, 500), ((60, 500), (31, 500), (600, 0), (600, -500)), (30, 500)),
        _Hysteresis(rta.alerts.late_share(over=0.01), _late, 101, (100, 51), 50),
        _Hysteresis(rta.alerts.band("low", lambda: _now["users"], low=10, margin=2), _users, 9.9, (10, 11.9), 12),
        _Hysteresis(rta.alerts.band("high", lambda: _now["users"], high=90, margin=5), _users, 90.1, (90, 85.1), 85),
        _Hysteresis(rta.alerts.slower_than_input(), lambda s, rate: _query(s, in_rate=100, out_rate=rate), 99, (100, 109), 111),
    ],
    ids=lambda of: of.rule.name,
)  # fmt: skip
def test_between_its_two_limits_an_alert_neither_begins_nor_ends(
    of: _Hysteresis, said: list[Notice]
) -> None:
    """Held there for ten minutes each it begins nothing, ends nothing and says nothing again: it takes the one limit, and the other."""
    seconds = iter(range(0, 36_000, 5))

    def held(*levels: Any) -> list[str]:
        for level in levels:
            for _ in range(120):
                watching.take(of.look(next(seconds), level))
        return [each.state for each in watching.alerts]

    with Watch([of.rule], [said.append], every=5, name="between") as watching:
        assert held(*of.between) == []
        assert held(of.amiss) == ["firing"]
        assert held(*of.between, of.amiss, *reversed(of.between)) == ["firing"]
        assert held(of.well) == []
        assert held(*of.between) == []
    assert [each.alert.state for each in said] == ["firing", "resolved"]
    assert said[0].alert.id == said[1].alert.id


@pytest.mark.parametrize("seed", range(3))
def test_a_quiet_hour_fires_nothing(seed: int, watched: Watch, said: list[Notice]) -> None:
    """Noise of arrivals, batches and late events is no reason to say anything."""
    _now["users"] = 50.0
    through(watched, looks(fault=None, seed=seed))
    assert said == []


def test_sql_is_a_rule_too_and_its_rows_are_what_is_amiss(said: list[Notice]) -> None:
    """Subject and sentence by their columns; or all columns; a SELECT that the database refuses is said once, and is over."""
    rta.store.engine()
    named = Rule("named", "SELECT 'totals' AS subject, 'too few' AS says")
    plain = Rule("plain", "SELECT 3 AS users WHERE 1 = 1")
    none = Rule("none", "SELECT 1 AS n WHERE 1 = 0")
    wrong = Rule("wrong", "SELECT nothing FROM rta_tables")
    at = [START + dt.timedelta(seconds=s) for s in (0, 5, 10)]
    with Watch([named, plain, none, wrong], [said.append], every=5, name="sql") as watching:
        for moment in at[:2]:
            watching.take(Observation(moment, {"database": True}))
    assert sorted(str(each) for each in said)[:2] == ["[WARNING] named totals: too few", "[WARNING] plain: users 3"]  # fmt: skip
    [broken] = [each.alert for each in said if each.alert.rule == "rule fails"]
    assert broken.subject == "wrong"
    assert "nothing" in broken.says
    with pytest.raises(RtaError):
        wrong.found(Observation(START))


def test_a_rule_with_a_mistake_is_said_and_ends_nothing(said: list[Notice]) -> None:
    """A function that raises: its alert stays, the mistake is an alert of its own."""
    answers: list[Callable[[], Any]] = [
        lambda: {"t": "amiss"},
        lambda: 1 / 0,
        lambda: {"t": "amiss"},
        dict,
    ]
    rule = Rule("mine", lambda _: answers.pop(0)())
    with Watch([rule], [said.append], every=5, name="mistake") as watching:
        for second in range(4):
            watching.take(Observation(START + dt.timedelta(seconds=second), {"database": True}))
    assert [(each.alert.rule, each.alert.state) for each in said] == [
        ("mine", "firing"), ("rule fails", "firing"), ("rule fails", "resolved"), ("mine", "resolved"),
    ]  # fmt: skip
    assert "ZeroDivisionError" in said[1].alert.says


def test_what_did_not_answer_ends_no_alert(said: list[Notice]) -> None:
    """Kafka is away: nobody knows of dead letters, so their alert stays, and is resolved only once it is known."""
    looked: list[tuple[dict[str, int], bool]] = [({"clicks": 2}, True), ({}, False), ({"clicks": 0}, True)]  # fmt: skip
    with Watch([rta.alerts.dead_letters()], [said.append], every=5, name="silence") as watching:
        for second, (dead, up) in enumerate(looked):
            at = START + dt.timedelta(seconds=second)
            watching.take(Observation(at, {"kafka": up}, dead_letters=dead))
    assert [each.alert.state for each in said] == ["firing", "resolved"]
    assert said[1].made_at == START + dt.timedelta(seconds=2)


def test_a_reminder_is_said_if_it_is_wanted(said: list[Notice]) -> None:
    """An hour amiss with remind=600: the first word, five more, and the last."""
    rule = Rule("always", lambda seen: {"": "amiss"} if seen.at < START + dt.timedelta(hours=1) else {})  # fmt: skip
    with Watch([rule], [said.append], every=5, remind=600, name="reminder") as watching:
        for second in range(0, 3700, 5):
            watching.take(Observation(START + dt.timedelta(seconds=second), {"database": True}))
    assert [each.alert.state for each in said] == [*["firing"] * 6, "resolved"]
    assert len({each.id for each in said}) == 7


def test_what_cannot_be_a_rule_is_refused() -> None:
    """Names, times, severities, conditions, twice the same name: before anything is watched."""
    for wrong in (
        {"name": ""}, {"for_": -1}, {"for_": True}, {"severity": "bad"}, {"when": 7},
    ):  # fmt: skip
        with pytest.raises(InputError):
            Rule(**{"name": "r", "when": lambda _: {}, **wrong})  # type: ignore[arg-type]
    with pytest.raises(InputError, match="two rules have one name"):
        as_rules([rta.alerts.lag(), rta.alerts.lag(over=10)])
    with pytest.raises(InputError, match="this is not a rule"):
        as_rules([lambda _: {}])
    with pytest.raises(InputError, match="has no band"):
        rta.alerts.band("users", "SELECT 1")
    with pytest.raises(InputError, match="from 0 to 1"):
        rta.alerts.late_share(over=2)
    with pytest.raises(InputError, match="does not return one value"):
        rta.alerts.band("users", "SELECT 1 AS a, 2 AS b", low=0).found(Observation(START))


def test_f49_a_database_that_is_away_keeps_nobody_from_being_told(said: list[Notice], monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    """It fires and is said although nothing can be written; once the database is back, alert and notices are in it, marked."""
    seen = Observation(START, {"kafka": True}, dead_letters={"clicks": 1})
    with Watch([rta.alerts.dead_letters()], [said.append], every=5, name="away") as watching:
        monkeypatch.setenv("RTA_DATABASE_URL", "postgresql://u:planted@127.0.0.1:1/nowhere")
        watching.take(seen)
        until(lambda: said)
        monkeypatch.delenv("RTA_DATABASE_URL")
        watching.take(replace(seen, at=START + dt.timedelta(seconds=5)))
    assert [each.alert.state for each in said] == ["firing"]
    kept = rta.sql("SELECT a.state, n.said_at FROM rta_alerts AS a JOIN rta_notices AS n ON n.watch = a.watch WHERE a.watch = 'away'")  # fmt: skip
    assert kept["state"].tolist() == ["firing"]
    assert kept["said_at"].notna().all()


def test_what_a_watch_has_left_is_taken_up_and_of_a_rule_that_is_gone_is_ended(said: list[Notice]) -> None:  # fmt: skip
    """The next watch of the name says nothing again; the alert of a removed rule is resolved, and that is said."""
    rule = rta.alerts.dead_letters()
    seen = Observation(START, {"kafka": True}, dead_letters={"clicks": 1})
    for rules in ([rule], [rule]):
        with Watch(rules, [said.append], every=5, name="left") as watching:
            watching.take(seen)
    assert [each.alert.state for each in said] == ["firing"]
    with Watch([], [said.append], every=5, name="left") as watching:
        watching.take(replace(seen, at=START + dt.timedelta(seconds=9)))
    assert [each.alert.state for each in said] == ["firing", "resolved"]
    assert said[1].alert.says == "its rule was removed"
    assert said[0].alert.id == said[1].alert.id
