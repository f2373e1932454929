"""`rta tables`, `rta queries`, `rta sql` and `rta reset`: the serving database."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from rta.cli.printing import AS_JSON, YES, print_json, print_rows

if TYPE_CHECKING:
    from rta.engines.running import QuerySummary


@click.command()
@click.argument("table", required=False)
@AS_JSON
def tables(table: str | None, *, as_json: bool) -> None:
    """List the serving tables, or show one: key, rows, topic, and where its events went."""
    from rta.store.overview import counted, overview, summary_of

    found = [counted(each) for each in ([summary_of(table)] if table else overview())]
    if as_json:
        print_json([asdict(each) | {"kind": each.kind} for each in found])
        return
    rows = [
        {"table": each.name, **vars(each), "kind": each.kind, "key": ", ".join(each.key), "events": each.accounting}
        for each in found
    ]  # fmt: skip
    print_rows(rows, ("table", "kind", "key", "rows", "topic", "events"), as_json=False)


@click.command()
@click.option("--active", "only_active", is_flag=True, help="Only the running ones.")
@AS_JSON
def queries(*, only_active: bool, as_json: bool) -> None:
    """List the queries that write tables: which run, how they do, in which process, and how far they are."""
    from rta.engines.running import queries as known

    found = [asdict(query) | {"verdict": _verdict(query)} for query in known() if query.active or not only_active]  # fmt: skip
    columns = ("table", "topic", "engine", "active", "verdict", "process", "since", "last_batch", "committed_at")  # fmt: skip
    if as_json:
        print_json(found)
        return
    rows = [row | {"process": row["process"] and str(row["process"])} for row in found]
    print_rows(rows, columns, as_json=False)


def _verdict(query: QuerySummary) -> str:
    """Say how a query does; Kafka is asked for what it has not read, and only if it runs."""
    if not (query.active or query.error):
        return "stopped"
    from rta.monitor.running_queries import of_summary

    return str(of_summary(query).verdict)


@click.command()
@click.argument("query")
@AS_JSON
def sql(query: str, *, as_json: bool) -> None:
    """Run a SELECT on the serving tables; it only reads, also while a stream writes."""
    from rta.store.rows import select

    names, found = select(query)
    print_rows(found, names, as_json=as_json)


@click.command()
@click.argument("table")
@YES
def reset(table: str, *, yes: bool) -> None:
    """Drop a table with its ledger and checkpoint; its topic stays, and the next run starts over."""
    from rta.store.overview import counted, summary_of

    known = counted(summary_of(table))
    if not yes:
        what = f"{known.kind} {known.name} with {known.rows:,} rows"
        also = f" and the tables behind it ({', '.join(known.parts)})" if known.parts else ""
        click.confirm(f"Drop {what}{also}, ledger and checkpoint?", abort=True)
    if known.parts:
        from rta.architectures.base import drop

        drop(known.name)
    else:
        from rta.engines import reset as drop_table

        drop_table(known.name)
    click.echo(f"{known.kind} {known.name} dropped; the next run starts over")
