"""See a stream move: rta.live() shows rows, a chart and the vitals of a stream, and lets a person steer it.

In a notebook that a person looks at, the view is a widget that updates in place. Where nothing can be alive (papermill, nbval,
nbconvert, a terminal), the same call runs to its bound and leaves a table and pictures.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from rta.display import cell
from rta.display.feeds import Mode
from rta.display.live_view import LiveView
from rta.display.subjects import feed_of
from rta.errors import InputError
from rta.monitor.verdicts import spoken
from rta.progress import watched

if TYPE_CHECKING:
    import pandas as pd

    from rta.events.event_types import EventType

_STILL: Final = 60.0  # seconds that a view without a bound runs at most where nothing can be alive
_UNKNOWN: Final = 10.0  # the same, of something of which nobody knows how much there is
_live: Final[dict[tuple[str, str], LiveView]] = {}
"""Cell, and what is shown in it → its view: a cell that is run again stops the one of before."""


def live(
    shown: Any,
    *,
    chart: Any = None,
    mode: Mode | None = None,
    key: str | Sequence[str] = (),
    event: EventType | None = None,
    limit: int = 1_000,
    every: float = 0.25,
    for_: float | str | None = None,
    until: Callable[[pd.DataFrame], bool | str] | None = None,
) -> LiveView:
    """Show something that moves: a table that updates in place, a chart that follows, figures, a verdict in words, and buttons.

    In a notebook it returns at once, and the view goes on. Where nothing can be alive (a job, a report, a test, a terminal) it runs to its
    bound, by default until everything that was there is shown, and leaves a table and pictures. Run again, a cell stops its view of before.

    Args:
        shown: The name of a table or topic; a query; a streaming DataFrame, for which a query of its own is started and removed at
            the end; what rta.batch(), rta.lambda_(), rta.kappa() or rta.replay() returned; or a function, such as rta.queries, that returns a
            pandas DataFrame, a list of rows or a list of rta.display.Tile, and is asked again and again.
        chart: A chart of Altair, without data of its own; or a function that makes one of a pandas DataFrame of the rows.
        mode: Of a streaming DataFrame: "append", "update" or "complete"; by default "update" if it is an aggregate.
        key: The columns that identify a row; of a streaming DataFrame in update mode, by default those that it is grouped by; of a function.
        event: Shows a topic's records as the fields of this type; for a name that is a table, too, it means the topic.
        limit: The most rows that are shown, newest first.
        every: The least seconds from one update to the next.
        for_: Seconds after which the view ends, or a text such as "2 minutes".
        until: Ends the view as soon as this function of the rows is true; a text that it returns says why.

    Returns:
        The view: snapshot(), pause(), resume(), mark(), stop(), wait(); a context manager.

    Raises:
        InputError: If it is nothing that moves, or a bound is not positive.

    Example:
        >>> _ = rta.publish([{"user_id": 7, "page": "home"}], "doc-live")
        >>> view = live("doc-live")
        >>> view.snapshot().frame["value"].tolist()
        ['{"user_id":7,"page":"home"}']
        >>> view.stop()
    """
    bound = _bound(limit, every, for_)
    by = [key] if isinstance(key, str) else key
    _stop_same(place := cell.place(), shown)
    feed = feed_of(shown, mode=mode, key=by, every=every, event=event)
    alive = cell.alive()
    drawn = feed.chart if chart is None else chart
    view = LiveView(feed, chart=drawn, limit=limit, every=every, ends=_ends(bound, until, alive=alive))  # fmt: skip
    _live[place, _named(shown)] = view
    try:
        if alive:
            view.look()  # here, so that a mistake is an error of the cell
            return view.start()
        with watched(
            f"watching {feed.title}",
            lambda: (len(view.rows.frame) if view.rows else 0, None),
            unit="row",
        ):
            return view.run()
    except BaseException:
        view.stop()
        raise


def views_of(table: str) -> list[LiveView]:
    """Return the views of this session that show a table.

    >>> views_of("doc_nobody_looks")
    []
    """
    return [view for view in _live.values() if view.feed.title == table]


def _bound(limit: int, every: float, for_: float | str | None) -> float | None:
    """Return the seconds of for_. Raises InputError if one of the three is not above 0."""
    import pandas as pd

    try:
        seconds = pd.Timedelta(for_).total_seconds() if isinstance(for_, str) else for_
    except ValueError:
        raise InputError("for_ is a time", found=repr(for_), fix='give seconds, or a text such as "2 minutes"') from None  # fmt: skip
    for name, value in (("limit", limit), ("every", every), ("for_", seconds)):
        if value is not None and value <= 0:
            raise InputError(
                f"{name} must be above 0", found=value, fix="leave it out, or give more"
            )
    return seconds


def _ends(
    seconds: float | None, until: Callable[[pd.DataFrame], bool | str] | None, *, alive: bool
) -> Callable[[LiveView], str | None]:
    """Return what tells a view why it is at its bound; None if it goes on."""
    stood = False

    def ends(view: LiveView) -> str | None:
        nonlocal stood
        age, now = time.monotonic() - view.began, view.history[-1] if view.history else None
        if until and view.rows is not None and (why := until(view.rows.frame)):
            return f"ended: {why}" if isinstance(why, str) else "ended: until() is true"
        if seconds is not None and age >= seconds:
            return f"ended after {spoken(age)}"
        if (over := view.feed.over()) or alive or (seconds is not None and not until):
            return over
        if not until and now and view.rows is not None and view.feed.caught_up(now):
            return "everything that was there is shown"
        # Nothing comes any more for which a job could wait; after one more look, for the last rows may be younger than this one.
        before, stood = stood, view.feed.state != "running" and view.rows is not None
        if stood and before:
            return view.verdict.text
        unknown = now and now.behind is None and now.out_rate is not None and not until
        patience = seconds or (_UNKNOWN if unknown else _STILL)
        return (
            f"ended after {spoken(age)}, as nothing can be alive here" if age >= patience else None
        )

    return ends


def _stop_same(place: str, shown: Any) -> None:
    """Stop the view that the same cell has made before."""
    if view := _live.pop((place, _named(shown)), None):
        view.forget()


def _named(shown: Any) -> str:
    if isinstance(shown, str):
        return shown
    return str(
        getattr(shown, "table", None) or getattr(shown, "__qualname__", type(shown).__name__)
    )
