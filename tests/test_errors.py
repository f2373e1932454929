"""Errors that a person can act on: one sentence each, what, what was found, what to do; the pages behind it on request."""

import ast
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StructType

import rta
from rta import errors
from rta.engines.spark.query_errors import failed
from rta.errors import QueryError, TableError
from rta.setup.causes import cause
from tests.support.databases import create
from tests.support.waiting import HANG

PACKAGE = Path(__file__).parents[1] / "rta"
KINDS = {name for name in vars(errors) if name.endswith("Error")} | {"DatabaseAwayError"}
HOW: dict[str, Any] = {"key": ["window", "user_id"], "event": rta.USER_EVENTS}


def test_every_error_says_what_to_do() -> None:
    """No place in the package raises an error of ours without the fix."""
    without = [
        f"{path.name}:{node.lineno}"
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in KINDS
        and "fix" not in {keyword.arg for keyword in node.keywords}
    ]
    assert without == []


IN_BATCH = """[STREAM_FAILED] Query [id = 7, runId = 8] terminated with exception: [FOREACH_BATCH_USER_FUNCTION_ERROR] \
An error occurred in the user provided function in foreach batch sink. Reason: An exception was raised by the Python Proxy. \
Return Message: Traceback (most recent call last):
  File "clientserver.py", line 644, in _call_proxy
    return_value = getattr(self.pool[obj_id], method)(*params)
py4j.protocol.Py4JJavaError: An error occurred while calling o23458.getResult.
: org.apache.spark.SparkException: Exception thrown in awaitResult: SQLSTATE: 58030
\tat org.apache.spark.util.SparkThreadUtils$.awaitResult(SparkThreadUtils.scala:53)
Caused by: org.apache.spark.SparkException: Job aborted due to stage failure: Task 2 in stage 4.0 failed 1 times
\tat org.apache.spark.scheduler.DAGScheduler.abortStage(DAGScheduler.scala:2844)
Caused by: {cause}
\t... 1 more
 SQLSTATE: 39000 SQLSTATE: XXKST"""
DIRECT = (
    "[STREAM_FAILED] Query [id = 7, runId = 8] terminated with exception: {cause} SQLSTATE: XXKST"
)


@pytest.mark.parametrize(
    ("trace", "said", "why", "fix"),
    [
        (IN_BATCH, "java.lang.OutOfMemoryError: Java heap space", "out of memory", "spark.driver.memory"),
        (IN_BATCH, "java.lang.OutOfMemoryError: GC overhead limit exceeded", "out of memory", "max_events_per_batch"),
        (IN_BATCH, "java.io.IOException: No space left on device", "the disk is full", "free space"),
        (DIRECT, "No space left on device", "the disk is full", "run it again"),
        (DIRECT, "[STATE_STORE_VALUE_SCHEMA_NOT_COMPATIBLE] Provided value schema does not match.",
         "holds the state of another transform", "another table"),
        (DIRECT, "[STREAMING_STATEFUL_OPERATOR_NOT_MATCH_IN_STATE_METADATA] Operator name does not match.",
         "holds the state of another transform", "rta.reset"),
        (DIRECT, "[CONCURRENT_STREAM_LOG_UPDATE] Concurrent update to the log. Multiple streaming jobs detected for 1.",
         "another query works on its checkpoint", "stop one"),
        (DIRECT, "org.apache.kafka.common.errors.TimeoutException: Timed out waiting for a node assignment. Call: listNodes",
         "Kafka does not answer", "rta status"),
        (IN_BATCH, "java.lang.IllegalStateException: something new", "failed; found: IllegalStateException: something new",
         "correct the cause"),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("spark")
def test_the_trace_of_a_query_becomes_one_sentence(
    trace: str, said: str, why: str, fix: str
) -> None:
    """Recorded traces: why, the line that says so, and what helps; no page of Java, no code of Spark's."""
    error = failed("/no/checkpoint", "totals", RuntimeError(trace.format(cause=said)))
    assert "the query that fills 'totals' failed" in str(error)
    assert why in str(error)
    assert fix in str(error.fix)
    assert said.removeprefix("java.lang.").removeprefix("java.io.") in str(error.found)
    for noise in ("\n", "SQLSTATE", "STREAM_FAILED", "Py4J", "\tat "):
        assert noise not in str(error)


def test_an_error_of_ours_in_a_batch_keeps_its_sentence() -> None:
    """What the sink itself says comes out whole: what, found, do; none of them twice."""
    ours = IN_BATCH.format(cause="java.lang.X: y").replace(
        "py4j.protocol.Py4JJavaError: An error occurred while calling o23458.getResult.",
        "rta.store.database.DatabaseAwayError: the serving database is away; found: refused; fix: start it",
    )
    error = failed("/no/checkpoint", "totals", RuntimeError(ours))
    assert error.args == ("the query that fills 'totals' failed: the serving database is away; found: refused; fix: start it",)  # fmt: skip


def test_a_cause_is_one_line_however_long() -> None:
    """A trace that says nothing, or too much, is still one line."""
    assert cause("") == "no word at all"
    assert cause("first\nsecond") == "first"
    assert len(cause("ValueError: " + "x" * 10_000)) == 300


@pytest.mark.kafka
def test_a_transform_that_does_not_fit_is_one_sentence(
    spark: SparkSession, topic: Callable[..., str]
) -> None:
    """A column that is not there, a Python function that raises, another schema or key than the table's."""
    name = topic(partitions=1)
    rta.publish(rta.user_events(spark, rows=20), name)
    rta.drain(name, rta.transforms.totals, table="errors_totals", **HOW)

    def typo(events: DataFrame) -> DataFrame:
        return rta.transforms.totals(events, amount="amuont")

    def raising(events: DataFrame) -> DataFrame:
        bad = F.udf(lambda amount: 1 / (amount - amount), "double")
        return rta.transforms.totals(events.withColumn("share", bad("amount")).where("share > 0"))

    def counts(events: DataFrame) -> DataFrame:
        marked = events.withWatermark("timestamp", "10 minutes")
        return marked.groupBy(F.window("timestamp", "5 minutes"), "user_id").count()

    fresh: list[tuple[Callable[[DataFrame], DataFrame], str, str]] = [
        (typo, "errors_typo", r"fills 'errors_typo' cannot start; found: .*`amuont` cannot be resolved.*`amount`"),
        (raising, "errors_raising", r"fills 'errors_raising' failed; found: DivisionByZero: "),
        (counts, "errors_totals", r"not the one that fills table 'errors_totals'.*count.*rta\.reset"),
    ]  # fmt: skip
    for transform, table, words in fresh:
        with pytest.raises(QueryError, match=words) as caught:
            rta.drain(name, transform, table=table, **HOW)
        assert "\n" not in str(caught.value)
    create("errors_schema", StructType().add("user_id", "long"), key=["user_id"])
    with pytest.raises(
        TableError, match=r"another schema; found: user_id BIGINT there.*fix: use another"
    ):
        rta.drain(name, counts, table="errors_schema", **HOW)
    assert rta.accounting("errors_totals").consumed == 20


CELL = """
import rta
from rta.errors import QueryError

def analysis():
    try:
        raise RuntimeError("a page of Java")
    except RuntimeError as error:
        raise QueryError("it failed", found="no space", fix="free some") from error

analysis()
"""


def test_in_a_notebook_an_error_is_its_sentence_and_the_rest_on_request() -> None:
    """IPython shows the person's own lines, what, found and do; print_last() shows all that lies behind."""
    short = _in_ipython(CELL)
    assert "QueryError: it failed\n  found: no space\n  fix:   free some\n" in short
    assert "analysis()" in short
    assert "a page of Java" not in short
    assert "Traceback" not in short
    code = f"get_ipython().run_cell({CELL!r}); import traceback; traceback.print_last()"
    whole = _in_ipython(code)
    assert "RuntimeError: a page of Java" in whole
    assert "direct cause" in whole


def _in_ipython(code: str) -> str:
    """Run code as a person at IPython's prompt does, and return all that is shown."""
    command = [sys.executable, "-m", "IPython", "--no-banner", "--colors=NoColor", "-c", code]
    run = subprocess.run(command, capture_output=True, text=True, timeout=HANG, check=False)
    return run.stdout + run.stderr
