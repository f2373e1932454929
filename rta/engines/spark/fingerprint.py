"""What a transform computes, noted in the checkpoint: another transform must not go on with its state.

Spark refuses another operator, or another type in its state. A new filter, a wider window, another
column in the same sum it does not see: it goes on with the old state, and the table is wrong without a
word. So the plan of the transform, as Spark's optimizer leaves it, is noted when a checkpoint begins, and
compared at each start. Names of steps in between, their order, comments, the allowed lateness and columns that
the transform does not use make no difference. Not seen: what a Python UDF does inside; a static frame's data.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

from rta.dataframes.plans import walk
from rta.engines.spark import checkpoints
from rta.engines.spark.lateness import Transform
from rta.errors import QueryError

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

FILE: Final = "rta-transform"
# What differs from session to session: ids of columns, of variables, of objects.
_IDS: Final = re.compile(
    r"#\d+L?|(?<=lambda x)_\d+|(?<=_gen_alias)_\d+|(?<=_common_expr)_\d+|@[0-9a-f]{4,}"
)
_FRAME: Final = re.compile(r"^(CollectMetrics .*), \d+$")  # the number of the frame that observes
_NOW: Final = re.compile(r"\b(current_|localtimestamp|now\(|rand|uuid|shuffle)")
_WHOLE: Final = 2**31 - 1  # fields of a node to show


def meaning(events: DataFrame, transform: Transform) -> list[str]:
    """Say what a transform does to such events: a line for each node of the optimized plan, the result first.

    >>> events = spark.createDataFrame([], "user_id INT, amount INT")
    >>> meaning(events, lambda rows: rows.where("amount > 1").select("user_id"))
    ['Project [user_id]', 'Filter (isnotnull(amount) AND (amount > 1))', 'LogicalRDD']
    """
    session: Any = events.sparkSession
    still = session.createDataFrame(session.sparkContext.emptyRDD(), events.schema)
    plan = transform(still)._jdf.queryExecution().analyzed()
    if not any(
        _NOW.search(line) for line in _lines(plan)
    ):  # else the optimizer writes the time there
        plan = session._jsparkSession.sessionState().optimizer().execute(plan)
    return _lines(plan)


def require_same(
    session: SparkSession, checkpoint: str, table: str, means: list[str], *, begun: bool = True
) -> None:
    """Note what the transform means where a checkpoint begins; refuse another one where it goes on.

    begun: whether the table has something of this checkpoint. If it has nothing (the first start failed, and the transform was
    corrected since) another transform begins it anew.
    Raises QueryError with the first difference. Another Spark may word the same plan differently, so
    after an upgrade it is noted anew.
    """
    path = f"{checkpoint}/{FILE}"
    noted = checkpoints.read(session, path) if checkpoints.query_id(session, checkpoint) else None
    known = checkpoints.parsed(path, noted) if noted is not None else {}
    if known.get("spark") != session.version:
        _note(session, path, means)
    elif known["plan"] != means and not begun and checkpoints.newest(session, checkpoint, "commits") < 0:  # fmt: skip
        checkpoints.remove(checkpoint)
        _note(session, path, means)
    elif known["plan"] != means:
        raise QueryError(
            f"this transform is not the one that fills table {table!r}: it would go on with the other's state",
            found=_difference(known["plan"], means),
            fix=f"take another table for it, or rta.reset({table!r}) and fill this one anew",
        )


def _note(session: SparkSession, path: str, means: list[str]) -> None:
    text = json.dumps({"spark": session.version, "plan": means}, indent=1)
    checkpoints.write(session, path, text)


def _lines(plan: Any) -> list[str]:
    """Write a plan as lines, without what another session would write differently."""
    lines = [_FRAME.sub(r"\1", _IDS.sub("", node.simpleString(_WHOLE))) for node in walk(plan)]
    return ["LogicalRDD" if line.startswith("LogicalRDD ") else line for line in lines]


def _difference(noted: list[str], means: list[str]) -> str:
    """Show where two plans begin to differ."""
    pairs = zip([*noted, "nothing"], [*means, "nothing"], strict=False)
    was, now = next((old, new) for old, new in pairs if old != new)
    alike = next((at for at, (a, b) in enumerate(zip(was, now, strict=False)) if a != b), 0)
    same = max(alike - 20, 0)
    shown = [("…" if same else "") + line[same : same + 100] for line in (now, was)]
    return f"{shown[0]!r} instead of {shown[1]!r}"
