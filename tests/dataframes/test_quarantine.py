"""rta.dataframes.parsing: what from_json forgives in silence is named, and good events keep every digit."""

import json
import math
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pyspark.sql import Row, SparkSession
from pyspark.sql.types import (
    BooleanType,
    ByteType,
    DateType,
    DecimalType,
    DoubleType,
    FloatType,
    IntegerType,
    LongType,
    ShortType,
    StringType,
    StructField,
    StructType,
    TimestampType,
)

from rta.dataframes.parsing import parse
from rta.errors import InputError
from rta.events.event_types import USER_EVENTS, EventType
from rta.events.format_contract import REASONS
from rta.events.malformed import POISON, poisoned
from rta.events.synthetic import user_events
from rta.testing.reference_parser import strict

SALE = EventType(
    "sale",
    StructType(
        [
            StructField("user", StringType(), nullable=False),
            StructField("amount", DecimalType(12, 2), nullable=False),
            StructField("n", IntegerType()),
            StructField("total", LongType()),
            StructField("ratio", DoubleType()),
            StructField("small", FloatType()),
            StructField("tiny", ByteType()),
            StructField("short", ShortType()),
            StructField("ok", BooleanType()),
            StructField("day", DateType()),
            StructField("at", TimestampType(), nullable=False),
        ]
    ),
    event_time="at",
    key="user",
)
SENT = datetime(2025, 1, 1, tzinfo=UTC)
GOOD = {"user": '"u1"', "amount": "1.50", "at": '"2024-11-15T10:00:00Z"'}
BOM = "\ufeff"
QUICK = settings(
    max_examples=6, deadline=None, suppress_health_check=list(HealthCheck),
    phases=(Phase.explicit, Phase.generate),  # each example is a Spark job: few and large ones, and no shrinking
)  # fmt: skip


def event(**fields: str | None) -> str:
    """Write a good event with some fields written otherwise (None: left out)."""
    written = {name: value for name, value in {**GOOD, **fields}.items() if value is not None}
    return "{" + ",".join(f'"{name}":{value}' for name, value in written.items()) + "}"


def parsed(
    spark: SparkSession, values: list[bytes | None], of: EventType = SALE, **how: Any
) -> list[Row]:
    """Parse raw values; one row for each, in order."""
    rows = [(b"k", value, "t", 0, number, SENT) for number, value in enumerate(values)]
    schema = (
        "key binary, value binary, topic string, partition int, offset long, timestamp timestamp"
    )
    return parse(spark.createDataFrame(rows, schema), of, **how).orderBy("offset").collect()


CASES: list[tuple[str | bytes | None, str | None]] = [
    (event(), None),
    (None, "null value"),
    ("", "empty value"),
    (" \n", "empty value"),
    (b'{"user":"\xff"}', "invalid UTF-8"),
    (event(user='"u\ufffd"'), None),
    (b'{"user":"\xed\xa0\x80"}', "invalid UTF-8"),
    (event().encode("utf-16"), "invalid UTF-8"),
    (BOM + event(), "byte order mark"),
    # from_json: whatever follows the object is ignored
    (event() + "x", "trailing garbage"),
    (event() + event(), "trailing garbage"),
    (event() + "," + event(), "trailing garbage"),
    (event() + "}", "trailing garbage"),
    (event() + "]", "trailing garbage"),
    (event() + "/* */", "trailing garbage"),
    (event() + ',"x"]', "trailing garbage"),
    (event() + " \n", None),
    # from_json: the last of two equal keys wins
    (event(amount='1.50,"amount":2.50'), "duplicate key"),
    (event(amount='1.50,"amount":1.50'), "duplicate key"),
    (event(amount='1.50,"am\\u006funt":2.50'), "duplicate key"),
    (event(extra='{"a":1,"a":2}'), "duplicate key"),
    ("null", "not an object"),
    ("[]", "not an object"),
    ("[" + event() + "]", "not an object"),
    ('"x"', "not an object"),
    ("1", "not an object"),
    (event()[:-1], "broken JSON"),
    (event()[:20], "broken JSON"),
    (event()[:-1] + ",}", "broken JSON"),
    (event().replace('"', "'"), "broken JSON"),  # from_json takes single quotes
    ("{user:1}", "broken JSON"),
    (event(extra="[" * 2_000 + "]" * 2_000), "broken JSON"),
    (event(extra="[" * 500 + "]" * 500), None),
    (event(extra="1" * 2_000), "broken JSON"),
    (event(extra='{"a":[1,{"b":null}]}'), None),
    (event(extra="[1,2"), "broken JSON"),
    (event(USER='"another"'), None),  # names are case-sensitive
    ('{"us\\u0065r":"u1",' + event(user=None)[1:], None),
    (event(user='"a\\nb\\"\\\\\\/\\u00e9\\ud83d\\ude00"'), None),
    (event(user='"\\ud800"'), "broken JSON"),  # from_json: "?"
    (event(user='"a\nb"'), "broken JSON"),
    (event(user='"a\x00b"'), "broken JSON"),
    (event(user='"a\\u0000b"'), "NUL: user"),
    (event(user=None), "missing: user"),
    (event(user="null"), "missing: user"),
    ("{}", "missing: user"),
    (event(user='""'), None),
    # from_json: anything becomes a STRING
    (event(user="5"), "wrong type: user"),
    (event(user="true"), "wrong type: user"),
    (event(user='{"a":1.0}'), "wrong type: user"),
    (event(user="[1]"), "wrong type: user"),
    # decimals: numbers, or strings as producers send them
    (event(amount='"12.5"'), None),
    (event(amount="-0.0"), None),
    (event(amount="1.5000"), None),
    (event(amount='"01.50"'), None),
    (event(amount="9999999999.99"), None),
    (event(amount="99.999"), "inexact: amount"),  # from_json: 100.00
    (event(amount='"99.999"'), "inexact: amount"),
    (event(amount="0.0" + "0" * 30 + "1"), "inexact: amount"),
    (event(amount="1e3"), None),
    (event(amount="1e-3"), "inexact: amount"),  # from_json: 0.00
    (event(amount="9999999999.995"), "inexact: amount"),
    (event(amount="10000000000.00"), "out of range: amount"),
    (event(amount="1e400"), "out of range: amount"),
    (event(amount="1e10000000"), "out of range"),  # from_json: 15 seconds
    (event(amount='"-1e-10000000"'), "out of range"),
    (event(amount="1" * 60), "out of range: amount"),
    (event(amount='"1,5"'), "wrong type: amount"),  # from_json: 15.00
    (event(amount='" 1.5"'), "wrong type: amount"),
    (event(amount='"NaN"'), "wrong type: amount"),
    (event(amount='""'), "wrong type: amount"),
    (event(amount="true"), "wrong type: amount"),
    (event(amount="NaN"), "NaN or Infinity"),
    (event(amount="-Infinity"), "NaN or Infinity"),
    (event(extra="NaN"), "NaN or Infinity"),
    (event(amount="+1"), "broken JSON"),
    (event(amount="01"), "broken JSON"),
    (event(amount=".5"), "broken JSON"),
    (event(amount="5."), "broken JSON"),
    # integers
    (event(n="null"), None),
    (event(n="-2147483648"), None),
    (event(n="2147483648"), "out of range: n"),
    (event(n="1.0"), "wrong type: n"),
    (event(n="1e2"), "wrong type: n"),
    (event(n='"5"'), "wrong type: n"),
    (event(n="3 4"), "broken JSON"),
    (event(total="9223372036854775807"), None),
    (event(total="9223372036854775808"), "out of range: total"),
    (event(total="-9223372036854775809"), "out of range: total"),
    (event(total="1e400"), "out of range: total"),
    (event(tiny="127"), None),
    (event(tiny="128"), "out of range: tiny"),
    (event(short="32767"), None),
    (event(short="-32769"), "out of range: short"),
    # doubles
    (event(ratio="-1.5e300"), None),
    (event(ratio="5"), None),
    (event(ratio="1e400"), "out of range: ratio"),
    (event(ratio='"NaN"'), "wrong type: ratio"),  # from_json takes it
    (event(ratio='"Infinity"'), "wrong type: ratio"),
    (event(ratio='"1.5"'), "wrong type: ratio"),
    (event(small="1e39"), "out of range: small"),
    (event(ok="false"), None),
    (event(ok="1"), "wrong type: ok"),
    (event(ok='"true"'), "wrong type: ok"),
    # times
    (event(at='"2024-11-15 10:00:00.123456+02:00"'), None),
    (event(at='"2024-11-15T10:00:00+0200"'), None),
    (event(at='"2024-11-15T10:00:00"'), "no zone: at"),  # from_json: the session's zone
    (event(at='"2024-11-15T10:00:00.123456789Z"'), "inexact: at"),  # from_json cuts it
    (event(at='"2024"'), "wrong type: at"),  # from_json: January 1st
    (event(at='"2024-11"'), "wrong type: at"),
    (event(at='"2024-11-15"'), "wrong type: at"),
    (event(at='"T10:00:00Z"'), "wrong type: at"),  # from_json: today
    (event(at='"2024-11-15T10:00:00 Europe/Berlin"'), "wrong type: at"),
    (event(at='"+12024-11-15T10:00:00Z"'), "wrong type: at"),
    (event(at="1700000000"), "wrong type: at"),  # from_json: seconds
    (event(at='"now"'), "wrong type: at"),
    (event(at='"2024-02-30T10:00:00Z"'), "out of range: at"),
    (event(at='"2024-11-15T24:00:00Z"'), "out of range: at"),
    (event(at='"2024-11-15T10:00:00+19:00"'), "out of range: at"),
    (event(at='"0000-01-01T00:00:00Z"'), "out of range: at"),
    (event(day='"2024-02-29"'), None),
    (event(day='"2023-02-29"'), "out of range: day"),
    (event(day='"2024"'), "wrong type: day"),
    (event(day="19000"), "wrong type: day"),
    (event(at='"2025-01-01T00:05:00Z"'), None),
    (event(at='"2025-01-01T00:05:00.000001Z"'), "ahead"),
]


def test_each_hole_has_its_reason(spark: SparkSession) -> None:
    """Every payload that from_json would take wrongly, or lose, has its own stable reason; the good ones have none."""
    values = [value.encode() if isinstance(value, str) else value for value, _ in CASES]
    rows = parsed(spark, values)
    wrong = [
        (*case, row.reason) for case, row in zip(CASES, rows, strict=True) if case[1] != row.reason
    ]
    assert wrong == []
    assert {str(row.reason).split(":")[0] for row in rows if row.reason} == set(REASONS)


def test_the_order_of_fields_and_an_unknown_field_change_nothing(spark: SparkSession) -> None:
    """However an event is written, verdict and values are the same."""
    texts = [str(value) for value, _ in CASES if isinstance(value, str) and value[:2] == '{"']  # fmt: skip
    first = parsed(spark, [text.encode() for text in texts])
    unknown = parsed(spark, [('{"unknown":[],' + text[1:]).encode() for text in texts])
    shape = [(r.user, r.amount, r.at, r.n, r.total, r.ratio) for r in first if not r.reason]
    kept = [(r.user, r.amount, r.at, r.n, r.total, r.ratio) for r in unknown if not r.reason]
    assert shape == kept
    text = '{"at": "2024-11-15T10:00:00Z", "amount": 1.50, "user": "u1"}'
    [turned] = parsed(spark, [text.encode()])
    [plain] = parsed(spark, [event().encode()])
    assert (turned.reason, turned.user, turned.amount, turned.at) == (
        None, plain.user, plain.amount, plain.at,
    )  # fmt: skip


def test_a_bad_event_keeps_its_bytes_and_shows_no_values(spark: SparkSession) -> None:
    """A bad event's columns are null, its raw bytes and origin are whole; one that is only ahead keeps its columns."""
    bad = b'{"user":"u1","amount":99.999,"at":"2024-11-15T10:00:00Z"}'
    broken, ahead = parsed(spark, [bad, event(at='"2099-01-01T00:00:00Z"').encode()])
    assert (broken.user, broken.amount, bytes(broken.value), broken.offset) == (None, None, bad, 0)
    assert (ahead.user, ahead.at.year) == ("u1", 2099)


def test_max_skew_says_how_far_ahead_is_too_far(spark: SparkSession) -> None:
    """The same event is ahead with a skew of a minute and good with one of a day: no clock is asked."""
    value = event(at='"2025-01-01T12:00:00Z"').encode()
    assert parsed(spark, [value], max_skew="1 minute")[0].reason == "ahead"
    assert parsed(spark, [value], max_skew="1 day")[0].reason is None
    with pytest.raises(InputError, match="max_skew"):
        parsed(spark, [value], max_skew="soon")


FIELDS = {
    "user": "user-id", "amount": "größe.net", "at": "@timestamp", "n": "value", "total": "offset", "ratio": "_id",
    "small": "it's", "tiny": "a[0].b", "short": "a `b", "ok": ":", "day": "Value, (x|y)$",
}  # fmt: skip
FOREIGN = EventType("sale", SALE.schema, "at", "user", FIELDS)
WHOLE = [
    '{"user":"u1","amount":1.50,"n":1,"total":null,"ratio":0.5,"small":1,"tiny":1,"short":2,"ok":true,"day":"2024-02-29","at":"2024-11-15T10:00:00Z"}',
    '{"user": "u1", "amount": 1.50, "n": 1, "total": 2, "ratio": 5e-1, "small": 1, "tiny": 1, "short": 2, "ok": null, "day": "2024-02-29", "at": "2024-11-15T10:00:00Z"}',
    '{"user":"u1","amount":1.50,"n":1,"total":2,"ratio":0.5,"small":1,"tiny":1,"short":2,"ok":true,"day":"2024-02-30","at":"2024-11-15T10:00:00Z"}',
]


def renamed(value: str | bytes | None) -> bytes | None:
    """Write an event's fields as another producer calls them."""
    raw = value.encode() if isinstance(value, str) else value
    for name, field in FIELDS.items():
        for old, new in (
            (name, field),
            (name.replace("o", "\\u006f"), field),
            (name.replace("e", "\\u0065"), field),
        ):
            spelled = new if old == name else f"\\u{ord(new[0]):04x}{new[1:]}"
            raw = raw and raw.replace(f'"{old}":'.encode(), f'"{spelled}":'.encode())
    return raw


def test_a_mapped_event_type_reads_what_the_unmapped_one_reads(spark: SparkSession) -> None:
    """The same payloads under the producer's names: the same values and reasons, which name the producer's field."""
    payloads = [value for value, _ in CASES] + WHOLE
    ours = parsed(spark, [v.encode() if isinstance(v, str) else v for v in payloads])
    theirs = parsed(spark, [renamed(value) for value in payloads], of=FOREIGN)
    for payload, own, foreign in zip(payloads, ours, theirs, strict=True):
        assert [str(own[c]) for c in SALE.columns] == [str(foreign[c]) for c in SALE.columns], (
            payload
        )
        fault, _, column = (own.reason or "").partition(": ")
        named = f"{fault}: {FIELDS[column]}" if column else own.reason
        assert foreign.reason == named, payload


def test_the_reference_reads_a_mapped_event_type_too() -> None:
    """strict() takes a value from the producer's field."""
    of = EventType("sale", "user STRING NOT NULL, at TIMESTAMP", "at", fields={"user": "user-id"})
    value = b'{"user-id": "u1", "at": "2024-11-15T10:00:00Z", "user": 5}'
    assert strict(value, of) == {"user": "u1", "at": datetime(2024, 11, 15, 10)}  # noqa: DTZ001


def test_long_texts_are_read(spark: SparkSession) -> None:
    """A text of a million escapes is read, and one that breaks off after them is quarantined: no stack overflow."""
    escapes = "\\n" * 400_000
    good, cut = event(user=f'"{escapes}"'), event(user=f'"{escapes}')
    rows = parsed(spark, [good.encode(), cut.encode()])
    assert (len(rows[0].user), rows[0].reason, rows[1].reason) == (400_000, None, "broken JSON")


def test_every_kind_of_poison_is_found(spark: SparkSession) -> None:
    """Of rta's own poisoned events, each kind gets a reason and no good event does (F21, F22, F23, F25, F28)."""
    messages = poisoned(user_events(spark, rows=400), share=0.5).select(
        "key", "value", "poison", "reported_at"
    )
    raw = messages.selectExpr("key", "value", "poison topic", "0 partition", "0L offset", "reported_at timestamp")  # fmt: skip
    counts = parse(raw, USER_EVENTS).groupBy("topic", "reason").count().collect()
    assert {(row.topic, row["count"]) for row in counts if row.reason is None} == {(None, 400)}
    assert {row.topic for row in counts if row.reason} == set(POISON)


TEXT = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=20)
SALES = st.fixed_dictionaries(
    {
        "user": TEXT,
        "amount": st.decimals(-9999999999, 9999999999, places=2),
        "at": st.datetimes(datetime(1, 1, 3), datetime(2024, 12, 30)),  # noqa: DTZ001
    },
    optional={
        "n": st.none() | st.integers(-(2**31), 2**31 - 1),
        "total": st.none() | st.integers(-(2**63), 2**63 - 1),
        "ratio": st.none() | st.floats(allow_nan=False, allow_infinity=False),
        "ok": st.none() | st.booleans(),
    },
)


def written(sale: dict[str, Any], *, ascii_only: bool, quoted: bool) -> bytes:
    """Write a sale as a Python producer would."""
    body = sale | {"at": sale["at"].isoformat() + "Z", "amount": str(sale["amount"])}
    text = json.dumps(body, ensure_ascii=ascii_only)
    return (text if quoted else text.replace(f'"{sale["amount"]}"', str(sale["amount"]))).encode()


@QUICK
@given(sent=st.lists(st.tuples(SALES, st.booleans(), st.booleans()), min_size=20, max_size=40))
def test_random_good_events_come_back_exactly(
    spark: SparkSession, sent: list[tuple[dict[str, Any], bool, bool]]
) -> None:
    """Whatever a good event holds, each value comes back to the last digit, microsecond and character."""
    rows = parsed(spark, [written(sale, ascii_only=a, quoted=q) for sale, a, q in sent])
    sales = [sale for sale, *_ in sent]
    for sale, row in zip(sales, rows, strict=True):
        assert row.reason is None, sale
        assert (row.user, row.amount) == (sale["user"], sale["amount"])
        for name in ("n", "total", "ratio", "ok"):
            assert row[name] == sale.get(name)
        if sale.get("ratio") == 0:
            assert math.copysign(1, row.ratio) == math.copysign(1, sale["ratio"])
    wanted = [_micros(sale["at"].replace(tzinfo=UTC)) for sale in sales]
    assert _times(spark, rows) == wanted


def _times(spark: SparkSession, rows: list[Row]) -> list[int]:
    """Return the rows' times as microseconds since the epoch, whatever zone Python shows them in."""
    return [_micros(row.at.astimezone(UTC)) for row in rows]


def _micros(moment: datetime) -> int:
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


MUTATED = st.builds(
    lambda text, at, junk, gone: text[:at % len(text)] + junk + text[at % len(text) + gone :],
    st.sampled_from([value.encode() for value, _ in CASES if isinstance(value, str) and value]),
    st.integers(0, 300),
    st.binary(max_size=3) | st.sampled_from([b'"', b"}", b"{", b",", b"\\", b"0", b"e9", b"null"]),
    st.integers(0, 3),
)  # fmt: skip


@QUICK
@given(values=st.lists(st.none() | st.binary(max_size=40) | MUTATED, min_size=20, max_size=150))
def test_random_bytes_never_raise_and_never_vanish(
    spark: SparkSession, values: list[bytes | None]
) -> None:
    """Whatever arrives, each event comes out once, good or with a known reason; a good one is what Python's strict parser reads."""
    rows = parsed(spark, values)
    assert [None if row.value is None else bytes(row.value) for row in rows] == values
    for row in rows:
        if row.reason is not None:
            assert row.reason.split(":")[0] in REASONS
        else:
            strict = json.loads(bytes(row.value), parse_float=Decimal, parse_constant=_refuse, object_pairs_hook=_once)  # fmt: skip
            assert (row.user, row.amount, row.n) == (
                strict["user"], Decimal(strict["amount"]), strict.get("n"),
            )  # fmt: skip


def _refuse(name: str) -> None:
    raise AssertionError(f"{name} is not JSON")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    assert len(pairs) == len(dict(pairs)), f"a key twice in {pairs}"
    return dict(pairs)
