"""SQL over topics by name: the same text as a batch, as a table that is kept, and as a live view.

A topic's events stand in the session as a temporary view of its name only while Spark analyzes the text, so nothing is left there.
A name that is no SQL identifier stands in backticks: SELECT * FROM `user-events`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Final

from rta.dataframes import session, sources
from rta.errors import InputError
from rta.events.ddl import schema_of
from rta.events.event_types import EventType, event_type
from rta.kafka import topics
from rta.setup.causes import cause

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

_ORIGIN: Final = "topic STRING, partition INT, offset BIGINT, kafka_timestamp TIMESTAMP"
_one_at_a_time: Final = Lock()  # two transforms of one topic have views of one name


@dataclass(frozen=True)
class TopicSql:
    """A query over topics.

    Args:
        text: Its SQL.
        topics: The topics that it reads, and the types of their events.
        watermark: The allowed lateness on the event time, such as "2 hours"; without one no event is late, and state is kept forever.
    """

    text: str
    topics: Mapping[str, EventType]
    watermark: str | None = None

    @property
    def topic(self) -> str:
        """Return the one topic of a stream. Raises InputError if there are several."""
        if len(self.topics) > 1:
            raise InputError(
                "a stream reads one topic", found=", ".join(self.topics),
                fix="%%batch_sql takes several; for a stream make a temporary view of the smaller one:"
                " rta.read_batch(topic).createOrReplaceTempView(name)",
            )  # fmt: skip
        return next(iter(self.topics))

    def transform(self, events: DataFrame) -> DataFrame:
        """Apply the query to the events of its one topic: a transform for rta.follow()."""
        return self._over({self.topic: events})

    def batch(self) -> DataFrame:
        """Return the answer over what is in the topics now."""
        return self._over({name: sources.read_batch(name, event=event) for name, event in self.topics.items()})  # fmt: skip

    def stream(self) -> DataFrame:
        """Return the query as a streaming DataFrame."""
        return self.transform(sources.read_stream(self.topic, event=self.topics[self.topic]))

    def _over(self, frames: Mapping[str, DataFrame]) -> DataFrame:
        marked = {
            name: frame.withWatermark(self.topics[name].event_time, self.watermark) if self.watermark else frame
            for name, frame in frames.items()
        }  # fmt: skip
        return _analyzed(self.text, marked)


def topic_sql(
    text: str, *, events: Sequence[EventType] = (), watermark: str | None = None
) -> TopicSql:
    """Find the topics of a query, and check it; nothing is read.

    Args:
        text: A SELECT over topics, and tables and views that Spark knows.
        events: The types of the topics' events: that of the topic's name, or the one that is given; by default those that rta knows.
        watermark: See TopicSql.

    Raises:
        InputError: If it is no query, names nothing that there is, or a topic has no event type.
        TopicError: If a name is neither a topic nor a table.

    Example:
        >>> _ = rta.publish(rta.user_events(spark, rows=5), "doc-sql", partitions=1)
        >>> query = topic_sql("SELECT COUNT(*) AS events FROM `doc-sql`", events=[rta.USER_EVENTS])
        >>> query.batch().show()
        +------+
        |events|
        +------+
        |     5|
        +------+
        <BLANKLINE>
    """
    from pyspark.errors import PySparkException

    text = text.strip().rstrip(";")
    found: dict[str, EventType] = {}
    while True:
        # In parentheses it can only be a query: Spark would run a command at once. Its first line is line 2, as in a cell.
        query = TopicSql(f"SELECT * FROM (\n{text}\n)", found, watermark)  # noqa: S608 - the person's own
        try:
            query._over({name: _empty(event) for name, event in found.items()})
        except PySparkException as error:
            name = _missing(error)
            if name is None or name in found:
                raise InputError("this SQL is no query that Spark can run", found=cause(str(error)), fix="correct it") from error  # fmt: skip
            found[name] = _event_type(name, events)
        else:
            break
    if not found:
        raise InputError("the query reads no topic", fix="name one: SELECT * FROM `user-events`")
    return TopicSql(text, found, watermark)


def _empty(event: EventType) -> DataFrame:
    """Return a frame with the columns of read_batch(), without rows."""
    from pyspark.sql.types import StructType

    return session.spark().createDataFrame([], StructType([*event.schema, *schema_of(_ORIGIN)]))


def _event_type(topic: str, given: Sequence[EventType]) -> EventType:
    """Return the type of a topic's events. Raises TopicError if there is no such topic, InputError if there is no type."""
    topics.description(topic)
    known = {each.name: each for each in given}
    if topic in known or len(given) == 1:
        return known.get(topic, given[0])
    try:
        return event_type(topic)
    except InputError as unknown:
        raise InputError(
            unknown.what, found=unknown.found, fix="name a variable that holds one: --event CLICKS, after CLICKS = rta.EventType(…)",
        ) from None  # fmt: skip


def _missing(error: Exception) -> str | None:
    """Return the name of the table that Spark did not find; None if something else is wrong."""
    from pyspark.errors import AnalysisException

    if (
        not isinstance(error, AnalysisException)
        or error.getCondition() != "TABLE_OR_VIEW_NOT_FOUND"
    ):
        return None
    parts = (error.getMessageParameters() or {})["relationName"][1:-1].split("`.`")
    name = ".".join(part.replace("``", "`") for part in parts)
    if parts[1:]:
        raise InputError(f"{name} is no name of a topic as it stands", fix=f"put it into backticks: `{name}`")  # fmt: skip
    return name


def _analyzed(text: str, frames: Mapping[str, DataFrame]) -> DataFrame:
    """Return the answer of a query whose tables are the given frames."""
    into = next(iter(frames.values())).sparkSession if frames else session.spark()
    with _one_at_a_time:
        try:
            for name, frame in frames.items():
                frame.createOrReplaceTempView(
                    f"`{name}`"
                )  # Spark parses this name, and not that of the drop
            return into.sql(text)
        finally:
            for name in frames:
                into.catalog.dropTempView(name)
