"""`rta schedule …` and `rta scheduler`: notebooks that run by themselves."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rta.cli.printing import AS_JSON, YES, done_with, print_json, print_rows

if TYPE_CHECKING:
    from rta.jobs import Slot


@click.group()
def schedule() -> None:
    """Run notebooks at the moments of a schedule: a cron line, a period, or new events. `rta scheduler` starts them."""


@schedule.command()
@click.argument("notebook", type=click.Path(path_type=Path))
@click.option("--cron", help='A cron line: minute, hour, day, month, weekday, such as "0 2 * * *".')
@click.option("--zone", default="UTC", show_default=True, help="The time zone of the cron line.")
@click.option("--every", help='The time between two runs, such as "15 minutes".')
@click.option("--on-new", metavar="TOPIC", help="Run when this topic has new events.")
@click.option("--events", type=int, default=1, show_default=True, help="How many new events are enough.")  # fmt: skip
@click.option("-p", "--parameter", "pairs", multiple=True, metavar="NAME=VALUE", help="Set a parameter; may be repeated.")  # fmt: skip
@click.option("--name", help="The name of schedule and job; by default the notebook's.")
@click.option("--missed", type=click.Choice(["skip", "once", "all"]), default="once", show_default=True, help="What happens with moments at which no scheduler ran.")  # fmt: skip
@click.option("--staleness", help="A missed moment that is older does not run.")
@click.option("--overlap", type=click.Choice(["skip", "queue"]), help="What happens while the run before goes on; by default skip, with --missed all queue.")  # fmt: skip
@click.option("--retries", type=int, default=0, show_default=True, help="How many more tries a failed run has.")  # fmt: skip
@click.option("--backoff", default="1 minute", show_default=True, help="The time before the first of them; it doubles.")  # fmt: skip
@click.option("--timeout", default="6 hours", show_default=True, help="The time for one try.")
@click.option("--deadline", help="The time from when it was due until the last try must have ended.")  # fmt: skip
@click.option("--keep-runs", type=int, help="How many of the newest runs are kept.")
@click.option("--keep-days", type=float, help="For how many days runs are kept.")
@AS_JSON
def add(notebook: Path, *, pairs: Sequence[str], as_json: bool, **how: Any) -> None:
    """Add a schedule, such as: rta schedule add daily.ipynb --cron "0 2 * * *" --zone Europe/Berlin."""
    from rta import jobs
    from rta.jobs.scheduling.schedules import facts_of

    made = jobs.schedule(notebook, jobs.parse(notebook, pairs), **how)
    if as_json:
        print_json(facts_of(made))
        return
    click.echo(f"schedule {made.name}: {made.when}")
    _echo_next(facts_of(made)["next"])
    if not _scheduler_runs():
        click.echo("no scheduler runs: rta scheduler, or rta up --scheduler", err=True)


@schedule.command("list")
@AS_JSON
def list_(*, as_json: bool) -> None:
    """List the schedules with their next five moments."""
    from rta.jobs.scheduling import slots
    from rta.jobs.scheduling.schedules import facts_of

    rows = [facts_of(each) | {"when": each.when} for each in slots.schedules()]
    if as_json:
        print_json(rows)
        return
    shown = [row | {"next": "paused" if row["paused"] else ", ".join(f"{each[5:16]}" for each in row["next"]) or "on new events"} for row in rows]  # fmt: skip
    print_rows(shown, ("name", "when", "next", "notebook"), as_json=False)


@schedule.command()
@click.argument("name")
@click.option("--limit", default=20, show_default=True, help="How many of the newest slots.")
@AS_JSON
def show(name: str, *, limit: int, as_json: bool) -> None:
    """Show a schedule, its next five moments, and what became of the last ones."""
    from rta.jobs.scheduling import slots
    from rta.jobs.scheduling.schedules import facts_of

    known = slots.named(name)
    facts, found = facts_of(known), slots.slots(name, limit=limit)
    if as_json:
        print_json(facts | {"slots": [_facts(each) for each in found]})
        return
    for label, value in facts.items():
        if value is not None and label not in ("next", "planned_to"):
            click.echo(f"{label:<12} {json.dumps(value) if isinstance(value, dict) else value}")
    _echo_next(facts["next"])
    _print_slots(found)


@schedule.command()
@click.argument("name")
def pause(name: str) -> None:
    """Plan nothing for a schedule, until it is resumed."""
    from rta import jobs

    jobs.pause(name)
    click.echo(f"schedule {name} is paused")


@schedule.command()
@click.argument("name")
def resume(name: str) -> None:
    """Plan a schedule again, from now on."""
    from rta import jobs

    jobs.resume(name)
    click.echo(f"schedule {name} goes on")


@schedule.command()
@click.argument("name")
@YES
def remove(name: str, *, yes: bool) -> None:
    """Delete a schedule; its runs are kept."""
    from rta import jobs
    from rta.jobs.scheduling import slots

    known = slots.named(name)
    if not yes:
        click.confirm(f"Delete schedule {name} ({known.when})?", abort=True)
    jobs.remove(name)
    click.echo(f"schedule {name} deleted; rta jobs still shows its runs")


@schedule.command("run-now")
@click.argument("name")
@AS_JSON
def run_now(name: str, *, as_json: bool) -> None:
    """Ask the scheduler to run a schedule once more, now."""
    from rta import jobs

    slot = jobs.run_now(name)
    if as_json:
        print_json(_facts(slot))
    else:
        click.echo(f"{name} is queued" + ("" if _scheduler_runs() else "; no scheduler runs: rta scheduler"))  # fmt: skip


@schedule.command()
@click.argument("name")
@click.option("--from", "start", required=True, metavar="MOMENT", help='The first moment, such as 2026-03-01 or "2026-03-01T02:00"; in the zone of the schedule.')  # fmt: skip
@click.option("--to", "end", required=True, metavar="MOMENT", help="The moment after the last one.")
@click.option("--only", type=click.Choice(["none", "failed"]), default="none", show_default=True, help="Moments that have no run, or those whose run did not succeed.")  # fmt: skip
@click.option("--reverse", is_flag=True, help="The newest first.")
@click.option("--dry-run", is_flag=True, help="Only say which.")
@AS_JSON
def backfill(name: str, *, as_json: bool, **how: Any) -> None:
    """Run the moments of a schedule between two moments."""
    from rta import jobs

    found = jobs.backfill(name, how.pop("start"), how.pop("end"), **how)
    if as_json:
        print_json([_facts(each) for each in found])
        return
    for slot in found:
        click.echo(f"{slot.scheduled_for:%Y-%m-%d %H:%M:%S} UTC")
    click.echo(done_with(len(found), "moment", "queued", dry_run=how["dry_run"]))


@click.command()
@click.option("--limit", type=click.IntRange(min=1), help="How many runs go on at once; by default one for two cores.")  # fmt: skip
@click.option("--if-absent", is_flag=True, help="Do nothing if this home has a scheduler.")
@click.option("--systemd", is_flag=True, help="Print a systemd user unit that runs this command.")
@click.option("--crontab", is_flag=True, help="Print a crontab line that keeps a scheduler running.")  # fmt: skip
@AS_JSON
def scheduler(*, limit: int | None, if_absent: bool, systemd: bool, crontab: bool, as_json: bool) -> None:  # fmt: skip
    """Start the runs of all schedules as they become due. Ctrl-C ends it; runs that have begun go on."""
    from rta.jobs.scheduling import service
    from rta.jobs.scheduling.scheduler import scheduler as schedule_runs

    if systemd or crontab:
        click.echo(service.unit() if systemd else service.crontab() + "\n", nl=False)
        return

    def say(line: str) -> None:
        now = datetime.now(UTC)
        click.echo(json.dumps({"at": now.isoformat(), "said": line}) if as_json else f"{now:%H:%M:%S} {line}")  # fmt: skip

    with service.announced() as first:
        if not first and if_absent:
            return
        say("the scheduler runs" if first else "one more scheduler runs")
        schedule_runs(limit=limit, say=say)
        say("the scheduler has ended")


def _scheduler_runs() -> bool:
    from rta.jobs.scheduling.service import scheduler_status

    return scheduler_status() is not None


def _facts(slot: Slot) -> dict[str, Any]:
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in asdict(slot).items()}  # fmt: skip


def _echo_next(moments: Sequence[str]) -> None:
    for each in moments:
        click.echo(f"  next       {each}")


def _print_slots(found: Sequence[Slot]) -> None:
    columns = ("scheduled for", "state", "tries", "reason", "run", "message")
    rows = [
        dict(zip(columns, (f"{each.scheduled_for:%Y-%m-%d %H:%M:%S} UTC", each.state, each.attempts, each.reason, each.run_ids[-1] if each.run_ids else "", each.message), strict=True))
        for each in found
    ]  # fmt: skip
    print_rows(rows, columns, as_json=False)
