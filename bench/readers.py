"""Who sees a result, and when: a reader of the table, a consumer of the topic."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager

Key = tuple[int, int]  # start of the window in microseconds since the epoch, user


class Seen:
    """What became visible, and when: only growing counts, so a replay of older results changes nothing."""

    def __init__(self) -> None:
        self.results: list[tuple[float, Key, int]] = []
        self.counts: Counter[Key] = Counter()

    def see(self, rows: Iterable[tuple[Key, int]]) -> None:
        """Write down results that are visible now."""
        now = time.time()
        for key, count in rows:
            if count > self.counts[key]:
                self.counts[key] = count
                self.results.append((now, key, count))


@contextmanager
def reading(read: Callable[[threading.Event], None]) -> Iterator[None]:
    """Let a reader look for results until the block ends."""
    done = threading.Event()
    thread = threading.Thread(target=read, args=(done,))
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def read_results(into: str, seen: Seen, done: threading.Event) -> None:
    """Read the results as any consumer does."""
    from datetime import datetime

    from kafka import KafkaConsumer

    from rta.kafka import client

    consumer = KafkaConsumer(
        into, **client.client_options(), auto_offset_reset="earliest", fetch_max_wait_ms=20
    )
    with closing(consumer):
        while not done.is_set():
            for records in consumer.poll(timeout_ms=100).values():
                for record in records:
                    result = json.loads(record.value)
                    start = datetime.fromisoformat(result["window"]["start"])
                    key = (int(start.timestamp()) * 10**6, result["user_id"])
                    seen.see([(key, result["event_count"])])


def read_table(table: str, seen: Seen, done: threading.Event) -> None:
    """Look at the table whenever somebody has committed to its database."""
    import rta
    from rta.store.database import engine

    known = None
    with closing(sqlite3.connect(str(engine().url.database))) as look:
        while not done.wait(0.002):
            version = look.execute("PRAGMA data_version").fetchone()
            if version != known:
                known = version
                rows = rta.sql(f"SELECT window_start, user_id, event_count FROM {table}")
                starts = [int(start.timestamp()) * 10**6 for start in rows["window_start"]]
                keys = zip(starts, map(int, rows["user_id"]), strict=True)
                seen.see(zip(keys, map(int, rows["event_count"]), strict=True))
