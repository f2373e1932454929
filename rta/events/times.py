"""How the instants of events are written: ISO text, epoch numbers, a pattern; each is read to the microsecond or not at all.

A form is a text: `iso` (with its zone); a zone (`Europe/Berlin`: ISO text, and where one has no zone, this one); `epoch_s`, `epoch_ms`,
`epoch_us`; or a pattern of Spark (`dd/MM/yyyy HH:mm XXX`, or `dd/MM/yyyy HH:mm in Europe/Berlin`).
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo

from rta.errors import InputError

if TYPE_CHECKING:
    from pyspark.sql import Column

ISO: Final = "iso"
EPOCHS: Final = {
    "epoch_s": 6,
    "epoch_ms": 3,
    "epoch_us": 0,
}  # digits that one unit has after the point
_LONGEST: Final = 20  # digits
_LETTERS: Final = re.compile(r"'[^']*'")
_ZONE_LETTERS: Final = frozenset("VzOXx")


def as_written(form: str, instant: Column) -> Column | None:
    """Return an instant as a form writes it; None if that is how JSON and CSV write one anyway.

    >>> from pyspark.sql import functions as F
    >>> spark.range(1).select(as_written("epoch_ms", F.timestamp_millis(F.lit(1700000000123)))).head()[0]
    Decimal('1700000000123.000')
    """
    from pyspark.sql import functions as F
    from pyspark.sql.types import DecimalType

    if form in EPOCHS:
        scale = EPOCHS[form]
        micros = F.unix_micros(instant).cast(DecimalType(18, 0))
        return (micros / F.lit(10**scale).cast(DecimalType(8, 0))).cast(DecimalType(18, scale))
    pattern, zone = ("", "") if form == ISO else pattern_and_zone(form)
    if not pattern:
        return None
    # Unlike date_format, it does not depend on the session's zone.
    how = {"timestampFormat": pattern, "timeZone": zone or "UTC", "sep": "\x01", "quote": "\x02"}
    return F.when(instant.isNotNull(), F.to_csv(F.struct(instant.alias("at")), how))


def require_form(form: str, path: str) -> None:
    """Refuse a form that is not known.

    Raises:
        InputError: There is no such form.

    >>> require_form("dd/MM/yyyy HH:mm", "at")
    Traceback (most recent call last):
    rta.errors.InputError: the times of 'at' have no zone; found: 'dd/MM/yyyy HH:mm'; fix: write a zone behind the pattern, such as 'dd/MM/yyyy HH:mm in Europe/Berlin'
    """
    if form == ISO or form in EPOCHS:
        return
    pattern, zone = pattern_and_zone(form)
    if zone and not _is_zone(zone):
        raise InputError(
            f"the times of {path!r} have a form that is not known", found=repr(form),
            fix='use "iso", "epoch_s", "epoch_ms", "epoch_us", a zone such as "Europe/Berlin", or a pattern such as "dd/MM/yyyy HH:mm:ss XXX"',
        )  # fmt: skip
    letters = _LETTERS.sub("", pattern)
    if pattern and not zone and not _ZONE_LETTERS & set(letters):
        raise InputError(
            f"the times of {path!r} have no zone", found=repr(form),
            fix=f"write a zone behind the pattern, such as '{pattern} in Europe/Berlin'",
        )  # fmt: skip
    if "SSSSSSS" in letters:
        raise InputError(
            f"the times of {path!r} have more digits than a microsecond", found=repr(form), fix="write at most SSSSSS"
        )  # fmt: skip


def moment(form: str, given: Any) -> datetime:
    """Return the instant that a value of JSON is in a form, without Spark; a pattern of Spark is none for Python.

    Raises:
        ValueError, TypeError, ArithmeticError: It is none.

    >>> moment("epoch_ms", 1700000000123).isoformat()
    '2023-11-14T22:13:20.123000+00:00'
    """
    if form in EPOCHS:
        number = Decimal(str(given))
        if number.adjusted() > _LONGEST:  # written out, it would fill the memory
            raise ValueError(given)
        micros = int(number.scaleb(EPOCHS[form]))
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)
    found = datetime.fromisoformat(given)
    if found.tzinfo is None and form != ISO and _is_zone(form):
        found = found.replace(tzinfo=ZoneInfo(form))
    if found.tzinfo is None:
        raise ValueError(given)
    return found


def epoch(form: str, instant: datetime) -> Decimal | None:
    """Return an instant as the number that a form has for it; None if the form has texts. Without a zone it is in UTC.

    >>> epoch("epoch_s", datetime(2023, 11, 14, 22, 13, 20, 500000, tzinfo=UTC)), epoch("iso", datetime.now(UTC))
    (Decimal('1700000000.5'), None)
    """
    if form not in EPOCHS:
        return None
    since = (instant if instant.tzinfo else instant.replace(tzinfo=UTC)) - datetime(
        1970, 1, 1, tzinfo=UTC
    )
    number = Decimal(since // timedelta(microseconds=1)).scaleb(-EPOCHS[form])
    return number.normalize() if number % 1 else Decimal(int(number))


def is_pattern(form: str) -> bool:
    """Return whether a form is a pattern of Spark.

    >>> is_pattern("dd/MM/yyyy XXX"), is_pattern("Europe/Berlin"), is_pattern("iso")
    (True, False, False)
    """
    return form not in (ISO, *EPOCHS) and bool(pattern_and_zone(form)[0])


def pattern_and_zone(form: str) -> tuple[str, str]:
    """Part a form into its pattern, "" for ISO text, and its zone, "" if the pattern has it.

    >>> pattern_and_zone("dd/MM/yyyy HH:mm in Europe/Berlin"), pattern_and_zone("Europe/Berlin")
    (('dd/MM/yyyy HH:mm', 'Europe/Berlin'), ('', 'Europe/Berlin'))
    """
    pattern, _, zone = form.rpartition(" in ")
    if pattern:
        return pattern, zone
    return (form, "") if "yy" in form and not _is_zone(form) else ("", form)


def _is_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (ValueError, OSError, KeyError):
        return False
    return True
