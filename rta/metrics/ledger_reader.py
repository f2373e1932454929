"""The ledger, read on from where it was read: a look costs what is new, however long the ledger is.

Entries are never changed in what is read here, and a query's are deleted all at once.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from rta.store.ledger import Accounting, Batch
from rta.store.rows import from_json, own_rows, sum_of_integers

RECENT: Final = 300.0
"""Seconds that the recent accounting of a table goes back."""
_TAIL: Final = 60  # micro-batches of a query that are kept
_TERMS: Final = ("consumed", "used", "duplicate", "late", "quarantined", "lost")
_LASTS: Final = "SELECT query_id, MAX(batch_id) AS last FROM rta_batches GROUP BY query_id"
_ONE_BY_ONE: Final = 2_000  # the newest micro-batches of a query: five minutes of them, at least
_BEFORE: Final = """SELECT COUNT(DISTINCT batch_id) AS batches, COUNT(DISTINCT CASE WHEN flaw IS NOT NULL THEN batch_id END) AS flawed,
MAX(CASE WHEN consumed > 0 THEN committed_at END) AS filled_at, {sums} FROM rta_batches WHERE query_id = ? AND batch_id <= ?"""
_ENTRIES: Final = f"""SELECT table_name, query_id, batch_id, topic, end_offsets, watermark, committed_at, {", ".join(_TERMS)},
CASE WHEN flaw IS NULL THEN 0 ELSE 1 END AS flawed FROM rta_batches WHERE query_id = ? AND batch_id > ? ORDER BY batch_id LIMIT 20000"""  # noqa: S608 - names of ours


@dataclass
class QueryRead:
    """What the ledger tells of one query, as far as it was read."""

    query_id: str
    table: str = ""
    last: int = -1
    batches: int = 0
    flawed: int = 0
    last_flawed: int = -1
    terms: Counter[str] = field(default_factory=Counter)
    reached: dict[str, dict[int, int]] = field(default_factory=dict)
    tail: deque[Batch] = field(default_factory=lambda: deque(maxlen=_TAIL))
    recent: deque[tuple[dt.datetime, Counter[str]]] = field(default_factory=deque)
    filled_at: dt.datetime | None = None  # its newest micro-batch with events

    def add(self, entry: Mapping[str, Any]) -> None:
        """Take one entry more."""
        number, at = int(entry["batch_id"]), entry["committed_at"]
        self.table, self.batches = entry["table_name"], self.batches + (number != self.last)
        self.last = number
        terms: dict[str, Any] = {term: int(entry[term]) for term in _TERMS}
        self.terms.update(terms)
        if entry["flawed"] and number != self.last_flawed:
            self.flawed, self.last_flawed = self.flawed + 1, number
        ends = {int(p): end for p, end in from_json(entry["end_offsets"]).items()}
        self.reached.setdefault(entry["topic"], {}).update(ends)
        self.tail.append(Batch(self.query_id, number, entry["topic"], watermark=entry["watermark"], committed_at=at, table=self.table, **terms))  # fmt: skip
        self.recent.append((at, Counter(terms)))
        if terms["consumed"]:
            self.filled_at = max(filter(None, (self.filled_at, at)))

    def add_before(self, last: int) -> None:
        """Take all micro-batches up to one at once, summed by the database: of a query that is new to this reader."""
        sums = ", ".join(f"{sum_of_integers()}({term}) AS {term}" for term in _TERMS)
        [row] = own_rows(_BEFORE.format(sums=sums), [self.query_id, last])
        self.batches, self.flawed, self.filled_at = row["batches"], row["flawed"], row["filled_at"]
        self.terms.update({term: int(row[term]) for term in _TERMS})
        self.last = last

    @property
    def committed_at(self) -> dt.datetime:
        """When its newest micro-batch was committed."""
        return self.tail[-1].committed_at or dt.datetime.now(dt.UTC)

    @property
    def accounting(self) -> Accounting:
        """Where its events went."""
        return Accounting(**self.terms, batches=self.batches, flawed=self.flawed)

    def lately(self, now: dt.datetime) -> Accounting:
        """Where the events of the last minutes went."""
        while self.recent and (now - self.recent[0][0]).total_seconds() > RECENT:
            self.recent.popleft()
        return Accounting(**sum((terms for _, terms in self.recent), Counter[str]()))


class LedgerReader:
    """Reads on with each look."""

    def __init__(self) -> None:
        self._read: dict[str, QueryRead] = {}

    def queries(self) -> list[QueryRead]:
        """Return what the ledger tells of each query.

        >>> [each for each in LedgerReader().queries() if each.table == "no_such_table"]
        []
        """
        lasts = {row["query_id"]: int(row["last"]) for row in own_rows(_LASTS)}
        self._read = {name: read for name, read in self._read.items() if read.last <= lasts.get(name, -2)}  # fmt: skip
        for query_id, last in lasts.items():
            read = self._read.setdefault(query_id, QueryRead(query_id))
            if read.last < 0 and last > 2 * _ONE_BY_ONE:
                read.add_before(last - _ONE_BY_ONE)
            while read.last < last:
                for entry in _whole(own_rows(_ENTRIES, [query_id, read.last])):
                    read.add(entry)
        return list(self._read.values())


def _whole(entries: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """Leave out the last micro-batch if the limit may have cut it in two: it is read again, whole."""
    cut = entries[-1]["batch_id"] if len(entries) == 20_000 else None  # noqa: PLR2004 - as in _ENTRIES
    return (each for each in entries if each["batch_id"] != cut)
