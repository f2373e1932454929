"""`python -m bench.sender TOPIC RATE SECONDS [USERS]`: send user events by an open-loop clock, from a process of its own."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

import rta

USERS: Final = 100


def events(rate: float, count: int, users: int = USERS) -> Iterator[dict[str, Any]]:
    """Make events that happen when they are meant to be sent."""
    began = datetime.now(UTC)
    for number in range(count):
        yield {
            "event_id": str(number),
            "user_id": number % users,
            "action": "purchase",
            "amount": Decimal("0.10"),
            "timestamp": began + timedelta(seconds=number / rate),
        }


if __name__ == "__main__":
    topic, rate, seconds = sys.argv[1], float(sys.argv[2]), float(sys.argv[3])
    users = int(sys.argv[4]) if sys.argv[4:] else USERS
    sent = rta.kafka.publish_paced(
        events(rate, round(rate * seconds), users), topic, key="user_id", rate=rate
    )
    if sent.ok != sent.sent:
        sys.exit(repr(sent))
    print(json.dumps({"behind": sent.behind}))
