"""rta.lab: what it sends becomes what it says, each event counted; nothing is done to what is not ours. Its faults: tests/faults."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar, Literal

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

import rta
from rta.display.function_feed import FunctionFeed
from rta.display.live_view import LiveView
from rta.errors import InputError, QueryError
from rta.laboratory import Laboratory, laboratories
from rta.laboratory.buttons import Panel
from rta.testing import oracle
from tests.support.truth import KEY, true_totals
from tests.support.waiting import until

pytestmark = pytest.mark.kafka


def once(events: DataFrame) -> DataFrame:
    """Count each event once."""
    return rta.transforms.totals(rta.transforms.deduplicate(events), lateness=None)


@pytest.fixture(scope="module")
def laboratory(spark: SparkSession) -> Iterator[Laboratory]:
    """Open a laboratory of a table that counts each of 200 events once."""
    rta.publish(rta.user_events(spark, rows=200), "tried", key="user_id", partitions=2)
    query = rta.follow("tried", once, table="tried", key=KEY, event=rta.USER_EVENTS)
    query.processAllAvailable()
    yield rta.lab("tried")
    query.stop()


def test_each_event_becomes_what_it_is_to_be(laboratory: Laboratory) -> None:
    """A burst is used, copies are duplicates, late events late, broken ones quarantined: counted, none lost, the table exact."""
    done = [laboratory.burst(40), laboratory.copies(), laboratory.late(), laboratory.poison(12)]
    assert [each.expected for each in done] == [{"used": 40}, {"duplicate": 5}, {"late": 5}, {"quarantined": 12}]  # fmt: skip
    for each in done:
        [(term, many)] = each.expected.items()
        assert (getattr(each.counted, term), each.counted.consumed) == (many, many), each
        assert (each.sent, each.found, each.others, each.lost) == (many, many, 0, 0)
        assert each.counted.balanced
        assert each.as_expected
        assert each.seconds
    good = (
        "SELECT DISTINCT ON (event_id) * FROM events WHERE \"timestamp\" > TIMESTAMP '2024-11-15'"
    )
    assert oracle.differences(true_totals("tried", good), "tried") == []
    oracle.check_accounted("tried", "tried", used=240, duplicate=5, late=5, quarantined=12)
    assert len(rta.late("tried")) == 5
    assert laboratory.report()["lost"].tolist() == [0, 0, 0, 0]
    assert "poison" in repr(laboratory)
    assert "4 done, 0 events lost" in laboratory._repr_html_()


def test_others_are_told_apart(laboratory: Laboratory, spark: SparkSession) -> None:
    """What somebody else sends meanwhile is counted as such, and hides no loss."""
    rta.publish(rta.user_events(spark, rows=7, first_row=1_000), "tried", key="user_id")
    done = laboratory.burst(3)
    assert (done.sent, done.found, done.lost) == (3, 3, 0)
    assert done.counted.consumed == 3 + done.others
    assert done.as_expected


def test_copies_are_used_where_the_transform_keeps_them(spark: SparkSession) -> None:
    """What is expected follows from the transform; one that knows no time drops nothing as late."""

    def by_user(events: DataFrame) -> DataFrame:
        return events.groupBy("user_id").agg(F.count("*").alias("events"))

    rta.publish(rta.user_events(spark, rows=20), "lab_kept", partitions=1)
    query = rta.follow(
        "lab_kept", by_user, table="lab_kept", key=["user_id"], event=rta.USER_EVENTS
    )
    query.processAllAvailable()
    here = rta.lab("lab_kept")
    assert here.copies(2).expected == {"used": 2}
    with pytest.raises(InputError, match=r"can be late; found: a transform that drops nothing"):
        here.late()
    assert rta.read("lab_kept")["events"].sum() == 22
    query.stop()
    with pytest.raises(QueryError, match=r"does not run; fix: rta.engines.restart\('lab_kept'\)"):
        here.burst(1)
    assert len(here.experiments) == 1


def test_a_button_works_and_says_what_goes_on(laboratory: Laboratory) -> None:
    """Pressed as the page does: the others wait, the table has the experiment, an error is a sentence."""
    panel = Panel(laboratory)
    laboratory.panels.append(panel)
    buttons = panel.buttons.values()

    def press(label: str) -> None:
        panel.buttons[label]._handle_button_msg(None, {"event": "click"}, [])
        until(lambda: not any(button.disabled for button in buttons))

    press("poison")
    assert "poison" in panel.bundle()["text/html"]
    assert panel.text == ""
    assert panel.table == laboratory.told()
    with laboratories._busy:
        press("copies")
    assert panel.text == "another experiment runs; fix: wait until it has ended"
    laboratory.close()
    assert laboratory.panels == []


@pytest.mark.parametrize(
    ("table", "variables", "message"),
    [
        ("tried", {"RTA_KAFKA_BOOTSTRAP": "kafka.example:9092"}, r"on the embedded broker alone; found: RTA_KAFKA_BOOTSTRAP is kafka.example:9092; fix: unset"),
        ("nobody", {}, r"no query of this session keeps 'nobody' up to date; found: .*tried.*; fix: give the table"),
    ],
)  # fmt: skip
def test_what_is_not_ours_is_left_alone(
    laboratory: Laboratory, monkeypatch: pytest.MonkeyPatch, table: str, variables: dict[str, str], message: str
) -> None:  # fmt: skip
    """Another broker, a table that this session does not keep: refused at once, and again at each call."""
    before = len(laboratory.experiments)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises((InputError, QueryError), match=message):
        rta.lab(table)
    if variables:
        for call in (laboratory.kill_broker, laboratory.cut_network, laboratory.slow_network, laboratory.kill_driver, laboratory.poison):  # fmt: skip
            with pytest.raises(InputError, match=message):
                call()
    assert len(laboratory.experiments) == before


def test_a_query_of_another_broker_is_left_alone(spark: SparkSession) -> None:
    """An option that names the servers is enough to refuse."""
    rta.publish(rta.user_events(spark, rows=5), "lab_elsewhere", partitions=1)
    servers = {"kafka.bootstrap.servers": rta.kafka.bootstrap()}
    query = rta.follow("lab_elsewhere", once, table="lab_elsewhere", key=KEY, event=rta.USER_EVENTS, options=servers)  # fmt: skip
    with pytest.raises(
        InputError, match=r"found: its query reads from 127\.0\.0\.1:\d+; fix: leave"
    ):
        rta.lab("lab_elsewhere")
    query.stop()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda lab: lab.burst(0), "too few events; found: 0; fix: give 1"),
        (lambda lab: lab.kill_broker(events=1), "too few events; found: 1; fix: give 2"),
        (lambda lab: lab.cut_network(0), "above 0, at most 60"),
        (lambda lab: lab.slow_network(90), "above 0, at most 60"),
        (lambda lab: lab.late(by="soon"), "not a duration for by"),
        (lambda _: rta.lab("tried", patience=0), "patience must be above 0"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(laboratory: Laboratory, call: object, message: str) -> None:
    """Before anything is done."""
    before = rta.accounting("tried")
    with pytest.raises(InputError, match=message):
        call(laboratory)  # type: ignore[operator]
    assert rta.accounting("tried") == before


def test_a_view_outlives_the_driver() -> None:
    """While one driver dies and another starts, even the question whether a query runs may fail."""

    class Dying(FunctionFeed):
        asked = 0

        @property
        def state(self) -> Literal["running"]:
            Dying.asked += 1
            if Dying.asked < 4:
                raise ConnectionError
            return "running"

    class Seen:
        frames: ClassVar[list[dict[str, Any]]] = []

        def send(self, frame: dict[str, Any]) -> None:
            self.frames.append(frame)

        def ready(self) -> bool:
            return True

        def unseen(self) -> float:
            return 0

        def leave(self, _: dict[str, Any]) -> None:
            pass

    view = LiveView(Dying(lambda: [{"n": Dying.asked}]), every=0.01)
    view.pages.append(page := Seen())  # type: ignore[arg-type]
    view.start()
    until(lambda: page.frames)
    assert page.frames[-1]["state"] == "running"
    view.stop()
