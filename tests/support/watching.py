"""A reader who looks at a view all the time, and forgets nothing of what it saw."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal

import pandas as pd

from rta.store import serving
from tests.support.waiting import joined, until


class Reader(threading.Thread):
    """Somebody who looks at a view again and again: counts must never go back, and no amount be half or double."""

    def __init__(self, name: str) -> None:
        super().__init__(daemon=True)
        self.name_of_view, self.ended, self.looks = (
            name,
            threading.Event(),
            list[tuple[Decimal, int]](),
        )
        self.failure: Exception | None = None

    def run(self) -> None:
        """Look until told to end."""
        query = (
            f'SELECT SUM(total_amount) AS amount, SUM(event_count) AS n FROM "{self.name_of_view}"'
        )
        try:
            while not self.ended.is_set():
                [row] = serving.sql(query).itertuples(index=False)
                if not pd.isna(row.n):
                    self.looks.append((Decimal(str(row.amount)), int(str(row.n))))
                self.ended.wait(0.005)
        except Exception as error:  # noqa: BLE001 - told by the thread that waits
            self.failure = error


@contextmanager
def reader(name: str) -> Iterator[Reader]:
    """Read a view meanwhile."""
    looking = Reader(name)
    looking.start()
    until(lambda: looking.looks or looking.failure)
    try:
        yield looking
    finally:
        looking.ended.set()
        joined(looking)
    assert looking.failure is None
    counts = [n for _, n in looking.looks]
    assert counts == sorted(counts)  # nothing goes back
    assert len(set(looking.looks)) == len(
        set(counts)
    )  # and each state has one amount: none is half or double
