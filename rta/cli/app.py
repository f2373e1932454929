"""The command line: `rta --help`.

Exit codes: 0 done, 1 an error that says what to do (or a question that was not answered with yes), 2 wrong usage, 124 a run took too
long, 130 Ctrl-C or a run was cancelled;
`rta status` exits with 3 if no broker runs. Each command loads what it needs only when it runs, so most answer without Spark.
"""

from __future__ import annotations

import sys
import traceback
from dataclasses import asdict
from typing import Any

import click

from rta.cli.alert_commands import alerts
from rta.cli.dashboard_command import dashboard
from rta.cli.dlq_commands import dlq
from rta.cli.job_commands import jobs, run
from rta.cli.metrics_commands import metrics
from rta.cli.printing import AS_JSON, print_json
from rta.cli.schedule_commands import schedule, scheduler
from rta.cli.table_commands import queries, reset, sql, tables
from rta.cli.topic_commands import groups, infer, peek, publish, tail, topics
from rta.errors import RtaError


class Commands(click.Group):
    """Commands that show an RtaError, and Ctrl-C, as one message without a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command. An RtaError becomes a message and exit code 1, Ctrl-C a message and exit code 130."""
        try:
            return super().invoke(ctx)
        except RtaError as error:
            if ctx.params.get("trace"):
                traceback.print_exc()
            click.secho(f"✗ {error.what}", fg="red", err=True)
            for label, text in (("found", error.found), ("fix", error.fix)):
                if text is not None:
                    click.echo(f"  {label + ':':<6} {text}", err=True)
            ctx.exit(error.exit_code)
        except KeyboardInterrupt as stop:
            click.secho(f"✗ interrupted{f': {stop}' if stop.args else ''}", fg="red", err=True)
            ctx.exit(130)


@click.group(
    cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.option("--trace", is_flag=True, help="Show the full traceback of an error.")
@click.version_option(package_name="rta")
def main(trace: bool) -> None:  # noqa: FBT001 - read from the context where an error is shown
    """rta: Kafka and Spark under your notebook, tables that are exact, notebooks that are jobs."""


for _command in (
    dashboard, metrics, alerts, dlq, topics, groups, publish, tail, peek, infer, tables, queries, sql, reset, run, jobs,
    schedule, scheduler,
):  # fmt: skip
    main.add_command(_command)


@main.command()
@AS_JSON
@click.pass_context
def doctor(ctx: click.Context, *, as_json: bool) -> None:
    """Check this machine: a tick, or what is wrong and how to fix it."""
    from rta.cli.doctor import examine

    checks = []
    for check in examine():
        checks.append(check)
        if not as_json:
            click.secho(str(check), fg=None if check.ok else "red")
    if as_json:
        print_json([asdict(check) for check in checks])
    ctx.exit(0 if all(check.ok for check in checks) else 1)


@main.command()
@click.option(
    "--spare", is_flag=True, help="Keep a warm driver for the next Spark session, too: 1 GB."
)
@click.option("--scheduler", "schedules", is_flag=True, help="Run a scheduler beside it, too.")
@click.option(
    "--engine",
    type=click.Choice(["flink"]),
    help="Start the local Flink, too: 0.5 GB; or look whether your own has what is needed.",
)
@AS_JSON
def up(*, spare: bool, schedules: bool, engine: str | None, as_json: bool) -> None:
    """Start the embedded Apache Kafka, if it does not run."""
    from rta.dataframes import spare_driver
    from rta.jobs.scheduling.service import start_scheduler
    from rta.kafka import broker
    from rta.kafka.broker_config import SERVER_PROPERTIES

    running = broker.up()
    kept = spare_driver.keep() if spare else None
    pid = start_scheduler() if schedules else None
    flink = _flink().up() if engine else None
    if as_json:
        more = {"scheduler": pid, "flink": asdict(flink) if flink else None}
        print_json(asdict(running) | {name: value for name, value in more.items() if value})
        return
    partitions = SERVER_PROPERTIES["num.partitions"]
    click.echo(f"Apache Kafka at {running.bootstrap} (pid {running.pid})")
    click.echo(
        f"A producer's first event creates its topic, with {partitions} partitions; or: rta topics create NAME"
    )
    if pid:
        click.echo(f"scheduler (pid {pid})")
    if flink:
        click.echo(f"Apache Flink at {flink.rest}, its SQL gateway at {flink.gateway} ({_whose(flink)})")  # fmt: skip
    if kept:
        click.echo(f"spare driver: {kept}; it takes half a minute, and rta status shows it")


@main.command()
def down() -> None:
    """Stop the embedded Apache Kafka, a scheduler, the local Flink and a spare driver; topics and runs are kept.

    A Flink of your own (RTA_FLINK_GATEWAY) is left as it is.
    """
    from rta.dataframes import spare_driver
    from rta.jobs.scheduling.service import stop_scheduler
    from rta.kafka import broker
    from rta.settings import settings

    if stop_scheduler():
        click.echo("scheduler stopped")
    if _flink().down():
        click.echo("Apache Flink stopped")
    if own := settings().flink_gateway:
        click.echo(f"Apache Flink at {own} is your own: it is left as it is")
    if spare_driver.stop():
        click.echo("spare driver stopped")
    click.echo(
        "Apache Kafka stopped; its topics are kept"
        if broker.down()
        else "Apache Kafka was not running"
    )


def _flink() -> Any:
    """Return Flink's module, which is loaded only when it is asked for."""
    from rta.engines.flink import cluster

    return cluster


def _whose(flink: Any) -> str:
    """Say whose a Flink is."""
    return f"pid {flink.pid}" if flink.ours else "your own"


@main.command()
def archive() -> None:
    """Build the class-data archive once, so that Spark starts faster from then on."""
    from rta.setup import class_data

    click.echo(f"class-data archive: {class_data.build()}")


@main.command()
@AS_JSON
@click.pass_context
def status(ctx: click.Context, *, as_json: bool) -> None:
    """Show what runs, and where the events of each table went. Exit code 3 if no broker runs."""
    from rta.dataframes import spare_driver
    from rta.engines.running import queries
    from rta.jobs.scheduling.service import scheduler_status
    from rta.kafka import broker
    from rta.settings import settings
    from rta.store.overview import overview

    spare, scheduler, flink = spare_driver.status(), scheduler_status(), _flink().status()
    cluster = settings().kafka_bootstrap
    running = broker.status()
    tables = {each.name: each.accounting for each in overview()}
    active = [query for query in queries() if query.active]
    if as_json:
        print_json({
            "bootstrap": cluster or (running.bootstrap if running else None),
            "broker": asdict(running) if running else None,
            "spare_driver": asdict(spare) if spare else None,
            "scheduler": scheduler,
            "flink": asdict(flink) if flink else None,
            "queries": [asdict(query) for query in active],
            "tables": {name: asdict(sums) for name, sums in tables.items()},
        })  # fmt: skip
    else:
        broker_line = running.bootstrap if running else "not running (rta up)"
        click.echo(f"cluster   {cluster}" if cluster else f"broker    {broker_line}")
        if spare:
            click.echo(f"driver    spare, {spare}")
        if scheduler:
            click.echo(f"scheduler pid {scheduler}")
        if flink:
            click.echo(f"flink     {flink.rest}, SQL gateway {flink.gateway} ({_whose(flink)})")
        elif own := settings().flink_gateway:
            click.echo(f"flink     {own} (your own) does not answer: see rta doctor")
        for query in active:
            click.echo(f"query     {query}")
        for name, sums in tables.items():
            click.echo(f"table     {name}: {sums}")
    ctx.exit(0 if cluster or running else 3)


@main.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of a shell.

    bash: add to ~/.bashrc: eval "$(rta completion bash)". zsh: add to ~/.zshrc: eval "$(rta completion zsh)".
    fish: rta completion fish > ~/.config/fish/completions/rta.fish.
    """
    from click.shell_completion import get_completion_class

    script = get_completion_class(shell)
    assert script is not None, shell  # noqa: S101 - one of the three that click knows
    click.echo(script(main, {}, "rta", "_RTA_COMPLETE").source())


if __name__ == "__main__":
    sys.exit(main())
