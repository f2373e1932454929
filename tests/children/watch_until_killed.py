"""Watch with one rule, say what is amiss by a webhook, and die at a step: sys.argv is the URL, the file that is amiss, the step.

Steps: "kept" dies once the alert is in the database and nothing was said, "said" once it was said and not yet marked, "never" lives on.
"""

import os
import signal
import sys
from pathlib import Path

from rta.alerts import Notice, Rule, Watch, Webhook, table
from rta.alerts.courier import Courier
from rta.metrics import Observation

url, file, step = sys.argv[1], Path(sys.argv[2]), sys.argv[3]


def die(*_: object) -> None:
    """Die at once."""
    os.kill(os.getpid(), signal.SIGKILL)


def amiss(_: Observation) -> dict[str, str]:
    """Find what the file says."""
    return {"file": file.read_text()} if file.exists() else {}


class Dying(Webhook):
    """A webhook whose process dies once it has said something."""

    def say(self, notice: Notice) -> None:
        """Say it, and die."""
        super().say(notice)
        if step == "said":
            die()


if step == "kept":
    Courier.bring = die  # type: ignore[method-assign,assignment]
marked = table.mark_said


def mark(*what: object) -> None:
    """Mark it, and say so, or die."""
    marked(*what)  # type: ignore[arg-type]
    if step == "marked":
        die()
    print("marked", flush=True)


table.mark_said = mark  # type: ignore[assignment]
watching = Watch([Rule("file", amiss)], [Dying(url, name="hook")], every=0.05, name="killed")
print("watching", flush=True)
watching.run()
