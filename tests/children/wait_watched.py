"""Wait under the eyes of a person, until asked three times how far it is: no clock decides."""

import threading

from rta.progress import watched

asked: list[int] = []
enough = threading.Event()


def done() -> tuple[int, int]:
    """Tell how far it is."""
    asked.append(1)
    if len(asked) > 2:
        enough.set()
    return 100 * len(asked), 1000


with watched("clicks → totals", done, unit="event"):
    enough.wait(600)
