"""What a query reads: one topic or several, each under the name by which its transform gets it."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from rta.dataframes.sources import good_columns, good_stream
from rta.errors import InputError
from rta.events.event_types import EventType, event_type
from rta.kafka.positions import Position

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from rta.kafka.topics import TopicDescription

ONLY: Final = ""
"""The name of the topic of a query that reads one: its transform takes the frame itself."""


@dataclass(frozen=True)
class Source:
    """One topic of a query, and how it is read.

    Args:
        topic: The topic.
        event: The type of its events.
        starting: Where a new checkpoint begins, see rta.read_batch().
        max_skew: How far an event's own time may be ahead of Kafka's before it counts as bad.
        max_events_per_batch: The most events of all partitions in one micro-batch; by default all available ones.
        options: For Spark's Kafka source.

    Example:
        >>> Source("user-events", rta.USER_EVENTS, starting="latest").starting
        'latest'
    """

    topic: str
    event: EventType
    starting: Position = "earliest"
    max_skew: str = "5 minutes"
    max_events_per_batch: int | None = None
    options: Mapping[str, str] = field(default_factory=dict, repr=False)  # may hold a password

    def stream(self, topic: TopicDescription, *, goes_on: bool, named: bool = False) -> DataFrame:
        """Read the good events as they arrive.

        Args:
            topic: The topic as it is.
            goes_on: Whether the checkpoint has its offsets.
            named: Whether the checkpoint knows its sources by name, see rta.dataframes.sources.naming_sources().
        """
        return good_stream(
            topic, self.event, starting="earliest" if goes_on else self.starting, max_skew=self.max_skew,
            max_events_per_batch=self.max_events_per_batch, options=self.options, name=source_name(self.topic) if named else None,
        )  # fmt: skip

    def empty(self) -> DataFrame:
        """Return a static frame without rows that has the columns of the good events."""
        return good_columns(self.event, self.topic)


def source_name(topic: str) -> str:
    """Return the name of a topic's source in a checkpoint: letters, digits and `_`; no two topics have one name.

    >>> source_name("page-views.de_1")
    'page_2dviews_2ede_5f1'
    """
    return re.sub(r"[^A-Za-z0-9]", lambda found: f"_{ord(found[0]):02x}", topic)


Topics = str | Mapping[str, str | EventType | Source]
Sources = Mapping[str, Source]


def query_sources(topics: Topics, event: EventType | None, **how: Any) -> dict[str, Source]:
    """Return name → source for the topics of a query.

    Args:
        topics: One topic; or for each parameter of the transform a topic that rta knows, an event type (its name is the topic), or a
            Source.
        event: The type of the events of one topic; by default the one with its name.
        how: How they are read, see Source; a Source says it for itself.

    Raises:
        InputError: If no topic is given, or one twice.

    >>> [source.topic for source in query_sources({"views": rta.USER_EVENTS}, None).values()]
    ['user-events']
    """
    if isinstance(topics, str):
        return {ONLY: Source(topics, event or event_type(topics), **how)}
    if event is not None:
        raise InputError(
            "event is for one topic", found=event.name, fix='give each topic its own: {"views": VIEWS, …}'
        )  # fmt: skip
    found = {
        name: given if isinstance(given, Source)
        else Source(given.name, given, **how) if isinstance(given, EventType)
        else Source(given, event_type(given), **how)
        for name, given in topics.items()
    }  # fmt: skip
    named = [source.topic for source in found.values()]
    if not named or len({*named}) < len(named):
        raise InputError(
            "a query reads one topic or more, each once", found=named,
            fix="use the frame of one topic several times in the transform, or publish its events to a second topic",
        )  # fmt: skip
    return found


def require_parameters(transform: Callable[..., Any], sources: Sources) -> None:
    """Refuse a transform whose parameters are not the names of the topics; a callable without a signature is tried.

    >>> require_parameters(lambda views, buys: views, {"views": Source("views", rta.USER_EVENTS)})
    Traceback (most recent call last):
    rta.errors.InputError: the parameters of the transform are not the names of the topics; found: (views, buys) for views; ...
    """
    try:
        signature = inspect.signature(transform)
    except (TypeError, ValueError):
        return
    try:
        signature.bind(None) if {*sources} == {ONLY} else signature.bind(**dict.fromkeys(sources))
    except TypeError:
        raise InputError(
            "the parameters of the transform are not the names of the topics",
            found=f"{signature} for {', '.join(sources) or 'one topic'}" if {*sources} != {ONLY} else f"{signature} for one topic",
            fix='write def transform(events) for one topic, def transform(views, purchases) for {"views": …, "purchases": …}',
        ) from None  # fmt: skip


def titled(sources: Sources) -> str:
    """Return the topics as a person reads them.

    >>> titled({"views": Source("views", rta.USER_EVENTS), "buys": Source("buys", rta.USER_EVENTS)})
    'views, buys'
    """
    return ", ".join(source.topic for source in sources.values())
