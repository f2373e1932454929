"""Rules for what usually goes amiss; each takes its limits as arguments, and any of Rule's fields by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from rta.alerts.rules import Rule
from rta.alerts.states import Found
from rta.errors import InputError
from rta.metrics.observation import Observation, ObservedJob, ObservedQuery
from rta.monitor.state_store import grows
from rta.monitor.verdicts import spoken
from rta.store.rows import rows

_BOTH: Final = ("database", "kafka")
_FEW: Final = 20  # events of which a share says something


def lag(over: float = 60.0, **fields: Any) -> Rule:
    """Fire if a query's oldest unread record is older than the target *and* what is unread grows; end below half of it.

    A query that is behind and catches up is no reason to get up at night.

    Args:
        over: The target, in seconds.
        fields: Fields of the rule.

    >>> lag(over=30).name
    'lag'
    """

    def found(seen: Observation) -> Found:
        return _each(
            seen.queries, lambda q: q.seconds_behind > over and q.growing,
            lambda q: f"{spoken(q.seconds_behind)} behind, {q.behind:,} records, and growing",
        )  # fmt: skip

    def still(seen: Observation) -> Found:
        return _each(
            seen.queries, lambda q: q.seconds_behind > over / 2,
            lambda q: f"{spoken(q.seconds_behind)} behind, {q.behind:,} records",
        )  # fmt: skip

    return _rule(fields, name="lag", when=found, until=still, for_=10.0, needs=_BOTH)  # fmt: skip


def slower_than_input(**fields: Any) -> Rule:
    """Fire if a query processes fewer events per second than arrive, for a minute; end once it is a tenth faster.

    >>> slower_than_input().for_
    60.0
    """

    def slower(part: float) -> Callable[[Observation], Found]:
        return lambda seen: _each(
            seen.queries, lambda q: _running(q) and (q.vitals.in_rate or 0) * part > (q.vitals.out_rate or 0),
            lambda q: f"{q.vitals.in_rate:,.0f} events/s arrive, {q.vitals.out_rate or 0:,.0f} are processed",
        )  # fmt: skip

    return _rule(fields, name="slower than input", when=slower(1.0), until=slower(1.1), for_=60.0)  # fmt: skip


def no_progress(after: float = 60.0, **fields: Any) -> Rule:
    """Fire if records wait, the query runs or has failed, and no micro-batch has been committed for so long.

    Args:
        after: Seconds.
        fields: Fields of the rule.

    >>> no_progress(after=10).severity
    'critical'
    """

    def found(seen: Observation) -> Found:
        return {
            query.name: f"no micro-batch for {spoken(seconds)}, and {query.behind:,} records wait"
            for query in seen.queries
            if query.state != "stopped" and query.behind > 0
            for moment in [max(filter(None, (query.committed_at, query.since)), default=None)]
            for seconds in [seen.seconds_since(moment) or 0.0]
            if seconds > after
        }

    return _rule(fields, name="no progress", when=found, severity="critical", needs=_BOTH)  # fmt: skip


def no_data(after: float = 600.0, *tables: str, **fields: Any) -> Rule:
    """Fire if nothing has come into a table for so long.

    Args:
        after: Seconds.
        tables: The tables; by default those that a running query fills.
        fields: Fields of the rule.

    >>> no_data(60, "totals").name
    'no data'
    """

    def found(seen: Observation) -> Found:
        running = {query.name for query in seen.queries if query.state == "running"}
        return {
            table.name: f"no event for {spoken(seconds)}"
            for table in seen.tables
            if (seconds := seen.seconds_since(table.committed_at)) is not None
            and seconds > after
            and table.name in (tables or running)
        }

    return _rule(fields, name="no data", when=found)


def late_share(over: float = 0.01, **fields: Any) -> Rule:
    """Fire if more than this share of the events of the last five minutes was late; end below half of it.

    Args:
        over: The share, from 0 to 1.
        fields: Fields of the rule.

    >>> late_share(over=0.05).until is None
    False
    """
    if not 0 <= over < 1:
        raise InputError("a share is from 0 to 1", found=over, fix="give 0.01 for one in a hundred")

    def above(limit: float) -> Callable[[Observation], Found]:
        return lambda seen: _each(
            seen.tables, lambda t: t.recent.consumed >= _FEW and t.recent.late > limit * t.recent.consumed,
            lambda t: f"{t.recent.late:,} of the last {t.recent.consumed:,} events were late",
        )  # fmt: skip

    return _rule(fields, name="late share", when=above(over), until=above(over / 2))


def dead_letters(over: int = 0, **fields: Any) -> Rule:
    """Fire if a topic has more dead letters than this that were not sent back.

    Args:
        over: How many there may be.
        fields: Fields of the rule.

    >>> dead_letters().needs
    ('kafka',)
    """

    def found(seen: Observation) -> Found:
        return {topic: f"{count:,} dead letter{'' if count == 1 else 's'}" for topic, count in seen.dead_letters.items() if count > over}  # fmt: skip

    return _rule(fields, name="dead letters", when=found, needs=("kafka",))


def state_growing(**fields: Any) -> Rule:
    """Fire if the state of a query is large and has grown without an end for ten minutes.

    >>> state_growing().for_
    600.0
    """

    def found(seen: Observation) -> Found:
        return _each(
            seen.queries, lambda q: grows([each.state_rows for each in q.history if each.state_rows is not None]),
            lambda q: f"{q.vitals.state_rows or 0:,} rows of state, and growing",
        )  # fmt: skip

    return _rule(fields, name="state growing", when=found, for_=600.0)


def query_failed(**fields: Any) -> Rule:
    """Fire if a query of this RTA_HOME has failed, in whichever process; of one that somebody waits for, such as a drain, if it is of this one.

    >>> query_failed().severity
    'critical'
    """

    def found(seen: Observation) -> Found:
        return _each(seen.queries, lambda q: q.state == "failed", lambda q: str(q.verdict))

    return _rule(fields, name="query failed", when=found, severity="critical", needs=())  # fmt: skip


def not_running(*tables: str, **fields: Any) -> Rule:
    """Fire if no query fills a table that one should fill.

    Args:
        tables: The tables.
        fields: Fields of the rule.

    >>> not_running("totals").for_
    30.0
    """

    def found(seen: Observation) -> Found:
        running = {query.name for query in seen.queries if query.state == "running"}
        return {table: "no query fills it" for table in tables if table not in running}

    return _rule(fields, name="not running", when=found, for_=30.0, severity="critical")  # fmt: skip


def flawed(**fields: Any) -> Rule:
    """Fire if the events of a table do not add up: consumed ≠ used + duplicate + late + quarantined.

    >>> flawed().name
    'do not add up'
    """

    def found(seen: Observation) -> Found:
        return _each(seen.tables, lambda t: not t.accounting.balanced, lambda t: repr(t.accounting))

    return _rule(fields, name="do not add up", when=found, severity="critical")


def band(
    name: str, value: Callable[[], float | None] | str, *, low: float | None = None, high: float | None = None,
    margin: float = 0.0, **fields: Any,
) -> Rule:  # fmt: skip
    """Fire if a figure of your own leaves its band; end once it is inside by a margin.

    Args:
        name: The name of the rule.
        value: One SELECT with one value over the serving database, or a function that returns the figure; None: it is not known now.
        low: The least; by default there is none.
        high: The most; by default there is none.
        margin: How far inside it must be again.
        fields: Fields of the rule.

    >>> band("active users", "SELECT COUNT(*) FROM totals", low=10, margin=2).name
    'active users'
    """
    if low is None and high is None:
        raise InputError(f"rule {name!r} has no band", fix="give low=, high=, or both")

    def outside(inside: float) -> Callable[[Observation], Found]:
        def found(_: Observation) -> Found:
            now = value() if callable(value) else _only_value(value)
            if now is None:
                return {"": None}
            if low is not None and now < low + inside:
                return {"": f"{now:,g} is below {low + inside:,g}"}
            if high is not None and now > high - inside:
                return {"": f"{now:,g} is above {high - inside:,g}"}
            return {}

        return found

    return _rule(fields, name=name, when=outside(0.0), until=outside(margin))


def job_failed(**fields: Any) -> Rule:
    """Fire if the newest run of a job did not succeed: it failed, timed out, was lost or missed; end at the next that succeeds.

    >>> job_failed().name
    'job failed'
    """
    return _of_jobs("job failed", lambda _, job: f"{job.last_state}: {job.message or 'no message'}" if job.failed else None, **fields)  # fmt: skip


def job_late(after: float = 300.0, **fields: Any) -> Rule:
    """Fire if a scheduled moment of a job is over for so long, and its run has not begun.

    Args:
        after: Seconds.
        fields: Fields of the rule.

    >>> job_late(after=60).name
    'job late'
    """

    def says(seen: Observation, job: ObservedJob) -> str | None:
        seconds = seen.seconds_since(job.due) or 0.0
        return f"due for {spoken(seconds)}, and not begun" if job.ever_started and seconds > after else None  # fmt: skip

    return _of_jobs("job late", says, **fields)


def job_never_started(after: float = 300.0, **fields: Any) -> Rule:
    """Fire if a job has a schedule, a moment of it is over for so long, and no run of it has ever begun.

    Args:
        after: Seconds.
        fields: Fields of the rule.

    >>> job_never_started().name
    'job never started'
    """

    def says(seen: Observation, job: ObservedJob) -> str | None:
        seconds = seen.seconds_since(job.due) or 0.0
        return f"was due {spoken(seconds)} ago, and has never begun" if not job.ever_started and seconds > after else None  # fmt: skip

    return _of_jobs("job never started", says, **fields)


def unanswered(**fields: Any) -> Rule:
    """Fire if Kafka, the database or Spark has not answered for half a minute.

    >>> unanswered().for_
    30.0
    """
    return _rule(fields, name="no answer", when=lambda seen: dict(seen.away), for_=30.0, severity="critical", needs=())  # fmt: skip


def usual() -> list[Rule]:
    """Return the ready-made rules with their usual limits; all but those that need a name: not_running() and band().

    >>> len(usual())
    13
    """
    made = (lag, slower_than_input, no_progress, no_data, late_share, dead_letters, state_growing, query_failed, flawed,
            job_failed, job_late, job_never_started, unanswered)  # fmt: skip
    return [each() for each in made]


def _rule(fields: Mapping[str, Any], **usual: Any) -> Rule:
    """Return a rule with the fields that a caller gave, and the usual ones."""
    return Rule(**{**usual, **fields})


def _each(items: Iterable[Any], amiss: Callable[[Any], bool], says: Callable[[Any], str]) -> Found:
    return {each.name: says(each) for each in items if amiss(each)}


def _running(query: ObservedQuery) -> bool:
    return query.state == "running" and bool(query.vitals.out_rate) and query.behind > 0


def _of_jobs(name: str, says: Callable[[Observation, ObservedJob], str | None], **fields: Any) -> Rule:  # fmt: skip
    def found(seen: Observation) -> Found:
        told = {job.name: says(seen, job) for job in seen.jobs}
        return {job: text for job, text in told.items() if text is not None}

    return _rule(fields, name=name, when=found)


def _only_value(statement: str) -> float | None:
    """Return the one value of a SELECT.

    >>> _only_value("SELECT 42")
    42.0
    """
    found = [value for row in rows(statement) for value in row.values()]
    if len(found) != 1:
        raise InputError("this SELECT does not return one value", found=f"{len(found)} values", fix="select one figure")  # fmt: skip
    return None if found[0] is None else float(found[0])
