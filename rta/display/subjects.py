"""What can be seen alive: from what a person gives to the feed that shows it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rta.architectures.base import Architecture
from rta.display.feeds import ArchitectureFeed, Feed, Mode, QueryFeed, TableFeed
from rta.display.frames import FrameFeed
from rta.display.function_feed import FunctionFeed
from rta.display.replay_feed import ReplayFeed
from rta.display.topic_feed import TopicFeed
from rta.engines.engine_query import EngineQuery
from rta.engines.spark.realtime.materializer import Materialized
from rta.errors import InputError
from rta.kafka import topics
from rta.kafka.messages import is_spark
from rta.kafka.replaying import Replay
from rta.store import serving_tables

if TYPE_CHECKING:
    from rta.events.event_types import EventType


def feed_of(
    shown: Any, *, mode: Mode | None, key: Sequence[str], every: float, event: EventType | None
) -> Feed:
    """Return the feed of what a person wants to see.

    Raises:
        InputError: If it is nothing that moves; or a name, and there is neither a table nor a topic of it.
    """
    if isinstance(shown, Feed):
        return shown
    if isinstance(shown, Architecture | Replay):
        return ReplayFeed(shown) if isinstance(shown, Replay) else ArchitectureFeed(shown)
    if isinstance(shown, Materialized):
        shown = shown.query
    if isinstance(shown, EngineQuery) or type(shown).__name__ == "StreamingQuery":
        tables = {each.name for each in serving_tables.tables()}
        return TableFeed(shown.name) if shown.name in tables else QueryFeed(shown)
    if is_spark(shown):
        if not shown.isStreaming:
            raise InputError("this frame does not move", found="a static DataFrame", fix="give rta.read_stream(…)")  # fmt: skip
        return FrameFeed(shown, mode=mode, key=key, every=every)
    if isinstance(shown, str):
        return _named(shown, event)
    if callable(shown):
        return FunctionFeed(shown, key)
    raise InputError(
        "nothing that moves", found=type(shown).__name__,
        fix="give a table's or topic's name, a streaming DataFrame, a query, a function that returns rows, or what rta.lambda_(), rta.kappa() or rta.replay() returned",
    )  # fmt: skip


def _named(name: str, event: EventType | None) -> Feed:
    """Return the feed of a table, or of a topic."""
    if event is None and name in (known := [each.name for each in serving_tables.tables()]):
        return TableFeed(name)
    if name in (there := [each.name for each in topics.list_topics()]):
        return TopicFeed(name, event)
    raise InputError(
        f"there is neither a table nor a topic {name!r}", found=f"tables {', '.join(known) or 'none'}; topics {', '.join(there) or 'none'}",
        fix="give one of them; a table is there once its query has written to it",
    )  # fmt: skip
