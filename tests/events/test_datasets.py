"""rta.events.datasets: real data as events, the seeded generator, and poison that is really bad."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import DecimalType, IntegerType, LongType, StringType, TimestampType

import rta
from rta.errors import InputError, SetupError
from rta.events.json_format import json_column, json_text

REAL: list[tuple[rta.events.EventType, Callable[[SparkSession], DataFrame], int]] = [
    (rta.events.FLIGHTS, rta.events.flights, 336_776),
    (rta.events.WEATHER, rta.events.weather, 26_115),
    (rta.events.PURCHASES, rta.events.purchases, 69_659),
]


@pytest.mark.parametrize(
    ("event", "load", "rows"), REAL, ids=lambda case: getattr(case, "name", "")
)
def test_real_data_fit_their_type(
    spark: SparkSession,
    event: rta.events.EventType,
    load: Callable[[SparkSession], DataFrame],
    rows: int,
) -> None:
    """Columns and types are the type's, ids are unique, and no required column has a null."""
    frame = load(spark)
    expected = [(field.name, field.dataType) for field in event.schema]
    assert [(field.name, field.dataType) for field in frame.schema] == expected
    nulls = [F.count_if(F.col(name).isNull()) for name in event.required]
    facts = frame.agg(F.count("*"), F.countDistinct("event_id"), *nulls).head()
    assert facts is not None
    assert list(facts) == [rows, rows, *([0] * len(nulls))]


def test_a_flights_news_arrives_when_it_leaves(spark: SparkSession) -> None:
    """reported_at - event_time is the delay, to 1,301 minutes; for the 8,255 cancelled flights it is nothing."""
    minutes = (F.unix_micros("reported_at") - F.unix_micros("event_time")) / 60_000_000
    facts = rta.events.flights(spark).agg(
        F.count_if(minutes != F.coalesce("delay_minutes", F.lit(0))),
        F.count_if(F.col("delay_minutes").isNull()),
        F.min(minutes),
        F.max(minutes),
    )
    assert facts.collect() == [(0, 8_255, -43.0, 1301.0)]


def test_f30_the_sessions_time_zone_changes_no_event(spark: SparkSession) -> None:
    """The same ids and instants whatever spark.sql.session.timeZone says."""

    def digest() -> list[Any]:
        columns = [F.col("event_id"), F.unix_micros("reported_at")]
        frames = (rta.events.flights(spark), rta.events.weather(spark), rta.events.purchases(spark))
        made = rta.events.user_events(spark, rows=100)
        return [
            f.agg(F.bit_xor(F.xxhash64(*columns)), F.count("*")).head() for f in (*frames, made)
        ]

    in_utc = digest()
    try:
        spark.conf.set("spark.sql.session.timeZone", "America/New_York")
        assert digest() == in_utc
        row = spark.range(1).select(F.timestamp_micros(F.lit(1)).alias("t"))
        assert row.select(json_column(["t"])).head() == ('{"t":"1970-01-01T00:00:00.000001Z"}',)
    finally:
        spark.conf.set("spark.sql.session.timeZone", "UTC")


def test_purchases_add_up_to_the_cent(spark: SparkSession) -> None:
    """The sum over all purchases is the one of the source file."""
    facts = rta.events.purchases(spark).agg(F.sum("amount"), F.countDistinct("user_id")).head()
    assert facts == (Decimal("2500315.63"), 23_570)


def test_missing_data_files_are_an_error_with_advice(
    spark: SparkSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RTA_DATA that leads nowhere is said in one sentence."""
    monkeypatch.setenv("RTA_DATA", "nowhere")
    with pytest.raises(SetupError, match=r"'flights' is not there.*set RTA_DATA"):
        rta.events.flights(spark)


def test_user_events_are_the_same_today_as_ever(spark: SparkSession) -> None:
    """The first rows of seed 0 stand here: a change of the generator changes every published figure."""
    rows = (
        rta.events.user_events(spark, rows=3)
        .select("event_id", "user_id", "action", "amount")
        .collect()
    )
    assert rows == [
        ("0-0", 14, "view", Decimal("0.00")),
        ("0-1", 33, "purchase", Decimal("3.97")),
        ("0-2", 919, "view", Decimal("0.00")),
    ]
    total = rta.events.user_events(spark, rows=20_000, seed=1).agg(F.sum("amount")).head()
    assert total == (Decimal("76849.77"),)


def test_user_events_do_not_depend_on_how_they_are_cut(spark: SparkSession) -> None:
    """Two halves, in other partitions, are the whole: a pure function of seed and row number."""
    options: dict[str, Any] = {"seed": 5, "lateness": "1 hour", "duplicates": 0.2}
    whole = rta.events.user_events(spark, rows=2_000, **options)
    halves = (
        rta.events.user_events(spark, rows=700, **options)
        .coalesce(1)
        .unionAll(
            rta.events.user_events(spark, rows=1_300, first_row=700, **options).repartition(5)
        )
    )
    assert whole.exceptAll(halves).isEmpty()
    assert halves.exceptAll(whole).isEmpty()
    assert not whole.exceptAll(
        rta.events.user_events(spark, rows=2_000, **{**options, "seed": 6})
    ).isEmpty()


def test_user_events_fit_their_type_and_their_words(spark: SparkSession) -> None:
    """Types as declared; views are free, purchases positive, refunds negative; time moves by 1/rate."""
    frame = rta.events.user_events(
        spark, rows=2_000, users=50, rate=4, start="2024-02-29T23:59:59+01:00"
    )
    expected = [(field.name, field.dataType) for field in rta.events.USER_EVENTS.schema]
    assert [(field.name, field.dataType) for field in frame.schema] == expected
    signs = frame.groupBy("action").agg(F.min(F.signum("amount")), F.max(F.signum("amount")))
    assert sorted(signs.collect()) == [("purchase", 1, 1), ("refund", -1, -1), ("view", 0, 0)]
    ends = frame.agg(
        F.min("timestamp"), F.max("timestamp"), F.min("user_id"), F.max("user_id")
    ).head()
    start = datetime(2024, 2, 29, 22, 59, 59, tzinfo=UTC)
    assert ends is not None
    assert [ends[0].replace(tzinfo=UTC), ends[1].replace(tzinfo=UTC)] == [
        start, start + timedelta(seconds=1_999 / 4)
    ]  # fmt: skip
    assert (ends[2], ends[3]) == (1, 50)


def test_skew_makes_user_1_the_busiest(spark: SparkSession) -> None:
    """Skew 0 is uniform; the more skew, the larger the share of user 1."""

    def share(skew: float) -> float:
        frame = rta.events.user_events(spark, rows=20_000, users=100, skew=skew)
        return frame.where("user_id = 1").count() / 20_000

    shares = [share(skew) for skew in (0, 0.5, 1, 2)]
    assert shares == sorted(shares)
    assert 0.007 < shares[0] < 0.013
    assert shares[-1] > 0.4


def test_late_events_are_a_share_and_bounded(spark: SparkSession) -> None:
    """A tenth of the events arrives after its time, by less than the lateness; nothing arrives before."""
    delay = F.unix_micros("reported_at") - F.unix_micros("timestamp")
    frame = rta.events.user_events(spark, rows=20_000, lateness="90 seconds", late_share=0.1)
    facts = frame.agg(F.min(delay), F.max(delay), F.count_if(delay > 0) / 20_000).head()
    assert facts is not None
    assert facts[0] == 0
    assert 80_000_000 < facts[1] < 90_000_000
    assert 0.09 < facts[2] < 0.11


def test_f26_a_duplicate_is_the_same_event_that_arrives_again(spark: SparkSession) -> None:
    """A fifth comes twice: equal but for a later arrival."""
    frame = rta.events.user_events(spark, rows=10_000, duplicates=0.2)
    same = [name for name in frame.columns if name != "reported_at"]
    groups = frame.groupBy(*same).agg(
        F.count("*").alias("times"), F.countDistinct("reported_at").alias("arrivals")
    )
    facts = groups.agg(F.count("*"), F.max("times"), F.count_if(F.expr("times != arrivals"))).head()
    assert facts == (10_000, 2, 0)
    assert 0.18 < frame.count() / 10_000 - 1 < 0.22


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"late_share": 2}, "late_share is a share"),
        ({"duplicates": -0.1}, "duplicates is a share"),
        ({"users": 0}, "users, rate and skew"),
        ({"rows": -1}, "rows and first_row"),
        ({"lateness": "soon"}, "not a duration for lateness; found: 'soon'"),
        ({"start": "yesterday"}, "not an instant; found: 'yesterday'"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(
    spark: SparkSession, wrong: dict[str, Any], message: str
) -> None:
    """Each is an InputError that names the argument."""
    with pytest.raises(InputError, match=message):
        rta.events.user_events(spark, **wrong)


def test_event_type_knows_its_names() -> None:
    """Every type is found by its topic; an unknown name is answered with the known ones."""
    for event in (
        rta.events.FLIGHTS,
        rta.events.WEATHER,
        rta.events.PURCHASES,
        rta.events.USER_EVENTS,
    ):
        assert rta.events.event_type(event.name) is event
        assert {event.key, event.event_time, "event_id"} <= set(event.required)
    with pytest.raises(InputError, match="did you mean 'weather'"):
        rta.events.event_type("wether")


def test_an_event_written_without_spark_is_written_the_same(spark: SparkSession) -> None:
    """The same row through Spark's to_json and through json_text: equal bytes."""
    frame = rta.events.user_events(spark, rows=20, lateness="1 hour", late_share=0.5, rate=3)
    rows = frame.select("*", json_column(frame.columns).alias("json")).collect()
    for row in rows:
        assert json_text({name: row[name] for name in frame.columns}) == row["json"]
    assert (
        json_text({"n": None, "a": [1, {"b": True}], "s": 'é"'})
        == '{"a":[1,{"b":true}],"s":"é\\""}'
    )
    with pytest.raises(InputError, match="that JSON cannot hold"):
        json_text({"amount": float("nan")})


def reason(value: bytes | None, event: rta.events.EventType) -> str | None:
    """Judge a message with Python alone: None for good, else what is wrong with it."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        assert len(dict(pairs)) == len(pairs), "duplicate key"
        return dict(pairs)

    def no_constant(name: str) -> None:
        raise AssertionError(name)

    try:
        assert value is not None, "null"
        read = json.loads(
            value.decode("utf-8"),
            parse_float=Decimal,
            parse_constant=no_constant,
            object_pairs_hook=unique,
        )
        assert isinstance(read, dict), "not an object"
        for field in event.schema:
            if read.get(field.name) is None:
                assert field.nullable, f"{field.name} is missing"
                continue
            fits(read[field.name], field.dataType)
    except (AssertionError, ValueError, RecursionError) as error:
        return f"{type(error).__name__}: {error}"
    return None


def fits(value: Any, kind: Any) -> None:
    """Assert that a JSON value is one of the column's type."""
    if isinstance(kind, DecimalType):
        assert isinstance(value, int | Decimal), "not a number"
        assert abs(value) < 10 ** (kind.precision - kind.scale), "overflow"
    elif isinstance(kind, LongType | IntegerType):
        bits = 63 if isinstance(kind, LongType) else 31
        assert isinstance(value, int), "not an integer"
        assert -(2**bits) <= value < 2**bits, "overflow"
    elif isinstance(kind, TimestampType):
        assert datetime.fromisoformat(value) < datetime(2090, 1, 1, tzinfo=UTC), "ahead"
    elif isinstance(kind, StringType):
        assert isinstance(value, str), "not a text"
        assert "\0" not in value, "NUL"


CASES = [
    (rta.events.USER_EVENTS, lambda spark: rta.events.user_events(spark, rows=400)),
    *((event, load) for event, load, _ in REAL),
]


@pytest.mark.parametrize(("event", "load"), CASES, ids=lambda case: getattr(case, "name", ""))
def test_f21_f22_f23_f25_f28_poison_is_bad_and_stands_beside_the_good(
    spark: SparkSession, event: rta.events.EventType, load: Callable[[SparkSession], DataFrame]
) -> None:
    """Every kind is bad by an independent judge, and all good messages are there, as publish() sends them."""
    frame = load(spark).limit(400).localCheckpoint()
    wire = [
        json_column(event.columns).cast("binary").alias("value"),
        F.col(str(event.key)).cast("string"),
    ]
    expected = {(bytes(row[0]), row[1].encode()) for row in frame.select(*wire).collect()}
    good, bad = set(), set()
    for row in rta.events.poisoned(frame, event=event, share=1).collect():
        value = None if row["value"] is None else bytes(row["value"])
        if row["poison"] is None:
            assert value is not None
            assert reason(value, event) is None
            good.add((value, bytes(row["key"])))
        else:
            assert reason(value, event), f"{row['poison']} is taken for good: {value!r}"
            bad.add(row["poison"])
    assert good == expected
    assert bad == set(rta.events.POISON)


def test_poison_is_a_share_in_the_place_of_its_event(spark: SparkSession) -> None:
    """Beside 4,000 good ones stand about 400 bad ones of all kinds, with the time of arrival of their event."""
    frame = rta.events.user_events(spark, rows=4_000)
    mixed = rta.events.poisoned(frame, share=0.1, seed=3)
    counts = {row[0]: row[1] for row in mixed.groupBy("poison").count().collect()}
    assert counts.pop(None) == 4_000
    assert set(counts) == set(rta.events.POISON)
    assert 300 < sum(counts.values()) < 500
    times = mixed.where("poison is not null").select("reported_at")
    assert times.exceptAll(frame.select("reported_at")).isEmpty()
    assert mixed.exceptAll(rta.events.poisoned(frame.repartition(3), share=0.1, seed=3)).isEmpty()
    assert rta.events.poisoned(frame, share=0).count() == 4_000


def test_unknown_poison_is_refused(spark: SparkSession) -> None:
    """The error lists the kinds there are."""
    with pytest.raises(InputError, match=r"\['arsenic'\].*truncated"):
        rta.events.poisoned(rta.events.user_events(spark, rows=1), kinds=["arsenic"])
