"""The reader of events in Spark: a catalog whose functions are named by event types (src/rta/SparkReader.java)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from rta.jvm.jar import engines_jar

if TYPE_CHECKING:
    from pyspark.sql import Column, SparkSession

_CATALOG: Final = "rta_events"
CATALOG: Final[Mapping[str, str]] = {f"spark.sql.catalog.{_CATALOG}": "rta.SparkReader"}
"""The properties of a session that has the jar on its classpath."""
FAULT: Final = '"'  # no column can have that name


def read_event(session: SparkSession, value: Column, event: str) -> Column:
    r"""Return a struct of the columns of an event, and of FAULT (STRING): why it is bad, null if it is good.

    Args:
        session: The session; one that rta has not started learns the function.
        value: The value of a record (BINARY).
        event: The event type, as rta.events.strict_json writes it.

    >>> from pyspark.sql import functions as F
    >>> from rta.events.strict_json import event_json
    >>> kind = event_json(rta.EventType("t", "n INT", "kafka_timestamp"))
    >>> spark.range(1).select(read_event(spark, F.lit(b'{"n":5}'), kind).alias("e")).head()
    Row(e=Row(n=5, "=None))
    """
    from pyspark.sql import functions as F

    [(name, program)] = CATALOG.items()
    if session.conf.get(name, None) is None:
        path = str(engines_jar()).replace("\\", r"\\").replace("'", r"\'")
        session.sql(f"ADD JAR '{path}'")
        session.conf.set(name, program)
    return F.call_function(f"{_CATALOG}.`{event.replace('`', '``')}`", value)
