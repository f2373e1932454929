"""The newest records of a topic in a live view, read anew at each look."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from rta.display.feeds import Feed, Mode
from rta.display.rows import Rows, types_of
from rta.kafka import client, topics
from rta.kafka.auth_errors import raising_refused
from rta.kafka.tail import moment_of, printable
from rta.monitor.vitals import Vitals

if TYPE_CHECKING:
    from rta.events.event_types import EventType


class TopicFeed(Feed):
    """The newest records of a topic: raw, or as the fields of an event type.

    It reads at most the newest of each partition at each look, however much arrives in between.
    """

    kind = "topic"
    mode: Mode = "append"

    def __init__(self, topic: str, event: EventType | None = None) -> None:
        topics.description(topic)  # which says what there is
        self.title, self.event = topic, event
        self._reader = client.consumer()
        self._next: dict[int, int] = {}
        self._found: list[Any] = []
        self._before: tuple[float, int] | None = None
        fields = types_of(event.schema) if event else {"key": "text", "value": "text"}
        self._types = fields | {"partition": "number", "offset": "number", "record_time": "time"}

    def rows(self, limit: int) -> Rows | None:
        import pandas as pd
        from kafka import TopicPartition

        with raising_refused():
            ranges = topics.offsets(self.title)
            unread = {
                TopicPartition(self.title, p): (max(self._next.get(p, 0), first, end - limit), end)
                for p, (first, end) in ranges.items()
            }
            new = list(client.until_each(self._reader, unread))
        self._next = {p: end for p, (_, end) in ranges.items()}
        if not new and self._found:
            return None
        self._found = sorted(
            [*self._found, *new], key=lambda each: (each.timestamp, each.partition, each.offset)
        )[-limit:]
        shown = [self._row(each) for each in reversed(self._found)]
        frame = pd.DataFrame(shown, columns=list(self._types), dtype=object)
        total = sum(end - first for first, end in ranges.values())
        return Rows(frame, self._types, ("partition", "offset"), total)

    def _row(self, record: Any) -> list[Any]:
        key, value = (None if raw is None else printable(raw) for raw in (record.key, record.value))
        place = [record.partition, record.offset, moment_of(record.timestamp)]
        if self.event is None:
            return [key, value, *place]
        try:
            fields = json.loads(record.value, parse_float=Decimal)
        except (
            TypeError,
            ValueError,
        ):  # none, or no JSON: its place is shown, and %rta tail shows its bytes
            fields = {}
        found = fields if isinstance(fields, dict) else {}
        return [*(found.get(self.event.field(column)) for column in self.event.columns), *place]

    def vitals(self) -> Vitals:
        now, end = time.monotonic(), sum(last for _, last in topics.offsets(self.title).values())
        then, self._before = self._before, (now, end)
        rate = (end - then[1]) / max(now - then[0], 1e-9) if then else None
        newest = moment_of(self._found[-1].timestamp) if self._found else None
        return Vitals(datetime.now(UTC), in_rate=rate, event_time=newest)

    def caught_up(self, now: Vitals) -> bool:  # noqa: ARG002
        return True  # each look shows the newest there are

    def close(self) -> None:
        self._reader.close()
