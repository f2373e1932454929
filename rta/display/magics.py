"""The magics of `%load_ext rta`: `%rta`, `%%batch_sql`, `%%stream_sql` and `%%flink_sql`."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from IPython.core.error import UsageError
from IPython.core.magic import Magics, cell_magic, line_magic, magics_class
from IPython.core.magic_arguments import MagicArgumentParser

from rta.display.topic_sql import TopicSql, topic_sql
from rta.errors import InputError, QueryError
from rta.events.event_types import EventType
from rta.html import Facts, table
from rta.monitor.running_queries import ListedQuery, Queries, queries
from rta.progress import said

if TYPE_CHECKING:
    import pandas as pd

_MOST: Final = 100_000  # rows of %%batch_sql: more than anybody reads, and less than a kernel holds


def register(shell: Any) -> None:
    """Give an IPython shell the magics."""
    shell.register_magics(RtaMagics)


@magics_class
class RtaMagics(Magics):
    """The magics, which know the person's variables."""

    @line_magic
    def rta(self, line: str) -> Any:
        """See and stop what runs.

        %rta status                what runs, and where the events of each table went
        %rta queries               the queries, here and elsewhere, each with a verdict
        %rta stop [NAME]           stop a query; without a name the one that runs
        %rta topics                the topics, with partitions and events
        %rta lag [GROUP]           what the queries and groups have not read yet; of one group by partition
        %rta tail TOPIC [-n 10]    the newest records of a topic
        """
        word, *rest = _words(line) or ["status"]
        if word not in _COMMANDS:
            raise UsageError(f"%rta has no {word!r}: use {', '.join(_COMMANDS)}, or see %rta?")
        return _COMMANDS[word](_parsed(f"%rta {word}", rest, _ARGUMENTS.get(word, {})))

    @cell_magic
    def batch_sql(self, line: str, cell: str) -> pd.DataFrame:
        """Run SQL over topics by name, as they are now, and return the rows as a pandas DataFrame.

        %%batch_sql [--event NAME] [--watermark INTERVAL] [--limit ROWS]
        SELECT origin, COUNT(*) AS flights FROM flights GROUP BY origin

        A name that is no SQL identifier stands in backticks: `user-events`. --event is a variable with the EventType of the events; rta
        knows those of its data sets. A watermark has no effect on a batch: the same line serves %%stream_sql.
        """
        given = _parsed("%%batch_sql", _words(line), _BATCH)
        return _first(self._query(cell, given).batch().limit(given.limit + 1).toPandas(), given.limit)  # fmt: skip

    @cell_magic
    def stream_sql(self, line: str, cell: str) -> Any:
        """Keep a table up to date by SQL over a topic, or see the answer live.

        %%stream_sql --table totals --key window,user_id --watermark "2 hours"
        SELECT window, user_id, SUM(amount) AS total FROM `user-events`
        GROUP BY window(timestamp, '1 hour'), user_id

        With --table it is rta.follow(), so the cell can be run again, and rta.read(TABLE) reads the table. Without it the answer is a live
        view. --watermark is the allowed lateness on the event time; without one no event is late, and state is kept forever.
        --event: as for %%batch_sql.
        """
        given = _parsed("%%stream_sql", _words(line), _STREAM)
        if given.key and not given.table:
            raise UsageError("--key is the key of a table: give --table NAME, too")
        query = self._query(cell, given)
        if given.table:
            if not given.key:
                raise UsageError("a table needs --key: the columns of the result that identify a row, such as --key window,user_id")  # fmt: skip
            return _followed(query, given.table, given.key.split(","))
        from rta.display.view import live

        return live(query.stream())

    @cell_magic
    def flink_sql(self, line: str, cell: str) -> pd.DataFrame:
        """Run Flink SQL over topics by name, as they are now, and return the rows as a pandas DataFrame.

        %%flink_sql [--event NAME] [--limit ROWS]
        SELECT * FROM payments MATCH_RECOGNIZE (PARTITION BY card ORDER BY `at` … PATTERN (SMALL{3} BIG) DEFINE …)

        The local Flink starts if it does not run. --event: as for %%batch_sql.
        """
        from rta.engines.flink import sql

        given = _parsed("%%flink_sql", _words(line), _FLINK)
        return _first(sql(cell, events=self._events(given)), given.limit)

    def _query(self, cell: str, given: Any) -> TopicSql:
        """Return the query of a cell."""
        return topic_sql(cell, events=self._events(given), watermark=given.watermark)

    def _events(self, given: Any) -> list[EventType]:
        """Return the event types that stand in the person's variables."""
        space: Mapping[str, Any] = self.shell.user_ns  # type: ignore[union-attr]
        events = []
        for name in given.event:
            event = space.get(name)
            if not isinstance(event, EventType):
                found = f"{name} is {'no variable' if event is None else type(event).__name__}"
                raise InputError("--event names a variable with an EventType", found=found, fix=f"{name} = rta.EventType(…) first")  # fmt: skip
            events.append(event)
        return events


def _first(rows: pd.DataFrame, limit: int) -> pd.DataFrame:
    """Return the first rows, and say so if there are more."""
    if len(rows) > limit:
        said(f"only the first {limit:,} rows; --limit ROWS gives more")
    return rows.head(limit)


def _followed(query: TopicSql, name: str, key: list[str]) -> Any:
    from rta.engines.following import follow

    return follow(
        query.topic, query.transform, table=name, key=[each.strip() for each in key], event=query.topics[query.topic],
    )  # fmt: skip


@dataclass(frozen=True)
class Status:
    """What runs, and where the events of each table went."""

    facts: tuple[tuple[str, object], ...]

    def __repr__(self) -> str:
        return "\n".join(f"{label:<10} {fact}" for label, fact in self.facts)

    def _repr_html_(self) -> str:
        return table(self.facts)


def _status(_: Any) -> Status:
    from rta.dataframes.session import running
    from rta.kafka import broker
    from rta.settings import settings
    from rta.store.overview import overview

    own, cluster, session = broker.status(), settings().kafka_bootstrap, running()
    kafka = cluster or (own.bootstrap if own else "not running: rta.up()")
    spark = session.sparkContext.master if session else "not running: rta.spark()"
    return Status((
        ("Kafka", kafka), ("Spark", spark), *(("query", each) for each in queries() if each.state != "stopped"),
        *(("table", f"{each.name}: {each.accounting}") for each in overview()),
    ))  # fmt: skip


def _stop(given: Any) -> Queries:
    found = queries()
    if given.name:
        found[given.name].stop()
    else:
        _only(found).stop()
    return queries()


def _only(found: Queries) -> ListedQuery:
    """Return the one query that runs."""
    run = [each for each in found if each.state == "running"]
    if len(run) == 1:
        return run[0]
    what = "several queries run" if run else "no query runs"
    raise QueryError(what, found=", ".join(each.name for each in run) or None, fix="%rta stop NAME" if run else "nothing is to be stopped")  # fmt: skip


def _topics(_: Any) -> Any:
    from rta.kafka.topics import list_topics

    return list_topics()


@dataclass(frozen=True)
class ReaderLag:
    """What a query or a consumer group has not read yet."""

    reader: str
    kind: str
    topic: str
    behind: int | None


def _lag(given: Any) -> Any:
    from rta.kafka.consumer_groups import groups, lag

    if given.group:
        return lag(given.group, missing_ok=False)
    read = [ReaderLag(each.name, "query", each.topic, each.behind) for each in queries() if each.topic]  # fmt: skip
    read += [ReaderLag(each.name, "group", ", ".join(each.topics), each.lag) for each in groups()]
    return Facts(read)


def _tail(given: Any) -> Any:
    from rta.kafka.tail import records

    return Facts(records(given.topic, count=given.n))


_COMMANDS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "status": _status, "queries": lambda _: queries(), "stop": _stop, "topics": _topics, "lag": _lag, "tail": _tail,
}  # fmt: skip
_ARGUMENTS: Final[Mapping[str, Mapping[str, Mapping[str, Any]]]] = {
    "stop": {"name": {"nargs": "?"}},
    "lag": {"group": {"nargs": "?"}},
    "tail": {"topic": {}, "-n": {"type": int, "default": 10}},
}
_SQL: Final[Mapping[str, Mapping[str, Any]]] = {
    "--event": {"action": "append", "default": []},
    "--watermark": {},
}
_BATCH: Final = {**_SQL, "--limit": {"type": int, "default": _MOST}}
_FLINK: Final = {name: how for name, how in _BATCH.items() if name != "--watermark"}
_STREAM: Final = {**_SQL, "--table": {}, "--key": {}}


def _words(line: str) -> list[str]:
    """Split a line as a shell does."""
    try:
        return shlex.split(line)
    except ValueError as wrong:
        raise UsageError(f"{line!r}: {wrong}") from None


def _parsed(prog: str, words: list[str], arguments: Mapping[str, Mapping[str, Any]]) -> Any:
    """Parse the words after a magic. Raises UsageError, which IPython shows as one line."""
    parser = MagicArgumentParser(prog=prog)  # type: ignore[no-untyped-call]
    for name, how in arguments.items():
        parser.add_argument(name, **how)
    try:
        return parser.parse_args(words)
    except UsageError as wrong:
        raise UsageError(f"{prog}: {wrong}") from None
