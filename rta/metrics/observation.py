"""What one look at everything has found: queries, tables, dead letters, consumer groups, jobs, and what did not answer."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

from rta.jobs.states import State
from rta.monitor.verdicts import Verdict, trend
from rta.monitor.vitals import Vitals
from rta.store.ledger import Accounting

Places = Mapping[tuple[str, int], float]
"""(topic, partition) → a figure."""
_FAILED: Final = (State.FAILED, State.TIMED_OUT, State.LOST, State.MISSED)


@dataclass(frozen=True)
class ObservedQuery:
    """A query at one moment.

    Args:
        name: Its name: the table that it fills, if it fills one.
        state: "running", "stopped" or "failed".
        verdict: How it does, in words.
        vitals: Its figures now.
        history: Those of the looks before, the oldest first, and of now.
        lag: (topic, partition) → records that it has not read; empty if Kafka did not answer.
        lag_seconds: (topic, partition) → the age of the oldest of them, by its Kafka timestamp; 0 if there is none.
        committed_at: When its newest micro-batch was committed; None before the first.
        since: When it was started; None if it does not run.
        process: The id of the process that runs it.
        application: The id of its Spark application; of another process that has told nothing yet "pid-…".
        engine: The engine that runs it.
        restarts: How often an engine beside Spark has died and was started again, and has restored its job; None if it is not known.
        checkpoints: How many checkpoints Flink has completed since its job began; None of other engines.
    """

    name: str
    state: str
    verdict: Verdict
    vitals: Vitals
    history: Sequence[Vitals] = ()
    lag: Places = field(default_factory=dict)
    lag_seconds: Places = field(default_factory=dict)
    committed_at: dt.datetime | None = None
    since: dt.datetime | None = None
    process: int | None = None
    application: str = ""
    engine: str = "spark"
    restarts: int | None = None
    checkpoints: int | None = None

    @property
    def seconds_behind(self) -> float:
        """The age of the oldest record that it has not read, in seconds."""
        return max(self.lag_seconds.values(), default=0.0)

    @property
    def behind(self) -> int:
        """The records that it has not read."""
        return int(sum(self.lag.values()))

    @property
    def growing(self) -> bool:
        """Whether what is unread grew within the last minute, by more than the noise of batches."""
        return bool(self.history) and trend(self.history) > 0


@dataclass(frozen=True)
class ObservedTable:
    """A table.

    Args:
        name: Its name.
        accounting: Where its events went.
        committed_at: When its newest micro-batch with events was committed.
        recent: Where the events of the last five minutes went.
    """

    name: str
    accounting: Accounting
    committed_at: dt.datetime | None = None
    recent: Accounting = field(default_factory=Accounting)


@dataclass(frozen=True)
class ObservedGroup:
    """A consumer group: (topic, partition) → its lag in records, and the age of the oldest unread one in seconds."""

    name: str
    lag: Places
    lag_seconds: Places


@dataclass(frozen=True)
class ObservedJob:
    """A job, and its schedule if it has one.

    Args:
        name: Its name.
        runs: State → how many runs have ended so, or run.
        last_state: How its newest run ended; None if none has.
        last_end: When that was.
        last_success: When the newest run that succeeded ended.
        message: Why the newest run failed.
        due: The oldest scheduled moment that has no run yet, though it is over; None if there is none.
        ever_started: Whether a run of it ever began.
    """

    name: str
    runs: Mapping[str, int] = field(default_factory=dict)
    last_state: str | None = None
    last_end: dt.datetime | None = None
    last_success: dt.datetime | None = None
    message: str | None = None
    due: dt.datetime | None = None
    ever_started: bool = True

    @property
    def failed(self) -> bool:
        """Whether its newest run that has ended neither succeeded nor was left out on purpose.

        >>> ObservedJob("nightly", last_state="timed out").failed, ObservedJob("nightly", last_state="skipped").failed
        (True, False)
        """
        return self.last_state is not None and State(self.last_state) in _FAILED


Named = TypeVar("Named", ObservedQuery, ObservedTable, ObservedGroup, ObservedJob)


@dataclass(frozen=True)
class Observation:
    """One look at everything.

    Args:
        at: When it was, UTC.
        up: "kafka", "database", "spark", "engines" → whether it answered; "spark" only where this process has a session, "engines" only
            where Flink or Kafka Streams fills a table.
        away: Why what did not answer did not.
        queries: All queries: of this process, and by the ledger those of others.
        tables: All tables.
        groups: The consumer groups that have committed offsets.
        dead_letters: Topic → dead letters that were not sent back yet.
        jobs: All jobs.
        cluster: The address of Kafka.
        took: How long the look took, in seconds.
    """

    at: dt.datetime
    up: Mapping[str, bool] = field(default_factory=dict)
    away: Mapping[str, str] = field(default_factory=dict)
    queries: Sequence[ObservedQuery] = ()
    tables: Sequence[ObservedTable] = ()
    groups: Sequence[ObservedGroup] = ()
    dead_letters: Mapping[str, int] = field(default_factory=dict)
    jobs: Sequence[ObservedJob] = ()
    cluster: str = ""
    took: float = 0.0

    def seconds_since(self, moment: dt.datetime | None) -> float | None:
        """Return how long ago a moment is, at least 0; None if there is none.

        >>> noon = dt.datetime(2026, 11, 26, 12, tzinfo=dt.UTC)
        >>> Observation(noon).seconds_since(noon - dt.timedelta(minutes=1))
        60.0
        """
        return None if moment is None else max((self.at - moment).total_seconds(), 0.0)
