"""What an experiment was, and what was counted: on the topic by Kafka's own client, in the table by the ledger."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from rta.dataframes.session import running
from rta.errors import QueryError
from rta.html import Facts, Marked
from rta.kafka import client
from rta.kafka.auth_errors import raising_refused
from rta.store import ledger
from rta.store.ledger import Accounting

if TYPE_CHECKING:
    from datetime import datetime

    from pyspark.sql.streaming.query import StreamingQuery

    from rta.engines.spark.starting import Request

HEADER: Final = "rta-lab"
"""The header of all events that a laboratory has sent: the experiment's id."""
TERMS: Final = ("used", "duplicate", "late", "quarantined")


@dataclass(frozen=True, repr=False)
class Experiment:
    """What was done to a stream, and what became of the events meanwhile.

    Args:
        name: The experiment.
        at: When it began.
        done: What was really done, in words.
        expected: What the events that it has sent are to be, such as {"late": 5}.
        counted: What the ledger counts since it began, of all events that came.
        sent: The events that Kafka acknowledged.
        found: Those of them that stand on the topic.
        others: Events that came meanwhile and that it has not sent.
        lost: Events that were acknowledged and are not on the topic, and those that are there and were not consumed.
        seconds: From the fault until the query had processed all that was there, also what came after the fault; None: not in time.
        error: What the query failed with; None if it did not.
    """

    name: str
    at: datetime
    done: str
    expected: Mapping[str, int]
    counted: Accounting
    sent: int
    found: int
    others: int
    lost: int
    seconds: float | None
    error: str | None = None

    @property
    def as_expected(self) -> bool:
        """Whether nothing was lost, the accounting adds up, and each event that was sent is what it is to be.

        If others came meanwhile, each count has to be at least what is expected.
        """
        whole = self.found == self.sent and not self.lost and self.counted.balanced
        return whole and all(getattr(self.counted, term) >= many for term, many in self.expected.items())  # fmt: skip

    def cells(self) -> dict[str, object]:
        """Return it as a row of a table."""
        counted = {term: getattr(self.counted, term) for term in TERMS}
        outcome = (
            f"in {self.seconds:.1f} s" if self.seconds is not None else self.error or "not yet"
        )
        return {
            "experiment": self.name, "done": self.done, "expected": _terms(self.expected),
            "counted": Marked(_terms(counted) + (f" (of others {self.others:,})" if self.others else ""), "good" if self.as_expected else "bad"),
            "lost": self.lost, "all processed": Marked(outcome, "bad" if self.seconds is None else "good"),
        }  # fmt: skip

    def __repr__(self) -> str:
        return "; ".join(f"{name} {value}" for name, value in self.cells().items())

    def _repr_html_(self) -> str:
        return Facts([self], row=Experiment.cells)._repr_html_()


def _terms(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{term} {many:,}" for term, many in counts.items() if many) or "none"


@dataclass(frozen=True)
class Start:
    """How far a query was when an experiment began: its newest batch, and where the next one reads on."""

    query_id: str
    batch_id: int
    offsets: Mapping[int, int]

    @staticmethod
    def of(asked: Request, query_id: str) -> Start:
        """Look at the ledger.

        Raises:
            QueryError: If the query has not processed anything yet.
        """
        for last in ledger.newest(asked.table):
            if last.query_id == query_id:
                return Start(query_id, last.batch_id, last.end_offsets)
        raise QueryError(f"the query that keeps {asked.table!r} has processed nothing yet", fix="wait: query.processAllAvailable()")  # fmt: skip


def active(table: str) -> StreamingQuery | None:
    """Return the query of this session that fills a table now."""
    session = running()
    queries = session.streams.active if session else []
    return next((each for each in queries if each.name == table), None)


def counted(asked: Request, start: Start, mark: bytes) -> tuple[Accounting, int, int, int]:
    """Count what became of the events since a start: the ledger's terms, and by reading the topic again its records.

    Returns:
        The terms; the records with this mark; the others; what the topic has and the query has not consumed.
    """
    from kafka import TopicPartition

    batches = ledger.batches(asked.table, query_id=start.query_id, after=start.batch_id)
    terms, there, own = Accounting.of(batches), 0, 0
    ends = batches[-1].end_offsets if batches else start.offsets
    isolation = asked.options.get("kafka.isolation.level", "read_uncommitted")
    with raising_refused(), closing(client.consumer(isolation_level=isolation)) as reader:
        ranges = {TopicPartition(asked.topic, p): (start.offsets.get(p, 0), end) for p, end in ends.items()}  # fmt: skip
        for record in client.until_each(reader, ranges):
            there += 1
            own += (HEADER, mark) in record.headers
    return terms, own, there - own, there - terms.consumed + terms.lost
