"""What a notebook shows of Spark's own query, in words, from what Spark knows at once; and of a replay that goes on: a live view.

Loaded with rta in each kernel, so it loads nothing by itself.
"""

from __future__ import annotations

from typing import Any

from rta.html import card, described

_RUNNING = "`rta.live(query)` shows it move, `rta.health(query)` asks Kafka and the ledger, too, `query.stop()` ends it"
_ENDED = "the same call starts it where it was; `rta.health(query)` says more"


def prepare(shell: Any) -> None:
    """Show Spark's queries as facts in an IPython shell."""
    query = ("pyspark.sql.streaming.query", "StreamingQuery")
    formatters = shell.display_formatter.formatters
    formatters["text/html"].for_type_by_name(*query, lambda each: card(*_facts(each)))
    formatters["text/plain"].for_type_by_name(*query, _print_facts)
    shell.display_formatter.ipython_display_formatter.for_type_by_name("rta.kafka.replaying", "Replay", _show_replay)  # fmt: skip


def _show_replay(playing: Any) -> None:
    """Show a replay alive where a person can steer it; else what it is, and the picture of this moment."""
    from IPython.display import display

    from rta.display import cell, still, view
    from rta.display.live_view import LiveView
    from rta.display.replay_feed import ReplayFeed

    going_on = playing.state in ("seeking", "playing", "paused")
    if going_on and cell.alive():
        cell.show(view.live(playing))
        return
    shown = {"text/html": playing._repr_html_()}
    if going_on:
        feed = ReplayFeed(playing)
        shown = still.bundle(LiveView(feed, chart=feed.chart).snapshot())
        feed.close()
    display(shown | {"text/plain": repr(playing)}, raw=True)  # type: ignore[no-untyped-call]


def _print_facts(query: Any, printer: Any, _cycle: object) -> None:
    printer.text(described(*_facts(query)))


def _facts(query: Any) -> tuple[list[tuple[str, object]], str]:
    """Return what is known of a query without a question to the broker or the ledger, and what to do next."""
    from py4j.protocol import Py4JError

    from rta.monitor.verdicts import verdict
    from rta.monitor.vitals import of_progress, state_of

    try:
        state, error = state_of(query)
        history = [of_progress(each) for each in query.recentProgress]
        progress, name = query.lastProgress, query.name or str(query.id)
    except (OSError, Py4JError):
        return [("query", "of a Spark session that has ended")], ""
    judged = verdict(history, state, error)
    facts: list[tuple[str, object]] = [("query", f"{name}: {state}")]
    facts += [("verdict", judged)] if judged.text != state else []
    if progress:
        now, rows = history[-1], progress["numInputRows"]
        topics = ", ".join(now.lag or {})
        facts += [("topic", topics)] if topics else []
        facts.append(("last batch", f"{progress['batchId']:,}: {rows:,} rows, {now.out_rate or 0:,.0f} rows/s"))  # fmt: skip
        facts += [("watermark", now.watermark)] if now.watermark else []
    return facts, _RUNNING if state == "running" else _ENDED
