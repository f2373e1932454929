"""What a dashboard's kernel does before it ends."""

from contextlib import suppress


def leave() -> None:
    """Stop the views and queries of this process, so that nothing of it stays behind."""
    import sys

    from rta.errors import RtaError

    if (views := sys.modules.get("rta.display.view")) is not None:
        for view in [*views._live.values()]:
            with suppress(RtaError):  # what it shows is gone already
                view.stop()
    if (sessions := sys.modules.get("rta.dataframes.session")) is not None:
        session = sessions.running()
        if session is not None:
            for query in session.streams.active:
                query.stop()
            session.stop()
