"""rta: a real-time analytics workbench for Jupyter.

    source  →  topic  →  stream query  →  table  →  chart, report  →  job

    doctor     settings     errors                 this machine
    broker     topics       session                Kafka and Spark, under the notebook
    events     producer     sources                real and generated events; onto a topic; off it, typed
    transforms lateness     sinks                  DataFrame → DataFrame; exactly once into a table
    serving    monitor      charts                 read it back while it is written; how the query is doing
    jobs       cli          testing                the notebook as a job; the command line; the proofs

Nothing happens at import: a name, or a module such as `rta.charts`, loads when it is first used. A notebook's
kernel alone is told how to show charts without a network, and a Stop in one sentence (kernel.py).
"""

import sys
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rta import (
        archives,
        charts,
        database,
        errors,
        oracle,
        retries,
        serving,
        settings,
        testing,
        wiring,
    )
    from rta.architectures import batch, kappa, lambda_
    from rta.archives import archive, archived, read_archive
    from rta.broker import bootstrap, down, up
    from rta.comparison import compare
    from rta.errors import RtaError
    from rta.event_types import FLIGHTS, PURCHASES, USER_EVENTS, WEATHER, EventType
    from rta.events import flights, poisoned, purchases, user_events, weather
    from rta.jobs import run
    from rta.latecomers import late, late_events
    from rta.monitor import health
    from rta.producer import publish, publish_paced
    from rta.queues import letter_counts, letters
    from rta.realtime import relay
    from rta.redriving import redrive
    from rta.serving import accounting, read, sql
    from rta.session import spark
    from rta.sinks import drain, follow, reset
    from rta.sources import read_batch, read_dead_letters, read_stream
    from rta.state_growth import state_history
    from rta.state_store import evicted, state
    from rta.topics import create_topic, delete_topic, lag, list_topics, offsets
    from rta.transforms import deduplicate, totals

_HOMES = {
    "architectures": ("batch", "kappa", "lambda_"),
    "archives": ("archive", "archived", "read_archive"),
    "broker": ("bootstrap", "down", "up"),
    "comparison": ("compare",),
    "errors": ("RtaError",),
    "event_types": ("FLIGHTS", "PURCHASES", "USER_EVENTS", "WEATHER", "EventType"),
    "events": ("flights", "poisoned", "purchases", "user_events", "weather"),
    "jobs": ("run",),
    "latecomers": ("late", "late_events"),
    "monitor": ("health",),
    "producer": ("publish", "publish_paced"),
    "queues": ("letter_counts", "letters"),
    "realtime": ("relay",),
    "redriving": ("redrive",),
    "serving": ("accounting", "read", "sql"),
    "session": ("spark",),
    "sinks": ("drain", "follow", "reset"),
    "sources": ("read_batch", "read_dead_letters", "read_stream"),
    "state_growth": ("state_history",),
    "state_store": ("evicted", "state"),
    "topics": ("create_topic", "delete_topic", "lag", "list_topics", "offsets"),
    "transforms": ("deduplicate", "totals"),
}

# Modules that README and notebooks name; each other one loads as well, but is not listed.
_MODULES = (
    "archives",
    "charts",
    "database",
    "errors",
    "oracle",
    "retries",
    "serving",
    "settings",
    "testing",
    "wiring",
)

__version__ = "0.1.0"
__all__ = [  # literal: type checkers read it
    "FLIGHTS",
    "PURCHASES",
    "USER_EVENTS",
    "WEATHER",
    "EventType",
    "RtaError",
    "accounting",
    "archive",
    "archived",
    "batch",
    "bootstrap",
    "compare",
    "create_topic",
    "deduplicate",
    "delete_topic",
    "down",
    "drain",
    "evicted",
    "flights",
    "follow",
    "health",
    "kappa",
    "lag",
    "lambda_",
    "late",
    "late_events",
    "letter_counts",
    "letters",
    "list_topics",
    "offsets",
    "poisoned",
    "publish",
    "publish_paced",
    "purchases",
    "read",
    "read_archive",
    "read_batch",
    "read_dead_letters",
    "read_stream",
    "redrive",
    "relay",
    "reset",
    "run",
    "spark",
    "sql",
    "state",
    "state_history",
    "totals",
    "up",
    "user_events",
    "weather",
]


def __getattr__(name: str) -> Any:
    """Load a public name from its module, or a module, once."""
    for home, names in _HOMES.items():
        if name in names:
            value = getattr(import_module(f"rta.{home}"), name)
            globals()[name] = value
            return value
    if not name.startswith("_") and find_spec(f"rta.{name}"):
        return import_module(f"rta.{name}")
    raise AttributeError(f"module 'rta' has no attribute {name!r}")


def __dir__() -> list[str]:
    """List the public names, loaded or not."""
    return sorted({*globals(), *__all__, *_MODULES})


if shell := getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)():
    import_module("rta.kernel").prepare(shell)
