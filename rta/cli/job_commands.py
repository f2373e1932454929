"""`rta run` and `rta jobs …`: notebooks as jobs, and what became of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click

from rta.cli.printing import AS_JSON, YES, counted, done_with, print_json, print_rows

_PARAMETERS = click.option("-p", "--parameter", "pairs", multiple=True, metavar="NAME=VALUE", help="Set a parameter; may be repeated.")  # fmt: skip
_TIMEOUT = click.option("--timeout", default=6 * 3600.0, show_default=True, help="Give up after this many seconds.")  # fmt: skip
_COLUMNS = ("run_id", "job", "state", "started_at", "seconds", "message")
_STATES = ("running", "succeeded", "failed", "timed out", "cancelled", "lost")


@click.command()
@click.argument("notebook", type=click.Path(path_type=Path))
@_PARAMETERS
@click.option("--name", help="The job's name; by default the notebook's.")
@_TIMEOUT
@AS_JSON
def run(notebook: Path, *, pairs: Sequence[str], name: str | None, timeout: float, as_json: bool) -> None:  # fmt: skip
    """Run a notebook as a job, with parameters, report, receipt and history."""
    from rta.jobs import runner

    with _told_of_failure(as_json=as_json):
        receipt = runner.run(notebook, runner.parse(notebook, pairs), name=name, timeout=timeout)
    click.echo(receipt.to_json() if as_json else str(receipt))


@click.group(invoke_without_command=True)
@click.option("--job", help="Only the runs of this job.")
@click.option("--state", type=click.Choice(_STATES), help="Only the runs in this state.")
@click.option("--limit", default=20, show_default=True, help="How many of the newest runs.")
@AS_JSON
@click.pass_context
def jobs(ctx: click.Context, *, job: str | None, state: str | None, limit: int, as_json: bool) -> None:  # fmt: skip
    """Show the history of job runs, the newest first; or open, follow, cancel or repeat one. RUN is an id, or a job: its newest run."""
    if ctx.invoked_subcommand is None:
        from rta.jobs import runner

        rows = [run.as_dict() for run in runner.history(job, state=state, limit=limit)]
        print_rows(rows, _COLUMNS, as_json=as_json)


@jobs.command("open")
@click.argument("run")
@click.option("--print", "only_print", is_flag=True, help="Only print the address of its report.")
def open_(run: str, *, only_print: bool) -> None:
    """Open the report of a run in the browser, at the cell that failed."""
    from rta import jobs as known

    address = known.page(run)
    click.echo(address)
    if not only_print:
        click.launch(address)


@jobs.command()
@click.argument("run")
@click.option("-f", "--follow", is_flag=True, help="Go on until the run ends.")
def log(run: str, *, follow: bool) -> None:
    """Print what the cells of a run have printed."""
    from rta import jobs as known

    for text in known.log(run, follow=follow):
        click.echo(text, nl=False)


@jobs.command()
@click.argument("run")
@_PARAMETERS
@_TIMEOUT
@AS_JSON
def rerun(run: str, *, pairs: Sequence[str], timeout: float, as_json: bool) -> None:
    """Run again what a run has run: the notebook as it was, with the same parameters."""
    from rta import jobs as known

    source = Path(known.find(run).folder) / "source.ipynb"
    with _told_of_failure(as_json=as_json):
        receipt = known.rerun(run, known.parse(source, pairs) if pairs else None, timeout=timeout)
    click.echo(receipt.to_json() if as_json else str(receipt))


@jobs.command()
@click.argument("run")
@AS_JSON
def cancel(run: str, *, as_json: bool) -> None:
    """End a run with its kernel and its Spark; it is not tried again."""
    from rta import jobs as known

    receipt = known.cancel(run)
    click.echo(receipt.to_json() if as_json else f"run {receipt.run_id}: {receipt.state}")


@jobs.command()
@click.option("--job", help="Only the runs of this job.")
@click.option("--keep-runs", type=int, help="How many of the newest runs of each job are kept.")
@click.option("--keep-days", type=float, help="For how many days runs are kept.")
@click.option("--dry-run", is_flag=True, help="Only say which.")
@YES
@AS_JSON
def prune(*, job: str | None, keep_runs: int | None, keep_days: float | None, dry_run: bool, yes: bool, as_json: bool) -> None:  # fmt: skip
    """Remove old runs with their folders."""
    from rta import jobs as known

    old = known.prune(job, keep_runs=keep_runs, keep_days=keep_days, dry_run=True)
    if not (dry_run or yes or not old):
        click.confirm(f"Delete {counted(len(old), 'run')} with all files?", abort=True)
    if not dry_run:
        known.prune(job, keep_runs=keep_runs, keep_days=keep_days)
    if as_json:
        print_json([each.run_id for each in old])
    else:
        click.echo(done_with(len(old), "run", "removed", dry_run=dry_run))


@contextmanager
def _told_of_failure(*, as_json: bool) -> Iterator[None]:
    """Print the receipt of a run that fails, for a program."""
    from rta.errors import JobError

    try:
        yield
    except JobError as error:
        if as_json and error.receipt:
            click.echo(error.receipt.to_json())
        raise
