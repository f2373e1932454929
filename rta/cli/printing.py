"""Rows on a terminal: an aligned table for a person, JSON for a program."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import click

from rta.html import plain

AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON, for a program.")
LOOPBACK = ("127.0.0.1", "localhost", "::1")
YES = click.option("--yes", is_flag=True, help="Do not ask.")


def print_rows(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], *, as_json: bool) -> None:
    """Print rows as an aligned table, numbers to the right, or as JSON."""
    if as_json:
        print_json(rows)
        return
    for line in plain([[row[column] for column in columns] for row in rows], columns):
        click.echo(line)
    if not rows:
        click.echo("(none)", err=True)


def print_json(value: Any) -> None:
    """Print JSON; dates as ISO 8601, decimals as text."""
    click.echo(json.dumps(value, default=str, indent=2))


def counted(many: int, what: str) -> str:
    """Return a number of things.

    >>> counted(1, "run"), counted(1234, "run")
    ('1 run', '1,234 runs')
    """
    return f"{many:,} {what}{'' if many == 1 else 's'}"


def done_with(many: int, what: str, done: str, *, dry_run: bool) -> str:
    """Say what is done with things, or would be.

    >>> done_with(1, "run", "removed", dry_run=False), done_with(2, "run", "removed", dry_run=True)
    ('1 run is removed', '2 runs would be removed')
    """
    verb = "would be" if dry_run else "is" if many == 1 else "are"
    return f"{counted(many, what)} {verb} {done}"
