"""rta: a real-time analytics workbench for Jupyter.

    source  →  topic  →  stream query  →  table  →  chart, report  →  job

The everyday names are here; the others stand behind their room's door, such as `rta.kafka.create_topic`. `__init__.pyi`
beside this file is the table of contents, and so in each room. A room imports only rooms above it:

    setup          Java, jars, the class-data archive
    events         what an event is; real, synthetic and malformed events
    transforms     DataFrame → DataFrame
    kafka          the broker, topics, offsets, records
    dataframes     the Spark session; a topic read, parsed, validated; events published
    dlq            dead letters: browsed, sent back
    store          the serving database: tables, ledger, views
    engines        a table kept up to date with a topic, exactly once
    architectures  one function as batch, Lambda and Kappa
    monitor        health and state of a query
    display        live views, what runs, SQL in cells
    dashboards     a notebook as a live page for people without Jupyter
    laboratory     faults on purpose, and what survives them
    jobs           the notebook as a job
    metrics        figures for Prometheus
    alerts         what is amiss, said once, and said when it is over
    cli            the command line
    testing        the laws and the oracle, for a transform of your own

Nothing happens at import: a name loads when it is first used. A notebook's kernel alone is told how to show charts
without a network, and a Stop in one sentence (kernel.py).
"""

import sys
from importlib import import_module

import lazy_loader

__version__ = "0.1.0"
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def load_ipython_extension(shell: object) -> None:
    """Give a notebook the magics `%rta`, `%%batch_sql` and `%%stream_sql`: `%load_ext rta` calls this."""
    import_module("rta.display.magics").register(shell)


if shell := getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)():
    import_module("rta.kernel").prepare(shell)
    import_module("rta.display.looks").prepare(shell)
