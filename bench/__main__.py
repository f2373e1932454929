"""`python -m bench`: prepare the topic, run the rows in turn, record and show what came out."""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from shlex import quote
from typing import Final

import click

from bench import report
from bench.measure import ROOT, environment, measure
from bench.rows import GROUPS, ROWS
from bench.setup import prepare
from bench.targets import FULL
from rta.kafka import broker

QUICK: Final = 300_000


@click.command()
@click.option(
    "--quick", is_flag=True, help="The main ratios, on fewer events; nothing is recorded."
)
@click.option(
    "--only", multiple=True, metavar="NAME", help="Only this group or row; may be repeated."
)
@click.option("--repeat", type=click.IntRange(1), help="Repetitions; by default 3, quick 1.")
@click.option("--events", type=int, help="Another size than 2,000,000; nothing is recorded.")
@click.option("--minutes", type=float, default=10, help="How long a live view is watched.")
@click.option(
    "--pages", is_flag=True, help="Measure nothing: write the pages of the newest results again."
)
@click.option("--home", type=click.Path(path_type=Path), default=ROOT / ".bench", help="RTA_HOME.")
def main(
    *,
    quick: bool,
    only: tuple[str, ...],
    repeat: int | None,
    events: int | None,
    minutes: float,
    pages: bool,
    home: Path,
) -> None:
    """Measure the rows against each other, in turns."""
    if pages and (newest := report.newest()):
        report.show(newest)
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: leave nothing behind
    home = home.resolve()
    _enter(home)
    names = [*GROUPS, *dict.fromkeys(row.name for row in ROWS)]
    unknown = set(only) - set(names)
    if unknown:
        raise click.BadParameter(f"{', '.join(sorted(unknown))}: choose from {', '.join(names)}")
    chosen = [r for r in ROWS if {r.group, r.name} & set(only or GROUPS)]
    chosen = [r for r in chosen if r.quick or not quick or only]
    size = events or (QUICK if quick else FULL)
    found = []
    try:
        setup = replace(prepare(home, size), minutes=minutes)
        asked = [f"--only {quote(name)}" for name in only] + ([f"--repeat {repeat}"] if repeat else [])  # fmt: skip
        run = report.begin(asked, size)
        for group in dict.fromkeys(row.group for row in chosen):
            rows = [row for row in chosen if row.group == group]
            for repetition in range(repeat or (1 if quick else 3)):
                turn = repetition % len(rows)  # another one is first each time
                for row in rows[turn:] + rows[:turn]:
                    for each in measure(row, setup, repetition):
                        click.echo(report.line(each), err=True)
                        found.append(each)
    finally:
        broker.down()
    run |= {"measurements": found}
    click.echo(report.tables([report.plain(run)]))
    if size == FULL and not quick:
        click.echo(f"recorded in {report.record(run).relative_to(ROOT)}", err=True)
    sys.exit(any(each.fault for each in found))


def _enter(home: Path) -> None:
    """Make this process, too, work in the bench's own home, away from the user's."""
    home.mkdir(parents=True, exist_ok=True)
    (home / ".gitignore").write_text("*\n")
    ours = environment(str(home))
    for name in set(os.environ) - set(ours):
        del os.environ[name]
    os.environ.update(ours)


if __name__ == "__main__":
    main()
