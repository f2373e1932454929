"""%load_ext rta: what the magics return, keep and refuse, in a real IPython shell."""

from collections.abc import Callable, Iterator
from typing import Any

import pandas as pd
import pytest
from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell
from pyspark.sql import SparkSession
from traitlets.config import Config

import rta
from rta.display.topic_sql import topic_sql
from rta.errors import InputError, QueryError, TopicError
from rta.testing import oracle
from tests.support.truth import true_totals

pytestmark = pytest.mark.kafka
SQL = """
SELECT window, user_id, SUM(amount) AS total_amount, COUNT(*) AS event_count
FROM `{}`  -- by name
GROUP BY window(timestamp, '5 minutes'), user_id;
"""


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Lend a shell that has loaded rta as an extension."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IPYTHONDIR", str(tmp_path_factory.mktemp("ipython")))
        config = Config()
        config.HistoryManager.enabled = False
        lent: Any = InteractiveShell(config=config)  # type: ignore[no-untyped-call]
        assert lent.extension_manager.load_extension("rta") is None
        yield lent


def test_one_text_is_a_batch_and_a_kept_table(
    shell: Any, spark: SparkSession, topic: Callable[..., str]
) -> None:
    """Both have the truth; the cell can be run again, and its view of the topic is gone."""
    name = topic(partitions=2)
    rta.publish(rta.user_events(spark, rows=200), name, key="user_id")
    shell.user_ns["CLICKS"] = rta.USER_EVENTS
    frame = shell.run_cell_magic("batch_sql", "--event CLICKS", SQL.format(name))
    assert isinstance(frame, pd.DataFrame)
    assert frame["event_count"].sum() == 200
    line = '--table sql_totals --key "window, user_id" --event CLICKS --watermark "10 minutes"'
    for again in range(2):
        query = shell.run_cell_magic("stream_sql", line, SQL.format(name))
        query.processAllAvailable()
        assert oracle.differences(true_totals(name), "sql_totals") == []
        rta.publish(rta.user_events(spark, rows=50, first_row=200 + 50 * again), name)
    assert [each.state for each in rta.queries() if each.name == "sql_totals"] == ["running"]
    shell.run_line_magic("rta", "stop sql_totals")
    assert not query.isActive
    assert spark.catalog.listTables() == []
    # It is the transform of rta.transforms.totals, so that may continue the table.
    rta.drain(name, rta.transforms.totals, table="sql_totals", key=["window", "user_id"], event=rta.USER_EVENTS)  # fmt: skip
    oracle.check_accounted("sql_totals", name, used=300)
    view = shell.run_cell_magic(
        "stream_sql",
        "--event CLICKS",
        f"SELECT user_id, COUNT(*) AS events FROM `{name}` GROUP BY user_id",
    )
    assert view.snapshot().frame["events"].sum() == 300
    view.stop()
    few = shell.run_cell_magic("batch_sql", "--event CLICKS --limit 3", f"SELECT * FROM `{name}`")
    assert len(few) == 3


def test_a_live_view_of_sql_is_a_stream(spark: SparkSession, topic: Callable[..., str]) -> None:
    """A stream reads one topic, and frames that Spark knows."""
    name, other = topic(), topic()
    spark.createDataFrame([(1, "one")], "user_id INT, called STRING").createOrReplaceTempView(
        "people"
    )
    query = topic_sql(f"SELECT called, amount FROM `{name}` JOIN people USING (user_id)", events=[rta.USER_EVENTS])  # fmt: skip
    assert query.stream().isStreaming
    assert query.stream().columns == ["called", "amount"]
    spark.catalog.dropTempView("people")
    both = topic_sql(f"SELECT * FROM `{name}` UNION ALL SELECT * FROM `{other}`", events=[rta.USER_EVENTS])  # fmt: skip
    assert both.batch().count() == 0
    with pytest.raises(InputError, match=f"a stream reads one topic; found: {name}, {other}"):
        both.stream()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("DROP TABLE people", "no query that Spark can run"),
        ("SELECT 1", "reads no topic"),
        ("SELECT * FROM my-topic", "must be back quoted"),
        ("SELECT * FROM my.topic", r"fix: put it into backticks: `my\.topic`"),
        ("SELECT * FROM `{}`", r"no event type is called .* fix: name a variable .* --event CLICKS"),
        ("SELECT nope FROM `{}`", "no event type"),
    ],
)  # fmt: skip
def test_what_is_no_query_over_a_topic_is_refused_in_a_sentence(
    text: str, sentence: str, topic: Callable[..., str], spark: SparkSession
) -> None:
    """Nothing was run, and no view is left."""
    with pytest.raises(InputError, match=sentence):
        topic_sql(text.format(topic()))
    assert spark.catalog.listTables() == []


def test_the_line_magic_shows_and_refuses(shell: Any, spark: SparkSession, topic: Callable[..., str]) -> None:  # fmt: skip
    """Each word returns something that shows itself; a wrong one says which there are."""
    name = topic(partitions=1)
    rta.publish(rta.user_events(spark, rows=5), name)
    shell.user_ns["CLICKS"] = rta.USER_EVENTS
    run = shell.run_line_magic
    assert "Kafka" in repr(run("rta", ""))
    assert "<table>" in run("rta", "status")._repr_html_()
    assert name in [each.name for each in run("rta", "topics")]
    assert [each.offset for each in run("rta", f"tail {name} -n 2")] == [3, 4]
    assert isinstance(run("rta", "queries"), rta.monitor.Queries)
    assert "reader" in run("rta", "lag")._repr_html_() or run("rta", "lag") == []
    with pytest.raises(TopicError, match="no consumer group"):
        run("rta", "lag nobody")
    with pytest.raises(QueryError, match="no query runs"):
        run("rta", "stop")
    with pytest.raises(UsageError, match="%rta has no 'frob': use status, queries, stop, topics, lag, tail"):  # fmt: skip
        run("rta", "frob")
    with pytest.raises(UsageError, match=r"%rta tail: .*topic"):
        run("rta", "tail")
    with pytest.raises(UsageError, match="a table needs --key"):
        shell.run_cell_magic("stream_sql", "--table t --event CLICKS", f"SELECT * FROM `{name}`")
    with pytest.raises(InputError, match="found: NOBODY is no variable"):
        shell.run_cell_magic("batch_sql", "--event NOBODY", "SELECT 1")
